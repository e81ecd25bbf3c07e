#pragma once

#include "destinations/ducklake/lake.h"
#include "walbrook/result.h"
#include "walbrook/schema.h"

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

// Whether a file below data_path does not exist any more, and not only its disk is away. False
// where that is not sure. `data_path` without a slash at its end.
bool is_gone(const std::filesystem::path& file, const std::filesystem::path& data_path);

// An error of a statement that reads the table's files. Where it is that one of them is gone,
// repeating it would stop all tables for ever, though a new copy of this one heals it: then it is
// ErrorCode::corrupt_state of that table. Any other stays as it is.
Error of_lost_file(const Lake& lake, Error error, const TableSchema& table);

}  // namespace walbrook::ducklake
