#pragma once

#include "destinations/ducklake/lake.h"
#include "walbrook/batch.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace walbrook::ducklake {

// By attribute number: what ALTER TABLE … ADD COLUMN … DEFAULT says of a column.
using DefaultLiterals = std::map<std::int16_t, std::string>;

// How the values of `existing`, the row that a SchemaChange brings, are written as the default
// of these columns of it, which are added; those that are null have no entry.
//
// DuckLake keeps the default of an added column as text in its catalog, and every reader
// takes it for the rows of files that lack the column. So a value goes this way only if
// DuckDB makes the very same value of its text again. ErrorCode::schema_mismatch (with the
// table) for those of which it does not: lists, and JSON that only Postgres takes.
Result<DefaultLiterals> default_literals(Lake& lake, const RowBatch& existing,
                                         const std::vector<std::size_t>& added);

}  // namespace walbrook::ducklake
