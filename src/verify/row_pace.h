#pragma once

#include "base/clock.h"

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace walbrook::verify {

// How long to rest after reading rows, so that no more than so many are read in a second.
class RowPace {
 public:
    // 0: no limit.
    explicit RowPace(std::uint64_t rows_per_second_max) : max_(rows_per_second_max) {}

    // What one statement should read at most, so that the pace is even; 0: as much as it likes.
    std::uint64_t statement_rows() const {
        return max_ == 0 ? 0 : std::max<std::uint64_t>(max_ / 2, 1);
    }

    // So many have been read just now.
    std::chrono::milliseconds rest_after(std::uint64_t rows, Instant now) {
        if (max_ == 0 || rows == 0) return {};
        // The time that reading took is not given back: a slow source may be a busy one.
        until_ = std::max(until_, now) +
                 std::chrono::duration_cast<Instant::duration>(std::chrono::duration<double>(
                     static_cast<double>(rows) / static_cast<double>(max_)));
        return std::chrono::ceil<std::chrono::milliseconds>(until_ - now);
    }

 private:
    const std::uint64_t max_;
    Instant until_{};
};

}  // namespace walbrook::verify
