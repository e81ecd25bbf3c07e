#pragma once

#include "destinations/duckdb_engine/engine.h"
#include "walbrook/batch.h"

#include <string>
#include <string_view>

// DuckDB's Parquet writer takes 0.0 and -0.0 for the same value when it makes a dictionary
// (1.5.5: 500 zeros and 500 minus zeros are read back as 1,000 zeros), and Postgres prints
// them differently. DuckLake's own writing offers no way to switch dictionaries off, so
// nothing that holds a minus zero may go through it.
namespace walbrook::ducklake {

bool is_float(const ColumnType& type);
bool has_floats(const TableSchema& table);
// Whether a float, or an element of a list of floats, is -0.0.
bool has_minus_zero(const RowBatch& rows);
// The same of what `from` (a name or a subquery) holds in the lake.
Result<bool> has_minus_zero(duckdb_engine::Connection& session, const TableSchema& table,
                            std::string_view from, const std::stop_token& stop);
// Of COPY … TO, for rows of this table.
std::string_view parquet_options(const TableSchema& table);

}  // namespace walbrook::ducklake
