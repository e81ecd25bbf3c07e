#pragma once

#include "cli/config_keys.h"
#include "cli/schedule.h"
#include "server/status_report.h"
#include "telemetry/log.h"
#include "verify/cutter.h"
#include "verify/history.h"

#include <chrono>
#include <filesystem>
#include <functional>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>

namespace walbrook {

// The comparisons of source and destination as `walbrook run` knows them: what the last one said,
// also one of `walbrook verify` (whose result is in work_dir), and those that verify.schedule asks
// for, which it does itself: on a thread of their own, one at a time, tried again after an error.
class Comparisons {
 public:
    // The running pipeline's; nothing while none runs. Called from the thread.
    using PipelineState = std::function<std::optional<PipelineStatus>()>;

    // All of them outlive this.
    Comparisons(const ProgramConfig& config, verify::Cutter& pipeline, PipelineState state,
                Logger log);
    // Stops what is under way, and waits.
    ~Comparisons();
    Comparisons(const Comparisons&) = delete;
    Comparisons& operator=(const Comparisons&) = delete;

    // Begins with the schedule, if there is one.
    void start();
    // Ends it. Thread-safe, returns at once.
    void stop() { ending_.request_stop(); }
    // Thread-safe.
    void add_to(StatusReport& report);

 private:
    verify::History history();
    void run(const std::stop_token& stop);
    // 0: at once, since there was none yet.
    std::int64_t due_at(std::int64_t started_at);
    bool is_ready(std::int64_t due) const;
    // How long to wait before the next one, at least.
    std::chrono::seconds compare(std::int64_t due, const std::stop_token& stop);
    void tell(const verify::Report& report) const;

    const ProgramConfig& config_;
    verify::Cutter& pipeline_;
    const PipelineState state_;
    const Logger log_;
    const std::optional<Schedule> schedule_;
    std::stop_source ending_;
    std::mutex mutex_;  // Guards what follows.
    bool is_running_ = false;
    std::int64_t next_at_ = 0;
    std::uint32_t failures_in_row_ = 0;
    std::uint64_t failures_ = 0;  // Since the start.
    std::string error_;           // Of the last try, if it failed.
    // When the last of the schedule began that ended: also where work_dir takes no note of it.
    std::int64_t whole_at_secs_ = 0;
    std::filesystem::file_time_type read_at_{};
    verify::History history_;  // Of a file that was written then.
    std::jthread thread_;      // Last: it uses the others.
};

}  // namespace walbrook
