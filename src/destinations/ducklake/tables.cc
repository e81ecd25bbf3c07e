#include "destinations/ducklake/tables.h"

#include <fmt/format.h>

#include <utility>

#include "destinations/duckdb_engine/sql.h"
#include "destinations/ducklake/table_ddl.h"

namespace walbrook::ducklake {

using duckdb_engine::quote_identifier;
using duckdb_engine::same_name;

namespace {

Error not_here(const TableSchema& schema, const char* why) {
    return Error(ErrorCode::schema_mismatch,
                 fmt::format("change {} in the lake: {}; the table must be copied again",
                             schema.display_name(), why))
        .with_table(schema.id.oid);
}

}  // namespace

Status TableChanges::run(const std::string& sql) {
    has_written_ = true;
    return session_.run(sql);
}

Status TableChanges::make_way(const std::string& schema, const std::string& name,
                              std::uint32_t for_oid) {
    for (auto& [oid, record] : tables_.records) {
        if (oid == for_oid || !same_name(record.lake_schema, schema) ||
            !same_name(record.lake_table, name)) {
            continue;
        }
        return rename(oid, record, fmt::format("{}_walbrook_{}", name, oid));
    }
    return {};
}

Status TableChanges::rename(std::uint32_t oid, TableRecord& record, const std::string& name) {
    WALBROOK_RETURN_IF_ERROR(make_way(record.lake_schema, name, oid));
    const auto step = [&](const std::string& to) {
        Status status = run(fmt::format("ALTER TABLE {} RENAME TO {}",
                                        lake_name(record.lake_schema, record.lake_table),
                                        quote_identifier(to)));
        if (status) record.lake_table = to;
        return status;
    };
    // DuckDB takes a name that differs only in case for the same one, which exists.
    if (same_name(record.lake_table, name)) {
        WALBROOK_RETURN_IF_ERROR(step(fmt::format("{}_walbrook_{}", name, oid)));
    }
    WALBROOK_RETURN_IF_ERROR(step(name));
    return save_record(session_, oid, record);
}

Result<Target> TableChanges::resolve(const TableSchemaPtr& schema, const CopyTargetPtr& copy) {
    const std::uint32_t oid = schema->id.oid;
    if (copy) {
        const auto shadow = tables_.shadows.find(oid);
        if (shadow == tables_.shadows.end() || shadow->second.copy->attempt != copy->attempt) {
            return not_here(*schema, "this copy of it does not exist");
        }
        Target target{lake_name(copy->schema->schema, shadow_name(copy->schema->id, copy->attempt)),
                      schema};
        if (shadow->second.schema != schema && *shadow->second.schema != *schema) {
            has_written_ = true;
            WALBROOK_RETURN_IF_ERROR(
                change_columns(session_, target.name, *shadow->second.schema, *schema));
        }
        shadow->second.schema = schema;
        return target;
    }
    const auto found = tables_.records.find(oid);
    if (found == tables_.records.end() || found->second.lake_table.empty()) {
        return not_here(*schema, "it has not been published there");
    }
    TableRecord& record = found->second;
    if (record.schema != schema && *record.schema != *schema) {
        if (!same_name(record.lake_schema, schema->schema)) {
            return not_here(*schema, "it moved to another schema");
        }
        const std::string name = lake_name(record.lake_schema, record.lake_table);
        const TableSchemaPtr old = std::exchange(record.schema, schema);
        has_written_ = true;
        WALBROOK_RETURN_IF_ERROR(change_columns(session_, name, *old, *schema));
        WALBROOK_RETURN_IF_ERROR(record.lake_table == schema->name
                                     ? save_record(session_, oid, record)
                                     : rename(oid, record, schema->name));
    }
    record.schema = schema;
    return Target{lake_name(record.lake_schema, record.lake_table), schema};
}

Status TableChanges::publish(const Publish& publish) {
    const CopyTarget& copy = *publish.copy;
    const std::uint32_t oid = copy.schema->id.oid;
    const auto shadow = tables_.shadows.find(oid);
    if (shadow == tables_.shadows.end() || shadow->second.copy->attempt != copy.attempt) {
        return not_here(*copy.schema, "the copy to publish does not exist");
    }
    const TableSchemaPtr schema = shadow->second.schema;
    if (schema->schema != copy.schema->schema) {
        return not_here(*schema, "it moved to another schema while it was copied");
    }
    const auto old = tables_.records.find(oid);
    if (old != tables_.records.end() && !old->second.lake_table.empty()) {
        WALBROOK_RETURN_IF_ERROR(
            run("DROP TABLE IF EXISTS " +
                lake_name(old->second.lake_schema, old->second.lake_table)));
        tables_.records.erase(old);
    }
    WALBROOK_RETURN_IF_ERROR(make_way(schema->schema, schema->name, oid));
    // What still has the name is nobody's: a table that was retired, or made by hand.
    WALBROOK_RETURN_IF_ERROR(
        run("DROP TABLE IF EXISTS " + lake_name(schema->schema, schema->name)));
    WALBROOK_RETURN_IF_ERROR(
        run(fmt::format("ALTER TABLE {} RENAME TO {}",
                        lake_name(schema->schema, shadow_name(copy.schema->id, copy.attempt)),
                        quote_identifier(schema->name))));
    tables_.shadows.erase(shadow);
    TableRecord record;
    record.phase = TablePhase::ready;
    record.schema = schema;
    record.lake_schema = schema->schema;
    record.lake_table = schema->name;
    tables_.records[oid] = record;
    return save_record(session_, oid, record);
}

Status TableChanges::freeze(const Freeze& freeze) {
    const std::uint32_t oid = freeze.schema->id.oid;
    TableRecord& record = tables_.records[oid];
    record.phase = freeze.phase;
    record.position = freeze.position;
    record.reason = freeze.reason;
    if (!record.schema) record.schema = freeze.schema;
    has_written_ = true;
    return save_record(session_, oid, record);
}

Status TableChanges::retire(TableId table) {
    WALBROOK_RETURN_IF_ERROR(drop_shadow(table));
    if (tables_.records.erase(table.oid) == 0) return {};
    has_written_ = true;
    return remove_record(session_, table.oid);
}

Status TableChanges::drop_shadow(TableId table) {
    const auto shadow = tables_.shadows.find(table.oid);
    if (shadow == tables_.shadows.end()) return {};
    const CopyTarget& copy = *shadow->second.copy;
    WALBROOK_RETURN_IF_ERROR(
        run("DROP TABLE IF EXISTS " +
            lake_name(copy.schema->schema, shadow_name(copy.schema->id, copy.attempt))));
    tables_.shadows.erase(shadow);
    return {};
}

}  // namespace walbrook::ducklake
