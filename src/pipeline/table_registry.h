#pragma once

#include "base/clock.h"
#include "pipeline/phases.h"
#include "walbrook/store.h"

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
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

// The phase of every table, in memory and in the store; the only place that changes
// one. Thread-safe.
class TableRegistry {
 public:
    TableRegistry(StoreGate& store, RetryPolicy retry) : store_(store), retry_(retry) {}

    // What is known at the start, stored as given.
    Status begin_with(std::vector<TableState> tables);

    // Moves a table by an event, in the store first. CHECKs that the event is possible
    // there. `reason` and `remedy` are shown until the next event.
    Status move(TableId table, PhaseEvent event, std::string reason = {}, std::string remedy = {});
    // An error that a new copy may heal: plans the automatic retry, or leaves the table
    // errored for good when its attempts are used up.
    Status fail(TableId table, const Error& error, Lsn position);
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
    // The taken table is nobody's again.
    void give_back(TableId table, std::chrono::milliseconds not_before);

    TableState get(TableId table) const;
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
    };

    Status store_entry(Entry& entry, TableState next);
    void requeue_due();

    StoreGate& store_;
    const RetryPolicy retry_;
    mutable std::mutex mutex_;  // Guards what follows.
    std::condition_variable_any changed_;
    std::uint64_t version_ = 0;  // Counts changes, for those who wait for one.
    std::map<TableId, Entry> entries_;
};

}  // namespace walbrook
