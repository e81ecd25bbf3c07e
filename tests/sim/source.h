#pragma once

#include "sim/random.h"
#include "sim/shape.h"
#include "source/timeline.h"
#include "walbrook/lsn.h"
#include "walbrook/schema.h"

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

// A model of Postgres as far as replication can tell: transactions with row locks, xids,
// subtransactions, DDL, a log of records, and the time between a commit record and the moment
// when others see the commit. It may crash, and another server may take over.
namespace walbrook::sim {

constexpr std::int64_t kBankTotal = 8 * 2 * 1000;

enum class OpKind { insert, update, remove, truncate, alter };

// What a transaction did to a table's catalog entry: a truncate, too, gives it another file.
struct Step {
    std::size_t table = 0;
    VersionPtr before;
    VersionPtr after;
    std::shared_ptr<const Rows> rows;  // As they were, to take it back.
    std::uint32_t leaf = 0;            // That was truncated alone.
};

struct Op {
    OpKind kind = OpKind::insert;
    std::size_t table = 0;
    RowId row = 0;
    Values before;
    Values after;
    bool blob_unchanged = false;  // The update leaves the large value where it is.
    std::uint64_t subxid = 0;     // The (sub)transaction, epoch included.
    VersionPtr version;           // Of the table when the row was written.
    std::vector<Step> steps;      // Of a truncate one for each table, of an ALTER one.
    Alter alter;
};

struct Tx {
    enum class State { open, in_window, ended };
    std::uint64_t xid = 0;  // 0 until it writes.
    std::vector<std::uint64_t> subxids;
    std::vector<const Op*> ops;  // Without those of aborted subtransactions once it has ended.
    State state = State::open;
    bool is_committed = false;
    bool is_large = false;       // The server streams it.
    std::uint64_t ended_at = 0;  // Counts ends: a snapshot sees those before it.
    std::size_t first_record = 0;
    Lsn commit_lsn;
    Lsn end_lsn;
    std::int64_t commit_time_us = 0;
    std::set<std::size_t> touched;

    // While it runs.
    std::size_t client = 0;
    int planned = 0;
    bool is_transfers = false;
    std::int64_t owed = 0;  // Debited and not yet credited.
    RowId owed_row = 0;
    std::size_t owed_table = 0;
    std::uint64_t ledger_rows = 0;
    struct Savepoint {
        std::uint64_t subxid;
        std::size_t ops;
        std::uint64_t ledger_rows;
    };
    std::optional<Savepoint> savepoint;
};

struct WalRecord {
    enum class Kind { change, subabort, commit, abort, other };
    Kind kind = Kind::other;
    std::size_t tx = 0;
    const Op* op = nullptr;
    std::uint64_t subxid = 0;  // Of a subabort.
    Lsn lsn;
    Lsn end;
};

struct SourceOptions {
    std::size_t clients = 5;
    ReplicaIdentity ledger_identity = ReplicaIdentity::default_key;
    std::uint64_t first_xid = 700;
    std::uint64_t truncate_per_mille = 15;
    std::uint64_t alter_per_mille = 10;
    std::uint64_t large_per_mille = 60;
    std::uint64_t window_percent = 40;
    std::uint64_t lingering_percent = 0;
    bool has_huge = false;
    std::uint64_t async_percent = 0;  // Commits with synchronous_commit = off.
    bool has_leaves = false;          // Items and the bag are partitioned.
};

class Source {
 public:
    struct Snapshot {
        std::string text;  // As pg_current_snapshot() prints it.
        std::uint64_t ended = 0;
        Lsn insert_position;
    };

    Source(Random& random, SourceOptions options);

    // One client does one thing.
    void step();
    // Ends what is open, with all of it flushed.
    void settle();

    Snapshot take_snapshot() const;
    Rows rows_seen_by(const Snapshot& snapshot, std::size_t table) const;
    VersionPtr version_seen_by(const Snapshot& snapshot, std::size_t table) const;
    VersionPtr version_now(std::size_t table) const;
    // As of a position of the log. As if the last so many partitions had not been dropped, of which
    // nothing is sent.
    Rows rows_at(std::size_t table, Lsn position, std::size_t undropped = 0) const;
    std::size_t leaves_dropped(std::size_t table, Lsn position) const;
    VersionPtr version_at(std::size_t table, Lsn position) const;
    // Transactions that have written to the table and have not ended.
    std::vector<std::size_t> writers_of(std::size_t table) const;
    bool has_ended(std::size_t tx) const { return txs_[tx].state == Tx::State::ended; }
    bool is_locked_exclusively(std::size_t table) const;

    Lsn insert_position() const { return {lsn_}; }
    // What a crash leaves; nothing beyond is sent.
    Lsn flushed() const { return flushed_; }
    void flush() { flushed_ = {lsn_}; }
    // The server dies with all that is not flushed, and comes again.
    void crash();
    // A standby that has replayed up to `replayed`, or the end of the record there, takes over on
    // a timeline of its own.
    void promote(Lsn replayed);
    Timeline timeline() const {
        return {timeline_, history_.empty() ? Lsn{} : history_.back().switch_point};
    }
    const std::vector<TimelineSwitch>& history() const { return history_; }
    // Counts servers: sessions with an earlier one are gone.
    std::uint64_t incarnation() const { return incarnation_; }
    // Waits for every transaction that runs, as the making of a slot does.
    void end_all();
    const std::vector<WalRecord>& wal() const { return wal_; }
    const std::vector<Tx>& txs() const { return txs_; }
    // Committed transactions in the order of their commit records.
    const std::vector<std::size_t>& commits() const { return commits_; }
    struct Logged {
        std::size_t tx;
        const Op* op;
    };
    // What committed transactions did to the table, in the order of their commit records.
    const std::vector<Logged>& committed(std::size_t table) const { return committed_[table]; }
    // A transaction, rolled back or not, did to the table what may not be followed in place.
    bool was_reshaped(std::size_t table) const { return tables_[table].was_reshaped; }
    static void apply(const Op& op, std::size_t table, Rows& rows);
    static std::size_t table_of(std::uint32_t oid) { return oid - 16'384; }

 private:
    struct Table {
        Rows rows;  // The newest versions, uncommitted ones included.
        std::map<RowId, std::size_t> row_locks;
        std::map<std::string, std::size_t> key_locks;
        std::optional<std::size_t> exclusive;
        VersionPtr first;
        VersionPtr version;  // Uncommitted ALTERs included.
        // Of rows whose partition was dropped: they may still be in the lake.
        std::set<std::string> keys_dropped;
        bool was_reshaped = false;
    };

    void begin(std::size_t client);
    void work(std::size_t tx);
    void transfer(std::size_t tx);
    void fill(std::size_t tx);
    void fill_huge(std::size_t tx);
    void truncate(std::size_t tx);
    void alter(std::size_t tx);
    void commit(std::size_t tx);
    void abort(std::size_t tx);
    void end(std::size_t tx);
    void roll_back_to(std::size_t tx, const Tx::Savepoint& savepoint);
    void undo(const Op& op);
    // Without what was written behind `end`, or has no commit before it.
    void lose_beyond(Lsn end);
    void recover();

    bool may_write(std::size_t tx, std::size_t table) const;
    bool may_lock_exclusively(std::size_t tx, std::size_t table) const;
    std::optional<RowId> free_row(std::size_t tx, std::size_t table);
    std::optional<std::string> free_key(std::size_t tx, std::size_t table);
    Values new_row(std::size_t table, const std::string& key);
    std::string some_text();
    void insert(std::size_t tx, std::size_t table, Values values);
    void update(std::size_t tx, std::size_t table, RowId row, Values values);
    void remove(std::size_t tx, std::size_t table, RowId row);
    void write(std::size_t tx, Op op);
    void log(WalRecord record);
    std::uint64_t take_xid();

    Random& random_;
    const SourceOptions options_;
    std::array<Table, kTables> tables_;
    std::vector<Tx> txs_;
    std::vector<std::optional<std::size_t>> open_;  // By client.
    std::vector<std::uint64_t> ledger_numbers_;     // By client.
    std::vector<WalRecord> wal_;
    std::deque<Op> logged_;  // Never shrinks: everybody keeps pointers into it.
    std::vector<std::size_t> commits_;
    std::array<std::vector<Logged>, kTables> committed_;
    Lsn flushed_;
    std::uint32_t timeline_ = 1;
    std::vector<TimelineSwitch> history_;
    std::uint64_t incarnation_ = 0;
    std::uint64_t next_version_ = 100;
    std::uint64_t lsn_ = 0x1600'0000;
    std::uint64_t next_xid_;
    std::uint64_t latest_completed_;
    std::uint64_t ends_ = 0;
    RowId next_row_ = 1;
    std::uint64_t next_key_ = 1;
    std::int64_t time_us_ = 1'700'000'000'000'000;
    bool huge_done_ = false;
};

}  // namespace walbrook::sim
