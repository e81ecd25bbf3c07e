// Generated columns: which of them the stream has depends on the version and the publication.

#include "integration/replica.h"
#include "support/eventually.h"
#include "support/pg_test.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

namespace walbrook::testing {
namespace {

class GeneratedColumns : public PgTest {
 protected:
    // Column g is stored; from 18 on there is also v, which is not.
    void create(const std::string& publication) {
        database().exec(fmt::format(
            "create table t(id int primary key, a int, g int generated always as (a * 2) stored, b "
            "text{}); insert into t(id, a, b) select g, g * 10, 'b' from generate_series(1, 20) g;"
            "create table whole(id int, g text generated always as ('n' || id) stored, a int);"
            "insert into whole(id, a) values (1, 1), (1, 1), (2, null); alter table whole replica "
            "identity {}; {}",
            version() < 18 ? "" : ", v int generated always as (a + 1) virtual",
            // 18 refuses updates of tables whose identity has columns that are not published.
            version() < 18 ? "full" : "default", publication));
        replica_.emplace(database());
        replica_->configure("batch: {max_fill_ms: 50}");
        replica_->start();
        ASSERT_TRUE(replica_->catches_up());
    }
    void TearDown() override {
        replica_.reset();
        PgTest::TearDown();
    }
    void change(int round) {
        database().exec(fmt::format(
            "insert into t(id, a, b) values ({0}, 7, 'new'), ({0} + 1, null, null);"
            "update t set a = a + 1 where id % 3 = 0; delete from t where id % 7 = {1};"
            "update t set id = -id where id = {0}; insert into whole(id, a) values ({0}, 3)",
            round * 100, round));
        if (version() < 18) database().exec("update whole set a = 4 where id = 1");
    }
    // Empty once the lake's table has these columns, and rows like the source's.
    std::string difference_in(const std::vector<std::string>& columns,
                              const std::string& table = "t") {
        try {
            LakeReader lake = replica_->reader();
            const auto found = lake.query(fmt::format(
                "select string_agg(column_name, ' ' order by column_name) from "
                "information_schema.columns where table_catalog = 'lake' and table_schema = "
                "'public' and table_name = '{}'",
                table));
            std::vector<std::string> sorted = columns;
            std::sort(sorted.begin(), sorted.end());
            if (found[0][0] != fmt::format("{}", fmt::join(sorted, " "))) {
                return "the lake has columns " + found[0][0];
            }
            return difference(table_rows(database(), {.table = table, .columns = columns}),
                              lake.rows("public", table));
        } catch (const std::exception& problem) {
            return problem.what();
        }
    }
    void expect_equal(const std::vector<std::string>& columns, const std::string& table = "t") {
        std::string problem;
        EXPECT_TRUE(eventually([&] {
            problem = difference_in(columns, table);
            return problem.empty();
        })) << problem;
    }
    std::optional<Replica> replica_;
};
INSTANTIATE_TEST_SUITE_P(Pg, GeneratedColumns, ::testing::ValuesIn(pg_versions()), version_name);

TEST_P(GeneratedColumns, AreLeftOutUnlessTheyArePublished) {
    create("create publication shop for table t, whole");
    EXPECT_EQ(difference_in({"id", "a", "b"}), "");
    change(1);
    ASSERT_TRUE(replica_->catches_up());
    EXPECT_EQ(difference_in({"id", "a", "b"}), "");
    EXPECT_EQ(difference_in({"id", "a"}, "whole"), "");
    // It comes as a column that is not new: rows that stand have values.
    database().exec("alter table t alter column g drop expression");
    change(2);
    expect_equal({"id", "a", "g", "b"});
    EXPECT_EQ(replica_->stop().code, 0);
    // The same while nobody runs.
    database().exec("alter table whole alter column g drop expression");
    EXPECT_EQ(replica_->run_until_caught_up().code, 0);
    EXPECT_EQ(difference_in({"id", "g", "a"}, "whole"), "");
}

// At the time at which a row changes nobody has looked at the catalog yet.
TEST_P(GeneratedColumns, AnExpressionThatIsDroppedTogetherWithChanges) {
    create("create publication shop for table t, whole");
    Connection session = database().session();
    must_exec(session,
              "begin; update t set a = 77 where id = 1; alter table t alter column g drop "
              "expression; update t set g = 5 where id = 2; commit");
    must_exec(session, "insert into t(id, a, g) values (500, 1, 2)");
    expect_equal({"id", "a", "g", "b"});
    EXPECT_EQ(replica_->stop().code, 0);
}

// 18 sends keys with them.
class GeneratedKeys : public GeneratedColumns {};
INSTANTIATE_TEST_SUITE_P(Pg, GeneratedKeys, ::testing::ValuesIn(only_before(18)), version_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(GeneratedKeys);

// The old key of a row says less than which one it is.
TEST_P(GeneratedKeys, AreRefusedUnlessWholeRowsAreSent) {
    create(
        "create table k(id int, a int, g int generated always as (a % 10) stored,"
        " primary key (id, g)); insert into k values (1, 11); insert into k values (1, 2);"
        "create publication shop for table t, whole, k");
    const auto refused = replica_->table("k");
    ASSERT_TRUE(refused.has_value());
    EXPECT_EQ(refused->phase, TablePhase::errored);
    EXPECT_NE(refused->reason.find("generated column g"), std::string::npos) << refused->reason;
    database().exec("alter table k replica identity full");
    ASSERT_EQ(replica_->command({"resync", "public.k"}).code, 0);
    expect_equal({"id", "a"}, "k");
    database().exec(
        "begin; insert into k values (1, 3); update k set a = 4 where a = 3; delete from k where "
        "a = 11; commit");
    database().exec("insert into k values (1, 11), (1, 15); update k set a = 16 where a = 15");
    expect_equal({"id", "a"}, "k");
    EXPECT_EQ(replica_->stop().code, 0);
}

class PublishedGeneratedColumns : public GeneratedColumns {};
INSTANTIATE_TEST_SUITE_P(Pg, PublishedGeneratedColumns, ::testing::ValuesIn(only_from(18)),
                         version_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(PublishedGeneratedColumns);

TEST_P(PublishedGeneratedColumns, StoredOnesAreCopiedAndStreamed) {
    create(
        "create publication shop for table t, whole with (publish_generated_columns = stored);"
        "alter table whole replica identity full");
    EXPECT_EQ(difference_in({"id", "a", "g", "b"}), "");
    change(1);
    database().exec("update whole set id = 9 where a = 1");
    ASSERT_TRUE(replica_->catches_up());
    EXPECT_EQ(difference_in({"id", "a", "g", "b"}), "");
    EXPECT_EQ(difference_in({"id", "g", "a"}, "whole"), "");
    database().exec("alter table t alter column g set expression as (a * 3)");
    change(2);
    expect_equal({"id", "a", "g", "b"});
    database().exec("alter table whole replica identity default");
    database().exec("alter publication shop set (publish_generated_columns = none)");
    change(3);
    expect_equal({"id", "a", "b"});
    expect_equal({"id", "a"}, "whole");
    database().exec("alter publication shop set (publish_generated_columns = stored)");
    change(4);
    expect_equal({"id", "a", "g", "b"});
    EXPECT_EQ(replica_->stop().code, 0);
}

TEST_P(PublishedGeneratedColumns, AColumnListNamesThem) {
    create("create publication shop for table t (id, g), whole (id, a)");
    EXPECT_EQ(difference_in({"id", "g"}), "");
    change(1);
    ASSERT_TRUE(replica_->catches_up());
    EXPECT_EQ(difference_in({"id", "g"}), "");
    database().exec("alter publication shop set table t (id, g, b), whole");
    change(2);
    expect_equal({"id", "g", "b"});
    EXPECT_EQ(replica_->stop().code, 0);
}

}  // namespace
}  // namespace walbrook::testing
