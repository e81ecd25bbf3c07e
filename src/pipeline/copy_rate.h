#pragma once

#include "base/clock.h"

#include <chrono>
#include <cstdint>
#include <mutex>
#include <stop_token>

namespace walbrook {

// How fast all copies of a pipeline together may read from the source: a bucket that fills at
// `bytes_per_second`. A range is admitted while the bucket is not in debt, with what it is
// expected to bring taken out at once, so that connections do not start together; what it did
// bring is settled after it. Nobody waits in the middle of a range, where a lock is held.
// Thread-safe.
class CopyRate {
 public:
    // 0: no limit.
    explicit CopyRate(std::uint64_t bytes_per_second)
        : bytes_per_second_(bytes_per_second), filled_at_(now()) {}

    // What one range should bring at most, so that none makes a long debt; 0: any size.
    std::uint64_t range_bytes() const { return bytes_per_second_ / 2; }

    // Waits until a range of about so many bytes may be read. False when stopped.
    bool admit(std::uint64_t expected_bytes, const std::stop_token& stop);
    // The range has brought `bytes`.
    void settle(std::uint64_t expected_bytes, std::uint64_t bytes);

 private:
    // How long until the debt is paid.
    std::chrono::milliseconds take(std::uint64_t bytes);

    const std::uint64_t bytes_per_second_;
    std::mutex mutex_;  // Guards what follows.
    Instant filled_at_;
    double available_ = 0;
};

}  // namespace walbrook
