#pragma once

#include "base/clock.h"
#include "postgres/connection.h"

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace walbrook {

// A row of pg_replication_slots.
struct Slot {
    std::string name;
    std::string plugin;
    std::string database;
    bool temporary = false;
    bool active = false;
    std::uint32_t active_pid = 0;
    Lsn restart_lsn;
    Lsn confirmed_flush;
    std::string wal_status;  // reserved, extended, unreserved, lost; empty if unknown.
    // 17 and newer: why it was invalidated (wal_removed, rows_removed, idle_timeout …).
    std::string invalidation_reason;
    bool failover = false;  // 17 and newer: standbys may take it over.
    // It can never stream again.
    bool is_lost() const { return wal_status == "lost" || !invalidation_reason.empty(); }
};

// The slot, or nothing when there is none of that name.
Result<std::optional<Slot>> read_slot(Connection& connection, const Deadline& deadline,
                                      const std::string& name);

// Makes a permanent logical slot for pgoutput without a snapshot and returns its
// consistent point. `connection` is a replication connection. The server waits for every
// transaction of the cluster that has an xid: bounded by the session's lock_timeout
// (SQLSTATE 55P03, ErrorCode::conflict: try again; describe(read_xid_holders()) from
// another session says what it waits for). 42710, ErrorCode::conflict: it exists. `failover`:
// standbys with sync_replication_slots take it over; nothing before 17.
Result<Lsn> create_permanent_slot(Connection& connection, const Deadline& deadline,
                                  const std::string& name, bool failover = false);

// Whether standbys may take the slot over; on a replication connection, 17 and newer.
// ErrorCode::unavailable (55006) while a walsender uses it.
Status set_slot_failover(Connection& connection, const Deadline& deadline, const std::string& name,
                         bool failover);

// A temporary slot with an exported snapshot. Both live as long as the session, the
// snapshot only until its next command. Only where the xid rule of snapshot.h cannot
// work; on a primary no user table may be read before the clog wait (`docs/design/verify.md`).
struct ExportingSlot {
    Lsn consistent_point;
    std::string snapshot;
};
// What both kinds wait for on a standby, for people.
inline constexpr const char* kStandbyWaits =
    "a standby makes it once all transactions that run on the primary have ended, and with the "
    "next records of running transactions, which the primary writes every 15 s while it is used "
    "(at once: select pg_log_standby_snapshot() there)";
Result<ExportingSlot> create_exporting_slot(Connection& connection, const Deadline& deadline,
                                            const std::string& name);

// Drops a slot through a common connection; no slot of that name is success.
// ErrorCode::unavailable (55006) while a walsender uses it.
Status drop_slot(Connection& connection, const Deadline& deadline, const std::string& name);

// A session or prepared transaction that has an xid: slot creation waits for it.
struct XidHolder {
    std::uint32_t xid = 0;
    std::uint32_t pid = 0;  // 0: prepared.
    std::string gid;        // Of a prepared transaction.
    std::string application;
    std::string user;
    std::string database;
    std::string state;
    std::int64_t age_secs = 0;
    // Of other roles' sessions, without pg_read_all_stats: application, state and age are not
    // known.
    bool is_hidden = false;
};
// Oldest first.
Result<std::vector<XidHolder>> read_xid_holders(Connection& connection, const Deadline& deadline);
// "session 4711 (psql, user bob, idle in transaction, 73 s)".
std::string describe(const XidHolder& holder);

// Tells old transactions from young ones, also those whose begin the role may not see: which of
// them were there at an earlier look is known. One object for one series of looks.
class OpenTransactions {
 public:
    // The first in `found` that is not known to be younger than this. The age of a hidden one is
    // the time since it was first seen.
    std::optional<XidHolder> not_younger_than(std::chrono::seconds age,
                                              const std::vector<XidHolder>& found, Instant at);

 private:
    struct Seen {
        Instant first;                   // When it was there,
        std::optional<Instant> missing;  // and when it was not yet.
    };
    std::map<std::pair<std::uint32_t, std::uint32_t>, Seen> seen_;  // Hidden ones, by pid and xid.
    std::optional<Instant> looked_at_;
};

// IDENTIFY_SYSTEM, on a replication connection.
struct SystemIdentity {
    std::string system_identifier;
    std::uint32_t timeline = 0;
    Lsn position;  // Flushed; on a standby replayed.
    std::string database;
    std::uint32_t database_oid = 0;
};
Result<SystemIdentity> identify_system(Connection& connection, const Deadline& deadline);

// Where each earlier timeline ended, oldest first; empty on timeline 1. On a
// replication connection (TIMELINE_HISTORY).
struct TimelineSwitch {
    std::uint32_t timeline = 0;
    Lsn switch_point;
};
Result<std::vector<TimelineSwitch>> read_timeline_history(Connection& connection,
                                                          const Deadline& deadline,
                                                          std::uint32_t timeline);
// Where a timeline left the one before it; 0 on timeline 1, and where the server has no history
// of it (any more). On a replication connection.
Result<Lsn> read_timeline_begin(Connection& connection, const Deadline& deadline,
                                std::uint32_t timeline);

struct ServerState {
    int version = 0;  // 170010
    bool in_recovery = false;
    bool hot_standby_feedback = false;
    std::string wal_level;
    std::chrono::milliseconds wal_sender_timeout{0};  // 0: none.
    std::int64_t max_replication_slots = 0;
    std::int64_t max_wal_senders = 0;
};
Result<bool> is_in_recovery(Connection& connection, const Deadline& deadline);
Result<ServerState> read_server_state(Connection& connection, const Deadline& deadline);

// On a standby all three are what it has replayed.
struct WalPositions {
    Lsn insert;
    Lsn write;
    Lsn flush;
};
Result<WalPositions> read_wal_positions(Connection& connection, const Deadline& deadline);

// The insert position may point behind the header of a page on which nothing stands
// yet; the stream, which ends where the last record ends, would not reach it before the
// next write (xlog.c, XLogBytePosToRecPtr against XLogBytePosToEndRecPtr).
Lsn before_page_header(Lsn position);

// Takes the session's advisory lock of this pipeline in this database: false when
// another session has it. Kept until the session ends.
Result<bool> try_lease(Connection& connection, const Deadline& deadline, std::uint64_t pipeline_id);
// Who has it; nothing when nobody.
struct LeaseHolder {
    std::uint32_t pid = 0;
    std::string application;
};
Result<std::optional<LeaseHolder>> lease_holder(Connection& connection, const Deadline& deadline,
                                                std::uint64_t pipeline_id);
// "session 4711 (walbrook:1:lease)".
std::string describe(const LeaseHolder& holder);

}  // namespace walbrook
