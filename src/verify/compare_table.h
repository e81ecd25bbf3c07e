#pragma once

#include "verify/report.h"
#include "verify/side.h"
#include "walbrook/result.h"

#include <cstddef>
#include <cstdint>
#include <stop_token>

namespace walbrook::verify {

struct CompareLimits {
    std::size_t differences_max;  // So many are kept.
    // Prints of so many rows are in memory at once, of both sides together; fewer of a table with
    // many columns.
    std::uint64_t rows_in_memory_max;
};

struct Comparison {
    TableResult result;
    Status named;  // Why not all rows that were to be named are, of a table that differs.
};

// Compares a table as both sides have it. `estimated_rows` may be anything: with an estimate that
// is far too low a table that differs is read once more. No error hides that it differs.
Result<Comparison> compare_table(Side& source, Side& destination, const ComparedTable& table,
                                 std::uint64_t estimated_rows, const CompareLimits& limits,
                                 const std::stop_token& stop);

}  // namespace walbrook::verify
