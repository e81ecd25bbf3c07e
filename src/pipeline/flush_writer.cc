#include "pipeline/flush_writer.h"

#include "base/backoff.h"
#include "base/check.h"
#include "base/clock.h"
#include "pipeline/error_policy.h"

#include <utility>

namespace walbrook {
namespace {

constexpr std::chrono::milliseconds kMaintainAfterIdle{500};

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
    if (has_failed_ || stop.stop_requested()) return;
    const Status status = destination_.maintain(stop);
    if (status || status.error().code() == ErrorCode::cancelled) return;
    // A flush would end the pipeline with it, but that may be long in coming. About one table
    // there is nothing to stop: its changes are not at stake.
    if (reaction_to(status.error().code()) == Reaction::stop && status.error().table_oid() == 0) {
        has_failed_ = true;
        FlushOutcome outcome;
        outcome.status = Error(status.error()).with_context("upkeep of the destination");
        return done_(std::move(outcome));
    }
    log_.warn("destination upkeep failed; it is tried again",
              {{"error", status.error().message()}});
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
    FlushApply flush(destination_, store_, log_, std::move(job.flush), job.kind, applied_);
    Backoff backoff({std::chrono::milliseconds(100), std::chrono::milliseconds(10'000)});
    bool is_counted = false;
    for (;;) {
        const FlushApply::Progress progress = flush.try_once(cancel_.get_token());
        if (flush.has_landed() && !std::exchange(is_counted, true)) {
            ++flushes_;
            applied_ = flush.position();
        }
        if (progress == FlushApply::Progress::done) {
            set_trouble({});
            return flush.take_outcome();
        }
        const Error& error = flush.trouble();
        const auto delay = backoff.next();
        set_trouble(error.message());
        log_.warn("a flush failed; it is tried again",
                  {{"error", error.message()},
                   {"code", std::string(name_of(error.code()))},
                   {"delay_ms", std::to_string(delay.count())}});
        if (!sleep_for(delay, cancel_.get_token())) {
            FlushOutcome outcome = flush.take_outcome();
            outcome.status = Error(ErrorCode::cancelled, "stopped while a flush was repeated");
            return outcome;
        }
    }
}

}  // namespace walbrook
