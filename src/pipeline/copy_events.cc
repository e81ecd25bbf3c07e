#include "pipeline/copy_events.h"

namespace walbrook {

void CopyEvents::open(TableId table) {
    const std::lock_guard lock(mutex_);
    told_[table].clear();
}

void CopyEvents::close(TableId table) {
    const std::lock_guard lock(mutex_);
    told_.erase(table);
}

bool CopyEvents::is_open(TableId table) const {
    const std::lock_guard lock(mutex_);
    return told_.contains(table);
}

void CopyEvents::tell(TableId table, std::optional<Error> error) {
    const std::lock_guard lock(mutex_);
    const auto found = told_.find(table);
    if (found == told_.end()) return;
    found->second.push_back({std::move(error)});
    changed_.notify_all();
}

std::optional<CopyEvents::Told> CopyEvents::wait(TableId table, const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, stop, [&] { return !told_[table].empty(); });
    auto& events = told_[table];
    if (events.empty()) return std::nullopt;
    Told first = std::move(events.front());
    events.erase(events.begin());
    return first;
}

std::optional<Error> CopyEvents::lost(TableId table) const {
    const std::lock_guard lock(mutex_);
    const auto found = told_.find(table);
    if (found == told_.end()) return std::nullopt;
    for (const Told& told : found->second) {
        if (told.error) return told.error;
    }
    return std::nullopt;
}

}  // namespace walbrook
