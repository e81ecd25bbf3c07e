#pragma once

#include "base/clock.h"
#include "telemetry/log.h"
#include "walbrook/config.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

namespace walbrook {

enum class MemoryState : std::uint8_t {
    ample,
    paused,  // Above the threshold: nothing is read; what is here is written or spilled.
    scarce,  // That did not help: reading goes on in small steps, one thing at a time.
};
// "ample", "paused", "scarce".
std::string_view name_of(MemoryState state);

struct MemoryFigures {
    MemoryState state = MemoryState::ample;
    std::uint64_t limit_bytes = 0;
    std::uint64_t used_bytes = 0;
    std::chrono::milliseconds short_for{0};  // All times that it was not ample, together.
    std::uint64_t times_short = 0;
};

// Watches the memory in use, on a thread of its own, and says whether reading may go on.
// Between the two thresholds the state stays what it is.
//
// A pause alone could last for ever: what fills the memory may be another's, or ours and
// of no help to anybody. So a pause ends after kPatience at the latest, in `scarce`, where
// everybody takes small steps and nobody stands still.
class MemoryPressure {
 public:
    static constexpr std::chrono::milliseconds kPatience{1000};

    struct Options {
        std::optional<MemoryBackpressureConfig> thresholds;  // Nothing: always ample.
        std::uint64_t limit_bytes = 0;
        std::chrono::milliseconds refresh{100};
    };
    using Sampler = std::function<std::optional<std::uint64_t>()>;

    // `changed` is called on the watching thread after each change of state.
    MemoryPressure(Options options, Sampler sample, Logger log, std::function<void()> changed);
    ~MemoryPressure() { stop(); }

    void start();
    void stop();
    // One look; what the thread does again and again.
    void look(Instant at);

    MemoryState state() const { return state_.load(); }
    MemoryFigures figures() const;

 private:
    void enter(MemoryState next, std::uint64_t used);

    const Options options_;
    const Sampler sample_;
    const Logger log_;
    const std::function<void()> changed_;
    std::atomic<MemoryState> state_{MemoryState::ample};
    Instant short_since_{};
    Instant released_{};
    Instant last_look_{};
    mutable std::mutex mutex_;  // Guards figures_.
    MemoryFigures figures_;
    std::jthread thread_;
};

}  // namespace walbrook
