#include "destinations/ducklake/ducklake_fixture.h"

#include <thread>

namespace walbrook::testing {
namespace {

class DuckLake : public LakeTest {};

TEST_F(DuckLake, CopiesAndPublishes) {
    EXPECT_EQ(open().position, Lsn{});
    const TableSchemaPtr schema = TableMaker{}.make();
    const CopyTargetPtr target = copy(schema, {{"1", "a", "x"}, {"2", "b", std::nullopt}});
    EXPECT_EQ(rows("SELECT table_name FROM duckdb_tables() WHERE table_name = 't'"), "");
    expect_ok(apply(100, list_of(Publish{target})));
    EXPECT_EQ(table("public.t"), "1|a|x; 2|b|NULL");
    const Recovered recovered = reopen();
    EXPECT_EQ(recovered.position, Lsn{100});
    ASSERT_EQ(recovered.tables.size(), 1U);
    EXPECT_EQ(recovered.tables[0].phase, TablePhase::ready);
    EXPECT_EQ(*recovered.tables[0].schema, *schema);
    EXPECT_EQ(table("public.t"), "1|a|x; 2|b|NULL");
}

TEST_F(DuckLake, AppliesInserts) {
    open();
    const TableSchemaPtr schema = TableMaker{}.make();
    given(schema, {{"1", "a", "x"}});
    expect_ok(apply(200, list_of(inserts(schema, {{"2", "b", "y"}, {"3", std::nullopt, "z"}}))));
    EXPECT_EQ(table("public.t"), "1|a|x; 2|b|y; 3|NULL|z");
    auto position = lake_->read_position({});
    ASSERT_TRUE(position);
    EXPECT_EQ(*position, Lsn{200});
    EXPECT_EQ(reopen().position, Lsn{200});
}

}  // namespace
}  // namespace walbrook::testing
