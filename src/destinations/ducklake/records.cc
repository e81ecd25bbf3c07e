#include "destinations/ducklake/records.h"

#include "base/narrow.h"
#include "destinations/duckdb_engine/sql.h"

#include <fmt/format.h>

#include <map>
#include <utility>

namespace walbrook::ducklake {

using duckdb_engine::Connection;
using duckdb_engine::QueryResult;
using duckdb_engine::quote_literal;

namespace {

Status create_records(Connection& session, const PipelineIdentity& who) {
    return session.run(fmt::format(
        "CREATE SCHEMA lake._walbrook;"
        "CREATE TABLE lake._walbrook.pipeline (pipeline_id UBIGINT NOT NULL, "
        "system_identifier VARCHAR NOT NULL, database_name VARCHAR NOT NULL, database_oid "
        "UINTEGER NOT NULL, slot VARCHAR NOT NULL, format_version INTEGER NOT NULL, "
        "quiet_position VARCHAR NOT NULL);"
        "CREATE TABLE lake._walbrook.tables (oid UINTEGER NOT NULL, schema_name VARCHAR, "
        "table_name VARCHAR, phase VARCHAR NOT NULL, position VARCHAR NOT NULL, reason VARCHAR "
        "NOT NULL, schema_json VARCHAR NOT NULL);"
        "COMMENT ON TABLE lake._walbrook.pipeline IS 'The source that this lake is a copy of';"
        "COMMENT ON TABLE lake._walbrook.tables IS 'How each table stands: a table that is not "
        "ready holds everything up to its position, all others up to the lsn of the snapshot';"
        "INSERT INTO lake._walbrook.pipeline VALUES ({}, {}, {}, {}, {}, {}, '0/0')",
        who.pipeline_id, quote_literal(who.system_identifier), quote_literal(who.database),
        who.database_oid, quote_literal(who.slot), kFormatVersion));
}

Status check_lineage(const QueryResult& row, const PipelineIdentity& who) {
    if (row.rows() != 1) {
        return Error(
            ErrorCode::corrupt_state,
            "lake._walbrook.pipeline must have one row and has " + std::to_string(row.rows()));
    }
    const auto differs = [&](std::size_t column, const std::string& expected) {
        return row.text(0, column).value_or("") != expected;
    };
    if (row.number(0, 5).value_or(0) > kFormatVersion) {
        return Error(
            ErrorCode::corrupt_state,
            fmt::format("the lake's records have format {}, this program knows {}; a newer "
                        "walbrook wrote them: use that one",
                        row.text(0, 5).value_or("?"), kFormatVersion));
    }
    if (differs(0, std::to_string(who.pipeline_id)) || differs(1, who.system_identifier) ||
        differs(3, std::to_string(who.database_oid)) || differs(4, who.slot)) {
        return Error(
            ErrorCode::corrupt_state,
            fmt::format(
                "the lake belongs to another source: it was written by pipeline {} from "
                "database {} (oid {}) of system {} through slot {}, and this is pipeline {} "
                "from database {} (oid {}) of system {} through slot {}; use another "
                "catalog, or move this lake away to begin anew",
                row.text(0, 0).value_or("?"), row.text(0, 2).value_or("?"),
                row.text(0, 3).value_or("?"), row.text(0, 1).value_or("?"),
                row.text(0, 4).value_or("?"), who.pipeline_id, who.database, who.database_oid,
                who.system_identifier, who.slot));
    }
    return {};
}

// Folders of the lake's tables, by schema and name.
using Folders = std::map<std::pair<std::string, std::string>, std::string>;

Result<Folders> load_folders(Lake& lake) {
    WALBROOK_TRY(
        const QueryResult rows,
        lake.session().query(fmt::format(
            "SELECT s.schema_name, t.table_name, s.path, t.path FROM {0}.ducklake_table AS t JOIN "
            "{0}.ducklake_schema AS s USING (schema_id) WHERE t.end_snapshot IS NULL AND "
            "s.end_snapshot IS NULL",
            Lake::metadata())));
    Folders folders;
    for (std::size_t i = 0; i < rows.rows(); ++i) {
        const auto text = [&](std::size_t column) { return rows.text(i, column).value_or(""); };
        std::string folder = lake.options().data_path + text(2) + text(3);
        if (folder.ends_with('/')) folder.pop_back();
        folders.emplace(std::pair(text(0), text(1)), std::move(folder));
    }
    return folders;
}

Result<TableRecord> parse_record(const QueryResult& rows, std::size_t row) {
    TableRecord record;
    const auto text = [&](std::size_t column) { return rows.text(row, column).value_or(""); };
    const std::optional<TablePhase> phase = parse_table_phase(text(3));
    const std::optional<Lsn> position = parse_lsn(text(4));
    if (!phase || !position) {
        return Error(ErrorCode::corrupt_state, "lake._walbrook.tables: the record of table oid " +
                                                   text(0) +
                                                   " has a phase or position that is none");
    }
    WALBROOK_TRY(TableSchema schema, table_schema_from_json(text(6)));
    record.phase = *phase;
    record.position = *position;
    record.reason = text(5);
    record.schema = std::make_shared<const TableSchema>(std::move(schema));
    record.lake_schema = text(1);
    record.lake_table = text(2);
    return record;
}

Result<TableRecords> read_records(Connection& session, const std::string& at) {
    WALBROOK_TRY(const QueryResult rows,
                 session.query("SELECT oid, schema_name, table_name, phase, position, reason, "
                               "schema_json FROM lake._walbrook.tables" +
                               at));
    TableRecords records;
    for (std::size_t i = 0; i < rows.rows(); ++i) {
        WALBROOK_TRY(TableRecord record, parse_record(rows, i));
        const auto oid = narrow<std::uint32_t>(rows.number(i, 0).value_or(0));
        if (!records.emplace(oid, std::move(record)).second) {
            return Error(ErrorCode::corrupt_state,
                         fmt::format("lake._walbrook.tables has two records of oid {}", oid));
        }
    }
    return records;
}

}  // namespace

Result<bool> check_records(Connection& session, const PipelineIdentity& who) {
    WALBROOK_TRY(const QueryResult known,
                 session.query("SELECT count(*) FROM duckdb_tables() WHERE database_name = 'lake' "
                               "AND schema_name = '_walbrook'"));
    if (known.number(0, 0).value_or(0) == 0) return false;
    WALBROOK_TRY(const QueryResult row,
                 session.query("SELECT pipeline_id, system_identifier, database_name, "
                               "database_oid, slot, format_version FROM lake._walbrook.pipeline"));
    WALBROOK_RETURN_IF_ERROR(check_lineage(row, who));
    return true;
}

Result<bool> open_records(Connection& session, const PipelineIdentity& who) {
    WALBROOK_TRY(const bool is_there, check_records(session, who));
    if (is_there) return false;
    WALBROOK_RETURN_IF_ERROR(create_records(session, who));
    return true;
}

std::string records_folder(const Lake& lake, std::string_view table) {
    return fmt::format("{}{}/{}", lake.options().data_path, kRecordSchema, table);
}

Status inline_records(Connection& session) {
    return session.run(fmt::format(
        "CALL lake.set_option('data_inlining_row_limit', 100, schema => '{}')", kRecordSchema));
}

Result<TableRecords> load_records(Lake& lake) {
    WALBROOK_TRY(const Folders folders, load_folders(lake));
    WALBROOK_TRY(TableRecords records, read_records(lake.session(), ""));
    for (auto& [oid, record] : records) {
        const auto folder = folders.find({record.lake_schema, record.lake_table});
        if (folder != folders.end()) record.folder = folder->second;
        // Dropped by hand: readers have none, and its changes ask for a new copy.
        if (folder == folders.end()) record.lake_table.clear();
    }
    return records;
}

Result<TableRecords> records_at(Connection& session, std::int64_t snapshot) {
    return read_records(session, fmt::format(" AT (VERSION => {})", snapshot));
}

Status save_record(Connection& session, std::uint32_t oid, const TableRecord& record) {
    WALBROOK_RETURN_IF_ERROR(remove_record(session, oid));
    const auto name = [](const std::string& text) {
        return text.empty() ? std::string("NULL") : quote_literal(text);
    };
    return session.run(
        fmt::format("INSERT INTO lake._walbrook.tables VALUES ({}, {}, {}, {}, {}, {}, {})", oid,
                    name(record.lake_schema), name(record.lake_table),
                    quote_literal(std::string(name_of(record.phase))),
                    quote_literal(to_string(record.position)), quote_literal(record.reason),
                    quote_literal(to_json(*record.schema))));
}

Status remove_record(Connection& session, std::uint32_t oid) {
    return session.run(fmt::format("DELETE FROM lake._walbrook.tables WHERE oid = {}", oid));
}

Status note_quiet_position(Connection& session, Lsn position) {
    return session.run(fmt::format("UPDATE lake._walbrook.pipeline SET quiet_position = '{}'",
                                   to_string(position)));
}

}  // namespace walbrook::ducklake
