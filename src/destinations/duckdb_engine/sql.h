#pragma once

#include <string>
#include <string_view>

#include "walbrook/schema.h"

namespace walbrook::duckdb_engine {

// The only places where text becomes SQL.

// "name" with its quotes doubled.
std::string quote_identifier(std::string_view name);
// 'text' with its quotes doubled; DuckDB knows no backslash escapes in it.
std::string quote_literal(std::string_view text);
// The name of the DuckDB type that holds a column exactly: "DECIMAL(12,2)[]".
std::string sql_type(const ColumnType& type);
// True for names that DuckDB holds to be the same: it folds ASCII letters only.
bool same_name(std::string_view a, std::string_view b);
// A name as DuckDB compares it.
std::string folded(std::string_view name);

}  // namespace walbrook::duckdb_engine
