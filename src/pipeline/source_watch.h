#pragma once

#include "pipeline/parts.h"
#include "postgres/connection.h"

#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace walbrook {

// Looks after what the pipeline costs its source, on a session and a thread of its own, so that
// neither a stuck destination nor a broken stream keeps it from looking: how much WAL the slot
// holds back, how old the snapshots of copies are; and writes heartbeats.
class SourceWatch {
 public:
    explicit SourceWatch(Parts& parts) : parts_(parts) {}
    ~SourceWatch() { stop(); }

    void start();
    // Waits until a slot that is being given up is dropped, at most kDropDeadline.
    void stop();
    // What an operator should look at now.
    std::vector<std::string> problems() const;

 private:
    void work(const std::stop_token& stop);
    Status look_at_slot(const std::stop_token& stop);
    void judge_lag(std::uint64_t lag_bytes);
    void warn_of_old_snapshots();
    Status beat(const std::stop_token& stop);
    Result<Connection*> session(const std::stop_token& stop);
    // Drops the slot, whoever uses it, and ends the pipeline.
    void give_up_slot(std::uint64_t lag_bytes);
    Status drop_held_slot(const Deadline& deadline);

    Parts& parts_;
    std::optional<Connection> session_;
    bool is_beyond_lag_ = false;
    bool has_given_up_ = false;
    std::set<std::uint64_t> warned_;  // Snapshots.
    mutable std::mutex mutex_;        // Guards what follows.
    std::string lag_problem_;
    std::string trouble_;
    std::jthread thread_;
};

}  // namespace walbrook
