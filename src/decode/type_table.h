#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "decode/value.h"
#include "walbrook/result.h"
#include "walbrook/schema.h"

namespace walbrook {

// How one built-in scalar type is held: the contract that docs/types.md prints.
// Types that are not in the table (extensions, enums, composites, user ranges) are
// text. Array types are lists of their element's kind.
struct TypeRow {
    std::uint32_t oid = 0;
    std::string_view name;  // As format_type() prints it.
    std::uint32_t array_oid = 0;
    TypeKind kind = TypeKind::text;
    DecodeValue binary = nullptr;  // The exact binary decoder into `kind`, if there is one.
    std::string_view note;         // What is special about it; empty if nothing.
};

// In order of oid.
std::span<const TypeRow> type_table();
// nullptr where the table has no such type.
const TypeRow* find_type(std::uint32_t oid);

// Fills column.type from base_type_oid, base_typmod, element_type_oid and
// base_type_class. Also sets element_type_oid for built-in arrays that came without
// it, and clears it for the types that have elements but are no arrays (name, point,
// oidvector). Fails only for a column without a type.
Status resolve_type(ColumnSchema& column);

// "DECIMAL(p,s)": the lake's word for a kind.
std::string_view lake_type(TypeKind kind);

// The whole of docs/types.md.
std::string types_markdown();

}  // namespace walbrook
