#include "pipeline/copy_gate.h"

#include <algorithm>

namespace walbrook {
namespace {

// wake() is called without the lock, so a change may be missed by a moment.
constexpr std::chrono::milliseconds kLookAgain{250};

}  // namespace

bool CopyGate::may_enter() const {
    switch (memory_()) {
        case MemoryState::ample:
            return under_way_.size() < units_max_;
        case MemoryState::paused:
            return false;
        case MemoryState::scarce:
            return under_way_.empty();
    }
    return true;
}

bool CopyGate::may_go_on(std::uint64_t id) const {
    switch (memory_()) {
        case MemoryState::ample:
            return true;
        case MemoryState::paused:
            return false;
        case MemoryState::scarce:
            return *under_way_.begin() == id;
    }
    return true;
}

std::optional<CopyGate::Pass> CopyGate::enter(const std::stop_token& stop) {
    std::uint64_t id = 0;
    {
        const std::lock_guard lock(mutex_);
        id = next_id_++;
    }
    if (!take_place(id, stop)) return std::nullopt;
    return Pass(this, id);
}

bool CopyGate::take_place(std::uint64_t id, const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (!may_enter()) {
        if (stop.stop_requested()) return false;
        changed_.wait_for(lock, stop, kLookAgain, [&] { return may_enter(); });
    }
    under_way_.insert(id);
    return true;
}

void CopyGate::leave(std::uint64_t id) {
    {
        const std::lock_guard lock(mutex_);
        under_way_.erase(id);
    }
    changed_.notify_all();
}

bool CopyGate::Pass::wait(Instant until, const std::stop_token& stop) const {
    std::unique_lock lock(gate_->mutex_);
    while (!gate_->may_go_on(id_)) {
        const Instant at = now();
        if (stop.stop_requested() || at >= until) return false;
        gate_->changed_.wait_until(lock, stop, std::min(until, at + kLookAgain),
                                   [&] { return gate_->may_go_on(id_); });
    }
    return true;
}

}  // namespace walbrook
