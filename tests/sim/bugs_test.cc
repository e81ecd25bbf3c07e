#include "sim/run.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

// Which of the mistakes in bugs.cmake the product has now; 0: none.
int walbrook_planted_bug = 0;

// sim_bugs_test   each bug that is planted in the product is found within 1,000 fresh seeds
namespace walbrook::sim {
namespace {

constexpr std::uint64_t kSeedsForABug = 1000;

class ProductBug : public ::testing::TestWithParam<std::pair<const char*, int>> {};

TEST_P(ProductBug, IsFound) {
    walbrook_planted_bug = GetParam().second;
    const Seeds seeds = fresh_seeds(kSeedsForABug);
    for (std::uint64_t i = 0; i < seeds.count; ++i) {
        const auto found = run_seed(seeds.first + i).violation;
        if (!found) continue;
        fmt::print("found by seed {} of {}: {}\n", i + 1, seeds.first,
                   found->substr(0, found->find('\n')));
        return;
    }
    FAIL() << "not found in " << kSeedsForABug << " seeds from " << seeds.first;
}

INSTANTIATE_TEST_SUITE_P(
    Sim, ProductBug,
    ::testing::Values(std::pair{"ConfirmsWhatWasReceived", 1},
                      std::pair{"PublishesBeforeTheStream", 2}, std::pair{"RepeatsWhatLanded", 3},
                      std::pair{"TakesRepetitionsForNew", 4}, std::pair{"KeepsAbortedRows", 5},
                      std::pair{"KeepsCopiesOverAFailover", 6}, std::pair{"TrustsAMovedSlot", 7},
                      std::pair{"FollowsARewrite", 8}, std::pair{"GoesOnWithAnotherServer", 9},
                      std::pair{"ErrorsOverAnOutage", 10}, std::pair{"ErrorsOverALostCopy", 11},
                      std::pair{"PlansNoRetry", 12}, std::pair{"ForgetsARetry", 13},
                      std::pair{"ForgetsAFailedCopy", 14}),
    [](const auto& param) { return std::string(param.param.first); });

}  // namespace
}  // namespace walbrook::sim

int main(int argc, char** argv) {
    ::testing::InitGoogleTest(&argc, argv);
    return walbrook::sim::run_tests();
}
