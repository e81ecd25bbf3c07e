#pragma once

#include "walbrook/batch.h"
#include "walbrook/result.h"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace walbrook {

// What a destination promises about a flush it returns from.
enum class Ack {
    accepted,  // It owns the data; a crash may lose it. Progress does not move.
    durable,   // This flush and all accepted before it survive a crash.
};

// What a destination can do. The pipeline plans by it and refuses at the start,
// for all tables at once, what the destination could not do later.
struct Capabilities {
    bool multi_table_atomic = false;   // A flush over several tables lands in one transaction.
    bool exactly_once = false;         // Keeps its position in the same transaction as the data.
    bool partial_update = false;       // Can keep the present value of unchanged columns.
    bool keyless = false;              // Can update and delete in tables without a key (FULL).
    bool case_sensitive_names = true;  // Tells "Foo" from "foo".
    // Keeps nothing (blackhole), so that a restart goes by the store alone: which tables
    // were copied, and how far the changes went.
    bool forgets = false;
};

// Who writes, and from where. Compared with what the destination recorded: another
// lineage is refused with ErrorCode::corrupt_state.
struct PipelineIdentity {
    std::uint64_t pipeline_id = 0;
    std::string system_identifier;  // IDENTIFY_SYSTEM of the source.
    std::string database;
    std::uint32_t database_oid = 0;
    std::string slot;
    // For files that the destination needs for itself; exists, private to us.
    std::string work_dir;
    // How much memory the destination may use in all, in bytes.
    std::uint64_t memory_bytes_max = 256ULL << 20;
    // The same while a single value needs more than that. Below memory_bytes_max: never more.
    std::uint64_t memory_bytes_in_need = 0;
};

struct RecoveredTable {
    TableId table;
    TablePhase phase = TablePhase::ready;
    Lsn position;           // Only where it is not ready: how far the visible table goes.
    TableSchemaPtr schema;  // The version that the visible table has.
};

// What a destination holds when it is opened.
struct Recovered {
    Lsn position;  // 0 if it never took a flush.
    std::vector<RecoveredTable> tables;
};

// Receives the data. Calls may block: each comes from a thread that has nothing
// else to do. A call returns soon after `stop` is requested, with
// ErrorCode::cancelled; what it had not acknowledged is sent again later.
//
// Order: capabilities, open, then any of the others, close. write_copy is called
// from several threads at once; all others from one thread at a time, but possibly
// beside write_copy calls.
class Destination {
 public:
    virtual ~Destination() = default;

    // Its kind, for logs and records: "ducklake".
    virtual std::string_view name() const = 0;
    // Asked before open().
    virtual Capabilities capabilities() const = 0;
    // One message for each table that it could not hold (a name, a type), with the
    // remedy; asked before anything is written for them.
    virtual std::vector<std::string> refusals(const std::vector<TableSchemaPtr>& tables) const = 0;

    // Comes first, once. Takes the fence, repairs what a crash left half done (shadow
    // tables go: a copy that was not published is copied again) and returns what it holds.
    virtual Result<Recovered> open(const PipelineIdentity& who, std::stop_token stop) = 0;

    // A place for the rows of one copy, which readers do not see until a Flush
    // publishes it. What an earlier attempt left can no longer land.
    virtual Status begin_copy(const CopyTargetPtr& copy, std::stop_token stop) = 0;
    // Thread-safe. Pulls `rows` to their end. Written whole or not at all; the same
    // unit may come again after an error, never after success.
    virtual Status write_copy(const CopyUnit& unit, RowReader& rows, std::stop_token stop) = 0;
    // All units are written: changes of the table may now come, in flushes that name this copy.
    virtual Status finish_copy(const CopyTargetPtr& copy, std::stop_token stop) = 0;
    // Drops the place again. No write_copy of it is running.
    virtual Status discard_copy(const CopyTargetPtr& copy, std::stop_token stop) = 0;

    // Applies a flush: all of it or nothing where it can. In order of position. If
    // `required` is durable then accepted is not an answer.
    // ErrorCode::unknown_outcome makes the pipeline read the position and decide.
    virtual Result<Ack> apply(Flush& flush, Ack required, std::stop_token stop) = 0;
    // What open() would say now, and for good: a flush that it does not include will never land.
    virtual Result<Lsn> read_position(std::stop_token stop) = 0;

    // A chance for upkeep when nothing else is to be done; returns soon when stopped.
    // Comes between applies, from their thread. An error is a warning, and there is another chance;
    // but one that must stop the pipeline (corrupt_state, fenced …) and is of no one table does.
    virtual Status maintain(std::stop_token stop) = 0;

    // Whoever reads it back in time is to find what it shows at this position for so long from
    // now; a later call for the same position counts instead. For destinations that keep no
    // earlier contents there is nothing to do.
    virtual Status keep_readable(Lsn /*position*/, std::chrono::milliseconds /*how_long*/,
                                 std::stop_token /*stop*/) {
        return {};
    }

    // Comes last, once, after the final call has returned.
    virtual Status close() = 0;
};

}  // namespace walbrook
