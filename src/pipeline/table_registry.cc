#include "pipeline/table_registry.h"

#include "base/check.h"
#include "pipeline/remedies.h"

#include <fmt/format.h>

namespace walbrook {
namespace {

// A table that changes its shape all the time is then copied under one snapshot, which follows
// most of that.
constexpr unsigned kRangesLostMax = 3;

}  // namespace

Status TableRegistry::begin_with(std::vector<TableState> tables, std::set<TableId> late) {
    WALBROOK_RETURN_IF_ERROR(store_.with([&](Store& store) { return store.save_tables(tables); }));
    const std::lock_guard lock(mutex_);
    for (TableState& table : tables) {
        const TableId id = table.table;
        entries_[id].state = std::move(table);
        entries_[id].is_late_member = late.contains(id);
    }
    return {};
}

TableRegistry::Entry* TableRegistry::find(TableId table) {
    const auto found = entries_.find(table);
    return found == entries_.end() || found->second.is_gone ? nullptr : &found->second;
}

const TableRegistry::Entry* TableRegistry::find(TableId table) const {
    const auto found = entries_.find(table);
    return found == entries_.end() || found->second.is_gone ? nullptr : &found->second;
}

Status TableRegistry::add(TableState state) {
    const std::lock_guard lock(mutex_);
    // The copy of one that was removed has not ended yet: the next look finds it again.
    if (entries_.contains(state.table)) return {};
    Entry entry;
    entry.is_late_member = true;
    const TableId id = state.table;
    WALBROOK_RETURN_IF_ERROR(store_entry(entry, std::move(state)));
    entries_[id] = std::move(entry);
    return {};
}

void TableRegistry::begin_removal(TableId table) {
    const std::lock_guard lock(mutex_);
    if (Entry* entry = find(table)) entry->is_leaving = true;
}

Status TableRegistry::remove(TableId table) {
    const std::lock_guard lock(mutex_);
    Entry* entry = find(table);
    if (entry == nullptr) return {};
    WALBROOK_RETURN_IF_ERROR(store_.with([&](Store& store) { return store.remove_table(table); }));
    entry->is_gone = true;
    if (!entry->taken) entries_.erase(table);
    ++version_;
    changed_.notify_all();
    return {};
}

bool TableRegistry::is_late_member(TableId table) const {
    const std::lock_guard lock(mutex_);
    const Entry* entry = find(table);
    return entry != nullptr && entry->is_late_member;
}

void TableRegistry::forget_late_members() {
    const std::lock_guard lock(mutex_);
    for (auto& [id, entry] : entries_) entry.is_late_member = false;
}

bool TableRegistry::rejoin(TableId table, const std::string& membership,
                           const std::string& reason) {
    const std::lock_guard lock(mutex_);
    Entry* entry = find(table);
    if (entry == nullptr) return false;
    TableState next = entry->state;
    next.membership = membership;
    const bool is_active = next.phase != TablePhase::errored && next.phase != TablePhase::queued;
    if (!is_active) {
        next.phase = *next_phase(next.phase, PhaseEvent::resync);
        next.reason = reason;
        next.remedy.clear();
        next.next_retry_unix_ms = 0;
    }
    entry->is_late_member = true;
    return store_entry(*entry, std::move(next)).ok();
}

Status TableRegistry::check_wanted(TableId table, const std::string& membership) const {
    const std::lock_guard lock(mutex_);
    const Entry* entry = find(table);
    if (entry == nullptr || entry->is_leaving) {
        return Error(ErrorCode::aborted, "the table is no longer published");
    }
    if (entry->state.paused) return Error(ErrorCode::aborted, "paused by the operator");
    if (entry->state.membership != membership) {
        return Error(ErrorCode::aborted, "its place in the publication has changed");
    }
    return {};
}

Status TableRegistry::request_copy(TableId table, const std::string& reason) {
    const std::lock_guard lock(mutex_);
    Entry* entry = find(table);
    if (entry == nullptr) return {};
    TableState next = entry->state;
    if (next.phase != TablePhase::ready && next.phase != TablePhase::errored) return {};
    next.phase = *next_phase(next.phase, PhaseEvent::resync);
    next.reason = reason;
    next.remedy.clear();
    next.retries = 0;
    next.next_retry_unix_ms = 0;
    return store_entry(*entry, std::move(next));
}

template <class Change>
Status TableRegistry::change(TableId table, const Change& apply) {
    const std::lock_guard lock(mutex_);
    Entry* entry = find(table);
    if (entry == nullptr) return {};  // It was removed meanwhile.
    TableState next = entry->state;
    apply(next);
    return store_entry(*entry, std::move(next));
}

Status TableRegistry::set_paused(TableId table, bool paused) {
    return change(table, [&](TableState& next) {
        next.paused = paused;
        // Why it is errored, and what to do about that, stays to be read.
        if (next.phase == TablePhase::errored) return;
        next.reason = paused ? "paused by the operator" : "";
    });
}

Status TableRegistry::copy_again(TableId table, const std::string& reason) {
    const std::lock_guard lock(mutex_);
    Entry* entry = find(table);
    if (entry == nullptr) return {};
    const auto phase = next_phase(entry->state.phase, PhaseEvent::copy_again);
    if (!phase) return {};  // Queued, or errored in another way.
    TableState next = entry->state;
    next.phase = *phase;
    next.reason = reason;
    next.remedy.clear();
    next.next_retry_unix_ms = 0;
    return store_entry(*entry, std::move(next));
}

TableRegistry::Contents TableRegistry::contents(TableId table) const {
    const std::lock_guard lock(mutex_);
    const Entry* entry = find(table);
    if (entry == nullptr) return {};
    const TableState& state = entry->state;
    const bool is_copied =
        state.phase == TablePhase::copying || state.phase == TablePhase::catching_up;
    if (!is_copied) return {state.content, {}, entry->attempt_visible, 0};
    return {state.content, entry->copy_content, entry->attempt_visible, state.attempt};
}

Status TableRegistry::rename(TableId table, const std::string& schema, const std::string& name) {
    const std::lock_guard lock(mutex_);
    Entry* entry = find(table);
    if (entry == nullptr) return {};
    TableState next = entry->state;
    if (next.schema == schema && next.name == name) return {};
    next.schema = schema;
    next.name = name;
    return store_entry(*entry, std::move(next));
}

Status TableRegistry::set_content(TableId table, const std::string& content) {
    return change(table, [&](TableState& next) { next.content = content; });
}

void TableRegistry::set_copy_content(TableId table, const std::string& content) {
    const std::lock_guard lock(mutex_);
    if (Entry* entry = find(table)) entry->copy_content = content;
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
    Entry* entry = find(table);
    if (entry == nullptr) return {};  // It was removed meanwhile.
    TableState next = entry->state;
    const auto phase = next_phase(next.phase, event);
    if (!phase) {
        // Somebody else has settled the table meanwhile: stopped it, or asked for a new copy.
        return Error(ErrorCode::aborted, fmt::format("the table is {} now, and {} is moot",
                                                     name_of(next.phase), name_of(event)));
    }
    next.phase = *phase;
    next.reason = std::move(reason);
    next.remedy = std::move(remedy);
    if (event == PhaseEvent::copy_started) ++next.attempt;
    if (event == PhaseEvent::published) {
        entry->ranges_lost = 0;
        next.retries = 0;
        next.position = Lsn{};
        next.content = entry->copy_content;
    }
    if (*phase != TablePhase::errored) next.next_retry_unix_ms = 0;
    if (event == PhaseEvent::copy_started) {
        entry->progress = {};
        entry->copy_content.clear();  // Of the copy before.
    }
    if (event == PhaseEvent::published) entry->was_published = true;
    const std::uint32_t attempt = next.attempt;
    WALBROOK_RETURN_IF_ERROR(store_entry(*entry, std::move(next)));
    if (event == PhaseEvent::published) entry->attempt_visible = attempt;
    return {};
}

Status TableRegistry::fail(TableId table, const Error& error, Lsn position, Retries retries) {
    const std::lock_guard lock(mutex_);
    Entry* entry = find(table);
    if (entry == nullptr) return {};  // It was removed meanwhile.
    TableState next = entry->state;
    const auto phase = next_phase(next.phase, PhaseEvent::failed);
    WALBROOK_CHECK(phase.has_value());
    next.phase = *phase;
    next.reason = fmt::format("{} ({})", error.message(), name_of(error.code()));
    next.position = position;
    const bool again = retries == Retries::planned && next.retries < retry_.attempts_max;
    next.remedy = remedy_of(error, next.schema + "." + next.name, again);
    next.next_retry_unix_ms = again ? clock_.unix_ms() + retry_.delay.count() : 0;
    if (again) ++next.retries;
    return store_entry(*entry, std::move(next));
}

Status TableRegistry::set_position(TableId table, Lsn position) {
    return change(table, [&](TableState& next) { next.position = position; });
}

bool TableRegistry::has_place(TableId table) const {
    const std::lock_guard lock(mutex_);
    const Entry* const entry = find(table);
    return entry != nullptr && entry->state.phase != TablePhase::errored;
}

bool TableRegistry::was_published(TableId table) const {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(table);
    return found != entries_.end() && found->second.was_published;
}

void TableRegistry::note(TableId table, std::string waiting_for) {
    const std::lock_guard lock(mutex_);
    if (Entry* entry = find(table)) entry->progress.waiting_for = std::move(waiting_for);
}

void TableRegistry::expect_rows(TableId table, std::uint64_t rows) {
    const std::lock_guard lock(mutex_);
    if (Entry* entry = find(table)) entry->progress.rows_estimated += rows;
}

void TableRegistry::add_rows(TableId table, std::uint64_t rows) {
    const std::lock_guard lock(mutex_);
    if (Entry* entry = find(table)) entry->progress.rows_copied += rows;
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
    const std::int64_t now_ms = clock_.unix_ms();
    for (auto& [id, entry] : entries_) {
        const TableState& state = entry.state;
        if (state.phase != TablePhase::errored || state.next_retry_unix_ms == 0) continue;
        if (state.next_retry_unix_ms > now_ms || entry.taken || entry.is_leaving || state.paused) {
            continue;
        }
        TableState next = state;
        next.phase = *next_phase(state.phase, PhaseEvent::resync);
        next.next_retry_unix_ms = 0;
        // A store that cannot be written now is asked again at the next look.
        store_entry(entry, std::move(next)).ignore();
    }
}

// Called with the lock held.
TableRegistry::Entry* TableRegistry::find_due() {
    requeue_due();
    const Instant at = clock_.now();
    for (auto& [id, entry] : entries_) {
        const bool is_due = entry.state.phase == TablePhase::queued && entry.not_before <= at;
        if (is_due && !entry.taken && !entry.is_leaving && !entry.state.paused) return &entry;
    }
    return nullptr;
}

std::optional<TableState> TableRegistry::take_due() {
    const std::lock_guard lock(mutex_);
    Entry* const entry = find_due();
    if (entry == nullptr) return std::nullopt;
    entry->taken = true;
    return entry->state;
}

std::optional<TableState> TableRegistry::take_queued(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    while (!stop.stop_requested()) {
        if (Entry* const entry = find_due()) {
            entry->taken = true;
            return entry->state;
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
    const auto found = entries_.find(table);
    if (found == entries_.end()) return;
    found->second.taken = false;
    found->second.not_before = clock_.now() + not_before;
    if (found->second.is_gone) entries_.erase(found);
    ++version_;
    changed_.notify_all();
}

TableState TableRegistry::get(TableId table) const {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(table);
    return found == entries_.end() ? TableState{} : found->second.state;
}

void TableRegistry::copy_in_ranges(TableId table) {
    const std::lock_guard lock(mutex_);
    if (Entry* entry = find(table)) entry->in_ranges = true;
}

bool TableRegistry::copies_in_ranges(TableId table) const {
    const std::lock_guard lock(mutex_);
    const Entry* entry = find(table);
    return entry != nullptr && entry->in_ranges && entry->ranges_lost < kRangesLostMax;
}

bool TableRegistry::may_copy_in_ranges(TableId table) const {
    const std::lock_guard lock(mutex_);
    const Entry* entry = find(table);
    return entry != nullptr && entry->ranges_lost < kRangesLostMax;
}

void TableRegistry::lose_ranges(TableId table, bool for_good) {
    const std::lock_guard lock(mutex_);
    Entry* entry = find(table);
    if (entry == nullptr) return;
    entry->ranges_lost = for_good ? kRangesLostMax : entry->ranges_lost + 1;
}

std::vector<TableState> TableRegistry::all() const {
    const std::lock_guard lock(mutex_);
    std::vector<TableState> states;
    for (const auto& [id, entry] : entries_) {
        if (!entry.is_gone) states.push_back(entry.state);
    }
    return states;
}

bool TableRegistry::is_settled() const {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, entry] : entries_) {
        const TableState& state = entry.state;
        if (entry.is_leaving) return false;
        if (state.paused && !entry.taken) continue;
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
