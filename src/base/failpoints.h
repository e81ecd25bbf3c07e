#pragma once

#include "walbrook/result.h"

#include <array>
#include <optional>
#include <string_view>

namespace walbrook {

// Places where a test can make the process die, a call fail or a thread wait. All of them stand
// here, so that the fault tests can prove that each was reached.
//
// Set by the environment, read once:
//   WALBROOK_FAILPOINTS="flush.before_apply=kill;copy.after_unit=error@3"
// where the action is `kill` (SIGKILL to ourselves), `error` (the call fails with
// ErrorCode::unavailable) or `wait:FILE` (until there is such a file; the other threads go on),
// and @n means: the n-th time only.
inline constexpr std::array kFailpoints = std::to_array<std::string_view>({
    "start.before_slot",       // lineage is stored, the slot is not made
    "start.after_slot",        // the slot is made, nothing has been streamed
    "copy.before_hold",        // phase is stored, changes are not held yet
    "copy.after_snapshot",     // the snapshot exists, no row has been read
    "copy.after_unit",         // one unit is written
    "copy.before_finish",      // all units are written, finish_copy not called
    "copy.after_finish",       // the shadow table is complete
    "catchup.before_slice",    // a slice of held changes is about to be applied
    "catchup.after_slice",     // it is applied
    "publish.before_apply",    // the flush with the Publish is about to be applied
    "publish.after_apply",     // it is durable, the store does not know
    "flush.before_apply",      // a common flush is about to be applied
    "flush.after_apply",       // it is durable, the position is not stored
    "flush.after_store",       // the position is stored, Postgres has not heard
    "confirm.before_send",     // confirm_bound is stored, feedback not sent
    "confirm.after_send",      // feedback is sent
    "schema.before_store",     // a version of a table is about to be stored
    "schema.after_store",      // it is stored, no row of it is submitted
    "lake.before_copy",        // destination: the shadow table is made, not committed
    "lake.after_copy",         // destination: committed, not answered; so each of
    "lake.before_slice",       //   a slice of held changes,
    "lake.after_slice",        //
    "lake.before_publish",     //   a flush that publishes,
    "lake.after_publish",      //
    "lake.before_flush",       //   a common flush,
    "lake.after_flush",        //
    "lake.before_maintain",    //   a step of the upkeep
    "lake.after_maintain",     //
    "lake.copy_file_written",  // destination: a Parquet file exists, unregistered
    "spill.before_write",      // changes are about to go to a spill file
});

#ifdef WALBROOK_FAILPOINTS
// Does what the environment asks for this place; an error if it asks for one.
Status failpoint(std::string_view name);
#else
inline Status failpoint(std::string_view) { return {}; }
#endif

}  // namespace walbrook

// Returns from the enclosing function when the test wants this place to fail.
#define WALBROOK_FAILPOINT(name) WALBROOK_RETURN_IF_ERROR(::walbrook::failpoint(name))
