#pragma once

#include "walbrook/lsn.h"
#include "walbrook/result.h"

#include <chrono>
#include <functional>
#include <optional>
#include <stop_token>

namespace walbrook {

// How a copy waits until the source has flushed what its snapshots show.
struct FlushWait {
    // Up to where it has, asked on a session that saw the newest snapshot.
    std::function<Result<Lsn>()> flushed;
    // Why the copy is known to be lost, if it is.
    std::function<std::optional<Error>()> lost;
    // Told once, when there is something to wait for.
    std::function<void()> on_wait;
    std::chrono::milliseconds at_most;
};

// ErrorCode::timed_out when the source takes longer than that: every commit hangs there then, and
// the copy's snapshot holds back vacuum. Else the first error of the two that it asks.
Status wait_for_flush(Lsn position, const FlushWait& how, const std::stop_token& stop);

}  // namespace walbrook
