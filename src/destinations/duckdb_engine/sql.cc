#include "destinations/duckdb_engine/sql.h"

#include <algorithm>

namespace walbrook::duckdb_engine {

namespace {

std::string quoted(std::string_view text, char quote) {
    std::string result(1, quote);
    result.reserve(text.size() + 2);
    for (const char c : text) {
        if (c == quote) result += quote;
        result += c;
    }
    return result += quote;
}

std::string element_type(const ColumnType& type) {
    switch (type.kind) {
        case TypeKind::boolean: return "BOOLEAN";
        case TypeKind::int16: return "SMALLINT";
        case TypeKind::int32: return "INTEGER";
        case TypeKind::int64: return "BIGINT";
        case TypeKind::uint32: return "UINTEGER";
        case TypeKind::float32: return "FLOAT";
        case TypeKind::float64: return "DOUBLE";
        case TypeKind::decimal:
            return "DECIMAL(" + std::to_string(type.precision) + "," + std::to_string(type.scale) +
                   ")";
        case TypeKind::text: return "VARCHAR";
        case TypeKind::bytes: return "BLOB";
        case TypeKind::date: return "DATE";
        case TypeKind::time: return "TIME";
        case TypeKind::timestamp: return "TIMESTAMP";
        case TypeKind::timestamptz: return "TIMESTAMP WITH TIME ZONE";
        case TypeKind::uuid: return "UUID";
        case TypeKind::json: return "JSON";
        case TypeKind::list: break;  // Never a column's kind: is_list says it.
    }
    return "VARCHAR";
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

}  // namespace

std::string quote_identifier(std::string_view name) { return quoted(name, '"'); }

std::string quote_literal(std::string_view text) { return quoted(text, '\''); }

std::string sql_type(const ColumnType& type) {
    return element_type(type) + (type.is_list ? "[]" : "");
}

bool same_name(std::string_view a, std::string_view b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](char x, char y) { return lower(x) == lower(y); });
}

std::string folded(std::string_view name) {
    std::string result(name);
    std::transform(result.begin(), result.end(), result.begin(), lower);
    return result;
}

}  // namespace walbrook::duckdb_engine
