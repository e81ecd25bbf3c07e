#pragma once

#include "base/memory.h"
#include "walbrook/config.h"

#include <cstddef>
#include <cstdint>

namespace walbrook {

// What each part of a pipeline may use of the memory; docs/design/memory.md has the
// reasons. Nobody else chooses a size.
//
// "Counted" bytes are what arrived and lies in batches; the memory behind them may be
// twice as much, because columns grow by doubling.
struct MemoryBudget {
    std::uint64_t limit_bytes = 0;  // Of the machine, the container, or the caller's choice.

    // All batches of changes: what waits, and what is being written.
    std::uint64_t batch_bytes = 0;
    std::size_t flush_bytes = 0;        // A flush is due at this size. Counted.
    std::size_t pending_bytes_max = 0;  // Reading pauses while this much waits. Counted.
    std::size_t slice_bytes = 0;        // Held changes applied at once. Counted.
    // In memory, of all that waits; the rest is spilled. Counted.
    std::size_t waiting_bytes_max = 0;
    std::size_t chunk_bytes = 0;  // One batch, and one record of a spill file. Counted.

    // The destination's own: buffers, caches, sorting.
    std::uint64_t destination_bytes = 0;
    // The same while one value is so large that nothing less will do.
    std::uint64_t destination_bytes_in_need = 0;
    // Units of copies, over all tables, that are read and written at the same time.
    unsigned copy_units_max = 1;
};

MemoryBudget divide_memory(const MachineLimits& machine, const BatchConfig& batch);

}  // namespace walbrook
