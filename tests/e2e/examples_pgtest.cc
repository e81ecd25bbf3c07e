// The examples do what they say: compiled against the public headers alone, run as
// anybody would run them.

#include "integration/lake_reader.h"
#include "support/child_process.h"
#include "support/eventually.h"
#include "support/pg_test.h"
#include "support/temp_dir.h"
#include "walbrook/destinations.h"
#include "walbrook/pipeline.h"
#include "walbrook/stores.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <signal.h>
#include <sstream>

namespace walbrook::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class Examples : public PgTest {
 protected:
    void SetUp() override {
        PgTest::SetUp();
        database().exec(
            "create table item(id int primary key, note text);"
            "create table log(line text);"  // No key: a row that came twice would show.
            "insert into item select g, 'note ' || g from generate_series(1, 500) g;"
            "insert into log select 'line ' || g from generate_series(1, 500) g;"
            "create publication shop for table item, log");
    }
    ChildOptions options(const std::string& log) const {
        ChildOptions made;
        made.args = {database_url(), "shop", folder_.path().string()};
        made.output_file = folder_.file(log);
        return made;
    }
    std::string database_url() const { return const_cast<Examples*>(this)->database().url(); }
    std::string journal() const {
        std::ifstream in(folder_.file("journal.jsonl"));
        return {std::istreambuf_iterator<char>(in), {}};
    }
    // The lines of the journal that have all of these texts.
    std::size_t lines_with(const std::vector<std::string>& texts) const {
        std::istringstream in(journal());
        std::size_t count = 0;
        for (std::string line; std::getline(in, line);) {
            count += std::all_of(texts.begin(), texts.end(), [&](const std::string& text) {
                return line.find(text) != std::string::npos;
            });
        }
        return count;
    }
    TempDir folder_{"examples"};
};

INSTANTIATE_TEST_SUITE_P(Pg, Examples, ::testing::ValuesIn(pg_versions()), version_name);

#ifdef FIRST_PIPELINE
class FirstPipeline : public Examples {
 protected:
    std::string catalog() const { return folder_.file("catalog.sqlite"); }
    std::string difference_of(const std::string& table) {
        try {
            LakeReader lake(catalog());
            if (!lake.has_table("public", table)) return "no table " + table;
            return difference(table_rows(database(), {.table = table}), lake.rows("public", table));
        } catch (const std::exception& error) {
            return error.what();  // The catalog is only being made.
        }
    }
    // A table that is copied anew is another table for the lake.
    std::string table_ids() {
        LakeReader lake(catalog());
        std::string ids;
        for (const auto& row : lake.query(
                 "select table_name, table_id from __ducklake_metadata_lake.ducklake_table t join "
                 "__ducklake_metadata_lake.ducklake_schema s using (schema_id) where "
                 "t.end_snapshot "
                 "is null and s.schema_name = 'public' order by 1")) {
            ids += row[0] + "=" + row[1] + " ";
        }
        return ids;
    }
    // Runs it until both tables are equal, then asks it to stop.
    void run_until_equal(const std::string& log) {
        ChildProcess program(FIRST_PIPELINE, options(log));
        const auto is_equal = [&] {
            return !program.is_running() ||
                   (difference_of("item").empty() && difference_of("log").empty());
        };
        EXPECT_TRUE(eventually(is_equal));
        program.signal(SIGTERM);
        const auto exit = program.wait();
        ASSERT_TRUE(exit.has_value()) << "it does not stop";
        EXPECT_EQ(exit->code, 0) << program.output();
        EXPECT_EQ(difference_of("item"), "");
        EXPECT_EQ(difference_of("log"), "");
    }
};
INSTANTIATE_TEST_SUITE_P(Pg, FirstPipeline, ::testing::ValuesIn(pg_versions()), version_name);

TEST_P(FirstPipeline, NeitherDoublesNorCopiesAgainWithAFreshMemoryStore) {
    run_until_equal("first.log");
    const std::string before = table_ids();
    EXPECT_THAT(before, HasSubstr("item="));
    database().exec("insert into log values ('while it was away'); delete from item where id = 1");
    run_until_equal("second.log");
    EXPECT_EQ(table_ids(), before) << "the tables were copied again";
}

TEST_P(FirstPipeline, SaysWhatIsWrong) {
    ChildOptions wrong = options("wrong.log");
    wrong.args[1] = "no_such_publication";
    const Finished finished = run_program(FIRST_PIPELINE, wrong);
    EXPECT_EQ(finished.exit.code, 1);
    EXPECT_THAT(finished.output, HasSubstr("no_such_publication"));
}
#endif

TEST_P(Examples, ACustomDestinationTakesEveryChangeOnce) {
    const Finished copied = run_program(CUSTOM_DESTINATION, options("first.log"));
    ASSERT_EQ(copied.exit.code, 0) << copied.output;
    EXPECT_EQ(lines_with({R"("op":"copied","table":"public.item")"}), 500U);
    EXPECT_EQ(lines_with({R"("op":"copied","table":"public.log")"}), 500U);
    database().exec(
        "begin; insert into item values (501, null); update item set note = 'new' where id = 7;"
        "update item set id = 1000 where id = 8; delete from item where id = 9; commit;"
        "truncate log");
    const Finished followed = run_program(CUSTOM_DESTINATION, options("second.log"));
    ASSERT_EQ(followed.exit.code, 0) << followed.output;
    EXPECT_EQ(lines_with({R"("op":"copied")"}), 1000U) << "it was copied again";
    EXPECT_EQ(lines_with({R"("op":"insert")", R"("row":{"id":"501","note":null})"}), 1U);
    EXPECT_EQ(lines_with({R"("op":"update")", R"("row":{"id":"7","note":"new"})"}), 1U);
    EXPECT_EQ(lines_with({R"("op":"before")", R"("row":{"id":"8"})"}), 1U);
    EXPECT_EQ(lines_with({R"("op":"update")", R"("row":{"id":"1000","note":"note 8"})"}), 1U);
    EXPECT_EQ(lines_with({R"("op":"delete")", R"("row":{"id":"9"})"}), 1U);
    EXPECT_EQ(lines_with({R"("op":"truncate","table":"public.log")"}), 1U);
}

TEST_P(Examples, ACustomDestinationCutsOffWhatACrashLeft) {
    ASSERT_EQ(run_program(CUSTOM_DESTINATION, options("first.log")).exit.code, 0);
    const std::string good = journal();
    std::ofstream(folder_.file("journal.jsonl"), std::ios::app)
        << R"({"op":"insert","table":"public.item","row":{"id":"half a fl)";
    const Finished again = run_program(CUSTOM_DESTINATION, options("second.log"));
    ASSERT_EQ(again.exit.code, 0) << again.output;
    EXPECT_EQ(journal().substr(0, good.size()), good);
    EXPECT_EQ(lines_with({"half a fl"}), 0U);
}

TEST_P(Examples, ACustomStoreRemembers) {
    const Finished first = run_program(CUSTOM_STORE, options("first.log"));
    ASSERT_EQ(first.exit.code, 0) << first.output;
    EXPECT_THAT(first.output, HasSubstr("2 tables, durable at "));
    std::ifstream in(folder_.file("store.json"));
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    EXPECT_THAT(text, HasSubstr("\"slot\": \"walbrook_3\""));
    EXPECT_THAT(text, HasSubstr("\"name\": \"item\""));
    EXPECT_EQ(run_program(CUSTOM_STORE, options("second.log")).exit.code, 0);
}

// Nothing in the library belongs to the process: two pipelines live side by side.
TEST_P(Examples, TwoPipelinesRunInOneProcess) {
    database().exec("create publication logs for table log");
    struct Side {
        std::shared_ptr<MemoryLake> lake = MemoryDestination::make_lake();
        std::unique_ptr<Pipeline> pipeline;
    };
    std::vector<Side> sides(2);
    for (std::size_t i = 0; i < 2; ++i) {
        PipelineConfig config;
        config.id = 100 + i;
        config.publication_name = i == 0 ? "shop" : "logs";
        config.pg_connection.url = database_url();
        config.work_dir = folder_.file("work" + std::to_string(i));
        auto made =
            Pipeline::create(config, make_memory_store(), MemoryDestination::create(sides[i].lake));
        ASSERT_TRUE(made) << made.error().message();
        sides[i].pipeline = *std::move(made);
        const Status started = sides[i].pipeline->start();
        ASSERT_TRUE(started) << started.error().message();
    }
    database().exec("insert into log values ('for both'); delete from item where id = 3");
    const auto rows = [&](std::size_t side, const std::string& table) {
        return MemoryDestination::create(sides[side].lake)->rows("public", table).size();
    };
    EXPECT_TRUE(eventually([&] {
        return rows(0, "item") == 499 && rows(0, "log") == 501 && rows(1, "log") == 501;
    })) << rows(0, "item")
        << " " << rows(0, "log") << " " << rows(1, "log");
    EXPECT_EQ(rows(1, "item"), 0U);
    // One ends, the other goes on.
    sides[0].pipeline->shutdown();
    EXPECT_TRUE(sides[0].pipeline->wait());
    database().exec("insert into log values ('for one')");
    EXPECT_TRUE(eventually([&] { return rows(1, "log") == 502; }));
    EXPECT_EQ(rows(0, "log"), 501U);
    sides[1].pipeline->shutdown();
    EXPECT_TRUE(sides[1].pipeline->wait());
}

}  // namespace
}  // namespace walbrook::testing
