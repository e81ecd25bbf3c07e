#include "pipeline/copy_rate.h"

#include <algorithm>
#include <cmath>

namespace walbrook {
namespace {

using std::chrono::milliseconds;

// A long debt is waited for in parts, because others may settle for less than they expected.
constexpr milliseconds kLongestSleep{1000};
// What was not used is kept for this long: a pause does not allow a burst.
constexpr double kBurstSeconds = 0.5;

}  // namespace

milliseconds CopyRate::take(std::uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    const Instant at = now();
    const auto rate = static_cast<double>(bytes_per_second_);
    const std::chrono::duration<double> passed = at - filled_at_;
    filled_at_ = at;
    available_ = std::min(available_ + passed.count() * rate, kBurstSeconds * rate);
    if (available_ < 0) {
        return milliseconds(static_cast<std::int64_t>(std::ceil(-available_ / rate * 1000)));
    }
    available_ -= static_cast<double>(bytes);
    return milliseconds(0);
}

bool CopyRate::admit(std::uint64_t expected_bytes, const std::stop_token& stop) {
    if (bytes_per_second_ == 0) return true;
    for (;;) {
        const milliseconds debt = take(expected_bytes);
        if (debt.count() == 0) return true;
        if (!sleep_for(std::min(debt, kLongestSleep), stop)) return false;
    }
}

void CopyRate::settle(std::uint64_t expected_bytes, std::uint64_t bytes) {
    if (bytes_per_second_ == 0) return;
    const std::lock_guard lock(mutex_);
    available_ += static_cast<double>(expected_bytes) - static_cast<double>(bytes);
}

}  // namespace walbrook
