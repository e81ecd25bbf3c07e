#pragma once

#include "base/clock.h"

#include <chrono>
#include <optional>
#include <stop_token>

namespace walbrook {

// Until when a call may last, and who may end it earlier.
struct Deadline {
    Instant at;
    std::stop_token stop;
};

// A deadline that far from now.
inline Deadline within(std::chrono::milliseconds duration, std::stop_token stop = {}) {
    return {now() + duration, std::move(stop)};
}

// A file descriptor that becomes readable when `stop` is requested, so that poll(2)
// can wait for a socket and a stop at once. Not movable: the callback refers to it.
class StopEvent {
 public:
    explicit StopEvent(const std::stop_token& stop);
    ~StopEvent();
    StopEvent(const StopEvent&) = delete;
    StopEvent& operator=(const StopEvent&) = delete;

    // -1 when nobody can request a stop, or no descriptor could be had; poll(2) skips
    // negative descriptors, and wait_for() then looks at the token itself.
    int fd() const { return fd_; }
    bool requested() const { return token_.stop_requested(); }

 private:
    struct Signal {
        int fd;
        void operator()() const;
    };
    std::stop_token token_;
    int fd_ = -1;
    std::optional<std::stop_callback<Signal>> callback_;
};

enum class Wait { ready, timed_out, stopped };

// Waits until `fd` has one of poll(2)'s `events` (or an error, which the next read
// reports), until the moment comes, or until the stop; a stop wins over the rest.
Wait wait_for(int fd, short events, Instant until, const StopEvent& stop);

}  // namespace walbrook
