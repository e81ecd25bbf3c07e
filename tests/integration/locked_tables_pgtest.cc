// A table that somebody has locked, VACUUM FULL or a transaction that was forgotten, makes nobody
// else wait.

#include "integration/replica.h"
#include "support/eventually.h"
#include "support/pg_test.h"

#include <gtest/gtest.h>

namespace walbrook::testing {
namespace {

class LockedTables : public PgTest {
 protected:
    void start(const std::string& sql) {
        database().exec(sql);
        replica_.emplace(database());
        replica_->configure("batch: {max_fill_ms: 50}");
        replica_->configure("table_error_retry_delay_ms: 200");
        replica_->configure("table_error_retry_max_attempts: 1000000");
        replica_->start();
        ASSERT_TRUE(replica_->catches_up()) << replica_->log();
    }
    // Less than the catalog may take for one look.
    bool becomes_equal(const std::string& table) {
        return eventually([&] { return replica_->difference_of(table).empty(); },
                          std::chrono::seconds(25));
    }
    void restart() {
        EXPECT_EQ(replica_->stop().code, 0) << replica_->log();
        replica_->start();
    }
    std::optional<Replica> replica_;
};
INSTANTIATE_TEST_SUITE_P(Pg, LockedTables, ::testing::ValuesIn(pg_versions()), version_name);

TEST_P(LockedTables, HoldUpNoOther) {
    start(
        "create table a (id int primary key); create table b (id int primary key);"
        "create table filtered (id int primary key); create publication shop for table a, b");
    if (version() >= 15) {
        database().exec("alter publication shop add table filtered where (id < 100)");
        ASSERT_TRUE(replica_->catches_up()) << replica_->log();
    }
    Connection holder = database().session();
    must_exec(holder, "begin; lock table a, filtered in access exclusive mode");
    database().exec("analyze b; insert into b values (1)");
    EXPECT_TRUE(becomes_equal("b")) << replica_->log();
    restart();
    database().exec("insert into b values (2)");
    EXPECT_TRUE(becomes_equal("b")) << replica_->log();
    // Nor a copy of another.
    EXPECT_EQ(replica_->command({"resync", "public.b"}).code, 0);
    EXPECT_TRUE(eventually([&] {
        const auto b = replica_->table("b");
        return b && b->copies > 1 && b->phase == TablePhase::ready;
    })) << replica_->log();
    must_exec(holder, "commit");
    database().exec("insert into a values (1); insert into filtered values (1), (101)");
    ASSERT_TRUE(replica_->catches_up());
    EXPECT_EQ(replica_->difference_of_tables({"a", "b"}), "");
    EXPECT_EQ(replica_->stop().code, 0);
}

class LockedPartitions : public LockedTables {};
INSTANTIATE_TEST_SUITE_P(Pg, LockedPartitions, ::testing::ValuesIn(newest_pg_version()),
                         version_name);

// Nobody can look into a new one, so that its table is copied again; and no other table is taken
// for one whose rows are as they were.
TEST_P(LockedPartitions, AreTheirTablesTroubleAlone) {
    start(
        "create table tree (id int primary key) partition by range (id);"
        "create table tree1 partition of tree for values from (0) to (100);"
        "create table other (id int primary key, c int); insert into tree values (1);"
        "insert into other select g, g from generate_series(1, 50) g;"
        "create publication shop for table tree, other with (publish_via_partition_root = true)");
    restart();  // Else nothing is known of the last copy, and it is taken for another one.
    ASSERT_TRUE(replica_->catches_up()) << replica_->log();
    Connection holder = database().session();
    database().exec("create table tree2 partition of tree for values from (100) to (200)");
    must_exec(holder, "begin; lock table tree2 in access exclusive mode");
    database().exec(
        "alter table other alter c type int using c + 1; insert into other values (51, 51)");
    // Never beside old rows.
    EXPECT_TRUE(eventually(
        [&] {
            const std::string rows =
                replica_->lake().value("select count(*) from lake.public.other where id = 51");
            return rows == "1";
        },
        std::chrono::seconds(60)))
        << replica_->log();
    EXPECT_EQ(replica_->difference_of("other"), "") << replica_->log();
    restart();
    database().exec("insert into other values (52, 52)");
    EXPECT_TRUE(becomes_equal("other")) << replica_->log();
    must_exec(holder, "commit");
    database().exec("insert into tree values (101)");
    EXPECT_TRUE(becomes_equal("tree")) << replica_->log();
    EXPECT_EQ(replica_->stop().code, 0);
}

}  // namespace
}  // namespace walbrook::testing
