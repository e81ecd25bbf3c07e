// What a pipeline costs its source, and the keys that bound it.

#include "integration/replica.h"
#include "support/eventually.h"
#include "support/pg_test.h"
#include "support/tcp_proxy.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

namespace walbrook::testing {
namespace {

using ::testing::HasSubstr;

class Kindness : public PgTest {
 protected:
    void create_item() {
        database().exec(
            "create table item(id int primary key, note text);"
            "insert into item values (1, 'a'); create publication shop for table item");
    }
    // About so many MiB of WAL, of rows that are replicated.
    void write_mib(int mib) {
        database().exec(fmt::format(
            "insert into item select coalesce((select max(id) from item), 0) + g, repeat('x', 900) "
            "from generate_series(1, {}) g",
            mib * 1100));
    }
    std::string slot_value(const Replica& replica, const std::string& column) {
        return database().value(
            fmt::format("select coalesce(max({}::text), '') from pg_replication_slots where "
                        "slot_name = '{}'",
                        column, replica.slot()));
    }
};
INSTANTIATE_TEST_SUITE_P(Pg, Kindness, ::testing::ValuesIn(pg_versions()), version_name);

class KindnessOnce : public Kindness {};
INSTANTIATE_TEST_SUITE_P(Pg, KindnessOnce, ::testing::ValuesIn(newest_pg_version()), version_name);

// Of two tables and several connections together: 6 million bytes of COPY data, of which the
// last ranges need not be waited for.
TEST_P(KindnessOnce, CopiesTogetherStayBelowTheirRate) {
    database().exec(
        "create table a(id int primary key, pad text); create table b(id int primary key, pad "
        "text);"
        "insert into a select g, repeat('x', 482) from generate_series(1, 6000) g;"
        "insert into b select * from a; create publication shop for table a, b");
    Replica replica(database());
    replica.configure("copy_max_bytes_per_second: 1000000");
    const auto began = std::chrono::steady_clock::now();
    EXPECT_EQ(replica.run_until_caught_up().code, 0);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
    EXPECT_EQ(replica.difference_of_tables({"a", "b"}), "");
    EXPECT_GE(took.count(), 3.5);
}

TEST_P(KindnessOnce, ASlotThatHoldsBackTooMuchIsNamedOnce) {
    create_item();
    Replica replica(database());
    replica.configure("max_slot_lag_bytes: 2000000");
    ASSERT_EQ(replica.run_until_caught_up().code, 0);
    replica.set_environment("WALBROOK_FAILPOINTS", "flush.before_apply=error");
    replica.start();
    write_mib(4);
    ASSERT_TRUE(replica.shows_problem("holds back"));
    write_mib(4);
    ASSERT_TRUE(replica.shows_problem("holds back 8 MiB"));
    EXPECT_EQ(replica.count_in_log("max_slot_lag_bytes is 1 MiB"), 1);
    replica.kill();
    EXPECT_NE(slot_value(replica, "slot_name"), "");
    // It goes away by itself.
    replica.clear_environment();
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    ASSERT_TRUE(eventually([&] {
        database().exec("checkpoint");  // Lets the slot move its restart_lsn.
        const auto now = replica.status();
        return now && now->problems.empty();
    }));
    EXPECT_EQ(replica.difference_of("item"), "");
    EXPECT_EQ(replica.stop().code, 0);
}

TEST_P(KindnessOnce, ASlotThatHoldsBackTooMuchIsDropped) {
    create_item();
    Replica replica(database());
    replica.configure("max_slot_lag_bytes: 2000000");
    replica.configure("slot_lag_behavior: drop_slot");
    ASSERT_EQ(replica.run_until_caught_up().code, 0);
    replica.set_environment("WALBROOK_FAILPOINTS", "flush.before_apply=error");
    replica.start();
    write_mib(4);
    const auto exit = replica.process().wait();
    ASSERT_TRUE(exit.has_value());
    EXPECT_EQ(exit->code, 70);
    EXPECT_THAT(replica.log(), HasSubstr("invalidated_slot_behavior: recreate"));
    EXPECT_EQ(slot_value(replica, "slot_name"), "");
    EXPECT_EQ(replica.leftovers_at_source(), "");
    // It stays refused, for the changes are lost to the stream.
    replica.clear_environment();
    EXPECT_EQ(replica.run_until_caught_up().code, 70);
    replica.configure("invalidated_slot_behavior: recreate");
    EXPECT_EQ(replica.run_until_caught_up().code, 0);
    EXPECT_EQ(replica.difference_of("item"), "");
}

// Of a table whose key cannot be cut into ranges.
TEST_P(KindnessOnce, AnOldSnapshotIsNamedOnce) {
    database().exec(
        "create table item(id text primary key, note text);"
        "insert into item select g, repeat('x', 200) from generate_series(1, 20000) g;"
        "create publication shop for table item");
    TcpProxy slow(cluster().port());
    slow.slow_down(":copy", 1'000'000);
    Replica replica(database());
    replica.connect_through(slow.port());
    replica.configure("max_snapshot_age_secs: 1");
    replica.start();
    ASSERT_TRUE(replica.shows_problem("public.item: the snapshot of its copy is"));
    ASSERT_TRUE(
        eventually([&] { return replica.count_in_log("the snapshot of its copy is") == 1; }));
    slow.slow_down("", 0);
    ASSERT_TRUE(replica.catches_up());
    ASSERT_TRUE(eventually([&] {
        const auto now = replica.status();
        return now && now->problems.empty();
    }));
    EXPECT_EQ(replica.count_in_log("the snapshot of its copy is"), 1);
    EXPECT_EQ(replica.difference_of("item"), "");
    EXPECT_EQ(replica.stop().code, 0);
}

// The slot moves on while only others write, with heartbeats and without; neither makes a
// snapshot in the lake.
TEST_P(Kindness, AnIdleSourceMovesItsSlotWithAndWithoutHeartbeats) {
    create_item();
    Database other(cluster());
    other.exec("create table noise(t text)");
    Replica replica(database());
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    const auto moves = [&] {
        other.exec("insert into noise select repeat('x', 500) from generate_series(1, 2000)");
        const std::string target = other.value("select pg_current_wal_lsn()");
        return eventually([&] {
            return database().value(
                       fmt::format("select confirmed_flush_lsn >= '{}' from pg_replication_slots "
                                   "where slot_name = '{}'",
                                   target, replica.slot())) == "t";
        });
    };
    // The first flush may still be on its way into the catalog's upkeep.
    int snapshots = replica.snapshots();
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(moves());
    EXPECT_LE(replica.snapshots(), snapshots + 1);
    EXPECT_EQ(replica.stop().code, 0);

    database().exec("select pg_create_logical_replication_slot('peek_" +
                    std::to_string(replica.id()) + "', 'pgoutput')");
    replica.configure("heartbeat_interval_ms: 200");
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    snapshots = replica.snapshots();
    ASSERT_TRUE(eventually([&] {
        return std::stoi(database().value(fmt::format(
                   "select count(*) from pg_logical_slot_peek_binary_changes('peek_{}', null, null,"
                   " 'proto_version', '1', 'publication_names', 'shop', 'messages', 'true') where "
                   "position('heartbeat'::bytea in data) > 0",
                   replica.id()))) >= 3;
    }));
    EXPECT_TRUE(moves());
    EXPECT_LE(replica.snapshots(), snapshots + 1);
    database().exec("select pg_drop_replication_slot('peek_" + std::to_string(replica.id()) + "')");
    database().exec("insert into item values (2, 'b')");
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of("item"), "");
    EXPECT_EQ(replica.stop().code, 0);
}

// A server that shuts down waits for its walsenders, and they for us: until all that they sent is
// confirmed. That is no reason to keep it from its end while the lake is away.
TEST_P(KindnessOnce, AServerEndsAlsoWhileTheLakeIsAway) {
    PgCluster own({.version = version()});
    Database source(own);
    source.exec(
        "create table item(id int primary key, note text);"
        "insert into item values (1, 'a'); create publication shop for table item");
    PgCluster catalogs({.version = version()});
    Database lake(catalogs);
    Replica replica(source);
    replica.use_catalog(catalog_in(lake));
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    catalogs.crash();
    source.exec("insert into item values (2, 'b')");
    ASSERT_TRUE(replica.shows_problem("the destination refuses a flush"));
    own.stop();
    own.start();
    catalogs.start();
    EXPECT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of("item"), "");
    EXPECT_GT(replica.count_in_log("the server shuts down and waits"), 0);
    EXPECT_EQ(replica.stop().code, 0);
}

}  // namespace
}  // namespace walbrook::testing
