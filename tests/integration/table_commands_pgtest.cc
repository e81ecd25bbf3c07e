#include "bank.h"
#include "replica.h"
#include "support/eventually.h"
#include "support/pg_test.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>

// `walbrook resync`, `pause` and `resume` while the pipeline runs.
namespace walbrook::testing {
namespace {

class TableCommands : public PgTest {
 protected:
    static bool is_ready(Replica& replica, const std::string& table) {
        const auto status = replica.table(table);
        return status && status->phase == TablePhase::ready && !status->paused;
    }
};
INSTANTIATE_TEST_SUITE_P(Pg, TableCommands, ::testing::ValuesIn(pg_versions()), version_name);

// The old table follows until the new one takes its place: no snapshot is out of balance,
// and readers never find the table missing.
TEST_P(TableCommands, AResyncUnderLoadKeepsEverySnapshotInBalance) {
    Bank bank = Bank::small(database());
    Replica replica(database());
    replica.configure("batch: {max_fill_ms: 50}");
    bank.start();
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    for (const char* table : {"public.pgbench_accounts", "public.pgbench_b*", "public.*"}) {
        SCOPED_TRACE(table);
        ASSERT_EQ(replica.command({"resync", table}).code, 0);
        ASSERT_TRUE(eventually([&] {
            return is_ready(replica, "pgbench_accounts") && is_ready(replica, "pgbench_branches") &&
                   is_ready(replica, "pgbench_history");
        })) << replica.log();
    }
    bank.expect_nothing_lost(replica, 10);
}

TEST_P(TableCommands, AResyncThatDiesGoesOnAfterTheRestart) {
    Bank bank = Bank::small(database());
    Replica replica(database());
    replica.configure("batch: {max_fill_ms: 50}");
    bank.start(4, 100);
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    for (int i = 0; i < 5; ++i) {
        // Until it has started the program says so.
        ASSERT_TRUE(eventually([&] { return replica.command({"resync", "public.*"}).code == 0; }));
        replica.kill();
        replica.start();
    }
    bank.expect_nothing_lost(replica);
}

TEST_P(TableCommands, APausedTableStandsStillAcrossARestartAndTheOthersGoOn) {
    database().exec(
        "create table a (id int primary key); create table b (id int primary key);"
        "create publication shop for table a, b");
    Replica replica(database());
    replica.configure("batch: {max_fill_ms: 50}");
    replica.start();
    database().exec("insert into a values (1); insert into b values (1)");
    ASSERT_TRUE(replica.catches_up()) << replica.log();
    ASSERT_EQ(replica.command({"pause", "public.a"}).code, 0);
    ASSERT_TRUE(eventually([&] {
        const auto status = replica.table("a");
        return status && status->paused && status->phase == TablePhase::queued;
    })) << replica.log();
    database().exec("insert into a values (2); insert into b values (2)");
    ASSERT_TRUE(eventually([&] { return replica.difference_of("b").empty(); })) << replica.log();
    EXPECT_EQ(replica.lake().value("select count(*) from lake.public.a"), "1");
    EXPECT_EQ(replica.stop().code, 0);
    replica.start();
    database().exec("insert into a values (3); insert into b values (3)");
    ASSERT_TRUE(eventually([&] { return replica.difference_of("b").empty(); })) << replica.log();
    EXPECT_EQ(replica.lake().value("select count(*) from lake.public.a"), "1");
    ASSERT_EQ(replica.command({"resume", "public.a"}).code, 0);
    ASSERT_TRUE(eventually([&] { return replica.difference_of("a").empty(); })) << replica.log();
    ASSERT_TRUE(eventually([&] { return is_ready(replica, "a"); })) << replica.log();
    database().exec("delete from a where id = 1");
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of("a"), "");
    EXPECT_EQ(replica.stop().code, 0);
}

TEST_P(TableCommands, ANameThatNobodyHasIsRefused) {
    database().exec("create table a (id int primary key); create publication shop for table a");
    Replica replica(database());
    replica.start();
    ASSERT_TRUE(replica.catches_up()) << replica.log();
    EXPECT_EQ(replica.command({"resync", "public.nobody"}).code, 78);
    EXPECT_EQ(replica.command({"resync", "public.a"}).code, 0);
    EXPECT_EQ(replica.stop().code, 0);
    EXPECT_EQ(replica.command({"resync", "public.nobody"}).code, 78);
}

// While no process runs the store is told, and the next one does it.

TEST_P(TableCommands, AResyncWithoutAProcessIsDoneByTheNextOne) {
    database().exec(
        "create table a (id int primary key); create table b (id int primary key);"
        "insert into a values (1); insert into b values (1);"
        "create publication shop for table a, b");
    Replica replica(database());
    ASSERT_EQ(replica.run_until_caught_up().code, 0);
    // A copy makes a table of its own, which takes the name of the old one.
    const auto made = [&](const std::string& table) {
        return replica.reader().value(fmt::format(
            "select table_id from __ducklake_metadata_lake.ducklake_table where table_name = '{}' "
            "and end_snapshot is null",
            table));
    };
    const std::string a = made("a");
    const std::string b = made("b");
    ASSERT_EQ(replica.command({"resync", "public.a"}).code, 0);
    database().exec("insert into a values (2); insert into b values (2)");
    ASSERT_EQ(replica.run_until_caught_up().code, 0);
    EXPECT_EQ(replica.difference_of_tables({"a", "b"}), "");
    EXPECT_NE(made("a"), a);
    EXPECT_EQ(made("b"), b);
    EXPECT_EQ(replica.leftovers_at_source(), "");
}

TEST_P(TableCommands, PauseAndResumeWithoutAProcess) {
    database().exec(
        "create table a (id int primary key); create table b (id int primary key);"
        "create publication shop for table a, b");
    Replica replica(database());
    ASSERT_EQ(replica.run_until_caught_up().code, 0);
    ASSERT_EQ(replica.command({"pause", "public.a"}).code, 0);
    database().exec("insert into a values (1); insert into b values (1)");
    ASSERT_EQ(replica.run_until_caught_up().code, 0);
    EXPECT_EQ(replica.difference_of("b"), "");
    EXPECT_EQ(replica.lake().value("select count(*) from lake.public.a"), "0");
    database().exec("insert into a values (2); insert into b values (2)");
    ASSERT_EQ(replica.command({"resume"}).code, 0);
    ASSERT_EQ(replica.run_until_caught_up().code, 0);
    EXPECT_EQ(replica.difference_of_tables({"a", "b"}), "");
    // Nothing was missed: paused and resumed before anybody ran.
    ASSERT_EQ(replica.command({"pause"}).code, 0);
    ASSERT_EQ(replica.command({"resume"}).code, 0);
    database().exec("insert into a values (3); delete from b where id = 1");
    ASSERT_EQ(replica.run_until_caught_up().code, 0);
    EXPECT_EQ(replica.difference_of_tables({"a", "b"}), "");
    EXPECT_EQ(replica.count_in_log("copied again"), 0);
}

TEST_P(TableCommands, AnErroredTableIsResumedWithoutAProcess) {
    database().exec(
        "create table a (id int primary key, n numeric(12,2)); insert into a values (1, 'NaN');"
        "create publication shop for table a");
    Replica replica(database());
    replica.configure("table_error_retry_max_attempts: 0");
    ASSERT_EQ(replica.run_until_caught_up().code, 65);
    database().exec("update a set n = 1");
    ASSERT_EQ(replica.command({"resume", "public.a"}).code, 0);
    ASSERT_EQ(replica.run_until_caught_up().code, 0);
    EXPECT_EQ(replica.difference_of("a"), "");
}

// A process of the same pipeline in another folder has the lease.
TEST_P(TableCommands, WhileTheProcessRunsElsewhereTheyAreRefused) {
    database().exec("create table a (id int primary key); create publication shop for table a");
    Replica first(database());
    ASSERT_EQ(first.run_until_caught_up().code, 0);
    Replica second(database());
    second.be_a_second(first);
    second.start();
    ASSERT_TRUE(eventually([&] {
        return database().value(fmt::format("select count(*) from pg_stat_activity where "
                                            "application_name = 'walbrook:{}:lease'",
                                            first.id())) == "1";
    }));
    EXPECT_EQ(first.command({"resync", "public.a"}).code, 75);
    second.kill();
}

TEST_P(TableCommands, APipelineThatNeverRanHasNothingToCommand) {
    database().exec("create table a (id int primary key); create publication shop for table a");
    Replica replica(database());
    replica.set_environment("WALBROOK__PIPELINE__STORE__TYPE", "nothing");
    EXPECT_EQ(replica.run_until_caught_up().code, 78);
    EXPECT_EQ(replica.command({"resync", "public.a"}).code, 78);
}

}  // namespace
}  // namespace walbrook::testing
