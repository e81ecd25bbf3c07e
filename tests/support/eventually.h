#pragma once

#include <chrono>
#include <thread>
#include <utility>

namespace walbrook::testing {

// Asks `condition` until it says true, at most `timeout` long; returns its last answer.
// The only place in the tests that sleeps: what is waited for is always a state or a
// position, never a time.
template <class Condition>
[[nodiscard]] bool eventually(Condition&& condition,
                              std::chrono::milliseconds timeout = std::chrono::seconds(60)) {
    const auto until = std::chrono::steady_clock::now() + timeout;
    std::chrono::milliseconds pause(1);
    for (;;) {
        if (condition()) return true;
        if (std::chrono::steady_clock::now() >= until) return false;
        std::this_thread::sleep_for(pause);
        pause = std::min(pause * 2, std::chrono::milliseconds(50));
    }
}

}  // namespace walbrook::testing
