#pragma once

#include <memory>
#include <string>

#include "integration/replica.h"

namespace walbrook::testing {

// pgbench's TPC-B: four tables, of which pgbench_history has no key, and transactions
// that keep sum(abalance) = sum(tbalance) = sum(bbalance) = sum(delta).
class Bank {
 public:
    // Makes the tables (scale: 100,000 accounts each), filled and published as `shop`.
    Bank(Database& source, int scale);
    ~Bank();

    // Runs transactions beside the test, until stop(); at most `per_second` of them.
    void start(int clients = 4, int per_second = 300);
    void stop();

    // Empty when all four tables are the same on both sides.
    std::string difference(Replica& replica);
    // Reads every snapshot of the lake in which all four tables are visible. Empty when
    // the sums agree in each; else the first one where they do not. `distinct` gets the
    // number of different balances that were seen.
    static std::string unbalanced(LakeReader lake, int* snapshots, int* distinct);

 private:
    Database& source_;
    std::unique_ptr<ChildProcess> load_;
};

}  // namespace walbrook::testing
