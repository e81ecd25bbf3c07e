#include "sim/run.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <unistd.h>

namespace walbrook::sim {
namespace {

std::string spill_directory;

// Of the run that goes on, for the handler of a failed CHECK.
thread_local std::uint64_t present_seed = 0;

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

}  // namespace

Seeds fresh_seeds(std::uint64_t count) {
    std::random_device device;
    return {1'000'000'000ULL + device() * std::uint64_t{1'000'000}, count};
}

Outcome run_seed(std::uint64_t seed, Bug bug, bool trace) {
    present_seed = seed;
    Outcome outcome;
    World world({seed, bug, trace, spill_directory});
    try {
        world.run();
    } catch (const Violation& found) {
        outcome.violation = found.what();
    }
    outcome.coverage = world.coverage();
    outcome.digest = world.digest();
    return outcome;
}

int run_tests() {
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

}  // namespace walbrook::sim
