#include "pipeline/copy_events.h"

namespace walbrook {

std::uint64_t CopyEvents::open(TableId table) {
    const std::lock_guard lock(mutex_);
    Place& place = places_[table];
    place = {};
    place.copy = ++copies_;
    return place.copy;
}

void CopyEvents::close(TableId table) {
    const std::lock_guard lock(mutex_);
    places_.erase(table);
}

CopyEvents::Stage CopyEvents::stage(TableId table) const {
    const std::lock_guard lock(mutex_);
    const auto found = places_.find(table);
    if (found == places_.end()) return Stage::none;
    return found->second.is_published ? Stage::published : Stage::copying;
}

void CopyEvents::tell(TableId table, std::optional<Error> error) {
    const std::lock_guard lock(mutex_);
    const auto found = places_.find(table);
    if (found == places_.end()) return;
    found->second.told.push_back({std::move(error)});
    changed_.notify_all();
}

void CopyEvents::tell_holding(TableId table, std::uint64_t copy) {
    const std::lock_guard lock(mutex_);
    const auto found = places_.find(table);
    if (found == places_.end() || found->second.copy != copy) return;
    found->second.told.push_back({});
    changed_.notify_all();
}

void CopyEvents::tell_published(TableId table, std::uint64_t copy) {
    const std::lock_guard lock(mutex_);
    const auto found = places_.find(table);
    if (found == places_.end() || found->second.copy != copy) return;
    found->second.is_published = true;
    found->second.told.push_back({});
    changed_.notify_all();
}

std::optional<CopyEvents::Told> CopyEvents::wait(TableId table, const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, stop, [&] { return !places_[table].told.empty(); });
    auto& events = places_[table].told;
    if (events.empty()) return std::nullopt;
    Told first = std::move(events.front());
    events.erase(events.begin());
    return first;
}

std::optional<Error> CopyEvents::lost(TableId table) const {
    const std::lock_guard lock(mutex_);
    const auto found = places_.find(table);
    if (found == places_.end()) return std::nullopt;
    for (const Told& told : found->second.told) {
        if (told.error) return told.error;
    }
    return std::nullopt;
}

}  // namespace walbrook
