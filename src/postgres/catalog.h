#pragma once

#include "postgres/connection.h"
#include "walbrook/schema.h"

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace walbrook {

// A publication as the catalog has it. Another oid under the same name is another
// publication; another xmin is a change of this one.
struct Publication {
    std::string name;
    std::uint32_t oid = 0;
    std::string xmin;
    bool publish_insert = false;
    bool publish_update = false;
    bool publish_delete = false;
    bool publish_truncate = false;
    bool via_root = false;
    bool all_tables = false;
    bool generated_stored = false;  // 18 and newer: publish_generated_columns = stored.
    bool operator==(const Publication&) const = default;
};

// A table that holds rows: a leaf of a partitioned table, or a plain table itself.
struct PhysicalTable {
    TableId id;
    std::string schema;
    std::string name;
    std::uint32_t relfilenode = 0;  // 0: no storage (a foreign partition).
    char relkind = 'r';             // pg_class.relkind,
    char persistence = 'p';         // and pg_class.relpersistence.
    bool operator==(const PhysicalTable&) const = default;
};

// By which columns old rows are sent, in attribute numbers of the table that it is said of.
struct SentIdentity {
    ReplicaIdentity kind = ReplicaIdentity::default_key;
    std::vector<std::int16_t> attnums;
    bool operator==(const SentIdentity&) const = default;
};

// One table of the destination: a relation under whose identity pgoutput sends rows, or a
// partitioned table whose leaves are sent one by one (merge_partitions).
struct PublishedTable {
    TableId id;
    std::string schema;
    std::string name;
    char relkind = 'r';  // pg_class.relkind: r or p.
    std::uint32_t relfilenode = 0;
    TableId root;              // Topmost partitioned ancestor; else itself.
    bool via_root = false;     // Its rows are sent under its own identity.
    bool is_filtered = false;  // There are row filters: see read_row_filters().
    // What pgoutput sends of it, by attribute number.
    std::vector<std::int16_t> attnums;
    // The column list, where the publication names one for this very table.
    std::optional<std::vector<std::int16_t>> column_list;
    // By what the table belongs to the publication: "rel:<oid>:<xmin>", "ns:<oid>:<xmin>",
    // "all", several joined by commas. Removed and added again gives another one.
    std::string membership;
    // Where the rows are: leaves in order of oid, or the table itself.
    std::vector<PhysicalTable> physical;
    // How the leaves of merged partitions send old rows, where that is not said by the table.
    std::optional<SentIdentity> identity{};
    // Why it cannot be followed, with the remedy; empty: it can.
    std::string problem{};
    bool is_partly = false;  // The publication leaves operations out (TableSchema).
    bool operator==(const PublishedTable&) const = default;
};

// The publication, or nothing when there is none of that name.
Result<std::optional<Publication>> read_publication(Connection& connection,
                                                    const Deadline& deadline,
                                                    const std::string& name);

// What it publishes, without the tables of schema walbrook and of a DuckLake catalog, in order of
// oid: tables, and of partitioned ones the topmost published ancestors, whether via_root is set or
// their leaves are merged. Waits for no lock of a table. Run it and read_publication in one
// REPEATABLE READ transaction where both must fit together.
Result<std::vector<PublishedTable>> read_published_tables(Connection& connection,
                                                          const Deadline& deadline,
                                                          const Publication& publication);

// Which columns of which table: attribute numbers as in PublishedTable; empty stands for
// all columns that are not generated.
struct TableColumns {
    TableId id;
    std::vector<std::int16_t> attnums;
    std::optional<SentIdentity> identity{};  // As in PublishedTable.
    bool is_partly = false;                  // As in PublishedTable.
};

// The schemas of tables, with every field except ColumnSchema::type, which the type
// table decides (src/decode). Three queries however many tables. A table that does not
// exist is missing in the answer.
Result<std::map<TableId, TableSchema>> read_table_schemas(Connection& connection,
                                                          const Deadline& deadline,
                                                          std::span<const TableColumns> tables);

// What a table's columns went through.
struct TableHistory {
    std::vector<std::int16_t> dropped;  // Attribute numbers that had a column once.
    // What a column that was added later holds in rows that are older than it, as Postgres
    // prints it (pg_attribute.attmissingval). Nothing: it cannot be told. Columns that are not
    // named hold null there, or their values are in the rows.
    struct Missing {
        std::int16_t attnum = 0;
        std::optional<std::string> value;
    };
    std::vector<Missing> missing;
};
// Tables without such columns are missing in the answer.
// Leaves below these tables whose columns stand in another order than the table's own.
Result<std::map<TableId, std::set<std::uint32_t>>> read_reordered_leaves(
    Connection& connection, const Deadline& deadline, std::span<const PublishedTable> tables);

Result<std::map<TableId, TableHistory>> read_table_histories(Connection& connection,
                                                             const Deadline& deadline,
                                                             std::span<const std::uint32_t> oids);

// The same for one. ErrorCode::schema_mismatch (with the table's oid) when there is no
// such table.
Result<TableSchema> read_table_schema(Connection& connection, const Deadline& deadline,
                                      const TableColumns& table);

// What must not change while a table is copied in parts. A dropped column shows as a
// missing attribute number.
struct TableShape {
    struct Column {
        std::int16_t attnum = 0;
        std::string name;
        std::uint32_t type_oid = 0;
        std::int32_t typmod = -1;
        bool operator==(const Column&) const = default;
    };
    // (oid, filenode) of each leaf in order of oid, or of the table itself. A rewriting
    // ALTER TABLE, TRUNCATE, VACUUM FULL and CLUSTER change a filenode.
    std::vector<std::pair<std::uint32_t, std::uint32_t>> physical;
    std::vector<Column> columns;
    bool operator==(const TableShape&) const = default;
};

// The shape by the catalogs. Inside a REPEATABLE READ transaction that is the shape as
// of its snapshot. ErrorCode::schema_mismatch when there is no such table.
Result<TableShape> read_shape(Connection& connection, const Deadline& deadline, TableId table);

// The shape as it is now, in any transaction: what the server's caches say, which
// follow the latest commit whatever the snapshot is. Comes after LOCK TABLE, whose lock
// keeps it so, and needs SELECT on every column. Of a partitioned table the leaves are
// locked too (ACCESS SHARE, pg_partition_tree), which waits at most lock_timeout.
// `schema` and `name` as last known; ErrorCode::schema_mismatch when another table, or
// none, has that name now.
Result<TableShape> read_current_shape(Connection& connection, const Deadline& deadline,
                                      TableId table, const std::string& schema,
                                      const std::string& name);

}  // namespace walbrook
