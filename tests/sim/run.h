#pragma once

#include "sim/world.h"

#include <cstdint>
#include <optional>
#include <string>

// What the programs of the simulation share.
namespace walbrook::sim {

struct Seeds {
    std::uint64_t first = 0;
    std::uint64_t count = 0;
};
// So many that nobody has tried before.
Seeds fresh_seeds(std::uint64_t count);

struct Outcome {
    std::optional<std::string> violation;
    Coverage coverage;
    std::uint64_t digest = 0;
};
// One run, whatever becomes of it. If the process dies of it, the seed is printed.
Outcome run_seed(std::uint64_t seed, Bug bug = Bug::none, bool trace = false);

// Makes the folder for spill files, runs the tests and takes it away.
int run_tests();

}  // namespace walbrook::sim
