#pragma once

#include "integration/fault_trial.h"
#include "integration/replica.h"

#include <memory>
#include <string>
#include <vector>

namespace walbrook::testing {

// pgbench's TPC-B: four tables, of which pgbench_history has no key, and transactions
// that keep sum(abalance) = sum(tbalance) = sum(bbalance) = sum(delta).
class Bank {
 public:
    // Makes the tables (scale: 100,000 accounts each), filled and published as `shop`.
    Bank(Database& source, int scale);
    // The same with 5,000 accounts, spread thin over as many blocks: what is compared
    // often should be small, and a copy should still have several units.
    static Bank small(Database& source) { return Bank(source, Thin{}); }
    ~Bank();

    // Runs transactions beside the test, until stop(); at most `per_second` of them. The first has
    // been when it returns.
    void start(int clients = 4, int per_second = 300);
    void stop();
    // Since the tables were made.
    int transactions();

    // Empty when all four tables are the same on both sides, row for row: a row that came
    // twice to pgbench_history, which has no key, is a difference too.
    std::string difference(Replica& replica);
    // The end of every test: with the load stopped the pipeline catches up and stops, all
    // rows are the same, every snapshot balances and nothing of ours is left at the source.
    // `balances_min`: so many different balances must have been seen on the way.
    void expect_nothing_lost(Replica& replica, int balances_min = 1);
    // The same after a fault, of which it is told; the load goes on until the pipeline has
    // recovered, and what is the same, `walbrook verify` says.
    void expect_nothing_lost(Replica& replica, FaultTrial& trial);

 private:
    void expect_clean_end(Replica& replica, int balances_min);
    struct Thin {};
    Bank(Database& source, Thin);
    void create(int scale);
    // Reads every snapshot of the lake in which all four tables are visible. Empty when
    // the sums agree in each; else the first one where they do not. `balances` gets the
    // number of different balances that were seen.
    static std::string unbalanced(LakeReader lake, int& balances);

    Database& source_;
    TempDir folder_{"bank"};
    std::vector<std::string> script_;  // Arguments of pgbench; none: its own TPC-B.
    std::unique_ptr<ChildProcess> load_;
};

}  // namespace walbrook::testing
