#pragma once

#include "base/clock.h"
#include "walbrook/pipeline.h"

#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>

namespace walbrook {

// Where whoever asked for a cut (input::Cut) waits for what the core says of it. Thread-safe.
// There is one cut at a time: whoever asks later takes it from whoever asked before.
class CutDesk {
 public:
    // Before the cut at this position is asked for. Answers that come from here on are for this
    // caller.
    std::uint64_t begin(Lsn at);
    // ErrorCode::aborted: there was none, and another position may be named. ErrorCode::timed_out.
    Result<RowRepairs> wait(std::uint64_t number, Instant until);

    // The position of the flushes, and the tables whose rows were not put right.
    void reached(Lsn at, RowRepairs reached);
    void lost(std::string reason);
    // For good: whoever waits, or asks later, is told that the pipeline stops.
    void close();

 private:
    std::mutex mutex_;  // Guards what follows.
    std::condition_variable told_;
    std::uint64_t number_ = 0;
    Lsn at_;
    bool is_closed_ = false;
    std::optional<Result<RowRepairs>> answer_;
};

}  // namespace walbrook
