#pragma once

#include "destinations/duckdb_engine/engine.h"
#include "walbrook/schema.h"

#include <string>
#include <vector>

namespace walbrook::ducklake {

inline constexpr std::string_view kShadowPrefix = "_walbrook_copy_";

// "_walbrook_copy_16384_2".
std::string shadow_name(TableId table, std::uint32_t attempt);
// lake."schema"."table".
std::string lake_name(const std::string& schema, const std::string& table);

// Why the lake cannot hold these tables, one message for each violation.
std::vector<std::string> table_refusals(const std::vector<TableSchemaPtr>& tables);

// CREATE TABLE and its comments, under another name if `table` says so.
Status create_table(duckdb_engine::Connection& session, const TableSchema& schema,
                    const std::string& table);

// Brings the columns of the lake's table from one version to another: columns are told
// apart by attribute number. ErrorCode::schema_mismatch (with the table) for what
// cannot be followed in place; then the table must be copied again.
Status change_columns(duckdb_engine::Connection& session, const std::string& name,
                      const TableSchema& from, const TableSchema& to);

}  // namespace walbrook::ducklake
