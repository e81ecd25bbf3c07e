// What others do to the slot: no change is lost in silence.

#include "integration/replica.h"
#include "support/eventually.h"
#include "support/pg_test.h"
#include "support/tcp_proxy.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <atomic>
#include <functional>
#include <thread>

namespace walbrook::testing {
namespace {

using ::testing::HasSubstr;

constexpr const char* kUnseen =
    "update item set note = 'unseen' where id % 10 = 0; delete from other where id = 1;"
    "insert into other values (0, 'unseen')";

class SlotLife : public PgTest {
 protected:
    static void prepare(Database& source) {
        source.exec(
            "create table item(id int primary key, note text);"
            "create table other(id int primary key, note text);"
            "insert into item select g, 'note ' || g from generate_series(1, 1000) g;"
            "insert into other select * from item;"
            "create publication shop for table item, other");
    }
    static void change(Database& source, const std::string& note) {
        source.exec(fmt::format(
            "update item set note = '{0}' where id % 10 = 0; delete from other where id = (select "
            "min(id) from other); insert into other select max(id) + 1, '{0}' from other",
            note));
    }
    // Ends the stream's session and does something to the slot before we can come back.
    void at_the_free_slot(TcpProxy& proxy, const Replica& replica,
                          const std::function<void()>& act) {
        proxy.stall(":stream");
        database().exec(
            fmt::format("select pg_terminate_backend(active_pid) from "
                        "pg_replication_slots where slot_name = '{}' and active",
                        replica.slot()));
        ASSERT_TRUE(eventually([&] {
            return database().value(fmt::format("select active from pg_replication_slots where "
                                                "slot_name = '{}'",
                                                replica.slot())) == "f";
        }));
        act();
        proxy.resume();
    }
    static std::string drop(const Replica& replica) {
        return fmt::format("select pg_drop_replication_slot('{}')", replica.slot());
    }
    static void expect_equal(Replica& replica) {
        EXPECT_EQ(replica.difference_of_tables({"item", "other"}), "");
    }
};
INSTANTIATE_TEST_SUITE_P(Pg, SlotLife, ::testing::ValuesIn(pg_versions()), version_name);

// What does not depend on the server's version.
class SlotLifeOnce : public SlotLife {};
INSTANTIATE_TEST_SUITE_P(Pg, SlotLifeOnce, ::testing::ValuesIn(newest_pg_version()), version_name);

TEST_P(SlotLife, DroppedWhileRunningStops) {
    prepare(database());
    TcpProxy proxy(cluster().port());
    Replica replica(database());
    replica.connect_through(proxy.port());
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    at_the_free_slot(proxy, replica, [&] { database().exec(drop(replica)); });
    const auto exit = replica.process().wait();
    ASSERT_TRUE(exit.has_value());
    EXPECT_EQ(exit->code, 70);
    EXPECT_THAT(replica.log(), HasSubstr("invalidated_slot_behavior: recreate"));
}

// While the tables are copied again readers find the old ones, whole.
TEST_P(SlotLifeOnce, DroppedWhileRunningIsMadeAnewBehindTheReadersBack) {
    prepare(database());
    TcpProxy slow(cluster().port());
    Replica replica(database());
    replica.connect_through(slow.port());
    replica.configure("invalidated_slot_behavior: recreate");
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    slow.slow_down(":copy", 50'000);
    std::atomic<int> reads{0};
    std::string torn;
    std::jthread reader([&](const std::stop_token& stop) {
        while (!stop.stop_requested() && torn.empty()) {
            try {
                LakeReader lake = replica.reader();
                for (const char* table : {"item", "other"}) {
                    const std::string rows =
                        lake.value(fmt::format("select count(*) from lake.public.{}", table));
                    if (rows != "1000") torn = fmt::format("{} has {} rows", table, rows);
                }
                ++reads;
            } catch (const std::exception& problem) {
                torn = problem.what();
            }
        }
    });
    at_the_free_slot(slow, replica, [&] {
        database().exec(drop(replica));
        database().exec(kUnseen);
    });
    ASSERT_TRUE(eventually([&] {
        const auto item = replica.table("item");
        return item && item->phase == TablePhase::copying;
    }));
    const int before = reads;
    ASSERT_TRUE(eventually([&] { return reads > before + 2 || !torn.empty(); }));
    slow.slow_down("", 0);
    ASSERT_TRUE(replica.catches_up());
    reader.request_stop();
    reader.join();
    EXPECT_EQ(torn, "");
    expect_equal(replica);
    EXPECT_THAT(replica.log(), HasSubstr("the slot was lost while running; beginning anew"));
    EXPECT_EQ(replica.stop().code, 0);
}

// Under its own name again, and further on: the server would leave out in silence what lies
// between.
TEST_P(SlotLifeOnce, MadeAnewByAnotherWhileRunningIsNoticed) {
    prepare(database());
    TcpProxy proxy(cluster().port());
    Replica replica(database());
    replica.connect_through(proxy.port());
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    at_the_free_slot(proxy, replica, [&] {
        database().exec(drop(replica));
        database().exec(kUnseen);
        database().exec(fmt::format("select pg_create_logical_replication_slot('{}', 'pgoutput')",
                                    replica.slot()));
    });
    const auto exit = replica.process().wait();
    ASSERT_TRUE(exit.has_value());
    EXPECT_EQ(exit->code, 70);
    EXPECT_THAT(replica.log(), HasSubstr("somebody else moved it or made it anew"));
    replica.configure("invalidated_slot_behavior: recreate");
    EXPECT_EQ(replica.run_until_caught_up().code, 0);
    expect_equal(replica);
}

TEST_P(SlotLifeOnce, AdvancedWhileThePipelineIsDownIsNoticed) {
    prepare(database());
    Replica replica(database());
    ASSERT_EQ(replica.run_until_caught_up().code, 0);
    change(database(), "unseen");
    database().exec(fmt::format("select pg_replication_slot_advance('{}', pg_current_wal_lsn())",
                                replica.slot()));
    EXPECT_EQ(replica.run_until_caught_up().code, 70);
    EXPECT_THAT(replica.log(), HasSubstr("somebody else moved it or made it anew"));
    replica.configure("invalidated_slot_behavior: recreate");
    EXPECT_EQ(replica.run_until_caught_up().code, 0);
    expect_equal(replica);
}

// The server gives the slot up because it holds back too much (max_slot_wal_keep_size).
TEST_P(SlotLife, InvalidatedByTheServerWhileRunning) {
    PgCluster own({.version = version(),
                   .settings = {{"max_slot_wal_keep_size", "1MB"},
                                {"wal_keep_size", "0"},
                                {"min_wal_size", "32MB"},
                                {"max_wal_size", "32MB"}}});
    Database source(own);
    prepare(source);
    Replica replica(source);
    ASSERT_EQ(replica.run_until_caught_up().code, 0);
    replica.set_environment("WALBROOK_FAILPOINTS", "flush.before_apply=error");
    replica.start();
    change(source, "stuck");
    ASSERT_TRUE(eventually([&] {
        for (int i = 0; i < 3; ++i)
            source.exec("select pg_switch_wal(); create table t(); drop table t");
        source.exec("checkpoint");
        return source.value(
                   fmt::format("select wal_status from pg_replication_slots where slot_name = '{}'",
                               replica.slot())) == "lost";
    }));
    const auto exit = replica.process().wait();
    ASSERT_TRUE(exit.has_value());
    EXPECT_EQ(exit->code, 70);
    EXPECT_THAT(replica.log(), HasSubstr("the server invalidated it"));
    replica.clear_environment();
    EXPECT_EQ(replica.run_until_caught_up().code, 70);
    replica.configure("invalidated_slot_behavior: recreate");
    EXPECT_EQ(replica.run_until_caught_up().code, 0);
    expect_equal(replica);
}

// A session that is dead, which the server does not know yet, or somebody else's.
TEST_P(SlotLifeOnce, HeldByAnotherIsWaitedForAtTheStart) {
    prepare(database());
    TcpProxy proxy(cluster().port());
    Replica replica(database());
    replica.connect_through(proxy.port());
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    proxy.stall(":stream");
    replica.kill();
    change(database(), "meanwhile");
    replica.connect_through(0);
    replica.start();
    ASSERT_TRUE(replica.shows_problem("is active for PID"));
    proxy.resume();
    ASSERT_TRUE(replica.catches_up());
    expect_equal(replica);
    const auto now = replica.status();
    ASSERT_TRUE(now.has_value());
    EXPECT_TRUE(now->problems.empty());
    EXPECT_EQ(replica.stop().code, 0);
}

TEST_P(SlotLife, HeldByAnotherIsWaitedForWhenConnectingAgain) {
    prepare(database());
    TcpProxy proxy(cluster().port());
    Replica replica(database());
    replica.connect_through(proxy.port());
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    Connection thief = *Connection::open(database().connection(),
                                         {.application_name = "thief", .replication = true},
                                         within(std::chrono::seconds(10)));
    const std::string take = fmt::format(
        "START_REPLICATION SLOT {} LOGICAL 0/0 (proto_version '1', publication_names 'shop')",
        replica.slot());
    at_the_free_slot(proxy, replica, [&] {
        EXPECT_TRUE(thief.start_copy(within(std::chrono::seconds(10)), take));
    });
    change(database(), "meanwhile");
    ASSERT_TRUE(replica.shows_problem("is active for PID"));
    thief.close();
    ASSERT_TRUE(replica.catches_up());
    expect_equal(replica);
    EXPECT_EQ(replica.stop().code, 0);
}

}  // namespace
}  // namespace walbrook::testing
