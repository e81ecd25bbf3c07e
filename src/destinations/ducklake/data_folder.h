#pragma once

#include "destinations/ducklake/lake.h"
#include "walbrook/result.h"

#include <filesystem>

// The folder data_path belongs to one lake: what its catalog does not know there is swept.
namespace walbrook::ducklake {

// What tells a lake, attached as `lake`, from all others: the id of the schema `main`, which
// DuckLake makes with each catalog.
Result<std::string> read_lake_id(duckdb_engine::Connection& session);

// Makes it this lake's, by a file with the lake's id; ErrorCode::config if it is another's.
Status claim_data_folder(Lake& lake);

// Whether a folder is some lake's data_path.
bool is_data_folder(const std::filesystem::path& folder);

}  // namespace walbrook::ducklake
