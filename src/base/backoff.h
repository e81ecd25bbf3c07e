#pragma once

#include <chrono>
#include <cstdint>
#include <random>

namespace walbrook {

// Exponential delays with full jitter: each is drawn between half of the present
// bound and the bound, which doubles from `first` to `bound_max`. Goes on for ever;
// whoever wants fewer attempts counts them.
class Backoff {
 public:
    struct Policy {
        std::chrono::milliseconds first{100};
        std::chrono::milliseconds bound_max{30'000};
    };
    explicit Backoff(Policy policy, std::uint64_t seed = std::random_device{}())
        : policy_(policy), bound_(policy.first), random_(seed) {}

    std::chrono::milliseconds next() {
        std::uniform_int_distribution<std::int64_t> draw(bound_.count() / 2, bound_.count());
        const std::chrono::milliseconds delay(draw(random_));
        bound_ = std::min(bound_ * 2, policy_.bound_max);
        ++attempts_;
        return delay;
    }
    // After success: the next failure starts small again.
    void reset() {
        bound_ = policy_.first;
        attempts_ = 0;
    }
    std::uint32_t attempts() const { return attempts_; }

 private:
    Policy policy_;
    std::chrono::milliseconds bound_;
    std::uint32_t attempts_ = 0;
    std::mt19937_64 random_;
};

}  // namespace walbrook
