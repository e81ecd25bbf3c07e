#include "integration/bank.h"

#include "support/eventually.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <set>
#include <signal.h>
#include <stdexcept>

namespace walbrook::testing {
namespace {

std::string pgbench() { return WALBROOK_TEST_PG_DIR "/clients/pgbench"; }

// pgbench's own transaction, on every 20th account.
constexpr const char* kThinTransaction = R"(\set aid 20 * random(1, 5000)
\set tid random(1, 10)
\set delta random(-5000, 5000)
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid;
UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = 1;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime)
    VALUES (:tid, 1, :aid, :delta, CURRENT_TIMESTAMP);
END;
)";

}  // namespace

Bank::Bank(Database& source, int scale) : source_(source) { create(scale); }

Bank::Bank(Database& source, Thin) : source_(source) {
    create(1);
    source_.exec("delete from pgbench_accounts where aid % 20 <> 0");
    script_ = {"-f", folder_.file("transaction.sql")};
    write_file(script_.back(), kThinTransaction);
}

void Bank::create(int scale) {
    const auto made = run_program(pgbench(), {.args = {"-i", "-q", "-I", "dtGvp", "-s",
                                                       std::to_string(scale), source_.url()}});
    if (!made.exit.ok()) throw std::runtime_error("pgbench -i failed: " + made.output);
    source_.exec(
        "create publication shop for table pgbench_accounts, pgbench_tellers, "
        "pgbench_branches, pgbench_history");
}

Bank::~Bank() { stop(); }

void Bank::start(int clients, int per_second) {
    std::vector<std::string> args{"-n",   "-c", std::to_string(clients),   "-j", "1", "-T",
                                  "3600", "-R", std::to_string(per_second)};
    args.insert(args.end(), script_.begin(), script_.end());
    args.push_back(source_.url());
    const int before = transactions();
    load_ = std::make_unique<ChildProcess>(pgbench(), ChildOptions{.args = args});
    // Whatever is tested beside a load that does nothing, is not.
    EXPECT_TRUE(eventually([&] { return transactions() > before; }));
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

int Bank::transactions() {
    return std::stoi(source_.value("select count(*) from pgbench_history"));
}

std::string Bank::difference(Replica& replica) {
    return replica.difference_of_tables(
        {"pgbench_accounts", "pgbench_tellers", "pgbench_branches", "pgbench_history"});
}

void Bank::expect_nothing_lost(Replica& replica, int balances_min) {
    stop();
    EXPECT_TRUE(replica.catches_up());
    EXPECT_EQ(difference(replica), "");
    expect_clean_end(replica, balances_min);
}

void Bank::expect_nothing_lost(Replica& replica, FaultTrial& trial) {
    trial.expect_recovery(replica);
    stop();
    EXPECT_TRUE(replica.catches_up());
    trial.expect_equal(replica);
    expect_clean_end(replica, 1);
}

void Bank::expect_clean_end(Replica& replica, int balances_min) {
    EXPECT_EQ(replica.stop().code, 0);
    int balances = 0;
    EXPECT_EQ(unbalanced(replica.reader(), balances), "");
    EXPECT_GE(balances, balances_min);
    EXPECT_EQ(replica.leftovers_at_source(), "");
}

std::string Bank::unbalanced(LakeReader lake, int& balances) {
    const auto visible = lake.query(
        "select snapshot_id from __ducklake_metadata_lake.ducklake_snapshot as s where 4 = (select "
        "count(*) from __ducklake_metadata_lake.ducklake_table as t where t.table_name in "
        "('pgbench_accounts', 'pgbench_tellers', 'pgbench_branches', 'pgbench_history') and "
        "s.snapshot_id >= t.begin_snapshot and (t.end_snapshot is null or s.snapshot_id < "
        "t.end_snapshot)) order by 1");
    std::set<std::string> seen;
    for (const auto& row : visible) {
        const std::string at = fmt::format("at (version => {})", row[0]);
        const auto sums = lake.query(fmt::format(
            "select (select coalesce(sum(abalance), 0) from lake.public.pgbench_accounts {0}), "
            "(select coalesce(sum(tbalance), 0) from lake.public.pgbench_tellers {0}), "
            "(select coalesce(sum(bbalance), 0) from lake.public.pgbench_branches {0}), "
            "(select coalesce(sum(delta), 0) from lake.public.pgbench_history {0})",
            at))[0];
        seen.insert(sums[0]);
        if (sums[0] != sums[1] || sums[0] != sums[2] || sums[0] != sums[3]) {
            return fmt::format("snapshot {}: accounts {}, tellers {}, branches {}, history {}",
                               row[0], sums[0], sums[1], sums[2], sums[3]);
        }
    }
    balances = static_cast<int>(seen.size());
    return {};
}

}  // namespace walbrook::testing
