#include "verify/ducklake_side.h"

#include "destinations/duckdb_engine/sql.h"
#include "verify/canonical.h"
#include "verify/prints_sql.h"

#include <fmt/format.h>

namespace walbrook::verify {
namespace {

using duckdb_engine::QueryResult;

constexpr const char* kLakeAlias = "walbrook_row";

std::string lake_column(const ComparedTable& table, std::size_t i) {
    return fmt::format("{}.{}", kLakeAlias, duckdb_engine::quote_identifier(table.lake_columns[i]));
}

// A key that only the lake has is looked up at the source by this. DuckDB would print letters among
// bytes, which may be digits of other bytes to Postgres.
std::string lake_display(const ComparedTable& table, std::size_t i) {
    const ColumnType& type = table.columns[i].type;
    const std::string column = lake_column(table, i);
    if (type.kind != TypeKind::bytes || type.is_list) return column + "::VARCHAR";
    return fmt::format("'\\x' || lower(hex({}))", column);
}

PrintsDialect duckdb_dialect() {
    return {
        .canonical =
            [](const ComparedTable& table, std::size_t i) {
                return canonical_in_duckdb(table.columns[i].type, lake_column(table, i));
            },
        .digest = digest_in_duckdb,
        .number = number_in_duckdb,
        .group = group_in_duckdb,
        .display = lake_display,
        .place = "",
    };
}

}  // namespace

std::string DuckLakeSide::from(const ComparedTable& table) const {
    return fmt::format("from (select * from {}) as {} where true",
                       view_.from(view_.records().at(table.id.oid)), kLakeAlias);
}

Result<Digest> DuckLakeSide::digest(const ComparedTable& table, unsigned groups,
                                    const std::stop_token& stop) {
    WALBROOK_TRY(
        const QueryResult rows,
        view_.session().query(digest_sql(duckdb_dialect(), table, groups, from(table)), stop));
    Digest digest(groups);
    for (std::size_t i = 0; i < rows.rows(); ++i) {
        const std::int64_t group = rows.number(i, 0).value_or(-1);
        const std::int64_t count = rows.number(i, 1).value_or(-1);
        if (group < 0 || group >= groups || count < 0 || !rows.text(i, 2)) {
            return Error(ErrorCode::internal, "digests of a table: not numbers");
        }
        digest[static_cast<std::size_t>(group)] = {static_cast<std::uint64_t>(count),
                                                   number_modulo(*rows.text(i, 2))};
    }
    return digest;
}

Result<std::vector<RowPrint>> DuckLakeSide::rows(const ComparedTable& table, unsigned groups,
                                                 const std::vector<unsigned>& wanted,
                                                 const std::stop_token& stop) {
    WALBROOK_TRY(const QueryResult rows,
                 view_.session().query(
                     rows_sql(duckdb_dialect(), table, groups, wanted, from(table)), stop));
    std::vector<RowPrint> prints;
    for (std::size_t i = 0; i < rows.rows(); ++i) {
        RowPrint print;
        print.key_digest = rows.text(i, 0).value_or("");
        print.row_digest = rows.text(i, 1).value_or("");
        print.column_digests = rows.text(i, 2).value_or("");
        const std::size_t last = rows.columns().size() - 1;
        for (std::size_t c = 3; c < last; ++c) {
            print.key_text.push_back(rows.text(i, c).value_or(""));
        }
        print.count = static_cast<std::uint64_t>(rows.number(i, last).value_or(0));
        prints.push_back(std::move(print));
    }
    return prints;
}

}  // namespace walbrook::verify
