// The process dies at every place that base/failpoints.h names, with money on the move,
// and is started again: nothing is lost, nothing doubled, no snapshot out of balance.

#include "base/failpoints.h"
#include "integration/bank.h"
#include "support/eventually.h"
#include "support/pg_test.h"
#include "support/run_form.h"

#include <fmt/format.h>

#include <array>
#include <signal.h>
#include <vector>

namespace walbrook::testing {
namespace {

// One database and one load for all places: each has a pipeline of its own, with a lake
// of its own, so that every place of the copy is passed again.
class Failpoints : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Pg, Failpoints, ::testing::ValuesIn(pg_versions()), version_name);

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
    const int before = bank.transactions();
    replica.start();
    EXPECT_TRUE(
        eventually([&] { return !replica.is_running() || bank.transactions() > before + 300; }));
    must_exec(writer, "commit");
    const auto exit = replica.process().wait(std::chrono::seconds(60));
    if (!exit) {
        replica.kill();
        drop_slot(source, replica);
        return false;
    }
    EXPECT_EQ(exit->signal, SIGKILL) << "ended in another way";

    FaultTrial trial(fmt::format("kill -9 at {}", name));
    replica.clear_environment();
    replica.start();
    trial.is_over();
    // Flushes as small as these would run after the whole load for long.
    bank.stop();
    bank.start(1, 50);
    bank.expect_nothing_lost(replica, trial);
    drop_slot(source, replica);
    return true;
}

// The versions of a run share the places; in the long form each has them all.
bool is_for(int version, std::size_t place) {
    static const std::vector<int> versions = pg_versions();
    return is_long_form() || versions[place % versions.size()] == version;
}

TEST_P(Failpoints, DeathAtEachLosesNothing) {
    Database source(PgCluster::shared(GetParam()));
    Bank bank = Bank::small(source);
    std::size_t place = 0;
    for (const std::string_view name : kFailpoints) {
        if (name.starts_with("schema.")) continue;  // Below.
        if (!is_for(GetParam(), place++)) continue;
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

// What a migration may do, one transaction each, with rows of every version.
constexpr std::array kMigrations = std::to_array<const char*>({
    "alter table t add column b text default 'x'; update t set b = 'y' where id % 3 = 0",
    "alter table t rename column v to w; insert into t (id, w) values (1001, 1)",
    "update t set w = w + 1; alter table t drop column b; delete from t where id = 1001",
    "alter table t add column v int; update t set v = id where id % 5 = 0",
    "insert into t (id, w) values (1002, 2); alter table t alter column w type bigint",
    "alter table t add column r float8 default random(); update t set r = 0 where id < 10",
    "alter table t drop column v, add column v text default 'z'; update t set v = 'a' where id = 7",
    "alter table t rename to u; insert into u (id, w) values (1003, 3); alter table u rename to t",
    "alter table t replica identity full; update t set w = 0 where id < 5; delete from t where "
    "id = 1003; alter table t replica identity default",
    "truncate t; insert into t (id, w) select g, g from generate_series(1, 50) g",
    "begin; alter table t add column never int; update t set never = 1; rollback",
    "alter table t drop constraint t_pkey, add primary key (id, w); update t set w = w + 100",
});

// Places at which a change of a table's shape may be half done.
constexpr std::array kPlacesOfSchemaChanges = std::to_array<std::string_view>({
    "schema.before_store",
    "schema.after_store",
    "copy.before_hold",
    "copy.after_snapshot",
    "copy.after_finish",
    "publish.before_apply",
    "publish.after_apply",
    "flush.before_apply",
    "flush.after_apply",
    "flush.after_store",
    "confirm.after_send",
    "lake.before_flush",
    "lake.after_flush",
    "lake.before_publish",
    "lake.after_publish",
});

// False if the place was not reached.
bool die_among_migrations(Database& source, std::string_view place, int nth) {
    source.exec(
        "create table t (id int primary key, v int); create table other (id serial primary key);"
        "insert into t select g, g from generate_series(1, 100) g;"
        "create publication shop for table t, other");
    Replica replica(source);
    replica.configure("batch: {max_fill_ms: 20}");
    replica.set_environment("WALBROOK_FAILPOINTS", fmt::format("{}=kill@{}", place, nth));
    std::optional<FaultTrial> trial;
    const auto go_on_after_death = [&] {
        if (replica.is_running()) return;
        EXPECT_EQ(replica.process().wait()->signal, SIGKILL) << replica.log();
        trial.emplace(fmt::format("kill -9 at {}", place));
        replica.clear_environment();
        replica.start();
        trial->is_over();
    };
    replica.start();
    EXPECT_TRUE(
        eventually([&] { return !replica.is_running() || replica.difference_of("t").empty(); }));
    for (const char* migration : kMigrations) {
        go_on_after_death();
        source.exec(migration);
        // Some of them share a flush, and some do not.
        for (int i = 0; i < 5; ++i) {
            source.exec("insert into other default values; select pg_sleep(0.005)");
        }
    }
    EXPECT_TRUE(eventually([&] {
        go_on_after_death();
        return replica.difference_of_tables({"t", "other"}).empty();
    })) << replica.difference_of_tables({"t", "other"})
        << replica.log();
    const bool is_reached = trial.has_value();
    if (is_reached) {
        trial->expect_recovery(replica);
        trial->expect_equal(replica);
        EXPECT_EQ(replica.stop().code, 0) << replica.log();
    } else {
        replica.kill();  // It may die of its own while it stops.
    }
    drop_slot(source, replica);
    return is_reached;
}

TEST_P(Failpoints, DeathAmongSchemaChangesLosesNothing) {
    for (std::size_t i = 0; i < kPlacesOfSchemaChanges.size(); ++i) {
        if (!is_for(GetParam(), i)) continue;
        const std::string_view place = kPlacesOfSchemaChanges[i];
        bool is_reached = false;
        for (const int nth : {2, 1}) {
            if (is_reached) break;
            SCOPED_TRACE(fmt::format("{}@{}", place, nth));
            Database source(PgCluster::shared(GetParam()));
            is_reached = die_among_migrations(source, place, nth);
            if (HasFailure()) return;
        }
        EXPECT_TRUE(is_reached) << place << " was never reached";
    }
}

}  // namespace
}  // namespace walbrook::testing
