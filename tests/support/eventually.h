#pragma once

#include <algorithm>
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
        const auto asked = std::chrono::steady_clock::now();
        if (condition()) return true;
        const auto answered = std::chrono::steady_clock::now();
        if (answered >= until) return false;
        // A costly question takes no more than a tenth of the time from what is waited for, unless
        // it takes long itself.
        const auto rest = std::chrono::ceil<std::chrono::milliseconds>((answered - asked) * 9);
        std::this_thread::sleep_for(std::clamp(rest, pause, std::chrono::milliseconds(1000)));
        pause = std::min(pause * 2, std::chrono::milliseconds(50));
    }
}

// For a load of the test's own: at most so many rounds a second.
class Pace {
 public:
    explicit Pace(int per_second) : step_(std::chrono::microseconds(1'000'000 / per_second)) {}
    void wait() {
        next_ += step_;
        std::this_thread::sleep_until(next_);
    }

 private:
    const std::chrono::microseconds step_;
    std::chrono::steady_clock::time_point next_ = std::chrono::steady_clock::now();
};

}  // namespace walbrook::testing
