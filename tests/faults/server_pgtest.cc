// Servers that are stopped, crash, are killed and succeeded by their standby, under load.

#include "integration/bank.h"
#include "support/eventually.h"
#include "support/pg_test.h"
#include "support/run_form.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <array>
#include <memory>
#include <string>

namespace walbrook::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class Servers : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Pg, Servers, ::testing::ValuesIn(newest_pg_version()), version_name);

// Cleanly, as a crash and without any chance, while tables are copied and streamed.
TEST_P(Servers, AreRestarted) {
    PgCluster own({.version = GetParam()});
    Database source(own);
    Bank bank = Bank::small(source);
    source.exec(
        "create table large(id int primary key, v text); insert into large select g, repeat('x', "
        "200) from generate_series(1, 100000) g; alter publication shop add table large");
    Replica replica(source);
    replica.configure("batch: {max_fill_ms: 20}");
    replica.configure("copy_max_bytes_per_second: 8000000");
    bank.start(2, 300);
    replica.start();
    struct Way {
        FaultTrial trial;
        void (PgCluster::*end)();
    };
    std::array<Way, 3> ways{Way{FaultTrial("Postgres stopped (SIGINT)"), &PgCluster::stop},
                            Way{FaultTrial("Postgres crashes (SIGQUIT)"), &PgCluster::crash},
                            Way{FaultTrial("Postgres killed (kill -9)"), &PgCluster::kill}};
    for (int round = 0; round < (is_long_form() ? 12 : 6); ++round) {
        SCOPED_TRACE(round);
        // Each comes once while tables are being copied, and once while all are streamed.
        if (round % 2 == 0) {
            if (round > 0) {
                ASSERT_EQ(replica.command({"resync", "public.*"}).code, 0);
            }
            ASSERT_TRUE(replica.reads("large"));
        } else {
            const int before = replica.snapshots();
            ASSERT_TRUE(eventually([&] { return replica.snapshots() > before + 3; }));
        }
        Way& way = ways[static_cast<std::size_t>(round) % ways.size()];
        (own.*way.end)();
        own.start();
        way.trial.is_over();
        bank.stop();
        bank.start(2, 300);
        way.trial.expect_recovery(replica);
    }
    bank.stop();
    ASSERT_TRUE(replica.catches_up());
    ways[0].trial.expect_equal(replica);
    ways[1].trial.expect_equal(replica);
    bank.expect_nothing_lost(replica, ways[2].trial);
}

class FailoverSlot : public ::testing::TestWithParam<int> {
 protected:
    static std::string value(PgCluster& server, const std::string& sql) {
        Connection session = *Connection::open(server.connection(), {.application_name = "test"},
                                               within(std::chrono::seconds(30)));
        return must_query(session, sql)[0][0];
    }
};
INSTANTIATE_TEST_SUITE_P(Pg, FailoverSlot, ::testing::ValuesIn(versions_with_failover_slots()),
                         version_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(FailoverSlot);

// The standby has taken the slot over: all goes on there, without a new copy, and what the old
// primary had written but nobody else had received is in neither.
TEST_P(FailoverSlot, GoesOnAtThePromotedStandby) {
    PgCluster primary({.version = GetParam()});
    std::unique_ptr<PgCluster> standby;  // Outlives the database, which moves there.
    Database source(primary);
    Bank bank = Bank::small(source);
    standby = PgCluster::standby_of(primary);
    source.exec("select pg_create_physical_replication_slot('standby', true)");
    standby->sync_slots_from(primary);
    // We never learn of what the standby does not have.
    primary.set("synchronized_standby_slots", "standby");
    primary.reload();
    Replica replica(source);
    replica.configure("batch: {max_fill_ms: 20}");
    replica.connect_with(fmt::format(
        "{{url: "
        "\"postgres://postgres@127.0.0.1:{},127.0.0.1:{}/{}?target_session_attrs=read-write\"}}",
        primary.port(), standby->port(), source.name()));
    // Off for the first run: a slot that was made without it gets it at the next start.
    replica.set_environment("WALBROOK__PIPELINE__FAILOVER_SLOT", "off");
    ASSERT_EQ(replica.run_until_caught_up().code, 0);
    const std::string is_failover = fmt::format(
        "select failover from pg_replication_slots where slot_name = '{}'", replica.slot());
    EXPECT_EQ(source.value(is_failover), "f");
    replica.clear_environment();
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(source.value(is_failover), "t");
    ASSERT_TRUE(eventually([&] {
        return value(*standby,
                     fmt::format("select coalesce(bool_or(synced and not temporary), "
                                 "false) from pg_replication_slots where slot_name = '{}'",
                                 replica.slot())) == "t";
    }));
    bank.start(2, 300);
    const int before = replica.snapshots();
    ASSERT_TRUE(eventually([&] { return replica.snapshots() > before + 3; }));
    FaultTrial trial("standby promoted, Postgres killed (kill -9)");
    primary.kill();
    ASSERT_EQ(value(*standby, "select pg_promote()"), "t");
    source.move_to(*standby);
    trial.is_over();
    bank.stop();
    bank.start(2, 300);
    trial.expect_recovery(replica);
    EXPECT_EQ(replica.count_in_log("made the replication slot"), 1);
    EXPECT_THAT(replica.log(), HasSubstr("on a new timeline"));
    EXPECT_THAT(replica.log(), Not(HasSubstr("copied again")));
    bank.expect_nothing_lost(replica, trial);
}

}  // namespace
}  // namespace walbrook::testing
