// Filters find what they look for, whatever DuckLake believes to know of a whole table
// (docs/design/ducklake.md, "Bounds that lie").

#include "destinations/ducklake/ducklake_fixture.h"

#include <sqlite3.h>

namespace walbrook::testing {
namespace {

class DuckLakeBounds : public LakeTest, public ::testing::WithParamInterface<const char*> {
 protected:
    DuckLakeConfig config() const override {
        return {GetParam() + (folder_ / "lake.catalog"), folder_ / "data"};
    }
    // Nobody reads a catalog in a DuckDB file while we have it open.
    std::string ask(const std::string& sql) {
        close();
        std::string answer = rows(sql);
        open();
        return answer;
    }
    // A copy of three units, of which the first has nothing but nulls in `name`.
    void load() {
        const CopyTargetPtr target = begin(schema_);
        const std::vector<Row> units[] = {
            {{"1", {}, "a"}}, {{"2", "b", "b"}}, {{"3", "d", "c"}, {"4", "c", {}}}};
        std::uint32_t unit = 0;
        for (const std::vector<Row>& rows : units) {
            MadeRows reader = rows_of(schema_, rows);
            expect_ok(lake_->write_copy({target, unit++}, reader, {}));
        }
        expect_ok(lake_->finish_copy(target, {}));
        expect_ok(apply(100, list_of(Publish{target})));
    }
    const TableSchemaPtr schema_ = TableMaker{}.make();
};

TEST_P(DuckLakeBounds, OfACopyWithNullsInFrontHideNothing) {
    open();
    load();
    expect_ok(apply(200, list_of(inserts(schema_, {{"5", "x", "e"}}))));
    EXPECT_EQ(ask("SELECT id FROM public.t WHERE name = 'b'"), "2");
    EXPECT_EQ(ask("SELECT id FROM public.t WHERE name < 'd'"), "2; 4");
    EXPECT_EQ(ask("SELECT min(name), max(name) FROM public.t"), "b|x");
    EXPECT_EQ(ask("SELECT id FROM public.t WHERE name IS NULL"), "1");
}

// The first rows of a table may come by several statements, too.
TEST_P(DuckLakeBounds, OfFirstRowsHideNothing) {
    open();
    given(schema_, {});
    Truncate truncate;
    truncate.tables = {schema_};
    expect_ok(apply(200, list_of(inserts(schema_, {{"1", {}, "a"}}), truncate,
                                 inserts(schema_, {{"2", {}, "a"}}), truncate,
                                 inserts(schema_, {{"3", {}, "a"}, {"4", "k", "a"}}))));
    expect_ok(apply(300, list_of(inserts(schema_, {{"5", "x", "e"}}))));
    EXPECT_EQ(ask("SELECT id FROM public.t WHERE name = 'k'"), "4");
    EXPECT_EQ(ask("SELECT id FROM public.t WHERE name IS NULL"), "3");
}

// Without bounds of ours that would be "no nulls, from 10 to 10".
TEST_P(DuckLakeBounds, OfAColumnAfterTheFirstRowsHideNothing) {
    open();
    given(schema_, {});
    TableMaker maker;
    maker.columns.emplace_back("n", TypeKind::int32);
    maker.columns.emplace_back("m", TypeKind::int32);
    const TableSchemaPtr wider = maker.make();
    expect_ok(apply(200, list_of(inserts(schema_, {{"1", "a", "x"}, {"2", "b", "y"}}),
                                 schema_change(schema_, wider, {{}, {}, {}, "5", {}}),
                                 inserts(wider, {{"3", "c", "z", "10", "10"}}))));
    EXPECT_EQ(ask("SELECT id FROM public.t WHERE n = 5"), "1; 2");
    EXPECT_EQ(ask("SELECT id FROM public.t WHERE m IS NULL"), "1; 2");
    EXPECT_EQ(ask("SELECT min(n), max(n), count(n), count(m) FROM public.t"), "5|10|3|1");
    ChangeBatch batch(wider);
    add_update(batch, {"1", "A", "x", "\x01", "7"});
    expect_ok(apply(300, list_of(std::move(batch))));
    EXPECT_EQ(ask("SELECT id FROM public.t WHERE n = 5"), "1; 2");
    EXPECT_EQ(ask("SELECT id, name FROM public.t WHERE m < 10"), "1|A");
}

INSTANTIATE_TEST_SUITE_P(, DuckLakeBounds, ::testing::Values("sqlite:", "duckdb:"),
                         [](const auto& where) {
                             return where.param[0] == 's' ? "Sqlite" : "DuckDb";
                         });

// A lake of an earlier version has them already.
TEST_F(LakeTest, BoundsOfAnOlderLakeAreForgotten) {
    open();
    const TableSchemaPtr schema = TableMaker{}.make();
    given(schema, {{"1", "a", "x"}, {"2", "m", "y"}});
    close();
    sqlite3* catalog = nullptr;
    ASSERT_EQ(sqlite3_open((folder_ / "lake.sqlite").c_str(), &catalog), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(catalog,
                           "DROP TRIGGER walbrook_forget_bounds;"
                           "UPDATE ducklake_table_column_stats SET min_value = 'z', max_value = "
                           "'z', contains_null = 0 WHERE column_id = 2",
                           nullptr, nullptr, nullptr),
              SQLITE_OK);
    sqlite3_close(catalog);
    EXPECT_EQ(rows("SELECT id FROM public.t WHERE name = 'm'"), "");
    open();
    EXPECT_EQ(rows("SELECT id FROM public.t WHERE name = 'm'"), "2");
}

}  // namespace
}  // namespace walbrook::testing
