#pragma once

#include "decode/pgoutput.h"
#include "walbrook/batch.h"

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace walbrook {

// A relation message whose frame is gone.
struct StreamRelation {
    struct Column {
        std::string name;
        std::uint32_t type_oid = 0;
        std::int32_t typmod = -1;
        bool in_identity = false;
    };
    StreamRelation() = default;
    explicit StreamRelation(const RelationMessage& message);
    std::uint32_t oid = 0;
    std::string schema;
    std::string name;
    ReplicaIdentity replica_identity = ReplicaIdentity::default_key;
    std::vector<Column> columns;  // In order of the sender's attribute numbers.
};

// What the catalog says of a table. It knows the latest commit, so it may be ahead of the
// stream, never behind it.
struct SourceTable {
    TableSchemaPtr schema;              // nullptr: dropped, or not published any more.
    std::vector<std::int16_t> dropped;  // Attribute numbers that had a column once.
    // Why its rows changed without changes in the stream (compare_contents), since the visible
    // table was copied, and since the snapshot of the copy that is under way. Empty: they did not.
    std::string other_rows;
    std::string other_rows_in_copy;
    // Which copies these are, as TableState::attempt: the visible one as far as whoever looked
    // knows (0: what was visible at the start), and the one under way (0: none), which may be the
    // visible one by now.
    std::uint32_t attempt_visible = 0;
    std::uint32_t attempt_in_copy = 0;
    // One row of `schema`: what rows that are older than a column hold there.
    std::shared_ptr<const RowBatch> existing;
    // Attribute numbers of columns for which that cannot be told.
    std::vector<std::int16_t> existing_unknown;
    // Partitions whose columns stand in another order than the table's.
    std::set<std::uint32_t> reordered;
    // Grows from one look at the catalog to the next.
    std::uint64_t seen = 0;
};

// Why rows of the relation do not fit the schema; empty: they do. Columns of a partition
// go by name, since it may number them in its own way.
std::string difference(const StreamRelation& relation, const TableSchema& schema);

// What became of a table.
struct Followed {
    enum class Kind {
        same,    // The version that is known goes on.
        change,  // `schema` is the version from here on, and the known one can become it.
        lost,    // Only a new copy can tell: `why`.
    };
    Kind kind = Kind::same;
    TableSchemaPtr schema;
    std::shared_ptr<const RowBatch> existing;
    std::string why;
};

// The version of a table that a relation message describes, found by what was known before
// it and by a look at the catalog after it. `known` must not be ahead of the message.
//
// The message has names and types, but not the attribute numbers that tell a renamed column
// from one that was dropped and added again. Columns of `known` that still exist existed at
// the message; how many there were then tells the others: either none of those that came
// or went in between, or all of them. `told`, the numbers of all columns that the table had then
// (DdlMessage), settles it where it fits. In doubt the answer is `lost`, never a guess.
//
// A partition numbers its columns in its own way, in the same order as its table unless it was
// attached. In another order only names tell which is which: good as long as no column changes.
Followed follow_relation(const StreamRelation& relation, const TableSchema& known,
                         const SourceTable& now, const std::set<std::int16_t>* told = nullptr);

// The same without a message: the catalog's version, at a position that the stream has passed.
Followed follow_catalog(const TableSchema& known, const SourceTable& now);

}  // namespace walbrook
