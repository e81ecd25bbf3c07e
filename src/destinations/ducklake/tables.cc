#include "destinations/ducklake/tables.h"

#include "destinations/duckdb_engine/sql.h"
#include "destinations/ducklake/data_folder.h"
#include "destinations/ducklake/table_ddl.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <utility>

namespace walbrook::ducklake {

using duckdb_engine::QueryResult;
using duckdb_engine::quote_identifier;
using duckdb_engine::same_name;

namespace {

Error not_here(const TableSchema& schema, const std::string& why) {
    return Error(ErrorCode::schema_mismatch,
                 fmt::format("change {} in the lake: {}; the table must be copied again",
                             schema.display_name(), why))
        .with_table(schema.id.oid);
}

Error keeps_its_rows(const TableSchema& schema) {
    return Error(
               ErrorCode::unsupported_value,
               fmt::format("table_sync_copy says that the rows of {0} are not copied, and the lake "
                           "has a table of this name, whose rows would be lost; let "
                           "table_sync_copy include it, or drop it in the lake to begin with an "
                           "empty table",
                           schema.display_name()))
        .with_table(schema.id.oid);
}

}  // namespace

Status TableChanges::run(const std::string& sql) {
    has_written_ = true;
    return session_.run(sql);
}

Result<DefaultLiterals> TableChanges::defaults_of(const TableSchema& to,
                                                  const ColumnChanges& changes,
                                                  const SchemaChange* by) {
    if (changes.added.empty()) return DefaultLiterals{};
    if (by == nullptr) {
        return not_here(to, "it lacks columns, and what its rows hold in them is not said");
    }
    for (const std::size_t i : changes.added) {
        const std::int16_t attnum = to.columns[i].attnum;
        const auto& before = by->from->columns;
        if (std::any_of(before.begin(), before.end(),
                        [&](const ColumnSchema& old) { return old.attnum == attnum; })) {
            return not_here(to,
                            "it lacks columns from before the change, and what its rows "
                            "hold in them is not said");
        }
    }
    if (!by->existing) return DefaultLiterals{};
    return default_literals(lake_, *by->existing, changes.added);
}

Status TableChanges::change_columns_of(const Key& key, const LakePlace& place,
                                       const TableSchema& from, const TableSchema& to,
                                       const SchemaChange* by) {
    WALBROOK_TRY(const ColumnChanges changes, compare_columns(from, to));
    if (changes.is_empty) return {};
    WALBROOK_TRY(const DefaultLiterals defaults, defaults_of(to, changes, by));
    // Then Postgres wrote the whole table anew, with values that nobody told.
    const bool would_be_null =
        std::any_of(changes.added.begin(), changes.added.end(), [&](std::size_t i) {
            return !to.columns[i].nullable && !defaults.contains(to.columns[i].attnum);
        });
    if (would_be_null) {
        const Result<QueryResult> row = session_.query(
            fmt::format("SELECT 1 FROM {} LIMIT 1", lake_name(place.schema, place.table)));
        if (!row) return of_lost_file(lake_, row.error(), to);
        if (row->rows() != 0) {
            return not_here(to, "its rows would hold null in a new column that is NOT NULL");
        }
    }
    has_written_ = true;
    changed_.insert(key);
    Status status = change_columns(session_, place, from, to, defaults);
    if (status || status.error().table_oid() != 0 || lake_.is_excusable(status.error())) {
        return status;
    }
    // What DuckLake refuses for a reason that is not known here.
    const ErrorCode code = status.error().code();
    const bool is_refused = code == ErrorCode::internal || code == ErrorCode::schema_mismatch ||
                            code == ErrorCode::unsupported_value;
    return is_refused ? not_here(to, status.error().message()) : std::move(status).error();
}

Result<bool> TableChanges::make_way(const std::string& schema, const std::string& name,
                                    const TableSchema& for_table) {
    for (auto& [oid, record] : tables_.records) {
        if (oid == for_table.id.oid || !same_name(record.lake_schema, schema) ||
            !same_name(record.lake_table, name)) {
            continue;
        }
        // Both are there in the source, and readers would see one under the name of the other.
        if (record.schema->name != name && same_name(record.schema->name, name)) {
            return not_here(for_table, "the name of " + record.schema->display_name() +
                                           " differs only in case, which DuckDB does not tell "
                                           "apart; rename one of them");
        }
        if (changed_.contains({oid, false})) return false;
        WALBROOK_RETURN_IF_ERROR(rename(oid, record, fmt::format("{}_walbrook_{}", name, oid)));
        return true;
    }
    // What has the name is nobody's: a table that was retired, or made by hand.
    WALBROOK_RETURN_IF_ERROR(run("DROP TABLE IF EXISTS " + lake_name(schema, name)));
    return true;
}

Status TableChanges::rename(std::uint32_t oid, TableRecord& record, const std::string& name) {
    // The names of the lake's tables change before their columns do, or in the next transaction.
    if (changed_.contains({oid, false})) return {};
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
    } else {
        WALBROOK_TRY(const bool is_free, make_way(record.lake_schema, name, *record.schema));
        if (!is_free) return {};
    }
    WALBROOK_RETURN_IF_ERROR(step(name));
    return save_record(session_, oid, record);
}

namespace {

// Whose name is not the source's, though nobody else has that by right.
std::optional<std::uint32_t> find_misnamed(const TableRecords& records,
                                           const std::set<std::uint32_t>& except) {
    for (const auto& [oid, record] : records) {
        if (except.contains(oid) || record.lake_table.empty() ||
            record.lake_table == record.schema->name) {
            continue;
        }
        const bool is_taken = std::any_of(records.begin(), records.end(), [&](const auto& other) {
            return other.first != oid && same_name(other.second.lake_schema, record.lake_schema) &&
                   same_name(other.second.lake_table, record.schema->name) &&
                   same_name(other.second.schema->name, record.schema->name);
        });
        if (!is_taken) return oid;
    }
    return std::nullopt;
}

}  // namespace

bool TableChanges::has_names_to_settle(const Tables& tables) {
    return find_misnamed(tables.records, {}).has_value();
}

Status TableChanges::settle_names() {
    std::set<std::uint32_t> settled;
    while (const auto oid = find_misnamed(tables_.records, settled)) {
        settled.insert(*oid);
        TableRecord& record = tables_.records[*oid];
        WALBROOK_RETURN_IF_ERROR(rename(*oid, record, record.schema->name));
    }
    return {};
}

Status TableChanges::follow(const SchemaChange& change) {
    return bring_to(change.to, change.copy, &change).status();
}

Result<Target> TableChanges::resolve(const TableSchemaPtr& schema, const CopyTargetPtr& copy) {
    return bring_to(schema, copy, nullptr);
}

Result<Target> TableChanges::bring_to(const TableSchemaPtr& schema, const CopyTargetPtr& copy,
                                      const SchemaChange* by) {
    const std::uint32_t oid = schema->id.oid;
    if (copy) {
        const auto found = tables_.shadows.find(oid);
        if (found == tables_.shadows.end() || found->second.copy->attempt != copy->attempt) {
            return not_here(*schema, "this copy of it does not exist");
        }
        Shadow& shadow = found->second;
        const LakePlace place{copy->schema->schema, shadow_name(copy->schema->id, copy->attempt)};
        if (shadow.schema != schema && *shadow.schema != *schema) {
            WALBROOK_RETURN_IF_ERROR(
                change_columns_of({oid, true}, place, *shadow.schema, *schema, by));
        }
        shadow.schema = schema;
        WALBROOK_RETURN_IF_ERROR(lake_.new_files().watch(shadow.folder));
        return Target{lake_name(place.schema, place.table), schema, shadow.folder, place.schema,
                      place.table};
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
        if (old->name != schema->name) {
            WALBROOK_RETURN_IF_ERROR(rename(oid, record, schema->name));
        }
        WALBROOK_RETURN_IF_ERROR(change_columns_of(
            {oid, false}, {record.lake_schema, record.lake_table}, *old, *schema, by));
        has_written_ = true;
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
    changed_.erase({oid, copy != nullptr});
    std::string& folder = copy ? tables_.shadows[oid].folder : tables_.records[oid].folder;
    folder = std::filesystem::path(folder).parent_path() / plain;
    return lake_.new_files().watch(folder);
}

// Whether readers see the table, or one that has its name and is nobody's (make_way).
Result<bool> TableChanges::is_there(const TableSchema& schema) {
    std::string place = lake_name(schema.schema, schema.name);
    const auto own = tables_.records.find(schema.id.oid);
    if (own != tables_.records.end() && !own->second.lake_table.empty()) {
        place = lake_name(own->second.lake_schema, own->second.lake_table);
    } else if (std::any_of(tables_.records.begin(), tables_.records.end(), [&](const auto& other) {
                   return same_name(other.second.lake_schema, schema.schema) &&
                          same_name(other.second.lake_table, schema.name);
               })) {
        return false;  // That one is renamed.
    }
    const auto found = session_.query(fmt::format("SELECT 1 FROM {} LIMIT 0", place));
    if (found) return true;
    const bool is_missing = found.error().code() == ErrorCode::internal &&
                            found.error().message().find("does not exist") != std::string::npos;
    return is_missing ? Result<bool>(false) : found.error();
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
    if (changed_.contains({oid, true})) {
        return not_here(*schema, "its columns change in the transaction that publishes it");
    }
    if (!copy.has_rows) {
        WALBROOK_TRY(const bool is_taken, is_there(*schema));
        if (is_taken) return keeps_its_rows(*schema);
    }
    const auto old = tables_.records.find(oid);
    if (old != tables_.records.end() && !old->second.lake_table.empty()) {
        WALBROOK_RETURN_IF_ERROR(run("DROP TABLE IF EXISTS " +
                                     lake_name(old->second.lake_schema, old->second.lake_table)));
        tables_.records.erase(old);
    }
    WALBROOK_TRY(const bool is_free, make_way(schema->schema, schema->name, *schema));
    if (!is_free) {
        return not_here(*schema,
                        "the columns of the table that has its name change in the "
                        "transaction that publishes it");
    }
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
    // What is known of the shadow is true of the visible table now.
    for (std::set<Key>* of : {&changed_, &emptied_}) {
        of->erase({oid, false});
        if (of->erase({oid, true}) != 0) of->insert({oid, false});
    }
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
