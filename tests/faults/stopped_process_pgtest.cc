// The process is stopped (SIGSTOP) and wakes up in a world that has gone on without it: the server
// has left it, or another process has taken its place.

#include "integration/bank.h"
#include "support/eventually.h"
#include "support/pg_test.h"
#include "support/run_form.h"

#include <fmt/format.h>

#include <array>
#include <signal.h>

namespace walbrook::testing {
namespace {

class StoppedProcess : public PgTest {};
INSTANTIATE_TEST_SUITE_P(Pg, StoppedProcess, ::testing::ValuesIn(newest_pg_version()),
                         version_name);

TEST_P(StoppedProcess, GoesOnAfterTheServerLeftIt) {
    PgCluster own({.version = version(), .settings = {{"wal_sender_timeout", "2s"}}});
    Database source(own);
    Bank bank = Bank::small(source);
    Replica replica(source);
    replica.configure("batch: {max_fill_ms: 20}");
    bank.start(2, 100);
    replica.start();
    FaultTrial trial("SIGSTOP for longer than wal_sender_timeout");
    for (int round = 0; round < (is_long_form() ? 10 : 2); ++round) {
        SCOPED_TRACE(round);
        const Lsn before = replica.position();
        ASSERT_TRUE(eventually([&] { return replica.position() > before; }));
        replica.process().signal(SIGSTOP);
        ASSERT_TRUE(eventually([&] {
            return source.value("select count(*) from pg_replication_slots where active") == "0";
        }));
        replica.process().signal(SIGCONT);
        trial.is_over();
        trial.expect_recovery(replica);
    }
    bank.expect_nothing_lost(replica, trial);
}

// Two machines, one pipeline: the one that wakes up must not write a row more.
TEST_P(StoppedProcess, ThatWasReplacedWritesNoMore) {
    Database catalog(cluster());
    Bank bank = Bank::small(database());
    std::array<Replica, 2> machines{Replica(database()), Replica(database())};
    machines[0].use_catalog(catalog_in(catalog));
    machines[1].share_lake(machines[0]);
    machines[1].be_a_second(machines[0]);
    for (Replica& each : machines) each.configure("batch: {max_fill_ms: 20}");
    bank.start(2, 100);
    machines[0].start();
    ASSERT_TRUE(machines[0].catches_up());
    FaultTrial trial("SIGSTOP until another process has taken over");
    const int rounds = is_long_form() ? 10 : 2;
    for (int round = 0; round < rounds; ++round) {
        SCOPED_TRACE(round);
        Replica& old = machines[static_cast<std::size_t>(round) % 2];
        Replica& next = machines[static_cast<std::size_t>(round + 1) % 2];
        const Lsn before = old.position();
        ASSERT_TRUE(eventually([&] { return old.position() > before; }));
        old.process().signal(SIGSTOP);
        // What the servers do when they have not heard of it for long enough.
        database().exec(fmt::format(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name like "
            "'walbrook:{}:%'",
            old.id()));
        catalog.exec(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = "
            "current_database() and pid <> pg_backend_pid()");
        next.start();
        trial.is_over();
        trial.expect_recovery(next);
        old.process().signal(SIGCONT);
        const auto exit = old.process().wait();
        ASSERT_TRUE(exit.has_value()) << "two processes run for one pipeline";
        EXPECT_EQ(exit->code, 75) << old.log();
        // It has taken nothing from the one that goes on.
        const Lsn after = next.position();
        ASSERT_TRUE(eventually([&] { return next.position() > after; }));
        EXPECT_TRUE(next.is_running());
        if (HasFailure()) return;
    }
    bank.expect_nothing_lost(machines[static_cast<std::size_t>(rounds) % 2], trial);
}

}  // namespace
}  // namespace walbrook::testing
