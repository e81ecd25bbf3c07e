#include "pipeline/table_registry.h"

#include "base/check.h"

#include <fmt/format.h>

namespace walbrook {

Status TableRegistry::begin_with(std::vector<TableState> tables) {
    WALBROOK_RETURN_IF_ERROR(store_.with([&](Store& store) { return store.save_tables(tables); }));
    const std::lock_guard lock(mutex_);
    for (TableState& table : tables) {
        const TableId id = table.table;
        entries_[id].state = std::move(table);
    }
    return {};
}

Status TableRegistry::store_entry(Entry& entry, TableState next) {
    WALBROOK_RETURN_IF_ERROR(
        store_.with([&](Store& store) { return store.save_tables(std::span(&next, 1)); }));
    entry.state = std::move(next);
    entry.progress.waiting_for.clear();
    ++version_;
    changed_.notify_all();
    return {};
}

Status TableRegistry::move(TableId table, PhaseEvent event, std::string reason,
                           std::string remedy) {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(table);
    WALBROOK_CHECK(found != entries_.end());
    TableState next = found->second.state;
    const auto phase = next_phase(next.phase, event);
    WALBROOK_CHECK(phase.has_value());
    next.phase = *phase;
    next.reason = std::move(reason);
    next.remedy = std::move(remedy);
    if (event == PhaseEvent::copy_started) ++next.attempt;
    if (event == PhaseEvent::published) {
        next.retries = 0;
        next.position = Lsn{};
    }
    if (*phase != TablePhase::errored) next.next_retry_unix_ms = 0;
    if (event == PhaseEvent::copy_started) found->second.progress = {};
    if (event == PhaseEvent::published) found->second.was_published = true;
    return store_entry(found->second, std::move(next));
}

Status TableRegistry::fail(TableId table, const Error& error, Lsn position) {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(table);
    WALBROOK_CHECK(found != entries_.end());
    TableState next = found->second.state;
    const auto phase = next_phase(next.phase, PhaseEvent::failed);
    WALBROOK_CHECK(phase.has_value());
    next.phase = *phase;
    next.reason = fmt::format("{} ({})", error.message(), name_of(error.code()));
    next.position = position;
    const bool again = next.retries < retry_.attempts_max;
    next.remedy = again ? "a new copy is tried by itself"
                        : "mend the cause, then restart walbrook to copy the table again";
    next.next_retry_unix_ms = again ? unix_time_us() / 1000 + retry_.delay.count() : 0;
    if (again) ++next.retries;
    return store_entry(found->second, std::move(next));
}

bool TableRegistry::was_published(TableId table) const {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(table);
    return found != entries_.end() && found->second.was_published;
}

void TableRegistry::note(TableId table, std::string waiting_for) {
    const std::lock_guard lock(mutex_);
    entries_[table].progress.waiting_for = std::move(waiting_for);
}

void TableRegistry::expect_rows(TableId table, std::uint64_t rows) {
    const std::lock_guard lock(mutex_);
    entries_[table].progress.rows_estimated += rows;
}

void TableRegistry::add_rows(TableId table, std::uint64_t rows) {
    const std::lock_guard lock(mutex_);
    entries_[table].progress.rows_copied += rows;
}

void TableRegistry::set_held(std::span<const std::pair<TableId, std::uint64_t>> held) {
    const std::lock_guard lock(mutex_);
    for (auto& [id, entry] : entries_) entry.progress.held_bytes = 0;
    for (const auto& [id, bytes] : held) {
        if (const auto found = entries_.find(id); found != entries_.end()) {
            found->second.progress.held_bytes = bytes;
        }
    }
}

void TableRegistry::add_changes(TableId table, std::uint64_t changes) {
    const std::lock_guard lock(mutex_);
    if (const auto found = entries_.find(table); found != entries_.end()) {
        found->second.changes_applied += changes;
    }
}

std::uint64_t TableRegistry::changes_applied(TableId table) const {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(table);
    return found == entries_.end() ? 0 : found->second.changes_applied;
}

TableRegistry::CopyProgress TableRegistry::progress(TableId table) const {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(table);
    return found == entries_.end() ? CopyProgress{} : found->second.progress;
}

// Called with the lock held.
void TableRegistry::requeue_due() {
    const std::int64_t now_ms = unix_time_us() / 1000;
    for (auto& [id, entry] : entries_) {
        const TableState& state = entry.state;
        if (state.phase != TablePhase::errored || state.next_retry_unix_ms == 0) continue;
        if (state.next_retry_unix_ms > now_ms || entry.taken) continue;
        TableState next = state;
        next.phase = *next_phase(state.phase, PhaseEvent::resync);
        next.next_retry_unix_ms = 0;
        // A store that cannot be written now is asked again at the next look.
        store_entry(entry, std::move(next)).ignore();
    }
}

std::optional<TableState> TableRegistry::take_queued(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (!stop.stop_requested()) {
        requeue_due();
        for (auto& [id, entry] : entries_) {
            if (entry.taken || entry.state.phase != TablePhase::queued || entry.state.paused ||
                entry.not_before > now()) {
                continue;
            }
            entry.taken = true;
            return entry.state;
        }
        // Planned retries come due without anybody's notice.
        const std::uint64_t seen = version_;
        changed_.wait_for(lock, stop, std::chrono::milliseconds(250),
                          [&] { return version_ != seen; });
    }
    return std::nullopt;
}

void TableRegistry::give_back(TableId table, std::chrono::milliseconds not_before) {
    const std::lock_guard lock(mutex_);
    Entry& entry = entries_[table];
    entry.taken = false;
    entry.not_before = now() + not_before;
    ++version_;
    changed_.notify_all();
}

TableState TableRegistry::get(TableId table) const {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(table);
    WALBROOK_CHECK(found != entries_.end());
    return found->second.state;
}

std::vector<TableState> TableRegistry::all() const {
    const std::lock_guard lock(mutex_);
    std::vector<TableState> states;
    for (const auto& [id, entry] : entries_) states.push_back(entry.state);
    return states;
}

bool TableRegistry::is_settled() const {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, entry] : entries_) {
        const TableState& state = entry.state;
        if (state.phase == TablePhase::ready && !entry.taken) continue;
        if (state.phase == TablePhase::errored && state.next_retry_unix_ms == 0) continue;
        return false;
    }
    return true;
}

bool TableRegistry::has_errored() const {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, entry] : entries_) {
        if (entry.state.phase == TablePhase::errored) return true;
    }
    return false;
}

}  // namespace walbrook
