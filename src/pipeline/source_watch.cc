#include "pipeline/source_watch.h"

#include "pipeline/slot_check.h"
#include "postgres/slots.h"

#include <fmt/format.h>

#include <algorithm>

namespace walbrook {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kLookInterval{3000};
constexpr seconds kWatchDeadline{15};
constexpr seconds kDropDeadline{30};
constexpr milliseconds kDropAgain{50};

std::uint64_t mib(std::uint64_t bytes) { return bytes >> 20; }

std::string describe(const SnapshotAges::Old& old, std::uint64_t limit) {
    return fmt::format(
        "{}: the snapshot of its copy is {} s old (max_snapshot_age_secs is {}), and until the "
        "copy ends vacuum removes no row that died since; more max_copy_connections_per_table, or "
        "a higher copy_max_bytes_per_second, let it end sooner",
        old.table, old.age.count(), limit);
}

}  // namespace

void SourceWatch::start() {
    thread_ = std::jthread([this](const std::stop_token& stop) { work(stop); });
}

void SourceWatch::stop() {
    if (!thread_.joinable()) return;
    thread_.request_stop();
    thread_.join();
}

void SourceWatch::work(const std::stop_token& stop) {
    const milliseconds heartbeat(parts_.config.heartbeat_interval_ms);
    Instant next_look = now();
    Instant next_beat = now();
    while (!stop.stop_requested() && !has_given_up_) {
        Status status;
        if (now() >= next_look) {
            status = look_at_slot(stop);
            warn_of_old_snapshots();
            next_look = now() + kLookInterval;
        }
        if (status && heartbeat.count() != 0 && now() >= next_beat) {
            status = beat(stop);
            next_beat = now() + heartbeat;
        }
        if (stop.stop_requested() || has_given_up_) return;
        {
            const std::lock_guard lock(mutex_);
            trouble_ = status ? "" : "the source cannot be asked: " + status.error().message();
        }
        // Of an error nobody knows in which state it left the session.
        if (!status) session_.reset();
        Instant next = next_look;
        if (heartbeat.count() != 0 && status) next = std::min(next, next_beat);
        const auto pause = std::chrono::ceil<milliseconds>(next - now());
        sleep_for(std::max(pause, milliseconds(1)), stop);
    }
}

Result<Connection*> SourceWatch::session(const std::stop_token& stop) {
    if (!session_) {
        Purpose purpose;
        purpose.application_name = application_name(parts_.config.id, "watch");
        WALBROOK_TRY(session_, Connection::open(parts_.config.pg_connection, purpose,
                                                within(kWatchDeadline, stop)));
    }
    return &*session_;
}

Status SourceWatch::look_at_slot(const std::stop_token& stop) {
    const std::uint64_t limit = parts_.config.max_slot_lag_bytes;
    if (limit == 0) return {};
    WALBROOK_TRY(Connection * connection, session(stop));
    const Deadline deadline = within(kWatchDeadline, stop);
    WALBROOK_TRY(const std::optional<Slot> slot,
                 read_slot(*connection, deadline, parts_.config.slot_name()));
    // Of one that is lost the stream tells, and it holds back nothing.
    if (!slot || slot->is_lost()) return {};
    WALBROOK_TRY(const WalPositions wal, read_wal_positions(*connection, deadline));
    judge_lag(wal.write > slot->restart_lsn ? wal.write.value - slot->restart_lsn.value : 0);
    return {};
}

void SourceWatch::judge_lag(std::uint64_t lag_bytes) {
    const std::uint64_t limit = parts_.config.max_slot_lag_bytes;
    const bool is_beyond = lag_bytes > limit;
    const bool was_beyond = std::exchange(is_beyond_lag_, is_beyond);
    std::string text;
    if (is_beyond) {
        text = fmt::format(
            "slot {} holds back {} MiB of WAL at the source (max_slot_lag_bytes is {} MiB): is the "
            "destination slow or stuck, or a transaction of the source open for long?",
            parts_.config.slot_name(), mib(lag_bytes), mib(limit));
    }
    {
        const std::lock_guard lock(mutex_);
        lag_problem_ = text;
    }
    if (is_beyond && !was_beyond) parts_.log.warn(text);
    if (was_beyond && !is_beyond) {
        parts_.log.info("the slot holds back less than max_slot_lag_bytes again");
    }
    if (is_beyond && parts_.config.slot_lag_behavior == SlotLagBehavior::drop_slot) {
        give_up_slot(lag_bytes);
    }
}

// First the pipeline, so that its stream does not come back, then the slot. What is lost with it
// is known to the next start: the store and the destination have positions, and no slot is there.
void SourceWatch::give_up_slot(std::uint64_t lag_bytes) {
    has_given_up_ = true;
    parts_.fail(slot_lost(
        parts_.config,
        fmt::format("it held back {} MiB of WAL, more than max_slot_lag_bytes ({} MiB), and was "
                    "dropped, as slot_lag_behavior: drop_slot says",
                    mib(lag_bytes), mib(parts_.config.max_slot_lag_bytes))));
    const Status dropped = drop_held_slot(within(kDropDeadline));
    if (dropped) {
        parts_.log.warn("dropped the replication slot", {{"slot", parts_.config.slot_name()}});
    } else {
        parts_.log.failed(LogLevel::error,
                          "the replication slot could not be dropped and still holds back WAL; "
                          "drop it: select pg_drop_replication_slot('…')",
                          dropped.error(), {{"slot", parts_.config.slot_name()}});
    }
}

// Not ended by a stop: the slot would stay behind.
Status SourceWatch::drop_held_slot(const Deadline& deadline) {
    for (;;) {
        WALBROOK_TRY(Connection * connection, session({}));
        const Status dropped = drop_slot(*connection, deadline, parts_.config.slot_name());
        if (dropped || dropped.error().sqlstate() != "55006" || now() >= deadline.at) {
            return dropped;
        }
        // Our walsender may not notice its end while it waits for a transaction or a socket.
        WALBROOK_TRY(const std::optional<Slot> slot,
                     read_slot(*connection, deadline, parts_.config.slot_name()));
        if (slot && slot->active_pid != 0) {
            WALBROOK_RETURN_IF_ERROR(
                connection->query(deadline, "select pg_terminate_backend($1)", slot->active_pid)
                    .status());
        }
        sleep_for(kDropAgain, {});
    }
}

void SourceWatch::warn_of_old_snapshots() {
    const std::uint64_t limit = parts_.config.max_snapshot_age_secs;
    if (limit == 0) return;
    for (const auto& old : parts_.snapshot_ages.older_than(seconds(limit))) {
        if (warned_.insert(old.id).second) parts_.log.warn(describe(old, limit));
    }
}

// Not transactional, so that it needs no xid: it would make slots and snapshots wait.
Status SourceWatch::beat(const std::stop_token& stop) {
    WALBROOK_TRY(Connection * connection, session(stop));
    return connection->exec(within(kWatchDeadline, stop),
                            "select pg_logical_emit_message(false, 'walbrook', 'heartbeat')"
                            " where not pg_is_in_recovery()");
}

std::vector<std::string> SourceWatch::problems() const {
    std::vector<std::string> all;
    const std::uint64_t limit = parts_.config.max_snapshot_age_secs;
    if (limit != 0) {
        for (const auto& old : parts_.snapshot_ages.older_than(seconds(limit))) {
            all.push_back(describe(old, limit));
        }
    }
    const std::lock_guard lock(mutex_);
    if (!lag_problem_.empty()) all.push_back(lag_problem_);
    if (!trouble_.empty()) all.push_back(trouble_);
    return all;
}

}  // namespace walbrook
