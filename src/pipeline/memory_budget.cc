#include "pipeline/memory_budget.h"

#include <algorithm>

namespace walbrook {
namespace {

constexpr std::uint64_t kMiB = 1ULL << 20;
constexpr std::uint64_t kMemoryMax = 1ULL << 50;

// Shares of the memory limit bind on small machines; on large ones these do: more memory
// would not make a pipeline faster, and it is a guest on its machine.
constexpr std::uint64_t kBatchFlushesMax = 24;  // Of batch.max_bytes.
constexpr std::uint64_t kBatchBytesMin = 4 * kMiB;
constexpr std::uint64_t kDestinationBytesPerCpu = 128 * kMiB;
constexpr std::uint64_t kDestinationBytesMin = 96 * kMiB;
constexpr std::uint64_t kDestinationShare = 3;  // A third of the limit at most.
constexpr std::uint64_t kInNeedShare = 2;       // For a value of hundreds of MiB, half of it.
constexpr unsigned kCpusMax = 8;

// Half of the memory of batches is for what waits, half for what is being written; and
// counted bytes may take twice their number.
constexpr std::uint64_t kWaitingShare = 4;
constexpr std::uint64_t kFlushShare = 24;
constexpr std::size_t kPendingFlushes = 6;
constexpr std::size_t kSliceFlushes = 2;
constexpr std::size_t kChunkBytesMin = 1024;

// A unit holds a row group and the batches on their way to it.
constexpr std::uint64_t kUnitBytes = 48 * kMiB;

}  // namespace

MemoryBudget divide_memory(const MachineLimits& machine, const BatchConfig& batch) {
    MemoryBudget budget;
    budget.limit_bytes = machine.memory_bytes;

    // A machine whose memory could not be read counts as very large.
    const auto memory = static_cast<double>(std::min(machine.memory_bytes, kMemoryMax));
    const auto share = static_cast<std::uint64_t>(memory * batch.memory_budget_ratio);
    budget.batch_bytes =
        std::min(std::max(share, kBatchBytesMin), batch.max_bytes * kBatchFlushesMax);
    budget.flush_bytes = std::min(batch.max_bytes, budget.batch_bytes / kFlushShare);
    budget.pending_bytes_max = budget.flush_bytes * kPendingFlushes;
    budget.slice_bytes = budget.flush_bytes * kSliceFlushes;
    budget.waiting_bytes_max = budget.batch_bytes / kWaitingShare;
    budget.chunk_bytes = std::max(budget.flush_bytes / 2, kChunkBytesMin);

    const unsigned cpus = std::clamp(machine.cpus, 1U, kCpusMax);
    budget.destination_bytes =
        std::max(std::min(machine.memory_bytes / kDestinationShare, cpus * kDestinationBytesPerCpu),
                 kDestinationBytesMin);
    budget.destination_bytes_in_need =
        std::max(budget.destination_bytes, machine.memory_bytes / kInNeedShare);
    budget.copy_units_max =
        static_cast<unsigned>(std::max<std::uint64_t>(budget.destination_bytes / kUnitBytes, 1));
    return budget;
}

}  // namespace walbrook
