#include "sim/run.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

// sim_test                        10,000 seeds, half of them fresh; planted bugs of the harness
// sim_test --seeds 1..100000      those alone
// sim_test --seed 4711 [--trace]  one again, with every step
// sim_test --soak                 WALBROOK_SIM_SEEDS fresh ones (a million), on all cores
namespace walbrook::sim {
namespace {

constexpr std::uint64_t kBlocks = 8;  // Which ctest runs side by side.
constexpr std::uint64_t kSeedsOfBlock = 1250;
constexpr std::uint64_t kSeedsForABug = 1000;
constexpr std::uint64_t kSeedsTwice = 60;
constexpr std::uint64_t kSoakSeeds = 1'000'000;
constexpr int kFailuresMax = 5;

std::optional<Seeds> asked;
bool trace = false;

// On so many threads. Returns what was covered.
Coverage run(Seeds seeds, unsigned threads) {
    std::mutex mutex;  // Guards coverage and the report of failures.
    Coverage coverage;
    std::atomic<int> failures = 0;
    std::atomic<std::uint64_t> next = 0;
    const auto work = [&] {
        Coverage mine;
        for (std::uint64_t i = next++; i < seeds.count && failures < kFailuresMax; i = next++) {
            const std::uint64_t seed = seeds.first + i;
            const Outcome outcome = run_seed(seed, Bug::none, trace);
            mine.add(outcome.coverage);
            if (!outcome.violation) continue;
            ++failures;
            const std::lock_guard lock(mutex);
            ADD_FAILURE() << "--seed " << seed << ": " << *outcome.violation;
        }
        const std::lock_guard lock(mutex);
        coverage.add(mine);
    };
    const auto began = std::chrono::steady_clock::now();
    {
        std::vector<std::jthread> others;
        for (unsigned i = 1; i < threads; ++i) others.emplace_back(work);
        work();
    }
    const auto took =
        std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now() - began);
    fmt::print("{} seeds from {} in {} s: {}\n", seeds.count, seeds.first, took.count(),
               coverage.print());
    return coverage;
}

class Sim : public ::testing::TestWithParam<std::uint64_t> {};

// The first half of the blocks is the same every time, the rest is new.
TEST_P(Sim, Block) {
    const bool is_fixed = GetParam() < kBlocks / 2;
    const Coverage coverage = run(is_fixed ? Seeds{1 + GetParam() * kSeedsOfBlock, kSeedsOfBlock}
                                           : fresh_seeds(kSeedsOfBlock),
                                  1);
    // A simulation that no longer gets somewhere proves nothing there.
    EXPECT_EQ(coverage.missing(), "");
}

INSTANTIATE_TEST_SUITE_P(Seeds, Sim, ::testing::Range<std::uint64_t>(0, kBlocks));

// Or else a seed that failed would not be worth printing.
TEST(SimReplay, TheSameSeedIsTheSameRun) {
    const Seeds seeds = fresh_seeds(kSeedsTwice);
    std::set<std::uint64_t> digests;
    for (std::uint64_t seed = seeds.first; seed < seeds.first + seeds.count; ++seed) {
        const std::uint64_t digest = run_seed(seed).digest;
        EXPECT_EQ(run_seed(seed).digest, digest) << "--seed " << seed;
        digests.insert(digest);
    }
    EXPECT_EQ(digests.size(), seeds.count);
}

class PlantedBug : public ::testing::TestWithParam<std::pair<const char*, Bug>> {};

TEST_P(PlantedBug, IsFound) {
    const Seeds seeds = fresh_seeds(kSeedsForABug);
    for (std::uint64_t i = 0; i < seeds.count; ++i) {
        const auto found = run_seed(seeds.first + i, GetParam().second).violation;
        if (!found) continue;
        fmt::print("found by seed {} of {}: {}\n", i + 1, seeds.first,
                   found->substr(0, found->find('\n')));
        return;
    }
    FAIL() << "not found in " << kSeedsForABug << " seeds from " << seeds.first;
}

INSTANTIATE_TEST_SUITE_P(Sim, PlantedBug,
                         ::testing::Values(std::pair{"SkipsWriterWait", Bug::skips_writer_wait},
                                           std::pair{"IgnoresInProgress", Bug::ignores_in_progress},
                                           std::pair{"PublishesTooEarly", Bug::publishes_too_early},
                                           std::pair{"ConfirmsTooEarly", Bug::confirms_too_early},
                                           std::pair{"ForgetsPosition", Bug::forgets_position},
                                           std::pair{"AsksOneSnapshot", Bug::asks_one_snapshot},
                                           std::pair{"RangesOfPlaces", Bug::ranges_of_places},
                                           std::pair{"CutsTooLate", Bug::cuts_too_late},
                                           std::pair{"SkipsFailedUnits", Bug::skips_failed_units}),
                         [](const auto& param) { return std::string(param.param.first); });

// Registered only where seeds are asked for.
class Asked : public ::testing::Test {
 public:
    explicit Asked(unsigned threads) : threads_(threads) {}
    void TestBody() override { run(*asked, threads_); }

 private:
    const unsigned threads_;
};

std::optional<std::uint64_t> parse_number(std::string_view text) {
    std::uint64_t value = 0;
    const auto end = std::from_chars(text.data(), text.data() + text.size(), value);
    if (end.ec != std::errc() || end.ptr != text.data() + text.size()) return std::nullopt;
    return value;
}

std::optional<Seeds> parse_seeds(std::string_view text) {
    const std::size_t dots = text.find("..");
    const auto first = parse_number(text.substr(0, dots));
    const auto last = dots == std::string_view::npos ? first : parse_number(text.substr(dots + 2));
    if (!first || !last || *last < *first) return std::nullopt;
    return Seeds{*first, *last - *first + 1};
}

// Of `make soak`.
std::optional<Seeds> soak_seeds() {
    const char* const environment = std::getenv("WALBROOK_SIM_SEEDS");
    const auto count = environment == nullptr ? kSoakSeeds : parse_number(environment);
    return count ? std::optional(fresh_seeds(*count)) : std::nullopt;
}

bool parse_arguments(int count, char** arguments) {
    unsigned threads = 1;
    for (int i = 1; i < count; ++i) {
        const std::string_view word = arguments[i];
        if (word == "--trace") {
            trace = true;
        } else if (word == "--soak") {
            asked = soak_seeds();
            threads = std::max(1U, std::thread::hardware_concurrency());
            if (!asked) return false;
        } else if ((word == "--seed" || word == "--seeds") && i + 1 < count) {
            asked = parse_seeds(arguments[++i]);
            if (!asked) return false;
        } else {
            return false;
        }
    }
    if (!asked) return true;
    ::testing::RegisterTest("SimAsked", "Seeds", nullptr, nullptr, __FILE__, __LINE__,
                            [threads]() -> ::testing::Test* { return new Asked(threads); });
    ::testing::GTEST_FLAG(filter) = "SimAsked.*";
    return true;
}

}  // namespace
}  // namespace walbrook::sim

int main(int argc, char** argv) {
    ::testing::InitGoogleTest(&argc, argv);
    if (!walbrook::sim::parse_arguments(argc, argv)) {
        fmt::print(stderr, "usage: sim_test [--seeds A..B | --seed N | --soak] [--trace]\n");
        return 64;
    }
    return walbrook::sim::run_tests();
}
