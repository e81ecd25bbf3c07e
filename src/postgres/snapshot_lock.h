#pragma once

#include "postgres/catalog.h"

#include <chrono>
#include <functional>
#include <stop_token>

namespace walbrook {

// Takes ACCESS SHARE on one physical table without waiting, in the transaction of `reader`, which
// reads a snapshot in which the table had this shape. False when somebody else has it locked: the
// transaction is rolled back then. ErrorCode::aborted when the table was altered, rewritten or
// truncated since: what the snapshot shows of it is not what it held. While the lock is there it
// cannot be. `catalog`: another session, without a snapshot of its own.
Result<bool> lock_as_in_snapshot(Connection& reader, Connection& catalog, const Deadline& deadline,
                                 const PhysicalTable& table, const TableShape& shape);

// Asks `attempt` (a new transaction with the snapshot, then the above) until it has the lock.
// ErrorCode::aborted when somebody else had the table locked for all that time.
Status lock_patiently(const PhysicalTable& table, std::chrono::seconds patience,
                      const std::stop_token& stop, const std::function<Result<bool>()>& attempt);

// The error of lock_as_in_snapshot(), also for whoever finds names that are not there any more.
Error changed_since_snapshot(const PhysicalTable& table);

}  // namespace walbrook
