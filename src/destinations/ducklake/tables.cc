#include "destinations/ducklake/tables.h"

#include "destinations/duckdb_engine/sql.h"
#include "destinations/ducklake/table_ddl.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <utility>

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

Status TableChanges::change(std::uint32_t oid, const std::string& name, const TableSchema& from,
                            const TableSchema& to) {
    has_written_ = true;
    changed_.insert(oid);
    return change_columns(session_, name, from, to);
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
    if (changed_.contains(oid)) {
        return not_here(*record.schema, "its columns change in the transaction that renames it");
    }
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

Status TableChanges::settle_names() {
    for (auto& [oid, record] : tables_.records) {
        if (record.lake_table.empty() || record.lake_table == record.schema->name) continue;
        const bool is_taken =
            std::any_of(tables_.records.begin(), tables_.records.end(), [&](const auto& other) {
                return other.first != oid &&
                       same_name(other.second.lake_schema, record.lake_schema) &&
                       same_name(other.second.lake_table, record.schema->name);
            });
        if (is_taken) continue;
        WALBROOK_RETURN_IF_ERROR(rename(oid, record, record.schema->name));
    }
    return {};
}

Result<Target> TableChanges::resolve(const TableSchemaPtr& schema, const CopyTargetPtr& copy) {
    const std::uint32_t oid = schema->id.oid;
    if (copy) {
        const auto found = tables_.shadows.find(oid);
        if (found == tables_.shadows.end() || found->second.copy->attempt != copy->attempt) {
            return not_here(*schema, "this copy of it does not exist");
        }
        Shadow& shadow = found->second;
        const std::string name =
            lake_name(copy->schema->schema, shadow_name(copy->schema->id, copy->attempt));
        if (shadow.schema != schema && *shadow.schema != *schema) {
            WALBROOK_RETURN_IF_ERROR(change(oid, name, *shadow.schema, *schema));
        }
        shadow.schema = schema;
        WALBROOK_RETURN_IF_ERROR(lake_.new_files().watch(shadow.folder));
        return Target{name, schema, shadow.folder, copy->schema->schema,
                      shadow_name(copy->schema->id, copy->attempt)};
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
        const TableSchemaPtr old = std::exchange(record.schema, schema);
        if (old->name != schema->name && !changed_.contains(oid)) {
            WALBROOK_RETURN_IF_ERROR(rename(oid, record, schema->name));
        }
        WALBROOK_RETURN_IF_ERROR(
            change(oid, lake_name(record.lake_schema, record.lake_table), *old, *schema));
        WALBROOK_RETURN_IF_ERROR(save_record(session_, oid, record));
    }
    record.schema = schema;
    WALBROOK_RETURN_IF_ERROR(lake_.new_files().watch(record.folder));
    return Target{lake_name(record.lake_schema, record.lake_table), schema, record.folder,
                  record.lake_schema, record.lake_table};
}

Status TableChanges::truncate(const TableSchemaPtr& schema, const CopyTargetPtr& copy) {
    WALBROOK_TRY(const Target target, resolve(schema, copy));
    const std::uint32_t oid = schema->id.oid;
    const TableRecord* record = copy ? nullptr : &tables_.records[oid];
    const std::string& in = copy ? copy->schema->schema : record->lake_schema;
    const std::string name =
        copy ? shadow_name(copy->schema->id, copy->attempt) : record->lake_table;
    // DuckLake 1.5.5 cannot drop a table that this transaction made and gave a file of ours:
    // "table_id should be rewritten to non-transaction local before".
    if (!emptied_.insert({oid, copy != nullptr}).second) return run("DELETE FROM " + target.name);
    // A new table takes the place of the old one, whose files need not be read. It is
    // made under a plain name, from which DuckLake makes its folder's.
    const std::string plain = fmt::format("_walbrook_truncated_{}", oid);
    TableSchema made = *schema;
    made.schema = in;
    WALBROOK_RETURN_IF_ERROR(create_table(session_, made, plain));
    WALBROOK_RETURN_IF_ERROR(run("DROP TABLE " + target.name));
    WALBROOK_RETURN_IF_ERROR(run(
        fmt::format("ALTER TABLE {} RENAME TO {}", lake_name(in, plain), quote_identifier(name))));
    changed_.erase(oid);
    std::string& folder = copy ? tables_.shadows[oid].folder : tables_.records[oid].folder;
    folder = std::filesystem::path(folder).parent_path() / plain;
    return lake_.new_files().watch(folder);
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
    if (changed_.contains(oid)) {
        return not_here(*schema, "its columns change in the transaction that publishes it");
    }
    const auto old = tables_.records.find(oid);
    if (old != tables_.records.end() && !old->second.lake_table.empty()) {
        WALBROOK_RETURN_IF_ERROR(run("DROP TABLE IF EXISTS " +
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
    TableRecord record;
    record.folder = shadow->second.folder;
    tables_.shadows.erase(shadow);
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
