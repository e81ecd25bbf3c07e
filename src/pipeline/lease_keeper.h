#pragma once

#include "postgres/connection.h"
#include "telemetry/log.h"
#include "walbrook/config.h"

#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

namespace walbrook {

// Keeps the pipeline's lease at the source, an advisory lock that goes with its session, so that
// a second process with the same id does not run. When the session is lost (terminated, the
// server restarted, the network gone) the lease is taken again; if another process has it by
// then, that one owns the pipeline and this one ends (ErrorCode::fenced). Between the loss and
// that the destination's own fence keeps two writers apart (docs/design/lease.md).
class LeaseKeeper {
 public:
    // `fail` ends the pipeline; called from the keeper's thread.
    LeaseKeeper(const PipelineConfig& config, const Logger& log, std::function<void(Error)> fail)
        : config_(config), log_(log), fail_(std::move(fail)) {}
    ~LeaseKeeper() { stop(); }

    // ErrorCode::fenced when another process has it.
    Status take(const Deadline& deadline);
    // Watches it from now on.
    void start();
    // Gives it back.
    void stop();
    // What an operator should know; empty: the lease is held.
    std::string problem() const;

 private:
    void work(const std::stop_token& stop);
    // Until the session is lost (an error says how) or we are stopped.
    Status watch(const std::stop_token& stop);
    void set_problem(std::string text);

    const PipelineConfig& config_;
    const Logger& log_;
    const std::function<void(Error)> fail_;
    std::optional<Connection> session_;  // Of the keeper's thread once that runs.
    std::uint32_t last_pid_ = 0;         // Of the session that had the lease last.
    mutable std::mutex mutex_;           // Guards problem_.
    std::string problem_;
    std::jthread thread_;
};

}  // namespace walbrook
