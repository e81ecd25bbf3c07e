// Money that moves between tables while they are copied and followed: no snapshot of
// the lake may show a sum that the source never had.

#include "integration/bank.h"
#include "support/eventually.h"
#include "support/pg_test.h"

namespace walbrook::testing {
namespace {

class BankTest : public PgTest {};
INSTANTIATE_TEST_SUITE_P(Pg, BankTest, ::testing::ValuesIn(pg_versions()), version_name);

TEST_P(BankTest, EverySnapshotBalances) {
    Bank bank(database(), 1);
    Replica replica(database());
    replica.configure("batch: {max_fill_ms: 50}");
    bank.start();
    replica.start();
    // Enough snapshots with money on the move.
    int snapshots = 0;
    int distinct = 0;
    ASSERT_TRUE(replica.catches_up());
    ASSERT_TRUE(eventually([&] {
        const std::string problem = Bank::unbalanced(replica.reader(), &snapshots, &distinct);
        EXPECT_EQ(problem, "");
        return distinct >= 50 || !problem.empty();
    }));
    bank.stop();
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(bank.difference(replica), "");
    EXPECT_EQ(replica.stop().code, 0);
    EXPECT_EQ(Bank::unbalanced(replica.reader(), &snapshots, &distinct), "");
    EXPECT_GE(distinct, 50);
    EXPECT_EQ(replica.leftovers_at_source(), "");
}

}  // namespace
}  // namespace walbrook::testing
