#pragma once

#include "base/clock.h"
#include "batch/change_log.h"
#include "batch/spill.h"
#include "decode/pgoutput.h"
#include "decode/value.h"
#include "pipeline/copy_snapshots.h"
#include "pipeline/memory_pressure.h"
#include "pipeline/schema_follow.h"
#include "walbrook/batch.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <variant>
#include <vector>

namespace walbrook {

struct RowDecoders;

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
// The next connection is to a server on another timeline, which has everything up to
// continues_from() and maybe nothing of what only keepalives told of. After Disconnected.
struct TimelineChanged {};
// The flush in flight is durable. Tables that the destination refused are named.
struct Acked {
    std::vector<std::pair<TableId, Error>> refused;
};
// A slice of held changes, or nothing to do: time passes.
struct Tick {
    Instant at;
};
// Keep the table's changes for a copy that is about to begin. Where another table follows some of
// its relations that waits until the stream has passed read_at.
struct Hold {
    TableSchemaPtr schema{};                  // As the catalog has it now.
    std::vector<std::uint32_t> partitions{};  // Whose rows are its rows; empty: its own alone.
    Lsn read_at{};                            // Insert position after `schema` was read.
    std::uint64_t seen = 0;                   // SourceTable::seen of `schema`.
    std::uint64_t ended = 0;                  // Looks with a higher number began later.
    // Only on a connection that begins behind read_at: before 15 pgoutput does not notice that a
    // table whose changes it has seen became a partition, or is none any more
    // (rel_sync_cache_relation_cb in pgoutput.c).
    bool needs_new_stream = false;
    // The copy is made in ranges of this column of the key; 0: it has one snapshot.
    std::int16_t range_attnum = 0;
    std::uint64_t copy = 0;  // CopyEvents::open()
};
// All rows are in the shadow table.
struct CopyDone {
    CopyTargetPtr copy;
    CopySnapshots snapshot;  // What it shows is in the copied rows.
    std::uint64_t seen = 0;  // SourceTable::seen of the copy's schema.
};
// The answer to action::Describe.
struct Described {
    std::uint64_t request = 0;
    // The table whose rows are sent under this relation; nothing: none of ours.
    std::optional<TableId> table;
    SourceTable now;
    Lsn position{};                           // As in Changed.
    std::vector<std::uint32_t> partitions{};  // Of the table.
};
// A table has changed, as the catalog says; comes without being asked for.
struct Changed {
    TableId table;
    SourceTable now;
    std::vector<std::uint32_t> partitions;
    Lsn position;  // Insert position after the look: to be heeded once the stream is there.
};
// The table is no longer published: its record goes once the stream is there.
struct Forget {
    TableId table;
    Lsn position;
};
// The table must not go on. `copy_again`: a new copy heals it.
struct Stop {
    TableId table;
    bool copy_again = false;
    Error error;
};
// The stream begins anew at a later position (the publication was made anew): every table is
// copied again. Only after Disconnected.
struct Jump {
    Lsn position;
    std::string reason;
};
// Memory has become short, or ample again.
struct Memory {
    MemoryState state = MemoryState::ample;
};
// The copy was given up; held changes are moot.
struct CopyAbandoned {
    TableId table;
};
// Somebody is about to name a position that is to be the destination's for a moment, too: no
// further transaction is begun until Cut names it, or until then.
struct Pause {
    Instant until;
};
// The destination is to have all transactions that committed before `at`, and none of the others,
// when CutReached is said. After Pause; without it the stream may be there already.
struct Cut {
    Lsn at;
    // What the source has at `at` of rows that are to be put right; written as the last thing
    // before the cut is reached.
    std::vector<Replace> repairs{};
};

}  // namespace input

using CoreInput =
    std::variant<input::Frame, input::Keepalive, input::Disconnected, input::Acked, input::Tick,
                 input::Hold, input::CopyDone, input::CopyAbandoned, input::Memory,
                 input::Described, input::Changed, input::Forget, input::Stop, input::Jump,
                 input::TimelineChanged, input::Pause, input::Cut>;

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
    std::uint64_t copy = 0;  // As in input::Hold: an earlier one may have been given up meanwhile.
};
// The table is visible and follows; its Publish is durable.
struct Published {
    TableId table;
    std::uint64_t copy = 0;  // As in Holding.
};
// The copy of the table cannot be finished: begin it again.
struct CopyLost {
    TableId table;
    std::string reason;
    bool in_one_snapshot = false;  // What was lost is not to be had in ranges of the key.
};
// The table has stopped. `copy_again`: a new copy heals it, else it is errored.
struct TableStopped {
    TableId table;
    bool copy_again = false;
    Lsn position;  // Its visible content goes up to here; 0: its copy never became visible.
    Error error;
    std::uint32_t attempt = 0;  // The copy that it is about, or whose rows were followed.
};
// The stream cannot go on.
struct Fail {
    Error error;
};
// Which table, and which version of it, is this relation? To be answered by Described from
// a look at the catalog that sees the transaction; nothing is read meanwhile.
struct Describe {
    std::uint64_t request = 0;
    std::uint32_t relation = 0;
    std::uint32_t xid = 0;
};
// Rows have this version from a position on: to be stored before they are submitted.
struct NewVersion {
    TableSchemaPtr schema;
    Lsn from;
};
// A column came whose values cannot be read in binary: connect again, in text.
struct NeedText {};
// Connect again: a hold waits for that.
struct NeedNewStream {};
// Something changed at the source: look at its catalog now.
struct Look {};
// A table that was to be forgotten is.
struct Forgotten {
    TableId table;
};
// What flushes up to this position have written is exactly what input::Cut asked for; all later
// ones have a later position.
struct CutReached {
    Lsn at;  // As asked for.
    Lsn position;
    // Tables whose rows were not put right, and why.
    std::vector<std::pair<TableId, std::string>> unrepaired{};
};
// It is not to be had; reading goes on.
struct CutLost {
    std::string reason;
};

}  // namespace action

using CoreAction =
    std::variant<action::SubmitFlush, action::Holding, action::Published, action::CopyLost,
                 action::TableStopped, action::Fail, action::Describe, action::NewVersion,
                 action::NeedText, action::NeedNewStream, action::Look, action::Forgotten,
                 action::CutReached, action::CutLost>;

struct CoreOptions {
    Lsn position;  // Everything up to here is in the destination already.
    // Where the destination stands: behind it nothing of ours was, up to `position`. None: there.
    std::optional<Lsn> last_commit{};

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
    bool binary = false;  // How values come until NeedText.
    // What cannot be followed in place is copied again, else its table is errored.
    bool copies_again_on_change = true;
};

// A table that has been published and is followed.
struct ReadyTable {
    TableSchemaPtr schema;
    std::vector<std::uint32_t> partitions{};  // Whose rows are its rows.
    // The same until news of it are due, unless they are another one's already.
    std::vector<std::uint32_t> partitions_gone{};
    // Leaves that the catalog says are its own, and whose rows of before it does not have: another
    // one's among whose `partitions_gone` they are, else its own.
    std::vector<std::uint32_t> partitions_new{};
};

// Decides what is written when: which changes are applied, held or left out, what
// becomes a flush, what may be confirmed. A plain object without sockets, clocks or
// threads, so that the simulation runs the very code that ships; it writes spill
// files. Called by one thread.
//
// Positions: received >= submitted >= durable; each only moves forward.
class ApplyCore {
 public:
    ApplyCore(CoreOptions options, const std::vector<ReadyTable>& ready);
    ~ApplyCore();

    void step(const CoreInput& input, std::vector<CoreAction>& actions);

    // False while enough waits: the caller stops reading but goes on with ticks and status.
    bool wants_frames() const;
    // True while a large transaction is being taken over: the caller ticks without waiting.
    bool is_busy() const { return replay_ != nullptr && asked_relation_ == 0 && !ends_stream(); }
    // The connection is to end: what it still sends is not for us.
    bool ends_stream() const { return needs_text_ || needs_new_stream_; }
    // True between transactions: only then may a Hold come.
    bool is_at_boundary() const { return at_boundary(); }

    Lsn received() const { return received_; }
    // What a server must have in common with the one before to be one that goes on: the
    // transactions that came from it, and where the destination stands. Records behind them are of
    // no table of ours.
    Lsn continues_from() const { return std::max(last_commit_, submitted_); }
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
    void on_logical_message(const LogicalMessage& message);
    void bind(Relation& relation);
    void ask_catalog(Relation& relation);
    Status on_described(const input::Described& answer);
    static SourceTable of_visible(const Table& table, const SourceTable& now);
    void verify_visible(Relation& relation, const SourceTable& now,
                        const std::set<std::int16_t>* told);
    void verify_held(Relation& relation, const SourceTable& now,
                     const std::set<std::int16_t>* told);
    Result<Relation*> relation_of(std::uint32_t oid);
    Status on_change(const RowChange& change);
    void on_refused_change(Table& table, Error error);
    void begin_pending();
    bool begin_held(Table& table);
    // `held_by`: the table whose held changes these are.
    Status append_change(ChangeLog& log, const TableSchemaPtr& schema, const RowDecoders& decoders,
                         const RowChange& change, Table* held_by);
    void note_move(Table& table, const ChangeBatch& batch) const;
    void note_whole(Table& table) const;
    void check_torn(Table& table);
    Status on_truncate(const TruncateMessage& message);
    bool is_whole(const Table& table, const TruncateMessage& message) const;
    void on_held_mismatch(Table& table, const std::string& why);
    void check_unreadable(Table& table);
    // The visible table goes no further.
    Lsn stop_visible(Table& table, TablePhase phase, const std::string& reason);
    void stop_table(Table& table, bool copy_again, Error error);
    void cannot_follow(Table& table, const std::string& why);

    void on_changed(const input::Changed& changed);
    void note_passing_leaves(const input::Changed& older, const input::Changed& newer);
    void check_passing_leaf(const Relation& relation);
    void on_forget(const input::Forget& forget);
    void on_jump(const input::Jump& jump);
    void expect_news(const Table& table, const input::Described& answer);
    // What was to be heeded at a position that the stream has passed.
    void heed_news();
    void forget(Table& table);

    void on_hold(const input::Hold& hold);
    void on_copy_done(const input::CopyDone& done);
    void on_copy_abandoned(TableId table);
    void release_hold(Table& table);
    void lose_copy(Table& table, std::string reason, bool in_one_snapshot = false);
    void undo_versions();
    void enforce_held_limit();

    Status on_pause(const input::Pause& pause);
    Status on_cut(const input::Cut& cut);
    bool is_behind_cut(const PgoutputMessage& message) const;
    bool has_all_before_cut() const;
    void add_repairs();
    Status settle_cut();
    Status go_on_behind_cut();
    void lose_cut(std::string reason);

    void advance();
    bool is_flush_due() const;
    std::size_t slice_limit(const Table& table) const;
    void publish_ready_copies();
    bool submit_catch_up_slice();
    void submit(ChangeLog& log, Lsn position, FlushKind kind);
    void on_acked(const input::Acked& acked);
    Status on_disconnected();
    void on_timeline_changed();
    void begin_hold(const input::Hold& hold);
    // Those that wait for a new stream, or the others.
    void begin_waiting_holds(bool has_new_stream);
    void ask_for_new_stream();
    bool at_boundary() const { return !in_transaction_ && !replay_; }
    Table* find(TableId id);
    Table* find_by_relation(std::uint32_t oid);
    Table& table_at(TableId id);
    // The catalog is asked again before the next change of the table.
    void verify_again(const Table& table);
    // Whose rows a relation has that is a partition, by the look at the catalog that said so.
    struct Owner {
        Table* table = nullptr;
        std::uint64_t seen = 0;
    };
    std::vector<Owner> other_owners(const input::Hold& hold);
    bool waits_for_owners(const input::Hold& hold);
    // These are of the look `seen`. False: a later one says that some of them are another table's.
    bool set_partitions(Table& table, const std::vector<std::uint32_t>& partitions,
                        std::uint64_t seen);
    std::uint64_t seen_at(const Table& owner, std::uint32_t oid) const;
    bool take_relation(Table& table, std::uint32_t oid, std::uint64_t seen);
    void lose_relation(Table& table, std::uint32_t oid);

    const CoreOptions options_;
    bool is_receiving_ = false;  // Something has come on this connection.
    Lsn received_;     // End of the last whole transaction, or of what the server passed idly.
    Lsn last_commit_;  // End of the last whole transaction, or where the destination stood.
    Lsn submitted_;    // Of the newest flush.
    Lsn durable_;
    Lsn start_;  // Transactions before are in the destination, or here, already.
    Lsn begin_;  // The source may forget what is before, whatever waits now.

    std::unordered_map<std::uint32_t, std::unique_ptr<Table>> tables_;        // By oid.
    std::unordered_map<std::uint32_t, Owner> by_partition_;                   // By its oid.
    std::vector<Table*> holding_;                                             // Those with a hold.
    std::unordered_map<std::uint32_t, std::unique_ptr<Relation>> relations_;  // By oid.
    Relation* last_relation_ = nullptr;

    // The question that the catalog was asked, and the message that waits for the answer.
    std::uint64_t last_request_ = 0;
    std::uint32_t asked_relation_ = 0;  // 0: nothing is asked.
    std::vector<std::byte> parked_;
    FrameView present_frame_;        // Of the message that is being looked at,
    bool present_streamed_ = false;  // and whether it has a subtransaction.
    bool binary_ = false;
    // What messages said of columns, until a relation message was understood with it.
    std::unordered_map<std::uint32_t, std::set<std::int16_t>> told_columns_;
    bool has_news_ = false;  // The present transaction has such a message.
    bool needs_text_ = false;
    bool needs_new_stream_ = false;
    std::vector<input::Hold> waiting_holds_;
    // Versions that the present transaction has brought: undone if it comes again.
    struct Undo {
        Table* table;
        bool is_held;
        TableSchemaPtr schema;
        std::uint64_t seen;
    };
    std::vector<Undo> undo_;
    std::vector<input::Changed> changed_;  // Not heeded yet.
    // Leaves that came to a table by one look and were gone by a later one, before the stream was
    // at either: nobody has them. By oid.
    struct PassingLeaf {
        TableId table;
        Lsn until;  // Insert position after the later look.
    };
    std::unordered_map<std::uint32_t, PassingLeaf> passing_leaves_;
    std::vector<input::Forget> forget_;

    ChangeLog pending_;                // What the next common flush will be.
    std::vector<TableId> publishing_;  // In pending_.
    std::vector<TableId> publishing_in_flight_;
    std::set<TableId> stopped_in_flight_;  // Of these, until the answer.
    Instant clock_{};
    Instant last_submit_{};
    bool in_flight_ = false;
    FlushKind in_flight_kind_ = FlushKind::common;
    bool slice_was_last_ = false;
    std::int64_t in_flight_oldest_us_ = 0;
    std::size_t in_flight_bytes_ = 0;
    std::size_t growth_ = 0;  // Since the logs were last measured.
    MemoryState memory_ = MemoryState::ample;

    // What Pause and Cut asked for.
    std::optional<Instant> paused_until_;
    std::optional<Lsn> cut_at_;
    std::vector<std::byte> behind_cut_;  // The first message that waits for it.
    std::vector<Replace> repairs_;       // Not in pending_ yet.
    std::vector<std::pair<TableId, std::string>> unrepaired_;

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
