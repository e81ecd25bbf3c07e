#pragma once

#include "walbrook/column.h"

#include <cstdint>
#include <span>

namespace walbrook {

// Copies of many values at once, column by column: the decision which kind of value
// it is falls once a column, not once a value. Both columns have the same type.

// Values [first, first + count) of `from`.
void append_range(Column& to, const Column& from, std::size_t first, std::size_t count);

// The values at `rows`, in that order; a negative row gives a null.
void append_rows(Column& to, const Column& from, std::span<const std::int32_t> rows);

void append_nulls(Column& to, std::size_t count);

}  // namespace walbrook
