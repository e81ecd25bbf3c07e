#include "destinations/ducklake/floats.h"

#include "destinations/duckdb_engine/sql.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cstdint>

namespace walbrook::ducklake {
namespace {

// docs/design/ducklake.md has the measurements behind these.
constexpr std::string_view kOptions =
    "FORMAT parquet, PARQUET_VERSION v2, COMPRESSION zstd, COMPRESSION_LEVEL 1, "
    "ROW_GROUP_SIZE 40960, DICTIONARY_SIZE_LIMIT 4096";
constexpr std::string_view kOptionsOfFloats =
    "FORMAT parquet, PARQUET_VERSION v2, COMPRESSION zstd, COMPRESSION_LEVEL 1, "
    "ROW_GROUP_SIZE 40960, DICTIONARY_SIZE_LIMIT 0";

template <class T, class Bits>
bool has_minus_zero(const Column& column) {
    constexpr Bits kMinusZero = Bits{1} << (sizeof(Bits) * 8 - 1);
    for (std::size_t i = 0; i < column.size(); ++i) {
        if (std::bit_cast<Bits>(column.fixed_at<T>(i)) == kMinusZero) return true;
    }
    return false;
}

}  // namespace

bool is_float(const ColumnType& type) {
    return type.kind == TypeKind::float32 || type.kind == TypeKind::float64;
}

bool has_floats(const TableSchema& table) {
    return std::any_of(table.columns.begin(), table.columns.end(),
                       [](const ColumnSchema& column) { return is_float(column.type); });
}

bool has_minus_zero(const RowBatch& rows) {
    return std::any_of(rows.columns().begin(), rows.columns().end(), [](const Column& column) {
        if (!is_float(column.type())) return false;
        const Column& values = column.type().is_list ? column.element() : column;
        // A null's place holds zero.
        return column.type().kind == TypeKind::float32
                   ? has_minus_zero<float, std::uint32_t>(values)
                   : has_minus_zero<double, std::uint64_t>(values);
    });
}

Result<bool> has_minus_zero(duckdb_engine::Connection& session, const TableSchema& table,
                            std::string_view from, const std::stop_token& stop) {
    std::string conditions;
    for (const ColumnSchema& column : table.columns) {
        if (!is_float(column.type)) continue;
        const std::string name = duckdb_engine::quote_identifier(column.name);
        conditions += conditions.empty() ? "" : " OR ";
        conditions +=
            column.type.is_list
                ? fmt::format("len(list_filter({}, lambda x: x = 0 AND signbit(x))) > 0", name)
                : fmt::format("({0} = 0 AND signbit({0}))", name);
    }
    if (conditions.empty()) return false;
    WALBROOK_TRY(const duckdb_engine::QueryResult found,
                 session.query(fmt::format("SELECT count(*) FROM (SELECT 1 FROM {} WHERE {} LIMIT "
                                           "1)",
                                           from, conditions),
                               stop));
    return found.number(0, 0).value_or(0) != 0;
}

std::string_view parquet_options(const TableSchema& table) {
    return has_floats(table) ? kOptionsOfFloats : kOptions;
}

}  // namespace walbrook::ducklake
