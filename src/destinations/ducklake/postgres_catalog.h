#pragma once

#include "destinations/duckdb_engine/engine.h"
#include "walbrook/result.h"

#include <cstdint>

namespace walbrook::ducklake {

// A catalog in a Postgres database has no lock that lasts as long as its holder: a process
// that is cut off loses its session, and may still commit later on another. So who begins
// takes the next epoch, each commit says under which epoch it was begun, and a trigger in the
// catalog refuses every epoch but the newest.
//
// `session` has the lake attached; outside of a transaction. Makes what is missing in the
// catalog: the table walbrook_fence, the triggers walbrook_check_epoch and
// walbrook_forget_stats, and an index (docs/design/ducklake.md, "A catalog in Postgres").
// Returns the epoch; no commit of an earlier one follows.
Result<std::int64_t> take_epoch(duckdb_engine::Connection& session);
// Goes from the epoch `held` on to `next`, which later_epoch() gave: a commit of `held` that the
// server may still be at has ended before this returns, or never ends well. May be called again
// where its outcome is unknown. ErrorCode::fenced if neither of the two is the newest,
// ErrorCode::unavailable if it cannot be done now (that commit takes longer than some seconds).
Status renew_epoch(duckdb_engine::Connection& session, std::int64_t held, std::int64_t next);
// One that no process which begins meanwhile takes.
std::int64_t later_epoch(std::int64_t held);
// ErrorCode::fenced.
Error overtaken();
// The one that may commit now.
Result<std::int64_t> newest_epoch(duckdb_engine::Connection& session);

}  // namespace walbrook::ducklake
