#pragma once

#include "postgres/connection.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace walbrook {

struct ExportingSlot;

// Which transactions a snapshot sees, from the text of pg_current_snapshot():
// "xmin:xmax:xip,xip,…" with 64-bit xids, epoch included (Postgres manual, "pg_snapshot
// Components").
class SnapshotXids {
 public:
    // ErrorCode::malformed unless xmin <= every xip < xmax.
    static Result<SnapshotXids> parse(std::string_view text);

    // Whether the rows of the top-level transaction with this xid (32 bits, as a Begin
    // carries it) are in the snapshot, given that it committed: xid < xmax and it was
    // not in progress. The epoch is that which brings the xid nearest to xmax: live xids
    // never lie further apart than 2^31.
    bool visible(std::uint32_t xid) const;

    // Whether this one shows whatever the older one does.
    bool shows_all_of(const SnapshotXids& older) const;

    bool operator==(const SnapshotXids&) const = default;
    std::uint64_t xmax() const { return xmax_; }

 private:
    std::uint64_t xmin_ = 0;
    std::uint64_t xmax_ = 0;
    std::vector<std::uint64_t> in_progress_;  // Sorted.
};

// Which committed transactions a snapshot shows: by their xids, or, where the server cannot
// tell those (a standby), the ones whose commit record starts before a position.
class ShownTransactions {
 public:
    ShownTransactions() = default;
    ShownTransactions(SnapshotXids xids) : xids_(std::move(xids)) {}
    static ShownTransactions before(Lsn position) {
        ShownTransactions shown;
        shown.end_ = position;
        return shown;
    }
    bool contains(std::uint32_t xid, Lsn commit) const {
        return end_ ? commit < *end_ : xids_.visible(xid);
    }

 private:
    SnapshotXids xids_;
    std::optional<Lsn> end_;
};

// A session that keeps a snapshot open for copies: REPEATABLE READ READ ONLY, without a
// slot, a table lock or an xid. Other sessions read the same snapshot by its name. While
// it lives it holds back vacuum of its database, but no WAL.
class SnapshotHolder {
 public:
    // On a primary. ErrorCode::config on a standby: there pg_current_snapshot() does not list
    // the transactions that are in progress, and the answer of SnapshotXids::visible would be
    // wrong.
    static Result<SnapshotHolder> open(const PgConnectionConfig& config, const Purpose& purpose,
                                       const Deadline& deadline);
    // On a standby (16 and newer), through a temporary slot of this name, which is gone when
    // the call returns. Waits until every transaction that ran on the primary has ended, and
    // for what the primary writes every 15 s, or when pg_log_standby_snapshot() is called there.
    // ErrorCode::aborted when the standby was promoted meanwhile.
    static Result<SnapshotHolder> open_at_standby(const PgConnectionConfig& config,
                                                  const Purpose& purpose, const Deadline& deadline,
                                                  const std::string& slot);

    // One that shows exactly the transactions whose commit record starts before position(), on a
    // primary or a standby, through a temporary slot as above. On a primary it returns only once
    // the snapshot may be read: until then a transaction may be in it whose end is in the log but
    // not yet in pg_xact, and whoever reads its rows marks them as never committed, for ever.
    static Result<SnapshotHolder> open_at_position(const PgConnectionConfig& config,
                                                   const Purpose& purpose, const Deadline& deadline,
                                                   const std::string& slot);

    // Of one on a primary.
    const SnapshotXids& xids() const { return xids_; }
    const ShownTransactions& shown() const { return shown_; }
    // For import_snapshot().
    const std::string& name() const { return name_; }
    // Every transaction that the snapshot sees has its commit record before it: the WAL insert
    // position read after it was taken; on a standby the slot's consistent point.
    Lsn position() const { return position_; }
    // The session, inside its transaction: catalogs read here are as of the snapshot.
    Connection& connection() { return connection_; }
    // ErrorCode::aborted when the session, and so the snapshot, is gone.
    Status check(const Deadline& deadline);
    // Commits: what its reading wrote to the log is then flushed soon. To be called when all was
    // read.
    Status end(const Deadline& deadline) { return connection_.exec(deadline, "commit"); }

 private:
    explicit SnapshotHolder(Connection connection) : connection_(std::move(connection)) {}
    Status take(const Deadline& deadline);
    Status take_from(const ExportingSlot& slot, const Deadline& deadline, bool& is_standby);
    static Result<SnapshotHolder> open_at_slot(const PgConnectionConfig& config,
                                               const Purpose& purpose, const Deadline& deadline,
                                               const std::string& slot, bool& is_standby);
    Status wait_for_pg_xact(Connection& other, const Deadline& deadline) const;

    Connection connection_;
    SnapshotXids xids_;
    ShownTransactions shown_;
    std::string name_;
    Lsn position_;
};

// What the snapshot of the connection's own transaction shows, and a position as
// SnapshotHolder::position(): taken here if it was not before. On a primary, else
// ErrorCode::aborted.
struct OwnSnapshot {
    SnapshotXids xids;
    Lsn position;
};
Result<OwnSnapshot> read_own_snapshot(Connection& connection, const Deadline& deadline);

// Begins a REPEATABLE READ READ ONLY transaction that reads the named snapshot.
// ErrorCode::aborted when the snapshot does not exist any more; no transaction is open
// then. The caller ends the transaction.
Status import_snapshot(Connection& connection, const Deadline& deadline, const std::string& name);

}  // namespace walbrook
