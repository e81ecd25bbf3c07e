// The process dies at every place that base/failpoints.h names, with money on the move,
// and is started again: nothing is lost, nothing doubled, no snapshot out of balance.

#include "base/failpoints.h"
#include "integration/bank.h"
#include "support/eventually.h"
#include "support/pg_test.h"

#include <signal.h>

namespace walbrook::testing {
namespace {

// One database and one load for all places: each has a pipeline of its own, with a lake
// of its own, so that every place of the copy is passed again.
class Failpoints : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Pg, Failpoints, ::testing::ValuesIn(pg_versions()), version_name);

int transactions(Database& source) {
    return std::stoi(source.value("select count(*) from pgbench_history"));
}

void drop_slot(Database& source, const Replica& replica) {
    source.exec("select pg_drop_replication_slot('walbrook_" + std::to_string(replica.id()) + "')");
}

// False if the place was not reached: whether changes are left for a slice is a matter of time.
bool die_at(std::string_view name, Database& source, Bank& bank) {
    Replica replica(source);
    // Small flushes, slices and spill limits: catching up takes several rounds.
    replica.configure("batch: {max_fill_ms: 20, max_bytes: 4096}");
    replica.set_environment("WALBROOK_FAILPOINTS", std::string(name) + "=kill");
    // A writer that does not end keeps the copy of the accounts waiting, so that changes
    // are held for it.
    Connection writer = source.session();
    must_exec(writer, "begin; lock table pgbench_accounts in row exclusive mode");
    const int before = transactions(source);
    replica.start();
    EXPECT_TRUE(
        eventually([&] { return !replica.is_running() || transactions(source) > before + 300; }));
    must_exec(writer, "commit");
    const auto exit = replica.process().wait(std::chrono::seconds(20));
    if (!exit) {
        replica.kill();
        drop_slot(source, replica);
        return false;
    }
    EXPECT_EQ(exit->signal, SIGKILL) << "ended in another way";

    replica.clear_environment();
    replica.start();
    bank.expect_nothing_lost(replica);
    drop_slot(source, replica);
    return true;
}

TEST_P(Failpoints, DeathAtEachLosesNothing) {
    Database source(PgCluster::shared(GetParam()));
    Bank bank = Bank::small(source);
    for (const std::string_view name : kFailpoints) {
        if (const char* only = std::getenv("ONLY"); only && name != only) continue;
        SCOPED_TRACE(name);
        bool is_reached = false;
        for (int attempt = 0; attempt < 5 && !is_reached && !HasFailure(); ++attempt) {
            bank.start(2, 500);
            is_reached = die_at(name, source, bank);
        }
        ASSERT_TRUE(is_reached) << "never reached";
        if (HasFailure()) return;
    }
}

}  // namespace
}  // namespace walbrook::testing
