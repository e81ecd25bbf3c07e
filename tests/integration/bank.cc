#include "integration/bank.h"

#include <fmt/format.h>
#include <signal.h>

#include <set>
#include <stdexcept>

namespace walbrook::testing {
namespace {

std::string pgbench() { return WALBROOK_TEST_PG_DIR "/clients/pgbench"; }

}  // namespace

Bank::Bank(Database& source, int scale) : source_(source) {
    const auto made = run_program(
        pgbench(), {.args = {"-i", "-q", "-I", "dtGvp", "-s", std::to_string(scale), source.url()}});
    if (!made.exit.ok()) throw std::runtime_error("pgbench -i failed: " + made.output);
    source_.exec(
        "create publication shop for table pgbench_accounts, pgbench_tellers, "
        "pgbench_branches, pgbench_history");
}

Bank::~Bank() { stop(); }

void Bank::start(int clients, int per_second) {
    load_ = std::make_unique<ChildProcess>(
        pgbench(), ChildOptions{.args = {"-n", "-c", std::to_string(clients), "-j", "1", "-T", "3600",
                                         "-R", std::to_string(per_second), source_.url()}});
}

void Bank::stop() {
    if (!load_) return;
    load_->signal(SIGINT);
    load_->wait(std::chrono::seconds(10));
    load_.reset();
    // Sessions of a load that was cut off may still be committing.
    while (source_.value("select count(*) from pg_stat_activity where application_name = "
                         "'pgbench' and datname = current_database()") != "0") {
    }
}

std::string Bank::difference(Replica& replica) {
    std::string all;
    for (const char* table :
         {"pgbench_accounts", "pgbench_tellers", "pgbench_branches", "pgbench_history"}) {
        const std::string one = replica.difference_of(table);
        if (!one.empty()) all += fmt::format("{}: {}\n", table, one);
    }
    return all;
}

std::string Bank::unbalanced(LakeReader lake, int* snapshots, int* distinct) {
    const auto visible = lake.query(
        "select snapshot_id from __ducklake_metadata_lake.ducklake_snapshot as s where 4 = (select "
        "count(*) from __ducklake_metadata_lake.ducklake_table as t where t.table_name in "
        "('pgbench_accounts', 'pgbench_tellers', 'pgbench_branches', 'pgbench_history') and "
        "s.snapshot_id >= t.begin_snapshot and (t.end_snapshot is null or s.snapshot_id < "
        "t.end_snapshot)) order by 1");
    std::set<std::string> balances;
    for (const auto& row : visible) {
        const std::string at = fmt::format("at (version => {})", row[0]);
        const auto sums = lake.query(fmt::format(
            "select (select coalesce(sum(abalance), 0) from lake.public.pgbench_accounts {0}), "
            "(select coalesce(sum(tbalance), 0) from lake.public.pgbench_tellers {0}), "
            "(select coalesce(sum(bbalance), 0) from lake.public.pgbench_branches {0}), "
            "(select coalesce(sum(delta), 0) from lake.public.pgbench_history {0})",
            at))[0];
        balances.insert(sums[0]);
        if (sums[0] != sums[1] || sums[0] != sums[2] || sums[0] != sums[3]) {
            return fmt::format("snapshot {}: accounts {}, tellers {}, branches {}, history {}",
                               row[0], sums[0], sums[1], sums[2], sums[3]);
        }
    }
    *snapshots = static_cast<int>(visible.size());
    *distinct = static_cast<int>(balances.size());
    return {};
}

}  // namespace walbrook::testing
