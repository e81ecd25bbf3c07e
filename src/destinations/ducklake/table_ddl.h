#pragma once

#include "destinations/duckdb_engine/engine.h"
#include "destinations/ducklake/existing_values.h"
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

// What one version of a table has and another does not; columns are told apart by attribute
// number. Names, keys and what else only Postgres knows make no difference here.
struct ColumnChanges {
    std::vector<std::size_t> added;  // Indexes into the columns of `to`.
    bool is_empty = true;            // The lake's table need not be touched.
};
// ErrorCode::schema_mismatch (with the table) for what cannot be done to a table that
// stands in the lake: then it must be copied again.
Result<ColumnChanges> compare_columns(const TableSchema& from, const TableSchema& to);

struct LakePlace {
    std::string schema;
    std::string table;
};
// Brings the lake's table from one version to another, which compare_columns() allows. Rows
// that stand in it hold in new columns what `defaults` says, or null.
Status change_columns(duckdb_engine::Connection& session, const LakePlace& place,
                      const TableSchema& from, const TableSchema& to,
                      const DefaultLiterals& defaults);

}  // namespace walbrook::ducklake
