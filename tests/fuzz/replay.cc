#include "decode/damage_testing.h"
#include "decode/decode_testing.h"
#include "fuzz/fuzz.h"
#include "fuzz/memory_bound.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <string>

// What a fuzzer once found worth keeping, and damage to the seeds that is the same each time.
namespace walbrook {
namespace {

std::size_t largest = 0;

void run(const std::string& input) {
    const std::size_t bytes = fuzz::run_and_count(input);
    EXPECT_LE(bytes, fuzz::memory_bound(input.size())) << "for " << input.size() << " bytes";
    largest = std::max(largest, bytes);
}

TEST(Replay, Corpus) {
    std::ifstream file(WALBROOK_FUZZ_CORPUS);
    ASSERT_TRUE(file) << WALBROOK_FUZZ_CORPUS;
    std::size_t inputs = 0;
    for (std::string line; std::getline(file, line); ++inputs) {
        SCOPED_TRACE(line);
        run(hex(line));
        if (HasFailure()) return;
    }
    EXPECT_GT(inputs, 0U) << "the corpus is empty: scripts/fuzz makes one";
    RecordProperty("inputs", static_cast<int>(inputs));
    EXPECT_EQ(largest > 0, fuzz::counts_memory());
    RecordProperty("most_bytes_at_once", static_cast<int>(largest));
}

TEST(Replay, DamagedSeeds) {
    const std::vector<std::string> seeds = fuzz::seeds();
    ASSERT_FALSE(seeds.empty());
    constexpr std::size_t kTries = 3000;
    Damager damager(20'241'124);
    for (std::size_t i = 0; i < seeds.size() + kTries; ++i) {
        const std::string& seed = seeds[i % seeds.size()];
        const std::string input = i < seeds.size() ? seed : damager.damage(seed);
        SCOPED_TRACE(to_hex(input));
        run(input);
        if (HasFailure()) return;
    }
}

}  // namespace
}  // namespace walbrook
