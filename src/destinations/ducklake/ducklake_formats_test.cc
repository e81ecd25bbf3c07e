// A lake that a newer program wrote is refused, and left as it is.

#include "destinations/ducklake/ducklake_fixture.h"
#include "destinations/ducklake/note.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <filesystem>
#include <fstream>
#include <set>

namespace walbrook::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class Formats : public LakeTest {
 protected:
    void SetUp() override {
        open();
        given(schema_, {{"1", "a", "x"}});
        close();
        // A newer program may do without what this one adds to a catalog and a folder.
        in_catalog(
            "pragma journal_mode = delete; drop trigger walbrook_keep_place; drop trigger "
            "walbrook_forget_bounds; drop trigger walbrook_forget_first_bounds; drop index "
            "walbrook_file_stats; update ducklake_table_column_stats set min_value = '1'");
        std::filesystem::remove(config().data_path + "/walbrook-lake-id");
        const std::filesystem::path kept = config().data_path + "/.walbrook-kept/public/t";
        std::filesystem::create_directories(kept);
        std::ofstream(kept / "ducklake-kept.parquet") << "";
        std::ofstream(config().data_path + "/public/ducklake-stray.parquet") << "";
    }
    // As another process would. Returns all values, one a line.
    std::string in_catalog(const std::string& sql) const {
        sqlite3* catalog = nullptr;
        EXPECT_EQ(sqlite3_open((folder_ / "lake.sqlite").c_str(), &catalog), SQLITE_OK);
        std::string all;
        const auto add = [](void* to, int count, char** values, char**) {
            for (int i = 0; i < count; ++i) {
                *static_cast<std::string*>(to) += values[i] == nullptr ? "NULL" : values[i];
                *static_cast<std::string*>(to) += '\n';
            }
            return 0;
        };
        EXPECT_EQ(sqlite3_exec(catalog, sql.c_str(), add, &all, nullptr), SQLITE_OK)
            << sqlite3_errmsg(catalog);
        sqlite3_close(catalog);
        return all;
    }
    // The catalog's tables, triggers, indexes and bounds, and all files of the data.
    std::string state() const {
        std::string all = in_catalog(
            "pragma journal_mode; select type, name, sql from sqlite_master order by 1, 2; select "
            "* from ducklake_table_column_stats order by 1, 2; select * from "
            "ducklake_snapshot_changes order by 1");
        std::set<std::string> files;
        for (const auto& entry :
             std::filesystem::recursive_directory_iterator(config().data_path)) {
            files.insert(entry.path().string());
        }
        for (const std::string& file : files) all += file + '\n';
        return all;
    }
    // Of a start that leaves all as it was.
    std::string refusal() {
        const std::string before = state();
        const auto refused = make_ducklake_destination(config())->open(who(), {});
        if (refused) return "it was opened";
        EXPECT_EQ(name_of(refused.error().code()), "corrupt_state");
        EXPECT_EQ(state(), before);
        return refused.error().message();
    }

    const TableSchemaPtr schema_ = TableMaker().make();
};

TEST_F(Formats, RecordsOfANewerOneAreRefused) {
    in_lake("UPDATE lake._walbrook.pipeline SET format_version = 2");
    EXPECT_THAT(refusal(), AllOf(HasSubstr("the lake's records have format 2"),
                                 HasSubstr("this program knows 1"), HasSubstr("use that one")));
    in_lake("UPDATE lake._walbrook.pipeline SET format_version = 1");
    std::filesystem::remove_all(config().data_path + "/.walbrook-kept");
    open();
    EXPECT_EQ(table("public.t"), "1|a|x");
    EXPECT_EQ(in_catalog("pragma journal_mode; select count(*) from sqlite_master where name like "
                         "'walbrook%'; select count(*) from ducklake_table_column_stats where "
                         "min_value is not null"),
              "wal\n5\n0\n");
}

TEST_F(Formats, ATableSchemaOfANewerOneIsRefused) {
    in_lake(
        "UPDATE lake._walbrook.tables SET schema_json = replace(schema_json, '\"format\":1', "
        "'\"format\":2')");
    EXPECT_THAT(refusal(), AllOf(HasSubstr("stored table schema"), HasSubstr("it has format 2"),
                                 HasSubstr("this program knows 1"), HasSubstr("use that one")));
}

TEST_F(Formats, APositionOfANewerOneIsRefused) {
    in_catalog(
        "update ducklake_snapshot_changes set commit_extra_info = replace(commit_extra_info, "
        "'\"format\":1', '\"format\":2')");
    EXPECT_THAT(refusal(), AllOf(HasSubstr("a note of format 2"), HasSubstr("this program knows 1"),
                                 HasSubstr("use that one")));
}

TEST_F(Formats, ALakeOfAnotherSourceStaysAsItIs) {
    in_lake("UPDATE lake._walbrook.pipeline SET pipeline_id = 8");
    EXPECT_THAT(refusal(), HasSubstr("belongs to another source"));
}

TEST_F(Formats, ACatalogOfANewerDuckLakeIsRefused) {
    in_catalog("update ducklake_metadata set value = '99.0' where key = 'version'");
    EXPECT_THAT(refusal(), AllOf(HasSubstr("99.0"), HasSubstr("newer"), HasSubstr("use that one")));
}

TEST_F(Formats, WhatIsNoSqliteFileIsRefused) {
    std::ofstream(folder_ / "lake.sqlite") << std::string(10'000, 'x');
    const auto refused = make_ducklake_destination(config())->open(who(), {});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::config);
    EXPECT_THAT(refused.error().message(), HasSubstr("lake.sqlite is not a SQLite database"));
}

TEST(Note, NamesItsFormat) {
    const std::string text = ducklake::extra_info({Lsn{7}, 5}, 1, "id", std::nullopt);
    EXPECT_EQ(ducklake::note_format(text), ducklake::kNoteFormat);
    EXPECT_EQ(ducklake::parse_note(text)->position, Lsn{7});
    // The first ones had none.
    EXPECT_EQ(ducklake::parse_note(R"({"lsn": "0/7"})")->position, Lsn{7});
    EXPECT_FALSE(ducklake::parse_note(R"({"format": 2, "lsn": "0/7"})"));
    EXPECT_EQ(ducklake::note_format("other"), 0);
}

}  // namespace
}  // namespace walbrook::testing
