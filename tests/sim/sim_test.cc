#include "sim/world.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <unistd.h>

// sim_test                        seeds 1..500 and some fresh ones, then the planted bugs
// sim_test --seeds 1..100000      those alone; so does WALBROOK_SIM_SEEDS=1..100000
// sim_test --seed 4711 [--trace]  one again, with every step
namespace walbrook::sim {
namespace {

struct Seeds {
    std::uint64_t first = 0;
    std::uint64_t last = 0;
};

constexpr Seeds kFixed{1, 500};
constexpr std::uint64_t kFresh = 100;
constexpr std::uint64_t kSeedsForABug = 1000;

std::optional<Seeds> asked;
bool trace = false;
std::string spill_directory;

// Of the run that goes on, for the handler of a failed CHECK.
std::uint64_t present_seed = 0;

extern "C" void on_abort(int signal_number) {
    std::array<char, 64> text{};
    const auto out =
        fmt::format_to_n(text.data(), text.size(), "\nit died with --seed {}\n", present_seed);
    // Nothing can be done about a failed write here.
    if (write(STDERR_FILENO, text.data(), out.size) < 0) {
    }
    std::signal(signal_number, SIG_DFL);
    (void)std::raise(signal_number);
}

std::optional<std::string> violation(std::uint64_t seed, Bug bug, Coverage* coverage) {
    present_seed = seed;
    World world({seed, bug, trace, spill_directory});
    try {
        world.run();
    } catch (const Violation& found) {
        return found.what();
    }
    if (coverage != nullptr) coverage->add(world.coverage());
    return std::nullopt;
}

Coverage run(Seeds seeds) {
    Coverage coverage;
    int failures = 0;
    for (std::uint64_t seed = seeds.first; seed <= seeds.last && failures < 5; ++seed) {
        if (const auto found = violation(seed, Bug::none, &coverage)) {
            ++failures;
            ADD_FAILURE() << "--seed " << seed << ": " << *found;
        }
    }
    fmt::print(
        "seeds {}..{}: {} flushes ({} slices), {} transactions and {} streamed ones ({} aborts), "
        "{} truncates, {} tables published ({} in ranges), {} copies lost ({} to moves), {} tables "
        "stopped, {} refused, "
        "{} crashes, {} disconnects, {} cuts ({} lost, {} rows put right)\n",
        seeds.first, seeds.last, coverage.flushes, coverage.slices, coverage.transactions,
        coverage.streamed, coverage.stream_aborts, coverage.truncates, coverage.published,
        coverage.published_in_ranges, coverage.copies_lost, coverage.moves_lost,
        coverage.tables_stopped, coverage.refused, coverage.crashes, coverage.disconnects,
        coverage.cuts, coverage.cuts_lost, coverage.repaired_rows);
    return coverage;
}

TEST(Sim, FixedSeeds) {
    const Coverage coverage = run(asked.value_or(kFixed));
    if (asked) return;
    // A simulation that no longer gets somewhere proves nothing there.
    EXPECT_GT(coverage.slices, 0U);
    EXPECT_GT(coverage.streamed, 0U);
    EXPECT_GT(coverage.stream_aborts, 0U);
    EXPECT_GT(coverage.truncates, 0U);
    EXPECT_GT(coverage.published_in_ranges, 0U);
    EXPECT_GT(coverage.copies_lost, 0U);
    EXPECT_GT(coverage.tables_stopped, 0U);
    EXPECT_GT(coverage.refused, 0U);
    EXPECT_GT(coverage.crashes, 0U);
    EXPECT_GT(coverage.disconnects, 0U);
    EXPECT_GT(coverage.cuts, 0U);
    EXPECT_GT(coverage.cuts_lost, 0U);
    EXPECT_GT(coverage.repaired_rows, 0U);
}

TEST(Sim, FreshSeeds) {
    if (asked) GTEST_SKIP() << "seeds were given";
    std::random_device device;
    const std::uint64_t first = 1'000'000 + device() % 1'000'000'000ULL;
    run({first, first + kFresh - 1});
}

class PlantedBug : public testing::TestWithParam<std::pair<const char*, Bug>> {};

TEST_P(PlantedBug, IsFound) {
    if (asked) GTEST_SKIP() << "seeds were given";
    for (std::uint64_t seed = 1; seed <= kSeedsForABug; ++seed) {
        const auto found = violation(seed, GetParam().second, nullptr);
        if (!found) continue;
        fmt::print("found with seed {}: {}\n", seed, found->substr(0, found->find('\n')));
        return;
    }
    FAIL() << "not found in " << kSeedsForABug << " seeds";
}

INSTANTIATE_TEST_SUITE_P(Sim, PlantedBug,
                         testing::Values(std::pair{"SkipsWriterWait", Bug::skips_writer_wait},
                                         std::pair{"IgnoresInProgress", Bug::ignores_in_progress},
                                         std::pair{"PublishesTooEarly", Bug::publishes_too_early},
                                         std::pair{"ConfirmsTooEarly", Bug::confirms_too_early},
                                         std::pair{"RepeatsUnknownFlush",
                                                   Bug::repeats_unknown_flush},
                                         std::pair{"ForgetsPosition", Bug::forgets_position},
                                         std::pair{"AsksOneSnapshot", Bug::asks_one_snapshot},
                                         std::pair{"RangesOfPlaces", Bug::ranges_of_places},
                                         std::pair{"CutsTooLate", Bug::cuts_too_late}),
                         [](const auto& param) { return std::string(param.param.first); });

std::optional<std::uint64_t> parse_seed(std::string_view text) {
    std::uint64_t value = 0;
    const auto end = std::from_chars(text.data(), text.data() + text.size(), value);
    if (end.ec != std::errc() || end.ptr != text.data() + text.size()) return std::nullopt;
    return value;
}

std::optional<Seeds> parse_seeds(std::string_view text) {
    const std::size_t dots = text.find("..");
    const auto first = parse_seed(text.substr(0, dots));
    const auto last = dots == std::string_view::npos ? first : parse_seed(text.substr(dots + 2));
    if (!first || !last) return std::nullopt;
    return Seeds{*first, *last};
}

bool parse_arguments(int count, char** arguments) {
    const char* const environment = std::getenv("WALBROOK_SIM_SEEDS");
    if (environment != nullptr && !(asked = parse_seeds(environment))) return false;
    for (int i = 1; i < count; ++i) {
        const std::string_view word = arguments[i];
        if (word == "--trace") {
            trace = true;
        } else if ((word == "--seed" || word == "--seeds") && i + 1 < count) {
            asked = parse_seeds(arguments[++i]);
            if (!asked) return false;
        } else {
            return false;
        }
    }
    return true;
}

}  // namespace
}  // namespace walbrook::sim

int main(int argc, char** argv) {
    using namespace walbrook::sim;
    testing::InitGoogleTest(&argc, argv);
    if (!parse_arguments(argc, argv)) {
        fmt::print(stderr, "usage: sim_test [--seeds A..B | --seed N] [--trace]\n");
        return 64;
    }
    std::string directory =
        (std::filesystem::temp_directory_path() / "walbrook-sim-XXXXXX").string();
    if (mkdtemp(directory.data()) == nullptr) return 70;
    spill_directory = directory;
    std::signal(SIGABRT, on_abort);
    std::signal(SIGSEGV, on_abort);
    const int result = RUN_ALL_TESTS();
    std::filesystem::remove_all(directory);
    return result;
}
