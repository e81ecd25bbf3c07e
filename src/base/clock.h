#pragma once

#include <chrono>
#include <cstdint>
#include <stop_token>

namespace walbrook {

// Monotonic time for deadlines and durations.
using Instant = std::chrono::steady_clock::time_point;

inline Instant now() { return std::chrono::steady_clock::now(); }

// Microseconds since 1970-01-01 UTC, by the machine's clock: for people and for lag,
// never for a decision about data.
std::int64_t unix_time_us();

// Sleeps, or returns false at once when stopped.
bool sleep_for(std::chrono::milliseconds duration, const std::stop_token& stop);

}  // namespace walbrook
