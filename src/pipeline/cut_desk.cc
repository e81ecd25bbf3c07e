#include "pipeline/cut_desk.h"

namespace walbrook {

std::uint64_t CutDesk::begin(Lsn at) {
    const std::lock_guard lock(mutex_);
    at_ = at;
    answer_.reset();
    told_.notify_all();
    return ++number_;
}

Result<RowRepairs> CutDesk::wait(std::uint64_t number, Instant until) {
    std::unique_lock lock(mutex_);
    const bool is_told =
        told_.wait_until(lock, until, [&] { return is_closed_ || number_ != number || answer_; });
    if (is_closed_) return Error(ErrorCode::unavailable, "the pipeline stops");
    if (number_ != number) {
        return Error(ErrorCode::aborted, "another comparison of source and destination began");
    }
    if (is_told) return *answer_;
    return Error(ErrorCode::timed_out,
                 "the destination did not get there in time; see `walbrook status` for what keeps "
                 "it");
}

void CutDesk::reached(Lsn at, RowRepairs reached) {
    const std::lock_guard lock(mutex_);
    if (at != at_) return;  // Somebody asked before.
    answer_ = std::move(reached);
    told_.notify_all();
}

void CutDesk::lost(std::string reason) {
    const std::lock_guard lock(mutex_);
    answer_ = Error(ErrorCode::aborted, std::move(reason));
    told_.notify_all();
}

void CutDesk::close() {
    const std::lock_guard lock(mutex_);
    is_closed_ = true;
    told_.notify_all();
}

}  // namespace walbrook
