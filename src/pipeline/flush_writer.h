#pragma once

#include "base/bounded_queue.h"
#include "pipeline/flush_apply.h"

#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <variant>

namespace walbrook {

// Owns the destination's thread: applies flushes in order, does the serial parts of
// copies between them, and upkeep when there is nothing else to do.
class FlushWriter {
 public:
    // `done` is called on the writer thread after each flush, once it is durable and
    // its position is stored, or cannot be applied. Also, with an error alone, once upkeep has
    // met what must end the pipeline.
    FlushWriter(Destination& destination, StoreGate& store, Logger& log,
                std::function<void(FlushOutcome)> done);
    ~FlushWriter();

    // `position`: what the destination holds already.
    void start(Lsn position);
    // What runs ends with `cancelled`, and so does everything that follows.
    void cancel() { cancel_.request_stop(); }
    // Waits for what is queued, then ends the thread. With `now`, cancels instead.
    void stop(bool now);

    // Never waits: at most one flush is in flight.
    void submit(std::shared_ptr<Flush> flush, FlushKind kind);
    // Runs a short call on the writer thread and waits for it.
    Status run(std::function<Status(Destination&, std::stop_token)> call);

    std::uint64_t flushes() const { return flushes_.load(); }
    // Why the flush in flight is being repeated; empty: it is not.
    std::string trouble() const;

 private:
    struct FlushJob {
        std::shared_ptr<Flush> flush;
        FlushKind kind = FlushKind::common;
    };
    struct CallJob {
        std::function<Status(Destination&, std::stop_token)> call;
        std::shared_ptr<std::promise<Status>> done;
    };
    using Job = std::variant<FlushJob, CallJob>;

    void work();
    void maintain(const std::stop_token& stop);
    FlushOutcome apply(FlushJob& job);

    Destination& destination_;
    StoreGate& store_;
    Logger& log_;
    std::function<void(FlushOutcome)> done_;
    bool has_failed_ = false;  // Upkeep; the writer thread's.
    // One flush, and a call of each copy worker: there are at most 64 of them.
    BoundedQueue<Job> jobs_{128};
    void set_trouble(std::string text);

    std::stop_source cancel_;
    mutable std::mutex mutex_;  // Guards trouble_.
    std::string trouble_;
    std::atomic<std::uint64_t> flushes_{0};
    Lsn applied_;  // Position of the last flush; writer thread only.
    std::jthread thread_;
};

}  // namespace walbrook
