#pragma once

#include "batch/row_append.h"
#include "pipeline/apply_core.h"
#include "pipeline/schema_follow.h"

#include <map>

// What ApplyCore keeps, for the files that it consists of.
namespace walbrook {

inline constexpr const char* kOtherPartitions = "a partition was attached or detached";

// One table that the core knows. Its visible content may follow the stream, and a copy may
// hold its changes: neither, one of them, or both while a table is copied again.
struct ApplyCore::Table {
    TableId id;
    std::set<std::uint32_t> partitions;  // Whose rows are its rows.

    // The visible table.
    bool applies = false;       // It follows.
    bool is_errored = false;    // It has stopped, and no copy was asked for.
    bool publishing = false;    // Its Publish waits for the acknowledgement,
    TableSchemaPtr replaced;    // and takes the place of this version, which was followed.
    TableSchemaPtr schema;      // Of rows that are appended now.
    std::uint32_t attempt = 0;  // The copy that it came from; 0: it was visible at the start.
    std::uint64_t seen = 0;     // The look at the catalog that `schema` came from.

    // The copy, while its changes are held.
    std::optional<ChangeLog> held;
    bool held_begun = false;  // The present transaction is in the log.
    Lsn held_from;            // Transactions up to here are not in the log.
    Lsn held_up_to;           // Transactions up to here are in it: a reconnect sends some again.
    TableSchemaPtr held_schema;
    std::uint64_t held_seen = 0;
    // The leaves that the copy which was held last has read; looks with a higher number than this
    // have read them later.
    std::vector<std::uint32_t> copied_partitions;
    std::uint64_t partitions_seen = 0;
    std::uint64_t copy_number = 0;        // As in input::Hold, of the hold that began last,
    std::uint64_t publishing_number = 0;  // and of the copy whose Publish waits.
    // Rows before may have an older shape than held_schema, which came from a catalog that was
    // ahead; they are in the copy's snapshot.
    Lsn held_ahead_until;
    // Versions that began while it was held, and the transactions that brought them.
    struct Version {
        Transaction transaction;
        TableSchemaPtr schema;
        std::uint64_t seen = 0;
    };
    std::vector<Version> versions;
    CopyTargetPtr copy;  // Once the copy is done.
    std::shared_ptr<const CopySnapshots> snapshot;
    // Transactions with rows of another shape than the schema's. Harmless if the
    // copy's snapshot shows them.
    std::vector<Transaction> unreadable;
    std::string unreadable_why;

    // Of a copy in ranges of the key, by this column: what must not be in the snapshots of some
    // of them only.
    std::int16_t range_attnum = 0;
    std::vector<Transaction> whole;  // They changed more than single rows.
    // Updates that took a row to another key without sending all of its values.
    struct Move {
        Transaction transaction;
        KeyPoint from;
        KeyPoint to;
    };
    std::vector<Move> moves;
    bool moves_too_many = false;
    unsigned slices = 0;  // Applied so far while catching up.

    bool is_idle() const { return !applies && !held; }
};

// What the stream has said of a relation, bound to the versions of its table.
struct ApplyCore::Relation {
    struct Binding {
        TableSchemaPtr schema;  // What the decoders were chosen for.
        std::optional<RowDecoders> decoders;
        std::string mismatch;  // Why rows of this relation do not fit the schema; else empty.
    };
    explicit Relation(const RelationMessage& from) : message(from) {}
    StreamRelation message;
    Table* table = nullptr;    // nullptr: not one of ours.
    bool is_verified = false;  // The catalog was asked which version of the table it is.
    std::string held_lost;     // Why the copy cannot follow it.
    Binding visible;
    Binding held;
};

// A transaction that the server streams before its end.
struct ApplyCore::Spooled {
    FrameSpool frames;
};

// A streamed transaction that has committed and is being taken over.
struct ApplyCore::Replay {
    std::unique_ptr<Spooled> spooled;
    Transaction transaction;
};

}  // namespace walbrook
