#include "verify/canonical.h"

#include <fmt/format.h>

namespace walbrook::verify {
namespace {

constexpr std::uint32_t kCharOid = 18;
constexpr std::uint32_t kTextOid = 25;
constexpr std::uint32_t kVarcharOid = 1043;
constexpr std::uint32_t kFirstNormalOid = 16384;

// Texts whose alphabet has neither N nor a semicolon.
bool is_plain(TypeKind kind) { return kind != TypeKind::text && kind != TypeKind::json; }

// Null for null.
std::string plain_in_postgres(TypeKind kind, const std::string& value) {
    switch (kind) {
        case TypeKind::boolean:
            return fmt::format("case {} when true then 't' when false then 'f' end", value);
        case TypeKind::float32:
            return fmt::format(
                "case when {0} = 'NaN'::float4 then 'nan' else encode(float4send({0}), 'hex') end",
                value);
        case TypeKind::float64:
            return fmt::format(
                "case when {0} = 'NaN'::float8 then 'nan' else encode(float8send({0}), 'hex') end",
                value);
        case TypeKind::bytes:
            return fmt::format("encode({}, 'hex')", value);
        case TypeKind::date:
            return fmt::format(
                "case when isfinite({0}::date) then ({0}::date - date '1970-01-01')::text "
                "else {0}::date::text end",
                value);
        case TypeKind::time:
            return fmt::format("(extract(epoch from {}::time) * 1000000)::int8::text", value);
        case TypeKind::timestamp:
        case TypeKind::timestamptz: {
            const char* type = kind == TypeKind::timestamp ? "timestamp" : "timestamptz";
            return fmt::format(
                "case when isfinite({0}::{1}) then (extract(epoch from {0}::{1}) * "
                "1000000)::int8::text else {0}::{1}::text end",
                value, type);
        }
        default:
            return value + "::text";
    }
}

std::string plain_in_duckdb(const ColumnType& type, const std::string& value) {
    switch (type.kind) {
        case TypeKind::boolean:
            return fmt::format("CASE {} WHEN true THEN 't' WHEN false THEN 'f' END", value);
        case TypeKind::float32:
        case TypeKind::float64:
            return fmt::format(
                "CASE WHEN isnan({0}) THEN 'nan' ELSE lower(hex({0}::BIT::BLOB)) END", value);
        case TypeKind::bytes:
            return fmt::format("lower(hex({}))", value);
        case TypeKind::date:
            return fmt::format(
                "CASE WHEN isinf({0}) THEN {0}::VARCHAR ELSE ({0} - DATE '1970-01-01')::VARCHAR "
                "END",
                value);
        case TypeKind::time:
            return fmt::format("epoch_us({})::VARCHAR", value);
        case TypeKind::timestamp:
        case TypeKind::timestamptz:
            return fmt::format(
                "CASE WHEN isinf({0}) THEN {0}::VARCHAR ELSE epoch_us({0})::VARCHAR END", value);
        case TypeKind::decimal:
            // DuckDB prints no digit before the point where the type has none.
            if (type.precision == type.scale) {
                return fmt::format(
                    "CASE WHEN {0} < 0 THEN '-0' || ltrim({0}::VARCHAR, '-0') ELSE '0' || "
                    "ltrim({0}::VARCHAR, '0') END",
                    value);
            }
            return value + "::VARCHAR";
        default:
            return value + "::VARCHAR";
    }
}

// As its output function prints it. A cast would be another text for some: character(n) loses its
// padding, inet gets a mask.
std::string text_in_postgres(std::uint32_t base_type, const std::string& value) {
    if (base_type == kTextOid || base_type == kVarcharOid) return value;
    // Bytes above 127 are \ooo; before 16 the server prints them as they are.
    if (base_type == kCharOid) {
        return fmt::format(
            "case when {0}::\"char\"::int < 0 then '\\' || (({0}::\"char\"::int + 256) >> 6)::text "
            "|| ((({0}::\"char\"::int + 256) >> 3) & 7)::text || (({0}::\"char\"::int + 256) & "
            "7)::text else concat({0}) end",
            value);
    }
    return fmt::format("concat({})", value);
}

std::string element_in_postgres(const PostgresDialect& dialect, TypeKind kind,
                                std::uint32_t base_type, const std::string& value) {
    if (is_plain(kind)) {
        return fmt::format("coalesce({}, 'N') || ';'", plain_in_postgres(kind, value));
    }
    const std::string text = text_in_postgres(base_type, value);
    // Of a composite value IS NULL asks for its fields.
    return fmt::format(
        "case when num_nulls({0}) = 1 then 'N;' else octet_length({1})::text || ':' || ({2}) end",
        value, dialect.is_utf8 ? text : fmt::format("convert_to({}, 'UTF8')", text), text);
}

std::string element_in_duckdb(const ColumnType& type, const std::string& value) {
    if (is_plain(type.kind)) {
        return fmt::format("coalesce({}, 'N') || ';'", plain_in_duckdb(type, value));
    }
    return fmt::format(
        "CASE WHEN {0} IS NULL THEN 'N;' ELSE strlen({0}::VARCHAR)::VARCHAR || ':' || "
        "{0}::VARCHAR END",
        value);
}

}  // namespace

std::string canonical_in_postgres(const PostgresDialect& dialect, const ColumnSchema& column,
                                  const std::string& value) {
    if (!column.type.is_list) {
        return element_in_postgres(dialect, column.type.kind, column.base_type_oid, value);
    }
    // unnest() would make columns of the fields of composite elements.
    const bool by_subscript =
        column.type.kind == TypeKind::text &&
        (column.element_type_oid == 0 || column.element_type_oid >= kFirstNormalOid);
    const std::string element =
        element_in_postgres(dialect, column.type.kind, column.element_type_oid,
                            by_subscript ? fmt::format("({})[i.i]", value) : "u.x");
    const std::string from = by_subscript
                                 ? fmt::format("generate_subscripts({}, 1) as i(i)", value)
                                 : fmt::format("unnest({}) with ordinality as u(x, i)", value);
    // Without elements there is nothing that a shape could be of: '{}' with a lower bound of 0, as
    // casts of empty vectors make it, is the same list.
    return fmt::format(
        "case when {0} is null then 'N;' when cardinality({0}) > 0 and (array_ndims({0}) > 1 or "
        "array_lower({0}, 1) <> 1) then 'X' || {3} else 'L' || cardinality({0})::text || ':' || "
        "coalesce((select "
        "string_agg({1}, '' order by i) from {2}), '') end",
        value, element, from, element_in_postgres(dialect, TypeKind::text, 0, value));
}

std::string canonical_in_duckdb(const ColumnType& type, const std::string& value) {
    if (!type.is_list) return element_in_duckdb(type, value);
    ColumnType element = type;
    element.is_list = false;
    return fmt::format(
        "CASE WHEN {0} IS NULL THEN 'N;' ELSE 'L' || len({0})::VARCHAR || ':' || "
        "array_to_string(list_transform({0}, lambda x: {1}), '') END",
        value, element_in_duckdb(element, "x"));
}

std::string digest_in_postgres(const PostgresDialect& dialect, const std::string& text) {
    if (dialect.is_utf8) return fmt::format("md5({})", text);
    return fmt::format("md5(convert_to({}, 'UTF8'))", text);
}

std::string digest_in_duckdb(const std::string& text) { return fmt::format("md5({})", text); }

std::string number_in_postgres(const std::string& digest) {
    return fmt::format("('x0' || left({}, 15))::bit(64)::int8", digest);
}

std::string number_in_duckdb(const std::string& digest) {
    return fmt::format("('0x' || left({}, 15))::BIGINT", digest);
}

std::string group_in_postgres(const std::string& digest, unsigned groups) {
    return fmt::format("(('x' || right({}, 8))::bit(32)::int8 % {})", digest, groups);
}

std::string group_in_duckdb(const std::string& digest, unsigned groups) {
    return fmt::format("(('0x' || right({}, 8))::BIGINT % {})", digest, groups);
}

}  // namespace walbrook::verify
