#include "decode/damage_testing.h"
#include "decode/decode_testing.h"
#include "fuzz/fuzz.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

// What a fuzzer once found worth keeping, and damage to the seeds that is the same each time.
namespace walbrook {
namespace {

TEST(Replay, Corpus) {
    std::ifstream file(WALBROOK_FUZZ_CORPUS);
    ASSERT_TRUE(file) << WALBROOK_FUZZ_CORPUS;
    std::size_t inputs = 0;
    for (std::string line; std::getline(file, line); ++inputs) {
        SCOPED_TRACE(line);
        fuzz::run(hex(line));
        if (HasFailure()) return;
    }
    EXPECT_GT(inputs, 0U) << "the corpus is empty: scripts/fuzz makes one";
    RecordProperty("inputs", static_cast<int>(inputs));
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
        fuzz::run(input);
        if (HasFailure()) return;
    }
}

}  // namespace
}  // namespace walbrook
