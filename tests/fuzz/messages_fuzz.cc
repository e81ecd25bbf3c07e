#include "batch/key_point.h"
#include "decode/decode_testing.h"
#include "destinations/ducklake/note.h"
#include "fuzz/fuzz.h"
#include "pipeline/ddl_messages.h"
#include "postgres/table_content.h"
#include "server/api.h"
#include "server/control_server.h"
#include "server/status_report.h"
#include "verify/history.h"
#include "verify/report.h"
#include "walbrook/lsn.h"
#include "walbrook/schema.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

// What we write for ourselves (messages in the stream, rows of the store, notes in the lake,
// answers of the control API) and whoever can write there can change: refused, or read so that
// writing and reading it again changes nothing.
namespace walbrook::fuzz {
namespace {

class Folder {
 public:
    Folder() : path_((std::filesystem::temp_directory_path() / "walbrook-fuzz.XXXXXX").string()) {
        EXPECT_NE(mkdtemp(path_.data()), nullptr);
    }
    ~Folder() { std::filesystem::remove_all(path_); }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    const std::string& path() const { return path_; }

 private:
    std::string path_;
};

std::string content_of(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

void run_schema(const std::string& text) {
    const auto first = table_schema_from_json(text);
    if (!first) return;
    const auto second = table_schema_from_json(to_json(*first));
    ASSERT_TRUE(second) << second.error().message();
    EXPECT_EQ(to_json(*first), to_json(*second));
}

void run_status(const std::string& text) {
    const auto first = status_report_from_json(text);
    if (!first) return;
    const auto second = status_report_from_json(to_json(*first));
    ASSERT_TRUE(second) << second.error().message();
    EXPECT_EQ(to_json(*first), to_json(*second));
    EXPECT_NE(to_prometheus(*first), "");
}

void run_verify_progress(const std::string& text) {
    const auto first = verify::table_result_from_json(text);
    if (!first) return;
    const auto second = verify::table_result_from_json(verify::to_json(*first));
    ASSERT_TRUE(second) << second.error().message();
    EXPECT_EQ(verify::to_json(*first), verify::to_json(*second));
}

// Whole files: what is loaded, and stored again, stays as it is.
void run_history(const std::string& text) {
    static const Folder folder;
    const std::string path = verify::history_path(folder.path());
    std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
    ASSERT_TRUE(verify::store_history(folder.path(), verify::load_history(folder.path())));
    const std::string first = content_of(path);
    ASSERT_TRUE(verify::store_history(folder.path(), verify::load_history(folder.path())));
    EXPECT_EQ(content_of(path), first);
}

void run_content(const std::string& text) {
    const auto first = parse_table_content(text);
    if (!first) return;
    EXPECT_EQ(parse_table_content(to_string(*first)), first);
}

void run_lsn(const std::string& text) {
    const auto first = parse_lsn(text);
    if (!first) return;
    EXPECT_EQ(parse_lsn(to_string(*first)), first);
}

void run_note(const std::string& text) {
    const auto first = ducklake::parse_note(text);
    if (!first) return;
    const auto second = ducklake::parse_note(ducklake::extra_info(*first, 7, "id", 3));
    ASSERT_TRUE(second);
    EXPECT_EQ(second->position, first->position);
    EXPECT_EQ(second->commit_time_us, first->commit_time_us);
}

// A value that the column takes is the same point whether it was printed or decoded.
void run_key_point(Input input) {
    constexpr std::uint32_t kTypes[] = {20, 21, 23, 2950};
    const ColumnSchema column = column_of(kTypes[input.choose(std::size(kTypes))]);
    const std::string text = input.rest();
    const Decoded value = decode(column, Format::text, text);
    const auto point = parse_key_point(column, text);
    EXPECT_EQ(static_cast<bool>(point), value.status.ok());
    if (value.status.ok() && point) {
        EXPECT_TRUE(*point == key_point(value.column, 0));
    }
}

}  // namespace

void run(std::string_view bytes) {
    Input input(bytes);
    switch (input.choose(9)) {
        case 0:
            return run_schema(input.rest());
        case 1:
            return run_status(input.rest());
        case 2:
            run_verify_progress(input.rest());
            return run_history(input.rest());
        case 3:
            return run_content(input.rest());
        case 4:
            return run_lsn(input.rest());
        case 5:
            return run_note(input.rest());
        case 6:
            return run_key_point(input);
        case 7:
            static_cast<void>(parse_ddl_message(input.rest()));
            return;
        default: {
            static_cast<void>(problem_in(input.rest()));
            std::string host;
            int port = 0;
            if (split_address(input.rest(), host, port)) {
                EXPECT_NE(host, "");
            }
            return;
        }
    }
}

std::size_t memory_factor() { return kBytesOfAny; }

std::vector<std::string> seeds() {
    std::vector<std::string> out;
    const TableSchemaPtr table = table_of(
        {column_of(23), column_of(25), column_of(1700, numeric_typmod(12, 2)), column_of(1007)});
    out.push_back(choice(0) + to_json(*table));
    StatusReport status{"1.2.3", 7, "shop", "ducklake", {}};
    status.pipeline.state = "streaming";
    status.pipeline.problems = {"slot is far behind"};
    status.pipeline.tables.resize(1);
    status.pipeline.tables[0].name = "t";
    out.push_back(choice(1) + to_json(status));
    verify::TableResult result;
    result.table = TableId{16384};
    result.schema = "s";
    result.name = "t";
    result.outcome = verify::Outcome::different;
    result.key = {"id"};
    result.differences = {{verify::DifferenceKind::changed, 1, 1, {"7"}, "", {"note"}}};
    out.push_back(choice(2) + verify::to_json(result));
    TableContent content;
    content.columns = "abc";
    content.files = {{1, 2}, {3, 4}};
    content.labels = {{5, "6"}};
    content.generated = {2};
    content.places = {{3, "7.8"}};
    out.push_back(choice(3) + to_string(content));
    out.push_back(choice(4) + "16/B374D848");
    out.push_back(choice(5) + ducklake::extra_info({Lsn{0x1537158}, 5}, 7, "id", 3));
    for (const char* key : {"7", "-12", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"}) {
        for (std::size_t type = 0; type < 4; ++type) {
            out.push_back(choice(6) + choice(type) + key);
        }
    }
    out.push_back(choice(7) + "1 16400:1,2,5;16411:1,2");
    verify::History history{1764000000, 1764000001, 5000, Lsn{0x1537158}, {}};
    history.tables.push_back({result.table, result.schema, result.name, result.outcome, "why",
                              Lsn{0x1537158}, 1, true, true, 1764000000});
    const Folder folder;
    EXPECT_TRUE(verify::store_history(folder.path(), history));
    out.push_back(choice(2) + content_of(verify::history_path(folder.path())));
    out.push_back(choice(8) + R"({"error": "why"})");
    out.push_back(choice(8) + "[::1]:9090");
    return out;
}

}  // namespace walbrook::fuzz
