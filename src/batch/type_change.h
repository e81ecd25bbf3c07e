#pragma once

#include "walbrook/schema.h"

namespace walbrook {

// Whether a column may go from one type to the other with its values as they are: each of
// `from` is one of `to`, and Postgres prints it alike. Not float32 to float64, where 0.1
// becomes 0.10000000149011612.
bool keeps_values(const ColumnType& from, const ColumnType& to);

}  // namespace walbrook
