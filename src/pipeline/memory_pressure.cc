#include "pipeline/memory_pressure.h"

#include "base/memory.h"

namespace walbrook {
namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;

// Giving memory back costs time in proportion to what is in use.
constexpr milliseconds kReleaseInterval{1000};

}  // namespace

std::string_view name_of(MemoryState state) {
    switch (state) {
        case MemoryState::ample:
            return "ample";
        case MemoryState::paused:
            return "paused";
        case MemoryState::scarce:
            return "scarce";
    }
    return "ample";
}

MemoryPressure::MemoryPressure(Options options, Sampler sample, Logger log,
                               std::function<void()> changed)
    : options_(options),
      sample_(std::move(sample)),
      log_(std::move(log)),
      changed_(std::move(changed)) {
    figures_.limit_bytes = options_.limit_bytes;
}

void MemoryPressure::start() {
    thread_ = std::jthread([this](const std::stop_token& stop) {
        do {
            look(now());
        } while (sleep_for(options_.refresh, stop));
    });
}

void MemoryPressure::stop() {
    thread_.request_stop();
    if (thread_.joinable()) thread_.join();
}

void MemoryPressure::look(Instant at) {
    // What cannot be measured is no reason to stand still.
    const std::uint64_t used = sample_().value_or(0);
    const MemoryState before = state();
    {
        const std::lock_guard lock(mutex_);
        figures_.used_bytes = used;
        if (before != MemoryState::ample) {
            figures_.short_for += duration_cast<milliseconds>(at - last_look_);
        }
    }
    last_look_ = at;
    if (!options_.thresholds) return;
    const auto limit = static_cast<double>(options_.limit_bytes);
    const double share = limit == 0 ? 0 : static_cast<double>(used) / limit;
    if (before == MemoryState::ample) {
        if (share < options_.thresholds->activate_threshold) return;
        short_since_ = at;
        enter(MemoryState::paused, used);
    } else if (share < options_.thresholds->resume_threshold) {
        return enter(MemoryState::ample, used);
    } else if (before == MemoryState::paused && at - short_since_ >= kPatience) {
        enter(MemoryState::scarce, used);
    }
    if (at - released_ < kReleaseInterval) return;
    // What was freed may still count as in use.
    release_free_memory();
    released_ = at;
}

void MemoryPressure::enter(MemoryState next, std::uint64_t used) {
    milliseconds short_for;
    {
        const std::lock_guard lock(mutex_);
        figures_.state = next;
        if (next == MemoryState::paused) ++figures_.times_short;
        short_for = duration_cast<milliseconds>(last_look_ - short_since_);
    }
    state_ = next;
    switch (next) {
        case MemoryState::ample:
            log_.info("memory is ample again: reading goes on",
                      {{"used_bytes", used}, {"after_ms", short_for.count()}});
            break;
        case MemoryState::paused:
            log_.warn("memory is short: reading pauses",
                      {{"used_bytes", used}, {"limit_bytes", options_.limit_bytes}});
            break;
        case MemoryState::scarce:
            log_.warn(
                "memory stays short: reading goes on in small steps; give the process more, "
                "or lower batch.memory_budget_ratio",
                {{"used_bytes", used}, {"limit_bytes", options_.limit_bytes}});
            break;
    }
    changed_();
}

MemoryFigures MemoryPressure::figures() const {
    const std::lock_guard lock(mutex_);
    return figures_;
}

}  // namespace walbrook
