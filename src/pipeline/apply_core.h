#pragma once

#include "base/clock.h"
#include "batch/change_log.h"
#include "batch/spill.h"
#include "decode/pgoutput.h"
#include "decode/value.h"
#include "pipeline/memory_pressure.h"
#include "postgres/snapshot.h"
#include "walbrook/batch.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <variant>
#include <vector>

namespace walbrook {

// What happens to the core. Frames and keepalives come in the order of the stream.
namespace input {

// One pgoutput message; the bytes live until step() returns.
struct Frame {
    FrameView payload;
};
// The server has sent everything before wal_end.
struct Keepalive {
    Lsn wal_end;
};
// The connection is gone: what had no commit yet will be sent again.
struct Disconnected {};
// The flush in flight is durable. Tables that the destination refused are named.
struct Acked {
    std::vector<std::pair<TableId, Error>> refused;
};
// A slice of held changes, or nothing to do: time passes.
struct Tick {
    Instant at;
};
// Keep the table's changes for a copy that is about to begin.
struct Hold {
    TableSchemaPtr schema;  // As the catalog has it now.
};
// All rows are in the shadow table.
struct CopyDone {
    CopyTargetPtr copy;
    SnapshotXids snapshot;  // Transactions visible in it are in the copied rows.
};
// Memory has become short, or ample again.
struct Memory {
    MemoryState state = MemoryState::ample;
};
// The copy was given up; held changes are moot.
struct CopyAbandoned {
    TableId table;
};

}  // namespace input

using CoreInput =
    std::variant<input::Frame, input::Keepalive, input::Disconnected, input::Acked, input::Tick,
                 input::Hold, input::CopyDone, input::CopyAbandoned, input::Memory>;

// What a flush is for.
enum class FlushKind : std::uint8_t {
    common,   // Changes of tables that are ready.
    slice,    // Held changes for a shadow table; moves no position.
    publish,  // Common, and tables become visible with it.
};

// What the core wants to be done, in order.
namespace action {

// At most one is in flight: the next comes after Acked.
struct SubmitFlush {
    std::shared_ptr<Flush> flush;
    FlushKind kind = FlushKind::common;
};
// The table's changes are held from now on.
struct Holding {
    TableId table;
};
// The table is visible and follows; its Publish is durable.
struct Published {
    TableId table;
};
// The copy of the table cannot be finished: begin it again.
struct CopyLost {
    TableId table;
    std::string reason;
};
// The table has stopped. `copy_again`: a new copy heals it, else it is errored.
struct TableStopped {
    TableId table;
    bool copy_again = false;
    Lsn position;  // Its visible content goes up to here; 0: its copy never became visible.
    Error error;
};
// The stream cannot go on.
struct Fail {
    Error error;
};

}  // namespace action

using CoreAction = std::variant<action::SubmitFlush, action::Holding, action::Published,
                                action::CopyLost, action::TableStopped, action::Fail>;

struct CoreOptions {
    Lsn position;  // Everything up to here is in the destination already.

    std::chrono::milliseconds max_fill{500};
    std::size_t flush_bytes = 8ULL << 20;         // A flush is due at this size.
    std::size_t pending_bytes_max = 48ULL << 20;  // Reading pauses while this much waits.
    // In memory, of all that waits: changes for the next flush, held changes, streamed
    // transactions. Beyond, the largest of them goes to disk.
    std::size_t waiting_bytes_max = 48ULL << 20;
    std::size_t slice_bytes = 16ULL << 20;  // Held changes applied at once.
    std::uint64_t held_bytes_max = 16ULL
                                   << 30;  // Of all tables; then the largest copy is given up.
    SpillPolicy spill;
};

// A table that has been published and is followed.
struct ReadyTable {
    TableSchemaPtr schema;
};

// Decides what is written when: which changes are applied, held or left out, what
// becomes a flush, what may be confirmed. A plain object without sockets, clocks or
// threads, so that the simulation runs the very code that ships; it writes spill
// files. Called by one thread.
//
// Positions: received >= submitted >= durable; each only moves forward.
class ApplyCore {
 public:
    ApplyCore(CoreOptions options, std::vector<ReadyTable> ready);
    ~ApplyCore();

    void step(const CoreInput& input, std::vector<CoreAction>& actions);

    // False while enough waits: the caller stops reading but goes on with ticks and status.
    bool wants_frames() const;
    // True while a large transaction is being taken over: the caller ticks without waiting.
    bool is_busy() const { return replay_ != nullptr; }
    // True between transactions: only then may a Hold come.
    bool is_at_boundary() const { return at_boundary(); }

    Lsn received() const { return received_; }
    Lsn durable() const { return durable_; }
    // What Postgres may forget: durable, or received when nothing waits. Changes that
    // are held for a copy need no durability: a crash begins the copy again with a
    // snapshot that contains them.
    Lsn confirmable() const;
    // Nothing waits, nothing is in flight, no transaction is half received.
    bool is_idle() const;
    // A position that something waits for the stream to pass, or 0.
    Lsn wanted() const;
    // Nothing whole waits for a flush: what has no commit yet comes again after a restart.
    bool has_nothing_to_flush() const { return pending_.empty() && !in_flight_; }
    // In batches, the flush in flight included; counted as they arrived.
    std::size_t memory_bytes() const { return waiting_memory_bytes() + in_flight_bytes_; }
    std::uint64_t held_bytes(TableId table) const;
    // Of every table with a hold.
    std::vector<std::pair<TableId, std::uint64_t>> held_bytes() const;
    std::uint64_t changes_received() const { return changes_; }
    std::uint64_t transactions_received() const { return transactions_; }
    // Commit time of the oldest transaction that is not durable, or 0.
    std::int64_t oldest_waiting_commit_us() const;

 private:
    enum class Route : std::uint8_t { skip, apply, hold };
    struct Table;
    struct Relation;
    struct Spooled;
    struct Replay;
    // A row message, whatever its kind.
    struct RowChange {
        std::uint32_t relation;
        ChangeKind kind;
        const TupleView* old_row;
        bool old_is_full;
        const TupleView* new_row;
        std::size_t bytes;
    };

    Status on_frame(FrameView payload);
    Status on_streamed(const PgoutputMessage& message, FrameView payload);
    void on_stream_start(const StreamStartMessage& start);
    Status on_stream_commit(const StreamCommitMessage& end);
    void on_stream_abort(const StreamAbortMessage& abort);
    Status replay_some();
    std::size_t waiting_memory_bytes() const;
    Status spill_beyond(std::size_t bytes_max);
    Status count_growth(std::size_t bytes);
    Status on_memory(MemoryState state);
    // What the limits are now: smaller while memory is short.
    std::size_t waiting_bytes_limit() const;
    std::size_t flush_bytes_limit() const;
    Status on_message(const PgoutputMessage& message, std::size_t bytes);
    void begin(const Transaction& transaction);
    void commit();

    void on_relation(const RelationMessage& message);
    void bind(Relation& relation);
    void unbind(TableId table);
    Result<Relation*> relation_of(std::uint32_t oid);
    Status on_change(const RowChange& change);
    void begin_pending();
    bool begin_held(Table& table);
    Status append_change(ChangeLog& log, Relation& relation, const RowChange& change);
    Status on_truncate(const TruncateMessage& message);
    void on_mismatch(Table& table, const std::string& why);
    void check_unreadable(Table& table);
    void stop_table(Table& table, bool copy_again, Error error);

    void on_hold(const input::Hold& hold);
    void on_copy_done(const input::CopyDone& done);
    void on_copy_abandoned(TableId table);
    void release_hold(Table& table);
    void lose_copy(Table& table, std::string reason);
    static bool same_shape(const TableSchema& a, const TableSchema& b);
    void enforce_held_limit();

    void advance();
    bool is_flush_due() const;
    std::size_t slice_limit(const Table& table) const;
    void publish_ready_copies();
    bool submit_catch_up_slice();
    void submit(ChangeLog& log, Lsn position, FlushKind kind);
    void on_acked(const input::Acked& acked);
    Status on_disconnected();
    bool at_boundary() const { return !in_transaction_ && !replay_; }
    Table* find(TableId id);

    const CoreOptions options_;
    Lsn received_;   // End of the last whole transaction, or of what the server passed idly.
    Lsn submitted_;  // Of the newest flush.
    Lsn durable_;
    Lsn start_;  // Transactions before are in the destination, or here, already.

    std::unordered_map<std::uint32_t, std::unique_ptr<Table>> tables_;        // By oid.
    std::vector<Table*> holding_;                                             // Those with a hold.
    std::unordered_map<std::uint32_t, std::unique_ptr<Relation>> relations_;  // By oid.
    Relation* last_relation_ = nullptr;

    ChangeLog pending_;                // What the next common flush will be.
    std::vector<TableId> publishing_;  // In pending_.
    std::vector<TableId> publishing_in_flight_;
    Instant clock_{};
    Instant last_submit_{};
    bool in_flight_ = false;
    bool slice_was_last_ = false;
    std::int64_t in_flight_oldest_us_ = 0;
    std::size_t in_flight_bytes_ = 0;
    std::size_t growth_ = 0;  // Since the logs were last measured.
    MemoryState memory_ = MemoryState::ample;

    // The transaction that is being received or replayed.
    bool in_transaction_ = false;
    bool skipping_ = false;  // It is in the destination already.
    bool pending_begun_ = false;
    Transaction transaction_;
    std::uint64_t ordinal_ = 0;
    std::vector<Table*> begun_holds_;

    // Streamed transactions that have not ended.
    std::unordered_map<std::uint32_t, std::unique_ptr<Spooled>> spooled_;  // By top-level xid.
    std::uint32_t stream_xid_ = 0;  // Between Stream Start and Stream Stop.
    std::unique_ptr<Replay> replay_;

    std::uint64_t changes_ = 0;
    std::uint64_t transactions_ = 0;
    std::vector<CoreAction>* out_ = nullptr;  // Of the present step.
};

}  // namespace walbrook
