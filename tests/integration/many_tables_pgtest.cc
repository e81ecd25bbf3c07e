// 200 tables in one publication. Each is a few transactions of the lake, which under a
// sanitizer take minutes and show nothing more: only plain builds have this test.

#ifndef __SANITIZE_ADDRESS__

#include "integration/replica.h"
#include "support/pg_test.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace walbrook::testing {
namespace {

class ManyTables : public PgTest {};
INSTANTIATE_TEST_SUITE_P(Pg, ManyTables, ::testing::ValuesIn(newest_pg_version()), version_name);

TEST_P(ManyTables, UseOneSlot) {
    std::string sql;
    std::string list;
    std::string rows_in_source;
    std::string rows_in_lake;
    for (int i = 0; i < 200; ++i) {
        // Some are empty, some have no key.
        sql += fmt::format("create table t{0}(id int{1}, note text);", i,
                           i % 5 == 0 ? "" : " primary key");
        if (i % 3 != 0) sql += fmt::format("insert into t{0} values ({0}, 'a'), (-1, null);", i);
        const char* comma = i == 0 ? "" : ", ";
        list += fmt::format("{}t{}", comma, i);
        // One query for all: each by itself would read the catalog of 200 tables again.
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
    EXPECT_EQ(source.size(), 266U);
    EXPECT_EQ(source, lake);
    EXPECT_EQ(replica.stop().code, 0);
}

}  // namespace
}  // namespace walbrook::testing

#endif
