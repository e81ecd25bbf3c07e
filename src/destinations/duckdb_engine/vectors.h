#pragma once

#include <cstddef>

#include "walbrook/column.h"

namespace walbrook::duckdb_engine {

// DuckDB's vectors hold at most so many rows (STANDARD_VECTOR_SIZE).
inline constexpr std::size_t kVectorRows = 2048;

// `logical_type` and `vector` are a duckdb_logical_type and a duckdb_vector, as void*
// so that duckdb.h stays out of headers.

// The caller destroys it.
void* make_logical_type(const ColumnType& type);

// Writes rows [from, from + rows) of a column into a fresh vector of its type, straight
// into its memory. Text longer than 12 bytes is not copied: the vector then points into
// the column, which must live and stay unchanged as long as the vector is read.
void fill_vector(void* vector, const Column& column, std::size_t from, std::size_t rows);

}  // namespace walbrook::duckdb_engine
