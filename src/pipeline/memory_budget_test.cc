#include "pipeline/memory_budget.h"

#include <gtest/gtest.h>

#include <vector>

namespace walbrook {
namespace {

constexpr std::uint64_t kMiB = 1ULL << 20;

MemoryBudget divide(std::uint64_t limit_bytes, unsigned cpus, BatchConfig batch = {}) {
    return divide_memory({limit_bytes, false, cpus}, batch);
}

// Columns may take twice what is counted, and one log waits while another is written.
std::uint64_t batches_at_worst(const MemoryBudget& budget) { return budget.waiting_bytes_max * 4; }

// However large the machine is, a pipeline stays a small guest (issue 1: under 600 MiB).
TEST(MemoryBudget, AbsoluteSizesCapALargeMachine) {
    for (const std::uint64_t limit : {8192 * kMiB, 24'105 * kMiB, 1024 * 1024 * kMiB}) {
        SCOPED_TRACE(limit);
        const MemoryBudget budget = divide(limit, 2);
        EXPECT_EQ(budget.batch_bytes, 192 * kMiB);
        EXPECT_EQ(budget.flush_bytes, 8 * kMiB);
        EXPECT_EQ(budget.destination_bytes, 256 * kMiB);
        EXPECT_GE(budget.destination_bytes_in_need, 512 * kMiB);
        EXPECT_LE(budget.batch_bytes + budget.destination_bytes, 450 * kMiB);
    }
    EXPECT_EQ(divide(1024 * 1024 * kMiB, 128).destination_bytes, 1024 * kMiB);
}

TEST(MemoryBudget, SharesBindOnASmallMachine) {
    const MemoryBudget budget = divide(512 * kMiB, 2);
    EXPECT_EQ(budget.batch_bytes, static_cast<std::uint64_t>(512.0 * kMiB * 0.2));
    EXPECT_LT(budget.flush_bytes, 8 * kMiB);
    EXPECT_LE(budget.destination_bytes, 512 * kMiB / 3);
    EXPECT_LT(budget.batch_bytes + budget.destination_bytes, 512 * kMiB * 6 / 10);
}

TEST(MemoryBudget, TheRatioHasAnEffect) {
    BatchConfig small;
    small.memory_budget_ratio = 0.01;
    EXPECT_EQ(divide(1000 * kMiB, 2, small).batch_bytes, 10 * kMiB);
    BatchConfig large;
    large.memory_budget_ratio = 0.15;
    EXPECT_EQ(divide(1000 * kMiB, 2, large).batch_bytes, 150 * kMiB);
}

// Who asks for larger flushes gets a larger budget, within the ratio.
TEST(MemoryBudget, FollowsTheSizeOfFlushes) {
    BatchConfig batch;
    batch.max_bytes = 64 * kMiB;
    EXPECT_EQ(divide(24'000 * kMiB, 2, batch).flush_bytes, 64 * kMiB);
    EXPECT_EQ(divide(24'000 * kMiB, 2, batch).batch_bytes, 24 * 64 * kMiB);
    EXPECT_LT(divide(1000 * kMiB, 2, batch).flush_bytes, 9 * kMiB);
    // And who asks for tiny ones gets a tiny budget: tests reach the spill files that way.
    batch.max_bytes = 4096;
    EXPECT_EQ(divide(24'000 * kMiB, 2, batch).flush_bytes, 4096U);
    EXPECT_EQ(divide(24'000 * kMiB, 2, batch).waiting_bytes_max, 6 * 4096U);
}

TEST(MemoryBudget, EveryPartIsAboveZeroAndFits) {
    for (const std::uint64_t limit :
         std::vector<std::uint64_t>{0, 1, kMiB, 64 * kMiB, 300 * kMiB, 1ULL << 40, ~0ULL}) {
        for (const double ratio : {1e-9, 0.2, 1.0}) {
            for (const std::uint64_t max_bytes : {1ULL, 1000ULL, 8ULL << 20, 1ULL << 30}) {
                for (const unsigned cpus : {0U, 1U, 2U, 500U}) {
                    BatchConfig batch;
                    batch.memory_budget_ratio = ratio;
                    batch.max_bytes = max_bytes;
                    const MemoryBudget budget = divide(limit, cpus, batch);
                    SCOPED_TRACE(::testing::Message() << limit << ' ' << ratio << ' ' << max_bytes);
                    EXPECT_GE(budget.flush_bytes, 1U);
                    EXPECT_LE(budget.flush_bytes, max_bytes);
                    EXPECT_GE(budget.chunk_bytes, 1024U);
                    EXPECT_GE(budget.pending_bytes_max, budget.flush_bytes);
                    EXPECT_GE(budget.slice_bytes, budget.flush_bytes);
                    EXPECT_LE(batches_at_worst(budget), budget.batch_bytes);
                    EXPECT_GE(budget.destination_bytes, 96 * kMiB);
                    EXPECT_GE(budget.copy_units_max, 1U);
                }
            }
        }
    }
}

}  // namespace
}  // namespace walbrook
