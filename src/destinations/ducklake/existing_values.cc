#include "destinations/ducklake/existing_values.h"

#include "base/check.h"
#include "destinations/duckdb_engine/scan.h"
#include "destinations/duckdb_engine/sql.h"

#include <fmt/format.h>

namespace walbrook::ducklake {

using duckdb_engine::ColumnsSource;
using duckdb_engine::NamedScan;
using duckdb_engine::QueryResult;
using duckdb_engine::quote_literal;
using duckdb_engine::ScanColumn;
using duckdb_engine::sql_type;

namespace {

Error cannot_hold(const TableSchema& table, const ColumnSchema& column) {
    return Error(ErrorCode::schema_mismatch,
                 fmt::format("add column \"{}\" to {} in the lake: DuckLake cannot hold what its "
                             "rows have in it already, of type {}, as a default; the table must "
                             "be copied again",
                             column.name, table.display_name(), to_string(column.type)))
        .with_table(table.id.oid);
}

}  // namespace

Result<DefaultLiterals> default_literals(Lake& lake, const RowBatch& existing,
                                         const std::vector<std::size_t>& added) {
    const TableSchema& table = *existing.schema();
    WALBROOK_CHECK(existing.rows() == 1);
    std::vector<std::size_t> with_value;
    std::vector<ScanColumn> columns;
    std::vector<const Column*> values;
    std::string texts;
    for (const std::size_t i : added) {
        const Column& column = existing.columns()[i];
        if (column.is_null(0)) continue;
        if (column.type().is_list) return cannot_hold(table, table.columns[i]);
        const std::string name = fmt::format("v{}", i);
        columns.push_back({name, column.type()});
        values.push_back(&column);
        with_value.push_back(i);
        // As text once more, because minus zero equals zero.
        const std::string again =
            fmt::format("TRY_CAST({}::VARCHAR AS {})", name, sql_type(column.type()));
        texts += fmt::format(
            "{0}{1}::VARCHAR, coalesce({2} IS NOT DISTINCT FROM {1} AND {2}::VARCHAR = "
            "{1}::VARCHAR, false)::INTEGER",
            texts.empty() ? "" : ", ", name, again);
    }
    DefaultLiterals literals;
    if (with_value.empty()) return literals;
    ColumnsSource source(std::move(columns), std::move(values));
    const NamedScan scan(lake.scans(), source);
    WALBROOK_TRY(const QueryResult row,
                 lake.session().query(fmt::format("SELECT {} FROM {}", texts, scan.sql())));
    for (std::size_t i = 0; i < with_value.size(); ++i) {
        const ColumnSchema& column = table.columns[with_value[i]];
        const std::optional<std::string>& text = row.text(0, 2 * i);
        if (!text || row.number(0, 2 * i + 1) != 1) return cannot_hold(table, column);
        literals.emplace(column.attnum, quote_literal(*text));
    }
    return literals;
}

}  // namespace walbrook::ducklake
