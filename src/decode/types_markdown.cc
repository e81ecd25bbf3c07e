#include <fmt/format.h>

#include <iterator>

#include "decode/type_table.h"

namespace walbrook {
namespace {

constexpr std::string_view kIntroduction = R"(# Types

<!-- Made from src/decode/type_table.cc; a test compares the two. -->

Every Postgres type has exactly one way to be held. A value is stored exactly or it is
refused, which makes its table errored and names the column; it is never changed in
silence. What can be done then: change the value or the column's type at the source (`text`
holds everything), or leave the column out of the publication by a column list.

- **Text** means: exactly what Postgres prints under `DateStyle ISO`,
  `IntervalStyle postgres`, `TimeZone UTC`, `extra_float_digits 3`, `bytea_output hex` and
  `xmlbinary base64`, which our sessions set.
- **Domains** are held as their base type.
- **Enums** are text: the label.
- **Arrays** are lists of what their elements are held as, for every element type, also
  those of extensions. Elements may be null. A list has one dimension that begins at 1, or
  is empty; a value of another shape (`{{1,2},{3,4}}`, `[0:1]={1,2}`) is refused.
- **Composite types, ranges, multiranges and types of extensions** are text.
- **Binary** says whether the binary form is read; the other types are asked for as text,
  with the same result. Arrays go with their element, except arrays of enums, which are
  asked for as text.

| Postgres type | oid | array | held as | in the lake | binary | remark |
|---|---|---|---|---|---|---|
)";

std::string_view held_as(TypeKind kind) {
    switch (kind) {
        case TypeKind::boolean: return "bool";
        case TypeKind::int16: return "int16";
        case TypeKind::int32: return "int32";
        case TypeKind::int64: return "int64";
        case TypeKind::uint32: return "uint32";
        case TypeKind::float32: return "float32";
        case TypeKind::float64: return "float64";
        case TypeKind::decimal: return "decimal128(p,s)";
        case TypeKind::text: return "utf8";
        case TypeKind::bytes: return "binary";
        case TypeKind::date: return "date32";
        case TypeKind::time: return "time64[us]";
        case TypeKind::timestamp: return "timestamp[us]";
        case TypeKind::timestamptz: return "timestamp[us, UTC]";
        case TypeKind::uuid: return "fixed_size_binary(16), arrow.uuid";
        case TypeKind::json: return "utf8, arrow.json";
        case TypeKind::list: return "list";
    }
    return "utf8";
}

}  // namespace

std::string_view lake_type(TypeKind kind) {
    switch (kind) {
        case TypeKind::boolean: return "BOOLEAN";
        case TypeKind::int16: return "SMALLINT";
        case TypeKind::int32: return "INTEGER";
        case TypeKind::int64: return "BIGINT";
        case TypeKind::uint32: return "UINTEGER";
        case TypeKind::float32: return "FLOAT";
        case TypeKind::float64: return "DOUBLE";
        case TypeKind::decimal: return "DECIMAL(p,s)";
        case TypeKind::text: return "VARCHAR";
        case TypeKind::bytes: return "BLOB";
        case TypeKind::date: return "DATE";
        case TypeKind::time: return "TIME";
        case TypeKind::timestamp: return "TIMESTAMP";
        case TypeKind::timestamptz: return "TIMESTAMP WITH TIME ZONE";
        case TypeKind::uuid: return "UUID";
        case TypeKind::json: return "JSON";
        case TypeKind::list: return "LIST";
    }
    return "VARCHAR";
}

std::string types_markdown() {
    std::string out(kIntroduction);
    for (const TypeRow& row : type_table()) {
        fmt::format_to(std::back_inserter(out), "| {} | {} | {} | {} | {} | {} | {} |\n", row.name,
                       row.oid, row.array_oid, held_as(row.kind), lake_type(row.kind),
                       row.binary != nullptr ? "yes" : "as text", row.note);
    }
    return out;
}

}  // namespace walbrook
