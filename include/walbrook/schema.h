#pragma once

#include "walbrook/lsn.h"
#include "walbrook/result.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace walbrook {

// pg_class.oid of a table: the identity that survives renames.
struct TableId {
    std::uint32_t oid = 0;
    auto operator<=>(const TableId&) const = default;
};

// How a column's values are held in memory and in destinations. Every Postgres
// type has exactly one kind (the type table, docs/types.md); what has no kind of
// its own is `text`, holding exactly what Postgres prints.
enum class TypeKind : std::uint8_t {
    boolean,  // Arrow bool: one bit a value
    int16,
    int32,
    int64,
    uint32,  // oid and its kin
    float32,
    float64,
    decimal,      // Arrow decimal128(precision, scale): 16 bytes little endian, unscaled
    text,         // Arrow utf8: 32-bit offsets + bytes
    bytes,        // Arrow binary
    date,         // Arrow date32: days since 1970-01-01; INT32_MAX / -INT32_MAX are ±infinity
    time,         // Arrow time64[us]: microseconds since midnight, 24:00:00 included
    timestamp,    // Arrow timestamp[us]: since 1970-01-01; INT64_MAX / -INT64_MAX are ±infinity
    timestamptz,  // as timestamp, UTC
    uuid,         // Arrow fixed_size_binary(16), extension arrow.uuid: bytes as printed
    json,         // as text, extension arrow.json; byte for byte what Postgres sends
    list,         // Arrow list: 32-bit offsets into the element column; elements may be null
};

// "int64", "decimal", …
std::string_view name_of(TypeKind kind);

// A kind with its parameters. Lists have one level: an array column whose elements
// are lists does not exist (other shapes follow the column's policy).
struct ColumnType {
    TypeKind kind = TypeKind::text;  // never `list` where is_list
    bool is_list = false;            // then `kind` is the element's
    std::uint8_t precision = 0;      // decimal only: 1 to 38
    std::int8_t scale = 0;           // decimal only: 0 to precision
    bool operator==(const ColumnType&) const = default;
};

// "list<decimal(12,2)>".
std::string to_string(const ColumnType& type);

// One replicated column of one version of a table.
struct ColumnSchema {
    std::string name;
    std::int16_t attnum = 0;          // pg_attribute.attnum: the identity that survives renames.
    std::uint32_t type_oid = 0;       // As declared, domains not resolved.
    std::int32_t typmod = -1;         // pg_attribute.atttypmod.
    std::string type_name;            // format_type(): "numeric(12,2)"; for comments and messages.
    std::uint32_t base_type_oid = 0;  // Domains resolved, to any depth; else type_oid.
    std::int32_t base_typmod = -1;
    std::uint32_t element_type_oid = 0;  // Arrays: the element's type, domains resolved; else 0.
    char element_delimiter = ',';        // Arrays: pg_type.typdelim of the element (';' for box).
    char base_type_class = 'b';          // pg_type.typtype of the base type: b, c, e, p, r, m.
    ColumnType type;                     // How it is held.
    bool nullable = true;
    int key_position = 0;      // 1-based place in the primary key, 0 if not part of it.
    bool in_identity = false;  // Sent with old rows: part of the replica identity.
    std::string comment;
    bool operator==(const ColumnSchema&) const = default;
};

// pg_class.relreplident.
enum class ReplicaIdentity : char {
    default_key = 'd',
    index = 'i',
    full = 'f',
    nothing = 'n',
};

// Names, types and key of one version of a table. Immutable once shared.
class TableSchema {
 public:
    TableId id;
    std::string schema;  // Postgres schema name, unquoted.
    std::string name;    // Table name, unquoted.
    std::string comment;
    ReplicaIdentity replica_identity = ReplicaIdentity::default_key;
    std::vector<ColumnSchema>
        columns;  // Published columns in attnum order: the order of every row.
    // pg_class.relnatts: the highest attribute number ever given, dropped columns included;
    // 0: not known.
    std::int16_t attnum_max = 0;
    // The publication leaves some of insert, update, delete and truncate out, so rows may be there
    // that the source has no more, and others missing. What is applied to such a table
    // (ChangeBatch) finds less than it names, and replaces what stands in its way.
    bool partly_published = false;
    // A column of the key is not published, and the others of it tell no two rows apart: it is as
    // if there were no key.
    bool partial_key = false;
    // How the source had the table when it was copied. Destinations keep it with the table, so
    // that a start can tell what happened to the source meanwhile though the store is lost.
    std::string membership;     // As TableState::membership; empty: not known.
    std::string content;        // As TableState::content; empty: not known.
    std::uint32_t attempt = 0;  // TableState::attempt of the copy; 0: not known.

    // schema.name as people write it, for messages.
    std::string display_name() const { return schema + "." + name; }
    // Indexes into columns of what identifies a row for updates and deletes: the
    // replica identity if it is a proper key that is published as a whole, the primary key under
    // FULL, else empty.
    std::vector<std::size_t> key_columns() const;
    // Whether both are the same version of the same table, however they came here: `membership`,
    // `content`, `attempt`, `attnum_max` and `partly_published` do not count.
    bool operator==(const TableSchema& other) const;
};

using TableSchemaPtr = std::shared_ptr<const TableSchema>;

// The text in which stores and destinations keep a version (JSON, format 1).
std::string to_json(const TableSchema& schema);
// ErrorCode::corrupt_state when the text is not what to_json makes.
Result<TableSchema> table_schema_from_json(std::string_view json);

}  // namespace walbrook
