#include "pipeline/flush_writer.h"

#include "base/backoff.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/failpoints.h"
#include "pipeline/error_policy.h"
#include "pipeline/without_table.h"

#include <fmt/format.h>

namespace walbrook {
namespace {

constexpr std::chrono::milliseconds kMaintainAfterIdle{500};

// Counts the changes that the destination takes.
class Counted final : public Flush {
 public:
    explicit Counted(Flush& inner) : inner_(inner) {}

    Lsn position() const override { return inner_.position(); }
    std::int64_t commit_time_us() const override { return inner_.commit_time_us(); }
    void rewind() override {
        inner_.rewind();
        changes_.clear();
    }
    Result<const FlushItem*> next() override {
        WALBROOK_TRY(const FlushItem* item, inner_.next());
        const auto* batch = item == nullptr ? nullptr : std::get_if<ChangeBatch>(item);
        if (batch != nullptr) changes_[batch->schema()->id] += batch->changes.size();
        return item;
    }
    std::map<TableId, std::uint64_t> take() { return std::move(changes_); }

 private:
    Flush& inner_;
    std::map<TableId, std::uint64_t> changes_;
};

std::string_view before_apply(FlushKind kind) {
    switch (kind) {
        case FlushKind::common:
            return "flush.before_apply";
        case FlushKind::slice:
            return "catchup.before_slice";
        case FlushKind::publish:
            return "publish.before_apply";
    }
    return "flush.before_apply";
}

std::string_view after_apply(FlushKind kind) {
    switch (kind) {
        case FlushKind::common:
            return "flush.after_apply";
        case FlushKind::slice:
            return "catchup.after_slice";
        case FlushKind::publish:
            return "publish.after_apply";
    }
    return "flush.after_apply";
}

}  // namespace

FlushWriter::FlushWriter(Destination& destination, StoreGate& store, Logger& log,
                         std::function<void(FlushOutcome)> done)
    : destination_(destination), store_(store), log_(log), done_(std::move(done)) {}

FlushWriter::~FlushWriter() { stop(true); }

void FlushWriter::start(Lsn position) {
    applied_ = position;
    thread_ = std::jthread([this] { work(); });
}

void FlushWriter::stop(bool now) {
    if (now) cancel_.request_stop();
    jobs_.close();
    if (thread_.joinable()) thread_.join();
}

void FlushWriter::submit(std::shared_ptr<Flush> flush, FlushKind kind) {
    Job job = FlushJob{std::move(flush), kind};
    if (!jobs_.try_put(job)) WALBROOK_CHECK(jobs_.is_closed());
}

Status FlushWriter::run(std::function<Status(Destination&, std::stop_token)> call) {
    auto done = std::make_shared<std::promise<Status>>();
    std::future<Status> result = done->get_future();
    Job job = CallJob{std::move(call), std::move(done)};
    if (!jobs_.put(job, cancel_.get_token())) {
        return Error(ErrorCode::cancelled, "the writer has stopped");
    }
    return result.get();
}

void FlushWriter::work() {
    const std::stop_token stop = cancel_.get_token();
    while (!(jobs_.is_closed() && jobs_.size() == 0)) {
        // Not woken by `stop`, and not ended by it: copies that are given up still ask for
        // their shadow tables to go, and wait for the answer.
        std::optional<Job> job = jobs_.take_for(kMaintainAfterIdle, {});
        if (!job) {
            maintain(stop);
            continue;
        }
        if (auto* call = std::get_if<CallJob>(&*job)) {
            call->done->set_value(stop.stop_requested()
                                      ? Status(Error(ErrorCode::cancelled, "stopping"))
                                      : call->call(destination_, stop));
        } else {
            done_(apply(std::get<FlushJob>(*job)));
            // Not only when idle: under a steady load flushes follow each other for days.
            if (jobs_.size() == 0) maintain(stop);
        }
    }
}

void FlushWriter::maintain(const std::stop_token& stop) {
    if (stop.stop_requested()) return;
    const Status status = destination_.maintain(stop);
    if (status || status.error().code() == ErrorCode::cancelled) return;
    log_.warn("destination upkeep failed; it is tried again",
              {{"error", status.error().message()}});
}

Status FlushWriter::store_position(Lsn position) {
    return store_.with([&](Store& store) { return store.advance({position, position}); }).status();
}

Status FlushWriter::apply_once(Flush& flush, FlushKind kind, Standing& standing,
                               FlushOutcome& outcome) {
    WALBROOK_FAILPOINT(before_apply(kind));
    Counted counted(flush);
    counted.rewind();
    const Result<Ack> ack = destination_.apply(counted, Ack::durable, cancel_.get_token());
    if (!ack && ack.error().code() != ErrorCode::unknown_outcome) return ack.error();
    if (ack && *ack != Ack::durable) {
        return Error(ErrorCode::internal, "the destination did not make a flush durable");
    }
    standing = ack ? Standing::applied : Standing::unknown;
    if (!ack) {
        log_.warn("the outcome of a flush is unknown; the destination is asked what it holds",
                  {{"error", ack.error().message()}});
    }
    outcome.applied = counted.take();
    return {};
}

// The destination could not say whether it took the flush: its position can.
Status FlushWriter::settle_unknown(Flush& flush, FlushKind kind, Standing& standing,
                                   FlushOutcome& outcome) {
    WALBROOK_TRY(const Lsn position, destination_.read_position(cancel_.get_token()));
    if (kind == FlushKind::slice) {
        // It moves no position, so nothing tells whether it landed: its copy begins again.
        flush.rewind();
        for (;;) {
            WALBROOK_TRY(const FlushItem* item, flush.next());
            if (item == nullptr) break;
            const auto* batch = std::get_if<ChangeBatch>(item);
            const auto* truncate = std::get_if<Truncate>(item);
            const auto* change = std::get_if<SchemaChange>(item);
            const CopyTargetPtr copy = batch != nullptr      ? batch->copy
                                       : truncate != nullptr ? truncate->copy
                                       : change != nullptr   ? change->copy
                                                             : nullptr;
            WALBROOK_CHECK(copy != nullptr);
            const TableId table = copy->schema->id;
            if (!outcome.refused.empty() && outcome.refused.back().first == table) continue;
            outcome.refused.emplace_back(
                table, Error(ErrorCode::aborted, "nothing tells whether part of a copy landed"));
        }
    } else if (position < flush.position()) {
        standing = Standing::open;
        return Error(ErrorCode::unavailable, "the flush did not land");
    } else if (position > flush.position() || flush.position() == applied_) {
        return Error(
            ErrorCode::corrupt_state,
            fmt::format("the destination stands at {}, and a flush up to {} after {} was "
                        "on its way: another process writes to it, or it was put back",
                        to_string(position), to_string(flush.position()), to_string(applied_)));
    }
    standing = Standing::applied;
    return {};
}

std::string FlushWriter::trouble() const {
    const std::lock_guard lock(mutex_);
    return trouble_;
}

void FlushWriter::set_trouble(std::string text) {
    const std::lock_guard lock(mutex_);
    trouble_ = std::move(text);
}

FlushOutcome FlushWriter::apply(FlushJob& job) {
    FlushOutcome outcome;
    Backoff backoff({std::chrono::milliseconds(100), std::chrono::milliseconds(10'000)});
    std::shared_ptr<Flush> flush = job.flush;
    // Stored only after it is applied, so a repetition must not begin with the apply.
    Standing standing = Standing::open;
    bool is_counted = false;
    for (;;) {
        Status status;
        if (standing == Standing::open) {
            status = apply_once(*flush, job.kind, standing, outcome);
        }
        if (status && standing == Standing::unknown) {
            status = settle_unknown(*flush, job.kind, standing, outcome);
        }
        if (standing == Standing::applied && !is_counted) {
            is_counted = true;
            ++flushes_;
            applied_ = flush->position();
            status = failpoint(after_apply(job.kind));
        }
        if (status) status = store_position(flush->position());
        if (status) status = failpoint("flush.after_store");
        if (status) {
            set_trouble({});
            return outcome;
        }

        const Error& error = status.error();
        if (standing == Standing::open && error.table_oid() != 0) {
            const TableId table{error.table_oid()};
            log_.error("a table stopped: the destination refused its changes",
                       {{"table_oid", std::to_string(table.oid)}, {"error", error.message()}});
            flush = std::make_shared<WithoutTable>(flush, table, applied_, error.message());
            outcome.refused.emplace_back(table, error);
            continue;
        }
        const Reaction reaction = reaction_to(error.code());
        if (reaction == Reaction::stop || reaction == Reaction::error_table) {
            outcome.status = Error(error).with_context("apply a flush");
            return outcome;
        }
        const auto delay = backoff.next();
        set_trouble(error.message());
        log_.warn("a flush failed; it is tried again",
                  {{"error", error.message()},
                   {"code", std::string(name_of(error.code()))},
                   {"delay_ms", std::to_string(delay.count())}});
        if (!sleep_for(delay, cancel_.get_token())) {
            outcome.status = Error(ErrorCode::cancelled, "stopped while a flush was repeated");
            return outcome;
        }
    }
}

}  // namespace walbrook
