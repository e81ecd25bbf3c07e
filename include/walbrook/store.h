#pragma once

#include "walbrook/batch.h"
#include "walbrook/result.h"

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace walbrook {

// Whose records: every key of a store begins with it.
struct StoreScope {
    std::uint64_t pipeline_id = 0;
    std::string destination;  // Destination::name().
};

// What is remembered about one table.
struct TableState {
    TableId table;
    std::string schema;  // Names as last seen, for people.
    std::string name;
    TablePhase phase = TablePhase::queued;
    bool paused = false;
    std::uint32_t attempt = 0;            // Of the newest copy.
    Lsn position;                         // Of a table that is frozen.
    std::string reason;                   // Why errored or queued again.
    std::string remedy;                   // What the operator can do.
    std::uint32_t retries = 0;            // Automatic retries so far.
    std::int64_t next_retry_unix_ms = 0;  // 0: none is planned.
    // By what it belonged to the publication when it was last read, and what that publishes of
    // it. Another one at a start: it was removed meanwhile and added again, so changes may
    // be missing, and it is copied again. Empty: not known.
    std::string membership;
    // Where its rows lie at the source (files and the state of its columns), as last seen: other
    // rows without changes in the stream show here. Empty: not known.
    std::string content;
    bool operator==(const TableState&) const = default;
};

// The source that the records belong to.
struct Lineage {
    std::string system_identifier;
    std::uint32_t timeline = 0;
    std::uint32_t database_oid = 0;
    std::string slot;
    // Where the timeline left the one before it; 0: not known, or it is the first. Two servers may
    // each have begun a timeline of the same number.
    Lsn timeline_begin = {};
    bool operator==(const Lineage&) const = default;
};

struct StoredPositions {
    // Of the newest flush that the destination called durable. One that is found before it was put
    // back to an older state.
    Lsn durable;
    Lsn confirm_bound;  // Nothing beyond was ever confirmed to Postgres by us.
    bool operator==(const StoredPositions&) const = default;
};

// Remembers table phases, schema versions and positions. One process at a time owns
// a pipeline's records (the lease at the source sees to it), while other pipelines may have
// theirs in the same place and write at the same time. Calls come from one thread at a time
// and may block. Every call is atomic, also when the process dies within it: all of it is
// stored, or nothing.
class Store {
 public:
    virtual ~Store() = default;

    // Comes first: makes or migrates the tables. ErrorCode::corrupt_state when a newer
    // program wrote them.
    virtual Status open(const StoreScope& scope) = 0;

    virtual Result<std::optional<Lineage>> load_lineage() = 0;
    // `shared_until`: how far the log of the lineage before is the log of this one (kLsnMax: it is
    // the same one). What lies beyond is not there: both positions move back to it.
    virtual Status save_lineage(const Lineage& lineage, Lsn shared_until) = 0;

    // In the order of their oids.
    virtual Result<std::vector<TableState>> load_tables() = 0;
    // All or none: a half-applied set could stream a table that was not copied.
    virtual Status save_tables(std::span<const TableState> tables) = 0;
    // With all its schema versions.
    virtual Status remove_table(TableId table) = 0;

    virtual Result<StoredPositions> load_positions() = 0;
    // Each moves forward or not at all (save_lineage() alone moves them back); returns what is now
    // stored. `durable` comes only after the destination said durable; `confirm_bound` before
    // Postgres hears it.
    virtual Result<StoredPositions> advance(const StoredPositions& to) = 0;

    // Put before a row needs it; the same (table, from) again replaces.
    virtual Status put_schema(const TableSchema& schema, Lsn from) = 0;
    // The newest version that starts at or before `at`.
    virtual Result<TableSchemaPtr> get_schema(TableId table, Lsn at) = 0;  // nullptr: none
    // Drops the versions that nobody can ask for at or after `keep_from`.
    virtual Status prune_schemas(TableId table, Lsn keep_from) = 0;

    // Forgets everything of this scope (walbrook remove, a slot that was recreated).
    virtual Status clear() = 0;
};

}  // namespace walbrook
