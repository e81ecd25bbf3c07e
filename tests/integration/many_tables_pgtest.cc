// Many tables in one publication, and in one transaction. Each is a few transactions of the lake,
// which under a sanitizer take minutes and show nothing more: only plain builds have these tests
// (support/tools/pg_main.cc).

#include "integration/replica.h"
#include "support/pg_test.h"
#include "support/run_form.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace walbrook::testing {
namespace {

class ManyTables : public PgTest {};
INSTANTIATE_TEST_SUITE_P(Pg, ManyTables, ::testing::ValuesIn(newest_pg_version()), version_name);

TEST_P(ManyTables, UseOneSlot) {
    const int tables = is_long_form() ? 200 : 80;
    unsigned rows = 0;
    std::string sql;
    std::string list;
    std::string rows_in_source;
    std::string rows_in_lake;
    for (int i = 0; i < tables; ++i) {
        // Some are empty, some have no key.
        sql += fmt::format("create table t{0}(id int{1}, note text);", i,
                           i % 5 == 0 ? "" : " primary key");
        if (i % 3 != 0) rows += 2;
        if (i % 3 != 0) sql += fmt::format("insert into t{0} values ({0}, 'a'), (-1, null);", i);
        const char* comma = i == 0 ? "" : ", ";
        list += fmt::format("{}t{}", comma, i);
        // One query for all: each by itself would read the catalog of all tables again.
        const char* both = i == 0 ? "" : " union all ";
        const std::string columns = fmt::format("'t{}', id, coalesce(note, '-')", i);
        rows_in_source += fmt::format("{}select {} from t{}", both, columns, i);
        rows_in_lake += fmt::format("{}select {} from lake.public.t{}", both, columns, i);
    }
    database().exec(sql + "create publication shop for table " + list);
    Replica replica(database());
    replica.start();
    ASSERT_TRUE(replica.catches_up(std::chrono::minutes(8)));
    EXPECT_EQ(database().value("select count(*) from pg_replication_slots where database = "
                               "current_database()"),
              "1");
    TextRows source = database().query(rows_in_source);
    TextRows lake = replica.reader().query(rows_in_lake);
    std::sort(source.begin(), source.end());
    std::sort(lake.begin(), lake.end());
    EXPECT_EQ(source.size(), rows);
    EXPECT_EQ(source, lake);
    EXPECT_EQ(replica.stop().code, 0);
}

// One transaction of the source is one of the lake, however many tables it touches. Each table is
// some transactions of the lake, of which each reads a catalog of all: the time grows with the
// square of their number.
TEST_P(ManyTables, ATransactionOverAllOfThem) {
    const int tables = is_long_form() ? 1000 : 150;
    database().exec(
        fmt::format("do $$ begin for i in 1..{} loop execute format("
                    "'create table t%s(id int primary key, note text)', i); end loop; end $$;"
                    "create publication shop for all tables",
                    tables));
    Replica replica(database());
    // They are empty.
    replica.configure("table_sync_copy: {type: skip_all_tables}");
    replica.start();
    ASSERT_TRUE(replica.catches_up(std::chrono::minutes(10)));
    const int before = replica.snapshots();
    const auto in_each = [&](const std::string& statement) {
        database().exec(
            fmt::format("do $$ begin for i in 1..{} loop execute format('{}', i); end loop; end $$",
                        tables, statement));
        ASSERT_TRUE(replica.catches_up(std::chrono::minutes(5)));
    };
    in_each("insert into t%1$s select g, ''row '' || g from generate_series(1, %1$s %% 7 + 1) g");
    // One for the transaction; another may be the lake's own upkeep.
    EXPECT_LE(replica.snapshots(), before + 2);
    in_each(
        "update t%1$s set note = ''changed %1$s'' where id = 1; delete from t%1$s where id = 2");
    std::string of_source;
    std::string of_lake;
    for (int i = 1; i <= tables; ++i) {
        const char* both = i == 1 ? "" : " union all ";
        of_source += fmt::format("{0}select {1}, id, note from t{1}", both, i);
        of_lake += fmt::format("{0}select {1}, id, note from lake.public.t{1}", both, i);
    }
    TextRows source = database().query(of_source);
    TextRows lake = replica.reader().query(of_lake);
    std::sort(source.begin(), source.end());
    std::sort(lake.begin(), lake.end());
    EXPECT_GT(source.size(), 3U * static_cast<unsigned>(tables));
    EXPECT_EQ(source, lake);
    EXPECT_EQ(replica.stop().code, 0);
}

}  // namespace
}  // namespace walbrook::testing
