#include "pipeline/flush_wait.h"

#include "base/clock.h"

#include <fmt/format.h>

namespace walbrook {
namespace {

constexpr std::chrono::milliseconds kFlushPoll{20};

}  // namespace

Status wait_for_flush(Lsn position, const FlushWait& how, const std::stop_token& stop) {
    const Instant until = now() + how.at_most;
    for (bool is_told = false;;) {
        WALBROOK_TRY(const Lsn flushed, how.flushed());
        if (flushed >= position) return {};
        if (auto why = how.lost()) return *std::move(why);
        if (now() >= until) {
            return Error(ErrorCode::timed_out,
                         fmt::format("the source has flushed its WAL up to {} only, and the copy "
                                     "shows commits up to {}; see whether its disk and its "
                                     "walwriter are at work",
                                     to_string(flushed), to_string(position)));
        }
        if (!is_told) how.on_wait();
        is_told = true;
        if (!sleep_for(kFlushPoll, stop)) {
            return Error(ErrorCode::cancelled, "stopped while the source's flush was waited for");
        }
    }
}

}  // namespace walbrook
