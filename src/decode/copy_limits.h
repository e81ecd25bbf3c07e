#pragma once

#include "walbrook/batch.h"

#include <algorithm>
#include <cstddef>

namespace walbrook {

// When a COPY parser stops to let the caller take its batch away. One row may go over
// the bytes: a row larger than the budget is a batch of its own.
struct CopyLimits {
    std::size_t rows_max = 0;
    std::size_t bytes_max = 0;  // Of the batch (RowBatch::bytes); looked at now and then.
};

namespace internal {

// Watches a batch grow. Measuring one walks all its columns, so that is not done for
// each row, but after so much of it, or a sixteenth of the limit if that is less.
class CopyGauge {
 public:
    explicit CopyGauge(CopyLimits limits) : limits_(limits) {}

    // To be called after each row, with the bytes it took in the COPY.
    bool reached_limit(const RowBatch& out, std::size_t row_bytes) {
        constexpr std::size_t measure_bytes = 65'536;
        constexpr std::size_t measure_rows = 64;
        rows_ += 1;
        bytes_ += row_bytes;
        if (out.rows() >= limits_.rows_max) return true;
        if (rows_ < measure_rows && bytes_ < std::min(measure_bytes, limits_.bytes_max / 16)) {
            return false;
        }
        rows_ = 0;
        bytes_ = 0;
        std::size_t held = 0;
        for (const Column& column : out.columns()) held += column.bytes();
        return held >= limits_.bytes_max;
    }

 private:
    CopyLimits limits_;
    std::size_t rows_ = 0;  // Since the batch was last measured.
    std::size_t bytes_ = 0;
};

// What a failed row left is gone. (RowBatch::truncate belongs to a later folder.)
inline void truncate_columns(RowBatch& out, std::size_t rows) {
    for (Column& column : out.columns()) column.truncate(rows);
}

}  // namespace internal

}  // namespace walbrook
