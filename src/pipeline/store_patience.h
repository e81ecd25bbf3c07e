#pragma once

#include "base/backoff.h"
#include "base/clock.h"
#include "telemetry/log.h"
#include "walbrook/result.h"

#include <chrono>
#include <mutex>
#include <string>
#include <string_view>

namespace walbrook {

// When one kind of call to the store is made again that has failed, and what is to be shown until
// it succeeds. One thread; trouble() from any.
class StorePatience {
 public:
    // `what` the store does not take, for people.
    StorePatience(Logger& log, std::string_view what,
                  std::chrono::milliseconds pause_max = std::chrono::seconds(10))
        : log_(log), what_(what), backoff_({std::chrono::milliseconds(100), pause_max}) {}

    bool is_due(Instant at) const { return at >= due_; }
    Instant due() const { return due_; }
    // How a call ended at `at`. An error is one that ends the pipeline.
    Status note(const Status& status, Instant at);
    // Empty: nothing has failed since the last success.
    std::string trouble() const;

 private:
    void set_trouble(std::string text);

    Logger& log_;
    const std::string_view what_;
    Backoff backoff_;
    Instant due_{};
    mutable std::mutex mutex_;  // Guards trouble_.
    std::string trouble_;
};

}  // namespace walbrook
