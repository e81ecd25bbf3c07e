#pragma once

#include "sim/random.h"
#include "walbrook/batch.h"
#include "walbrook/schema.h"

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

// What the catalog of the model says of a table, and what ALTER makes of it.
namespace walbrook::sim {

using Values = std::vector<std::optional<std::string>>;  // As text; nothing is NULL.
using RowId = std::uint64_t;                             // Never used twice; has its leaf.
using Rows = std::map<RowId, Values>;

TableId id_of(std::size_t table);
// The partition that a row is in, by its oid; 0: its table has none.
std::uint32_t leaf_of(RowId row);
RowId row_in(std::uint32_t leaf, std::uint64_t number);
// Of a value that is a number; 0 of none.
std::int64_t number(const std::optional<std::string>& text);

// The tables by index. The first three are a bank: the balances of both tables add up
// to a constant, and each client numbers its entries in the ledger without gaps.
enum TableIndex : std::size_t { kChecking, kSavings, kLedger, kItems, kBag, kPairs, kTables };

// Where items and pairs keep their large value.
inline constexpr std::size_t kBlob = 2;

// The column that identifies rows for a keyed table; nothing for the others.
std::optional<std::size_t> key_column(std::size_t table);
// Columns from here on come and go.
std::size_t first_extra(std::size_t table);

// One version of a table.
struct Version {
    TableSchemaPtr schema;
    std::vector<std::int16_t> dropped;
    // What rows that are older than a column hold there, by attribute number, where that is not
    // NULL (attmissingval).
    std::map<std::int16_t, std::string> missing;
    std::uint64_t columns = 0;  // Another one whenever pg_attribute changes.
    std::uint64_t file = 0;     // pg_class.relfilenode.
    // Oid and file of each partition; none: it is not partitioned.
    std::map<std::uint32_t, std::uint64_t> leaves;
};
using VersionPtr = std::shared_ptr<const Version>;

VersionPtr first_version(std::size_t table, ReplicaIdentity ledger_identity, bool has_leaves);
// New files, as after TRUNCATE; of one leaf, if told so.
VersionPtr with_file(const Version& version, std::uint64_t file, std::uint32_t leaf);

enum class AlterKind {
    add,              // ADD COLUMN
    add_default,      // ADD COLUMN … DEFAULT 7
    add_volatile,     // ADD COLUMN … DEFAULT random(): the rows are rewritten
    drop,             // DROP COLUMN
    rename,           // RENAME COLUMN
    widen,            // varchar(20) becomes varchar(40) in place
    retype,           // … TYPE text USING …: the rows are rewritten
    rename_table,     // RENAME TO
    change_identity,  // REPLICA IDENTITY FULL, and back
    vacuum_full,      // New files, the same rows
    add_leaf,         // CREATE TABLE … PARTITION OF
    drop_leaf,        // DROP TABLE of a partition: its rows are gone, and nothing is sent
};
struct Alter {
    AlterKind kind = AlterKind::add;
    std::size_t column = 0;  // Its place.
    std::uint32_t leaf = 0;
};

// A change that fits the version; nothing if chance chose one that does not.
std::optional<Alter> some_alter(Random& random, std::size_t table, const Version& version);
// `number`: never used twice.
VersionPtr altered(Random& random, std::size_t table, const Version& version, const Alter& alter,
                   std::uint64_t number);
// One of its partitions; 0: it has none.
std::uint32_t some_leaf(Random& random, const Version& version);
// All rows, or those of one leaf.
void erase_rows(Rows& rows, std::uint32_t leaf);
// What becomes of a row.
void reshape(const Alter& alter, RowId row, Values& values);

// As a look at the catalog tells it: TableContent, and the digest of the rest.
std::string content_of(const Version& version);
std::string definition_of(const Version& version);
// One row of the schema: what rows that are older than a column hold there.
std::shared_ptr<const RowBatch> existing_of(const Version& version);

}  // namespace walbrook::sim
