#pragma once

#include "walbrook/column.h"
#include "walbrook/schema.h"

#include <cstddef>
#include <string>

namespace walbrook {

// A value as Postgres prints it under DateStyle ISO, TimeZone UTC, extra_float_digits 3
// and bytea_output hex: for tests, messages about keys, and comparisons with the source.
// Never the hot path. The value must not be null; elements of lists may be.
std::string to_text(const ColumnSchema& schema, const Column& column, std::size_t row);

}  // namespace walbrook
