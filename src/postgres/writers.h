#pragma once

#include "postgres/connection.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace walbrook {

// A transaction that may have written to a table: it holds ROW EXCLUSIVE, EXCLUSIVE or
// ACCESS EXCLUSIVE on it.
struct Writer {
    // pg_locks.virtualtransaction: another transaction of the same session has another.
    // Of a prepared transaction "-1/<xid>".
    std::string virtual_transaction;
    std::uint32_t xid = 0;  // 0 while it has none.
    std::uint32_t pid = 0;  // 0: prepared.
    std::string gid;        // Of a prepared transaction.
    std::string application;
    std::string user;
    std::string state;  // "active", "idle in transaction", "prepared"; may be empty.
    std::int64_t age_secs = 0;
    bool is_prepared() const { return !gid.empty(); }
};

// Rows that a prepared transaction wrote before a table became a member of the
// publication are never sent, so then it must be waited for; else they come at COMMIT
// PREPARED, and waiting for it could last for ever. But for one whose COMMIT PREPARED is
// under way: from its record in the log until it ends (it may wait for a synchronous standby
// in between) the stream may have passed what no snapshot shows.
enum class PreparedTransactions { if_being_committed, include };

// The transactions that hold such a lock on one of these physical tables now. Takes no
// lock. VACUUM (which writes no row of its own) and our own session are left out. With
// `if_being_committed`, where any of them is prepared: also the sessions of this database that
// may be in a COMMIT PREPARED. No view tells which one they are about; they hold no lock but
// their virtualxid (twophase.c, FinishPreparedTransaction), have no permanent slot in use, and
// are not idle, as far as our role may know. One that only begins later has its record behind what
// the log had at this call.
Result<std::vector<Writer>> list_writers(Connection& connection, const Deadline& deadline,
                                         std::span<const std::uint32_t> tables,
                                         PreparedTransactions prepared);

// Which of `before` have not ended; call it with its own last answer until that is
// empty. With `include`, a transaction that was prepared meanwhile goes on as its
// prepared form; where its xid was not known yet, every transaction that is prepared now
// and holds such a lock on the tables stands for it.
Result<std::vector<Writer>> still_writing(Connection& connection, const Deadline& deadline,
                                          std::span<const std::uint32_t> tables,
                                          PreparedTransactions prepared,
                                          const std::vector<Writer>& before);

// "session 4711 (psql, user bob, idle in transaction, 73 s)", "prepared transaction 'x' …".
std::string describe(const Writer& writer);

}  // namespace walbrook
