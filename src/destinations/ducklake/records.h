#pragma once

#include "destinations/ducklake/lake.h"
#include "walbrook/destination.h"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace walbrook::ducklake {

// The schema kRecordSchema of the lake: two tables that travel with the data in the same
// transactions and are the truth at a start.
//
//   pipeline  one row: whose lake this is
//   tables    one row for each table that was ever published or frozen
inline constexpr int kFormatVersion = 1;

struct TableRecord {
    TablePhase phase = TablePhase::ready;
    Lsn position;  // Of a table that is not ready: how far its content goes.
    std::string reason;
    TableSchemaPtr schema;  // The version that the lake's table has.
    // Where it is in the lake: empty if readers have none. Otherwise the name in the
    // source, except while another table has that name (see SchemaChange).
    std::string lake_schema;
    std::string lake_table;
    std::string folder;  // Absolute, of its files; from DuckLake's catalog.
};

using TableRecords = std::map<std::uint32_t, TableRecord>;  // By oid.

// False if the lake has no records yet. ErrorCode::corrupt_state if they are of another lineage
// or of a newer format.
Result<bool> check_records(duckdb_engine::Connection& session, const PipelineIdentity& who);

// Makes the schema and its tables, or checks that they belong to this pipeline. Within a
// transaction. True if they were made, that is, if something was written.
Result<bool> open_records(duckdb_engine::Connection& session, const PipelineIdentity& who);

// The folder of a table of the records.
std::string records_folder(const Lake& lake, std::string_view table);
// Few rows change often there, and nobody but us reads them: they are kept in the catalog.
Status inline_records(duckdb_engine::Connection& session);

Result<TableRecords> load_records(Lake& lake);
// As they were in this snapshot, without the folders.
Result<TableRecords> records_at(duckdb_engine::Connection& session, std::int64_t snapshot);
Status save_record(duckdb_engine::Connection& session, std::uint32_t oid,
                   const TableRecord& record);
Status remove_record(duckdb_engine::Connection& session, std::uint32_t oid);

// DuckLake makes no snapshot of a transaction that changes nothing, and without a
// snapshot the position has no place: a flush whose changes cancel out writes this.
Status note_quiet_position(duckdb_engine::Connection& session, Lsn position);

}  // namespace walbrook::ducklake
