#include "destinations/ducklake/table_ddl.h"

#include "batch/type_change.h"
#include "destinations/duckdb_engine/sql.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <string_view>

namespace walbrook::ducklake {

using duckdb_engine::Connection;
using duckdb_engine::folded;
using duckdb_engine::QueryResult;
using duckdb_engine::quote_identifier;
using duckdb_engine::quote_literal;
using duckdb_engine::sql_type;

namespace {

// Names that no table can have: DuckLake writes columns of these names into files when it
// merges them.
constexpr auto kReservedColumns = std::to_array<std::string_view>(
    {"_ducklake_internal_row_id", "_ducklake_internal_snapshot_id"});

template <std::size_t N>
bool is_one_of(const std::array<std::string_view, N>& names, std::string_view name) {
    return std::any_of(names.begin(), names.end(),
                       [&](std::string_view other) { return folded(name) == other; });
}

void refuse_columns(const TableSchema& table, std::vector<std::string>& refusals) {
    if (table.columns.empty()) {
        refusals.push_back(table.display_name() +
                           " has no columns, which DuckDB cannot hold: leave the table out of the "
                           "publication");
    }
    std::map<std::string, std::string> seen;
    for (const ColumnSchema& column : table.columns) {
        const auto [other, is_new] = seen.emplace(folded(column.name), column.name);
        if (!is_new) {
            refusals.push_back(fmt::format(
                "{}: columns \"{}\" and \"{}\" differ only in case, which DuckDB does not tell "
                "apart: leave one out of the publication's column list",
                table.display_name(), other->second, column.name));
        }
        const bool is_row_number = table.key_columns().empty() && folded(column.name) == "rowid";
        if (is_row_number || is_one_of(kReservedColumns, column.name)) {
            refusals.push_back(fmt::format(
                "{}: DuckLake keeps the column name \"{}\" for itself: leave the column out of the "
                "publication's column list or rename it",
                table.display_name(), column.name));
        }
    }
}

Error cannot_follow(const TableSchema& table, const std::string& what) {
    return Error(ErrorCode::schema_mismatch,
                 fmt::format("change {} in the lake: {}; the table must be copied again",
                             table.display_name(), what))
        .with_table(table.id.oid);
}

std::string comment_literal(const std::string& comment) {
    return comment.empty() ? "NULL" : quote_literal(comment);
}

const ColumnSchema* find_column(const TableSchema& table, std::int16_t attnum) {
    for (const ColumnSchema& column : table.columns) {
        if (column.attnum == attnum) return &column;
    }
    return nullptr;
}

// Renames go through names that nobody has, so that two columns may swap theirs.
Status rename_columns(Connection& session, const std::string& name, const TableSchema& from,
                      const TableSchema& to) {
    std::vector<std::string> second_step;
    for (const ColumnSchema& column : to.columns) {
        const ColumnSchema* old = find_column(from, column.attnum);
        if (old == nullptr || old->name == column.name) continue;
        const std::string between = fmt::format("_walbrook_column_{}", column.attnum);
        WALBROOK_RETURN_IF_ERROR(
            session.run(fmt::format("ALTER TABLE {} RENAME COLUMN {} TO {}", name,
                                    quote_identifier(old->name), quote_identifier(between))));
        second_step.push_back(fmt::format("ALTER TABLE {} RENAME COLUMN {} TO {}", name,
                                          quote_identifier(between),
                                          quote_identifier(column.name)));
    }
    for (const std::string& sql : second_step) WALBROOK_RETURN_IF_ERROR(session.run(sql));
    return {};
}

// Whether the lake's column is one of which `condition` is true.
Result<bool> is_column(Connection& session, const LakePlace& place, const std::string& column,
                       std::string_view condition) {
    WALBROOK_TRY(
        const QueryResult found,
        session.query(fmt::format(
            "SELECT count(*) FROM duckdb_columns() WHERE database_name = 'lake' AND schema_name = "
            "{} AND table_name = {} AND column_name = {} AND {}",
            quote_literal(place.schema), quote_literal(place.table), quote_literal(column),
            condition)));
    return found.number(0, 0).value_or(0) != 0;
}

Status change_kept_column(Connection& session, const LakePlace& place, const TableSchema& table,
                          const ColumnSchema& old, const ColumnSchema& column) {
    const std::string name = lake_name(place.schema, place.table);
    const std::string alter =
        fmt::format("ALTER TABLE {} ALTER COLUMN {} ", name, quote_identifier(column.name));
    if (old.type != column.type) {
        // Until the commit DuckLake 1.5.5 forgets what older rows hold in such a column: they
        // are read as null, also by our own statements, and a rename makes it last.
        WALBROOK_TRY(const bool has_default,
                     is_column(session, place, column.name,
                               "column_default IS NOT NULL AND column_default <> 'NULL'"));
        if (has_default) {
            return cannot_follow(
                table, fmt::format("column \"{}\" gets another type, and rows that are older than "
                                   "it have its default",
                                   column.name));
        }
        WALBROOK_RETURN_IF_ERROR(session.run(alter + "SET DATA TYPE " + sql_type(column.type)));
    }
    // Never tightened in place: DuckLake refuses SET NOT NULL after changes in the same
    // transaction, and a refused statement ends the transaction.
    if (!old.nullable && column.nullable) {
        // One that was added, or became NOT NULL later, takes nulls, whatever the version says.
        WALBROOK_TRY(const bool is_tight,
                     is_column(session, place, column.name, "NOT is_nullable"));
        if (is_tight) WALBROOK_RETURN_IF_ERROR(session.run(alter + "DROP NOT NULL"));
    }
    if (old.comment != column.comment) {
        WALBROOK_RETURN_IF_ERROR(session.run(fmt::format("COMMENT ON COLUMN {}.{} IS {}", name,
                                                         quote_identifier(column.name),
                                                         comment_literal(column.comment))));
    }
    return {};
}

// It takes nulls even if the source's does not, which the lake need not enforce: DuckLake adds
// no column with NOT NULL to a table that has rows.
Status add_column(Connection& session, const std::string& name, const ColumnSchema& column,
                  const DefaultLiterals& defaults) {
    const auto value = defaults.find(column.attnum);
    WALBROOK_RETURN_IF_ERROR(session.run(fmt::format(
        "ALTER TABLE {} ADD COLUMN {} {}{}", name, quote_identifier(column.name),
        sql_type(column.type), value == defaults.end() ? "" : " DEFAULT " + value->second)));
    if (column.comment.empty()) return {};
    return session.run(fmt::format("COMMENT ON COLUMN {}.{} IS {}", name,
                                   quote_identifier(column.name), quote_literal(column.comment)));
}

}  // namespace

std::string shadow_name(TableId table, std::uint32_t attempt) {
    return fmt::format("{}{}_{}", kShadowPrefix, table.oid, attempt);
}

std::string lake_name(const std::string& schema, const std::string& table) {
    return fmt::format("lake.{}.{}", quote_identifier(schema), quote_identifier(table));
}

std::vector<std::string> table_refusals(const std::vector<TableSchemaPtr>& tables) {
    std::vector<std::string> refusals;
    std::map<std::string, std::string> names;
    std::map<std::string, std::string> schemas;
    for (const TableSchemaPtr& table : tables) {
        if (folded(table->schema) == "_walbrook") {
            refusals.push_back(table->display_name() +
                               ": the schema _walbrook holds walbrook's records in the lake: "
                               "leave the table out of the publication");
        }
        if (folded(table->name).starts_with(kShadowPrefix)) {
            refusals.push_back(table->display_name() + ": names that begin with " +
                               std::string(kShadowPrefix) +
                               " are those of unfinished copies: rename the table");
        }
        const auto [schema, is_new_schema] = schemas.emplace(folded(table->schema), table->schema);
        if (!is_new_schema && schema->second != table->schema) {
            refusals.push_back(fmt::format(
                "schemas \"{}\" and \"{}\" differ only in case, which DuckDB does not tell apart: "
                "leave {} out of the publication",
                schema->second, table->schema, table->display_name()));
        }
        const auto [other, is_new] =
            names.emplace(folded(table->schema + "\n" + table->name), table->display_name());
        if (!is_new) {
            refusals.push_back(fmt::format(
                "tables {} and {} differ only in case, which DuckDB does not tell apart: leave one "
                "out of the publication",
                other->second, table->display_name()));
        }
        refuse_columns(*table, refusals);
    }
    return refusals;
}

Status create_table(Connection& session, const TableSchema& schema, const std::string& table) {
    const std::string name = lake_name(schema.schema, table);
    std::string columns;
    std::string comments;
    if (!schema.comment.empty()) {
        comments = fmt::format(";COMMENT ON TABLE {} IS {}", name, quote_literal(schema.comment));
    }
    for (const ColumnSchema& column : schema.columns) {
        columns +=
            fmt::format("{}{} {}{}", columns.empty() ? "" : ", ", quote_identifier(column.name),
                        sql_type(column.type), column.nullable ? "" : " NOT NULL");
        if (column.comment.empty()) continue;
        comments += fmt::format(";COMMENT ON COLUMN {}.{} IS {}", name,
                                quote_identifier(column.name), quote_literal(column.comment));
    }
    return session.run(fmt::format("CREATE TABLE {} ({}){}", name, columns, comments));
}

Result<ColumnChanges> compare_columns(const TableSchema& from, const TableSchema& to) {
    ColumnChanges changes;
    std::size_t kept = 0;
    for (std::size_t i = 0; i < to.columns.size(); ++i) {
        const ColumnSchema& column = to.columns[i];
        const ColumnSchema* old = find_column(from, column.attnum);
        if (old == nullptr) {
            changes.added.push_back(i);
            continue;
        }
        ++kept;
        // DuckLake does all of these to columns with rows in them (tried on 1.5.5). It would also
        // make float64 of float32, but it keeps the least and greatest value of a file as "0.1",
        // which is not the double that 0.1f becomes, and filters then miss rows.
        if (!keeps_values(old->type, column.type)) {
            return cannot_follow(to, fmt::format("column \"{}\" goes from {} to {}", column.name,
                                                 to_string(old->type), to_string(column.type)));
        }
        if (old->name != column.name || old->type != column.type ||
            old->comment != column.comment || (!old->nullable && column.nullable)) {
            changes.is_empty = false;
        }
    }
    // Also what was added: files would be read without any of their columns.
    if (kept == 0) return cannot_follow(to, "none of its columns stays");
    if (const auto refusals = table_refusals({std::make_shared<TableSchema>(to)});
        !refusals.empty()) {
        return cannot_follow(to, refusals.front());
    }
    changes.is_empty = changes.is_empty && changes.added.empty() && kept == from.columns.size() &&
                       from.comment == to.comment;
    return changes;
}

Status change_columns(Connection& session, const LakePlace& place, const TableSchema& from,
                      const TableSchema& to, const DefaultLiterals& defaults) {
    const std::string name = lake_name(place.schema, place.table);
    // Dropped columns go last, out of the way of their names: a table must never be
    // without columns.
    std::vector<std::string> drops;
    for (const ColumnSchema& old : from.columns) {
        if (find_column(to, old.attnum) != nullptr) continue;
        const std::string aside = fmt::format("_walbrook_dropped_{}", old.attnum);
        WALBROOK_RETURN_IF_ERROR(
            session.run(fmt::format("ALTER TABLE {} RENAME COLUMN {} TO {}", name,
                                    quote_identifier(old.name), quote_identifier(aside))));
        drops.push_back(
            fmt::format("ALTER TABLE {} DROP COLUMN {}", name, quote_identifier(aside)));
    }
    WALBROOK_RETURN_IF_ERROR(rename_columns(session, name, from, to));
    for (const ColumnSchema& column : to.columns) {
        const ColumnSchema* old = find_column(from, column.attnum);
        WALBROOK_RETURN_IF_ERROR(old == nullptr
                                     ? add_column(session, name, column, defaults)
                                     : change_kept_column(session, place, to, *old, column));
    }
    for (const std::string& sql : drops) WALBROOK_RETURN_IF_ERROR(session.run(sql));
    if (from.comment == to.comment) return {};
    return session.run(fmt::format("COMMENT ON TABLE {} IS {}", name, comment_literal(to.comment)));
}

}  // namespace walbrook::ducklake
