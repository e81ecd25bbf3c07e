#pragma once

#include "destinations/duckdb_engine/engine.h"
#include "walbrook/result.h"

#include <cstdint>
#include <string>
#include <vector>

// Parquet files that are written by us and then made known to the catalog: those of copies,
// and where floats forbid that DuckLake writes them (floats.h).
namespace walbrook::ducklake {

// Makes a file's name one that no other has, in this lake or one that was moved away.
std::string random_suffix();

// A new path in the table's folder, which is made if missing, under a name that a later start
// sweeps if the catalog does not know it.
Result<std::string> own_file_path(const std::string& folder, std::uint32_t oid);
bool is_own_file(const std::string& name);
// What stays is swept at the next start.
void remove_file(const std::string& path);

// Makes them files of the table, in the session's transaction.
Status register_files(duckdb_engine::Connection& session, const std::string& lake_schema,
                      const std::string& lake_table, const std::vector<std::string>& paths);

}  // namespace walbrook::ducklake
