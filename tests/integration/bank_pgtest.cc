// Money that moves between tables while they are copied and followed: no snapshot of
// the lake may show a sum that the source never had.

#include "integration/bank.h"
#include "support/eventually.h"
#include "support/pg_test.h"
#include "support/sanitized.h"

#include <random>

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
    ASSERT_TRUE(replica.catches_up());
    // Enough snapshots with money on the move.
    const int before = replica.snapshots();
    ASSERT_TRUE(
        eventually([&] { return replica.snapshots() >= before + (is_sanitized() ? 30 : 100); },
                   std::chrono::seconds(120)));
    bank.expect_nothing_lost(replica, is_sanitized() ? 15 : 50);
}

// The process dies at any moment, again and again, while money moves: nothing is lost,
// nothing doubled (history has no key: a row twice would stay twice).
TEST_P(BankTest, SurvivesKillsAtRandomMoments) {
    Bank bank = Bank::small(database());
    Replica replica(database());
    replica.configure("batch: {max_fill_ms: 50}");
    bank.start(4, 200);
    std::mt19937 random(static_cast<unsigned>(version()));
    for (int i = 0; i < (is_sanitized() ? 14 : 40); ++i) {
        SCOPED_TRACE(i);
        replica.start();
        // Moments from the first connection to steady streaming, and of that for sure.
        std::uniform_int_distribution<int> draw(1, 1500);
        if (i % 2 == 1) {
            const int before = replica.snapshots();
            ASSERT_TRUE(eventually([&] { return replica.snapshots() >= before + 3; }));
        }
        const auto moment =
            std::chrono::steady_clock::now() + std::chrono::milliseconds(draw(random));
        ASSERT_TRUE(eventually(
            [&] { return std::chrono::steady_clock::now() >= moment || !replica.is_running(); }));
        ASSERT_TRUE(replica.is_running());
        replica.kill();
    }
    replica.start();
    bank.expect_nothing_lost(replica);
}

}  // namespace
}  // namespace walbrook::testing
