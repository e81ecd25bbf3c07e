#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace walbrook {

// What the machine, or the container that we run in, gives this process.
struct MachineLimits {
    std::uint64_t memory_bytes = 0;
    bool is_container = false;  // The limit is a control group's, not the machine's memory.
    unsigned cpus = 1;
};

// The smallest limit among our control group and those above it (version 2 or 1), else
// the physical memory; and likewise the processors. `root` is "/" except in tests.
MachineLimits read_machine_limits(const std::filesystem::path& root = "/");

// Memory in use that counts against the limit: of our control group where one sets it,
// else of this process. Caches of files do not count: the system takes them back by
// itself. Nothing where it cannot be read.
std::optional<std::uint64_t> read_memory_in_use(const MachineLimits& limits,
                                                const std::filesystem::path& root = "/");

// Gives back to the system what the allocator keeps for later.
void release_free_memory();

}  // namespace walbrook
