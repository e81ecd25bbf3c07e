// A lake that a newer program wrote is refused, and left as it is.

#include "destinations/ducklake/ducklake_fixture.h"
#include "destinations/ducklake/note.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

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
    }
    // As another process would.
    void in_catalog(const std::string& sql) {
        sqlite3* catalog = nullptr;
        ASSERT_EQ(sqlite3_open((folder_ / "lake.sqlite").c_str(), &catalog), SQLITE_OK);
        EXPECT_EQ(sqlite3_exec(catalog, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
            << sqlite3_errmsg(catalog);
        sqlite3_close(catalog);
    }
    void in_lake(const std::string& sql) {
        duckdb_engine::DatabaseOptions options;
        options.extensions = {"icu", "sqlite_scanner", "ducklake"};
        auto database = duckdb_engine::Database::create(options);
        ASSERT_TRUE(database) << database.error().message();
        auto session = (*database)->connect();
        ASSERT_TRUE(session);
        expect_ok((*session)->run(
            "ATTACH " +
            duckdb_engine::quote_literal(ducklake::parse_catalog(config().catalog).attach_uri()) +
            " AS lake; " + sql + "; DETACH lake"));
    }
    std::string refusal() {
        const auto refused = make_ducklake_destination(config())->open(who(), {});
        if (refused) return "it was opened";
        EXPECT_EQ(name_of(refused.error().code()), "corrupt_state");
        return refused.error().message();
    }

    const TableSchemaPtr schema_ = TableMaker().make();
};

TEST_F(Formats, RecordsOfANewerOneAreRefused) {
    in_lake("UPDATE lake._walbrook.pipeline SET format_version = 2");
    EXPECT_THAT(refusal(), AllOf(HasSubstr("the lake's records have format 2"),
                                 HasSubstr("this program knows 1"), HasSubstr("use that one")));
    in_lake("UPDATE lake._walbrook.pipeline SET format_version = 1");
    open();
    EXPECT_EQ(table("public.t"), "1|a|x");
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

TEST_F(Formats, ACatalogOfANewerDuckLakeIsRefused) {
    in_catalog("update ducklake_metadata set value = '99.0' where key = 'version'");
    EXPECT_THAT(refusal(), AllOf(HasSubstr("99.0"), HasSubstr("newer"), HasSubstr("use that one")));
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
