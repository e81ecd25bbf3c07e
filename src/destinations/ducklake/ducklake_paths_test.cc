// Names of folders that DuckDB would read as patterns, or as values of columns.

#include "destinations/ducklake/ducklake_fixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <ostream>
#include <string>
#include <utility>

namespace walbrook::testing {
namespace {

struct Names {
    std::string catalog;
    std::string data;
    std::string other;  // A folder that `data` matches as a pattern.

    friend void PrintTo(const Names& names, std::ostream* out) {
        *out << names.catalog << names.data;
    }
};

class DataPaths : public LakeTest, public ::testing::WithParamInterface<Names> {
 protected:
    DuckLakeConfig config() const override {
        return {GetParam().catalog + (folder_ / GetParam().data) + ".catalog",
                folder_ / GetParam().data};
    }
    // A catalog in a DuckDB file has one program at a time.
    std::string rows_now(const std::string& sql) {
        close();
        std::string found = rows(sql);
        open();
        return found;
    }
};

TEST_P(DataPaths, AreOnlyNames) {
    open();
    const std::string other = folder_ / GetParam().other;
    TableMaker maker;
    maker.schema = "note=7";  // DuckLake gives such a schema a folder of another name.
    const TableSchemaPtr schema = maker.make();
    const CopyTargetPtr target = begin(schema);
    for (std::uint32_t unit = 0; unit < 2; ++unit) {
        MadeRows reader = rows_of(schema, {{std::to_string(unit), "a", "x"}});
        expect_ok(lake_->write_copy({target, unit}, reader, {}));
    }
    // As a backup would be.
    std::filesystem::copy(config().data_path, other, std::filesystem::copy_options::recursive);
    expect_ok(lake_->finish_copy(target, {}));
    expect_ok(apply(100, list_of(Publish{target})));
    std::filesystem::remove_all(other);
    EXPECT_EQ(rows_now("SELECT * FROM \"note=7\".t"), "0|a|x; 1|a|x");
    // Enough for the upkeep to merge files.
    for (int i = 2; i < 60; ++i) {
        FlushItem row = inserts(schema, {{std::to_string(i), "b", "y"}});
        expect_ok(apply(100 + static_cast<std::uint64_t>(i), list_of(std::move(row))));
        expect_ok(lake_->maintain({}));
    }
    ChangeBatch changes(schema);
    add_delete(changes, {"0", std::nullopt, std::nullopt});
    add_delete(changes, {"59", std::nullopt, std::nullopt});
    expect_ok(apply(200, list_of(std::move(changes))));
    EXPECT_EQ(rows_now("SELECT count(*), sum(id), min(name), max(note) FROM \"note=7\".t"),
              "58|1711|a|y");
    EXPECT_EQ(rows_now("SELECT min(path_is_relative::INT), count(*) < 40 FROM "
                       "__ducklake_metadata_lake.ducklake_data_file WHERE end_snapshot IS NULL"),
              "1|true");
}

INSTANTIATE_TEST_SUITE_P(, DataPaths,
                         ::testing::Values(Names{"", "a [b] *c?", "a b xxc1"},
                                           Names{"", "d**", "d2"}, Names{"", "d[!1]", "d2"},
                                           Names{"duckdb:", "d?{2,3}]", "d2{2,3}]"},
                                           Names{"", "name=%2A&'\"{uuid}", "other"}));

// DuckDB parts a path at each, and finds no folder then.
TEST(DataPath, WithABackslashIsRefused) {
    EXPECT_THAT(DuckLakeConfig({"lake.sqlite", R"(a\b)"}).problems(),
                ::testing::ElementsAre(::testing::HasSubstr("data_path: has a backslash")));
}

}  // namespace
}  // namespace walbrook::testing
