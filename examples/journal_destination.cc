#include "journal_destination.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <unistd.h>
#include <walbrook/events.h>

namespace {

using namespace walbrook;

std::string json_string(std::string_view text) {
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') out += '\\';
        if (static_cast<unsigned char>(c) >= 0x20) {
            out += c;
        } else {
            char code[8];
            std::snprintf(code, sizeof code, "\\u%04x", static_cast<unsigned>(c));
            out += code;
        }
    }
    return out + '"';
}

std::string hex(std::string_view bytes) {
    std::string out = "\\x";
    for (const char c : bytes) {
        char code[4];
        std::snprintf(code, sizeof code, "%02x",
                      static_cast<unsigned>(static_cast<unsigned char>(c)));
        out += code;
    }
    return out;
}

// {"id":"1","note":null}. Only what identifies the row where `key_only`.
Result<std::string> json_of(const RowView& row, bool key_only) {
    std::string out;
    for (std::size_t i = 0; i < row.size(); ++i) {
        const Cell cell = row.cell(i);
        if (cell.is_unchanged() || (key_only && !cell.schema().in_identity)) continue;
        out += (out.empty() ? "" : ",") + json_string(cell.schema().name) + ":";
        if (cell.is_null()) {
            out += "null";
        } else if (cell.schema().type == ColumnType{TypeKind::bytes}) {
            WALBROOK_TRY(const std::string_view bytes, cell.get<std::string_view>());
            out += json_string(hex(bytes));
        } else {
            WALBROOK_TRY(const std::string text, cell.get<std::string>());
            out += json_string(text);
        }
    }
    return "{" + out + "}";
}

std::string line(std::string_view op, const TableSchema& table, const EventKey& key) {
    return "{\"op\":" + json_string(op) + ",\"table\":" + json_string(table.display_name()) +
           ",\"lsn\":" + json_string(to_string(key.commit_lsn)) +
           ",\"ordinal\":" + std::to_string(key.ordinal);
}

// The value of a member of a line that we wrote.
std::string member(const std::string& line, const std::string& name) {
    const std::size_t at = line.find("\"" + name + "\":\"");
    if (at == std::string::npos) return "";
    const std::size_t from = at + name.size() + 4;
    return line.substr(from, line.find('"', from) - from);
}

class Journal final : public Destination {
 public:
    explicit Journal(std::string folder)
        : folder_(std::move(folder)), path_(folder_ + "/journal.jsonl") {}
    ~Journal() override {
        if (file_ >= 0) ::close(file_);
    }

    std::string_view name() const override { return "journal"; }
    Capabilities capabilities() const override {
        return {.multi_table_atomic = true,
                .exactly_once = true,
                .partial_update = true,
                .keyless = true};
    }
    std::vector<std::string> refusals(const std::vector<TableSchemaPtr>&) const override {
        return {};
    }

    Result<Recovered> open(const PipelineIdentity&, std::stop_token) override;

    // Rows of a copy wait beside the journal until it is published.
    Status begin_copy(const CopyTargetPtr& copy, std::stop_token) override {
        const std::lock_guard lock(mutex_);
        copies_[copy->schema->id.oid] = Copy{copy->attempt, {}};
        return {};
    }
    Status write_copy(const CopyUnit& unit, RowReader& rows, std::stop_token stop) override;
    Status finish_copy(const CopyTargetPtr&, std::stop_token) override { return {}; }
    Status discard_copy(const CopyTargetPtr& copy, std::stop_token) override {
        const std::lock_guard lock(mutex_);
        copies_.erase(copy->schema->id.oid);
        return {};
    }

    Result<Ack> apply(Flush& flush, Ack required, std::stop_token stop) override;
    Result<Lsn> read_position(std::stop_token) override { return position_; }
    Status maintain(std::stop_token) override { return {}; }
    Status close() override { return {}; }

 private:
    struct Copy {
        std::uint32_t attempt = 0;
        std::string lines;  // In memory: this is an example.
    };
    // What a flush comes to; nothing of it is kept unless the whole flush is written.
    struct Pending {
        std::string lines;
        std::map<std::uint32_t, Copy> copies;
        std::map<std::uint32_t, TableSchemaPtr> schemas;
        // Changes of a table that is being copied go behind its copied rows.
        std::string& target(const TableSchemaPtr& table, const CopyTargetPtr& copy);
    };
    static Status write(const Event& event, Pending& out);
    static Status write_row(std::string_view op, const RowChange& change, const RowView& row,
                            bool key_only, Pending& out);
    static Status write_replaced(const Replace& replace, Pending& out);
    Status append(const std::string& text);

    const std::string folder_;
    const std::string path_;
    int file_ = -1;
    Lsn position_;
    std::mutex mutex_;  // write_copy comes from several threads.
    std::map<std::uint32_t, Copy> copies_;
    std::map<std::uint32_t, TableSchemaPtr> schemas_;  // Of the tables in the journal.
};

std::string& Journal::Pending::target(const TableSchemaPtr& table, const CopyTargetPtr& copy) {
    if (copy) return copies[table->id.oid].lines;
    TableSchemaPtr& known = schemas[table->id.oid];
    if (!known || *known != *table) {
        lines += "{\"op\":\"schema\",\"schema\":" + to_json(*table) + "}\n";
        known = table;
    }
    return lines;
}

Result<Recovered> Journal::open(const PipelineIdentity&, std::stop_token) {
    std::filesystem::create_directories(folder_);
    std::map<std::uint32_t, TableSchemaPtr> schemas;
    std::uintmax_t good_bytes = 0;
    std::uintmax_t bytes = 0;
    std::ifstream in(path_);
    for (std::string text; std::getline(in, text) && !in.eof();) {
        bytes += text.size() + 1;
        if (const std::string op = member(text, "op"); op == "schema") {
            const std::size_t from = text.find("\"schema\":") + 9;
            WALBROOK_TRY(TableSchema table,
                         table_schema_from_json(text.substr(from, text.size() - 1 - from)));
            schemas[table.id.oid] = std::make_shared<const TableSchema>(std::move(table));
        } else if (op == "gone") {
            std::erase_if(schemas, [&](const auto& entry) {
                return std::to_string(entry.first) == member(text, "oid");
            });
        } else if (op == "position") {
            position_ = parse_lsn(member(text, "lsn")).value_or(Lsn{});
            good_bytes = bytes;
            schemas_ = schemas;
        }
    }
    in.close();
    file_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file_ < 0 || ftruncate(file_, static_cast<off_t>(good_bytes)) != 0) {
        return Error(ErrorCode::unavailable, "open " + path_ + ": " + std::strerror(errno));
    }
    Recovered recovered;
    recovered.position = position_;
    for (const auto& [oid, schema] : schemas_) {
        recovered.tables.push_back({schema->id, TablePhase::ready, {}, schema});
    }
    return recovered;
}

Status Journal::write_copy(const CopyUnit& unit, RowReader& rows, std::stop_token stop) {
    std::string lines;
    for (;;) {
        if (stop.stop_requested()) return Error(ErrorCode::cancelled, "stopped while copying");
        WALBROOK_TRY(const RowBatch* batch, rows.next());
        if (batch == nullptr) break;
        for (std::size_t i = 0; i < batch->rows(); ++i) {
            WALBROOK_TRY(const std::string row, json_of(RowView(*batch, i), false));
            lines +=
                "{\"op\":\"copied\",\"table\":" + json_string(batch->schema()->display_name()) +
                ",\"row\":" + row + "}\n";
        }
    }
    const std::lock_guard lock(mutex_);
    Copy& copy = copies_[unit.copy->schema->id.oid];
    if (copy.attempt != unit.copy->attempt) {
        return Error(ErrorCode::aborted, "write a copy that was given up");
    }
    copy.lines += lines;
    return {};
}

Status Journal::write_row(std::string_view op, const RowChange& change, const RowView& row,
                          bool key_only, Pending& out) {
    WALBROOK_TRY(const std::string json, json_of(row, key_only));
    out.target(change.table, change.copy) +=
        line(op, *change.table, change.key) + ",\"row\":" + json + "}\n";
    return {};
}

// Rows that `walbrook verify --repair` puts right: what is under these keys goes, the rows come.
Status Journal::write_replaced(const Replace& replace, Pending& out) {
    const TableSchemaPtr& table = replace.schema;
    for (std::size_t i = 0; i < replace.keys->rows(); ++i) {
        std::string key;
        for (const std::size_t column : table->key_columns()) {
            const Cell cell = RowView(*replace.keys, i).cell(column);
            WALBROOK_TRY(const std::string text, cell.get<std::string>());
            key += (key.empty() ? "" : ",") + json_string(cell.schema().name) + ":" +
                   json_string(text);
        }
        out.target(table, nullptr) += line("clear", *table, {}) + ",\"row\":{" + key + "}}\n";
    }
    for (std::size_t i = 0; i < replace.rows->rows(); ++i) {
        WALBROOK_TRY(const std::string json, json_of(RowView(*replace.rows, i), false));
        out.target(table, nullptr) += line("put", *table, {}) + ",\"row\":" + json + "}\n";
    }
    return {};
}

Status Journal::write(const Event& event, Pending& out) {
    if (const auto* insert = std::get_if<InsertEvent>(&event)) {
        return write_row("insert", *insert, insert->row, false, out);
    }
    if (const auto* update = std::get_if<UpdateEvent>(&event)) {
        // Where the key changed, or there is none, it takes the old row to say which.
        if (update->old) {
            WALBROOK_RETURN_IF_ERROR(
                write_row("before", *update, *update->old, !update->old_is_full, out));
        }
        return write_row("update", *update, update->row, false, out);
    }
    if (const auto* gone = std::get_if<DeleteEvent>(&event)) {
        return write_row("delete", *gone, gone->old, !gone->old_is_full, out);
    }
    if (const auto* truncate = std::get_if<TruncateEvent>(&event)) {
        for (const TableSchemaPtr& table : truncate->tables) {
            out.target(table, truncate->copy) += line("truncate", *table, truncate->key) + "}\n";
        }
    }
    if (const auto* publish = std::get_if<Publish>(&event)) {
        const TableSchemaPtr& table = publish->copy->schema;
        out.target(table, nullptr) += line("published", *table, {}) + "}\n";
        out.lines += out.copies[table->id.oid].lines;
        out.copies.erase(table->id.oid);
    }
    if (const auto* replace = std::get_if<Replace>(&event)) {
        return write_replaced(*replace, out);
    }
    // The table no longer follows the source; what comes next is a copy.
    TableId gone;
    if (const auto* freeze = std::get_if<Freeze>(&event)) gone = freeze->schema->id;
    if (const auto* retire = std::get_if<Retire>(&event)) gone = retire->table;
    if (gone.oid != 0) {
        out.lines += "{\"op\":\"gone\",\"oid\":" + json_string(std::to_string(gone.oid)) + "}\n";
        out.schemas.erase(gone.oid);
    }
    return {};
}

Result<Ack> Journal::apply(Flush& flush, Ack, std::stop_token stop) {
    const std::lock_guard lock(mutex_);
    Pending pending{{}, copies_, schemas_};
    FlushEvents events(flush);
    for (;;) {
        if (stop.stop_requested()) return Error(ErrorCode::cancelled, "stopped while writing");
        WALBROOK_TRY(const Event* event, events.next());
        if (event == nullptr) break;
        WALBROOK_RETURN_IF_ERROR(write(*event, pending));
    }
    pending.lines +=
        "{\"op\":\"position\",\"lsn\":" + json_string(to_string(flush.position())) + "}\n";
    WALBROOK_RETURN_IF_ERROR(append(pending.lines));
    copies_ = std::move(pending.copies);
    schemas_ = std::move(pending.schemas);
    position_ = flush.position();
    return Ack::durable;
}

// All or nothing: what a failed write left is cut off again.
Status Journal::append(const std::string& text) {
    const off_t before = lseek(file_, 0, SEEK_END);
    std::size_t written = 0;
    while (written < text.size()) {
        const ssize_t n = ::write(file_, text.data() + written, text.size() - written);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        written += static_cast<std::size_t>(n);
    }
    if (written == text.size() && fsync(file_) == 0) return {};
    const std::string why = std::strerror(errno);
    if (ftruncate(file_, before) != 0) {
        return Error(ErrorCode::corrupt_state, "take back a write to " + path_ + ": " + why);
    }
    return Error(ErrorCode::unavailable, "append to " + path_ + ": " + why);
}

}  // namespace

std::unique_ptr<Destination> make_journal_destination(std::string folder) {
    return std::make_unique<Journal>(std::move(folder));
}
