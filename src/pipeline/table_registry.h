#pragma once

#include "base/clock.h"
#include "pipeline/phases.h"
#include "walbrook/store.h"

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

namespace walbrook {

// Serialises the calls to a store that several threads of a pipeline make.
class StoreGate {
 public:
    explicit StoreGate(Store& store) : store_(store) {}
    template <class Call>
    auto with(Call&& call) {
        const std::lock_guard lock(mutex_);
        return call(store_);
    }

 private:
    Store& store_;
    std::mutex mutex_;
};

// How long a table waits before it is copied again, by itself.
struct RetryPolicy {
    std::chrono::milliseconds delay{10'000};
    std::uint32_t attempts_max = 5;
};

// What the registry knows of time; the simulation has its own.
struct RegistryClock {
    std::function<Instant()> now = walbrook::now;
    std::function<std::int64_t()> unix_ms = [] { return unix_time_us() / 1000; };
};

// The phase of every table, in memory and in the store; the only place that changes
// one. Thread-safe.
class TableRegistry {
 public:
    TableRegistry(StoreGate& store, RetryPolicy retry, RegistryClock clock = {})
        : store_(store), retry_(retry), clock_(std::move(clock)) {}

    // What is known at the start, stored as given. `late`: tables that may have entered the
    // publication after the slot was made: what a prepared transaction wrote to them before is
    // never sent.
    Status begin_with(std::vector<TableState> tables, std::set<TableId> late = {});
    // A table that has entered the publication.
    Status add(TableState state);
    // No copy of it begins any more; it is not settled until remove().
    void begin_removal(TableId table);
    // Forgets it, also in the store.
    Status remove(TableId table);
    bool is_late_member(TableId table) const;
    // It is known, and no error keeps it from the place of its name in the destination.
    bool has_place(TableId table) const;
    // The slot is made anew, after all of them have entered.
    void forget_late_members();
    // Its place in the publication has changed. True: whoever follows or copies it must be told;
    // it may be followed although it is queued or errored, if that is for a copy beside what is
    // visible. False: the store could not be written; the next look tries again.
    bool rejoin(TableId table, const std::string& membership, const std::string& reason);
    // Whether a copy of the table as it is published so is still wanted; else ErrorCode::aborted
    // with why. For a copy that whoever changed this may not have found yet: see rejoin(),
    // begin_removal() and set_paused(), after which the stream is told.
    Status check_wanted(TableId table, const std::string& membership) const;
    // A new copy beside what is visible, which goes on meanwhile. Nothing where one is due or
    // under way already.
    Status request_copy(TableId table, const std::string& reason);
    // Paused tables are not copied; the flag survives restarts.
    Status set_paused(TableId table, bool paused);
    // The same after its visible content has stopped, or its copy was lost.
    Status copy_again(TableId table, const std::string& reason);

    // What people call it now: it is known by its oid.
    Status rename(TableId table, const std::string& schema, const std::string& name);

    // TableState::content of what is visible, and of the copy that is under way: see SourceTable
    // for the numbers. A queued table has the number of the copy before.
    struct Contents {
        std::string visible;
        std::string copy;
        std::uint32_t attempt_visible = 0;
        std::uint32_t attempt_in_copy = 0;
    };
    Contents contents(TableId table) const;
    Status set_content(TableId table, const std::string& content);
    void set_copy_content(TableId table, const std::string& content);

    // Moves a table by an event, in the store first. ErrorCode::aborted when the event is not
    // possible there any more. `reason` and `remedy` are shown until the next event.
    Status move(TableId table, PhaseEvent event, std::string reason = {}, std::string remedy = {});
    // An error that a new copy may heal: plans the automatic retry, or leaves the table
    // errored for good when its attempts are used up.
    enum class Retries { planned, none };
    Status fail(TableId table, const Error& error, Lsn position,
                Retries retries = Retries::planned);
    // Up to where a stopped table's visible content goes.
    Status set_position(TableId table, Lsn position);
    // What a table waits for at the moment; not stored.
    void note(TableId table, std::string waiting_for);

    // Whether a copy of it was published since the start of the process.
    bool was_published(TableId table) const;

    // How the present copy goes on.
    void expect_rows(TableId table, std::uint64_t rows);
    void add_rows(TableId table, std::uint64_t rows);
    // Changes that wait for copies; all other tables have none.
    void set_held(std::span<const std::pair<TableId, std::uint64_t>> held);
    struct CopyProgress {
        std::uint64_t rows_copied = 0;
        std::uint64_t rows_estimated = 0;
        std::uint64_t held_bytes = 0;
        std::string waiting_for;
    };
    CopyProgress progress(TableId table) const;

    // Row changes that a durable flush has applied, since the start of the process.
    void add_changes(TableId table, std::uint64_t changes);
    std::uint64_t changes_applied(TableId table) const;

    // Waits for a table that is queued and due, and marks it as taken. Nothing when stopped.
    std::optional<TableState> take_queued(const std::stop_token& stop);
    // The same without waiting.
    std::optional<TableState> take_due();
    // The taken table is nobody's again.
    void give_back(TableId table, std::chrono::milliseconds not_before);

    TableState get(TableId table) const;
    // How it is copied: its snapshot became too old once, so it is done in ranges of the key. In
    // memory only. Ranges that were lost to changes too often, or that cannot be right (for_good),
    // end that until a copy is published.
    void copy_in_ranges(TableId table);
    bool copies_in_ranges(TableId table) const;
    bool may_copy_in_ranges(TableId table) const;
    void lose_ranges(TableId table, bool for_good);

    std::vector<TableState> all() const;
    // Every table is ready, or errored without a planned retry.
    bool is_settled() const;
    bool has_errored() const;

 private:
    struct Entry {
        TableState state;
        bool taken = false;
        Instant not_before{};
        CopyProgress progress;
        std::uint64_t changes_applied = 0;
        bool was_published = false;
        std::uint32_t attempt_visible = 0;
        bool is_late_member = false;
        bool is_leaving = false;  // Or gone, and only its copy has not ended yet.
        bool is_gone = false;
        std::string copy_content;
        bool in_ranges = false;
        unsigned ranges_lost = 0;
    };

    Entry* find(TableId table);
    const Entry* find(TableId table) const;
    // What is no move: the phase stays.
    template <class Change>
    Status change(TableId table, const Change& apply);
    Status store_entry(Entry& entry, TableState next);
    void requeue_due();
    Entry* find_due();

    StoreGate& store_;
    const RetryPolicy retry_;
    const RegistryClock clock_;
    mutable std::mutex mutex_;  // Guards what follows.
    std::condition_variable_any changed_;
    std::uint64_t version_ = 0;  // Counts changes, for those who wait for one.
    std::map<TableId, Entry> entries_;
};

}  // namespace walbrook
