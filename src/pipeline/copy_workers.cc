#include "pipeline/copy_workers.h"

#include "base/clock.h"
#include "pipeline/error_policy.h"
#include "pipeline/stopped_tables.h"
#include "pipeline/store_patience.h"
#include "pipeline/table_copy.h"

#include <algorithm>

namespace walbrook {
namespace {

using std::chrono::milliseconds;

// Between two attempts of one table: doubles with each failure in a row.
milliseconds pause_after(std::uint32_t failures) {
    const std::uint32_t doublings = std::min(failures, 9U);
    return std::min(milliseconds(100) * (1U << doublings), milliseconds(30'000));
}

}  // namespace

void CopyWorkers::start() {
    for (unsigned i = 0; i < parts_.config.max_table_sync_workers; ++i) {
        threads_.emplace_back([this] { work(stop_.get_token()); });
    }
}

void CopyWorkers::stop() {
    stop_.request_stop();
    threads_.clear();
}

void CopyWorkers::work(const std::stop_token& stop) {
    while (const auto table = parts_.tables.take_queued(stop)) {
        Status status = TableCopy(parts_, *table).run(stop);
        std::uint32_t failures = 0;
        {
            const std::lock_guard lock(mutex_);
            if (status) {
                failures_.erase(table->table);
            } else {
                failures = failures_[table->table]++;
            }
        }
        if (!status) settle(*table, std::move(status).error(), failures, stop);
        parts_.tables.give_back(table->table, status ? milliseconds(0) : pause_after(failures));
    }
}

void CopyWorkers::settle(const TableState& table, Error error, std::uint32_t failures,
                         const std::stop_token& stop) {
    if (error.code() == ErrorCode::cancelled) return;  // The next start copies it again.
    const Reaction reaction = reaction_to(error.code());
    if (reaction == Reaction::stop && error.code() != ErrorCode::permission) {
        return parts_.fail(std::move(error));
    }
    const bool again = reaction == Reaction::retry || reaction == Reaction::redo;
    parts_.log.failed(again ? LogLevel::warn : LogLevel::error,
                      again ? "a copy is repeated" : "a table is errored; the others go on", error,
                      {{"table", table.schema + "." + table.name}, {"failures", failures}});
    // The store may be away for the same reason that the copy failed for: where it lies in the
    // source. That is nothing for the other tables to end for.
    StorePatience patience(parts_.log, "a table's phase");
    for (bool is_first = true;; is_first = false) {
        const Status stored = settle_failed_copy(table.table, error, parts_.tables);
        if (Status ends = patience.note(stored, now()); !ends) {
            return parts_.fail(std::move(ends).error());
        }
        if (stored && is_first) return;
        parts_.tables.note(table.table, patience.trouble());
        if (stored) return;
        const auto pause = std::chrono::ceil<milliseconds>(patience.due() - now());
        if (!sleep_for(pause, stop)) return;  // The next start copies it again.
    }
}

}  // namespace walbrook
