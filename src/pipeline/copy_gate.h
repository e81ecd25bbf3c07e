#pragma once

#include "base/clock.h"
#include "pipeline/memory_pressure.h"

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <set>
#include <stop_token>
#include <utility>

namespace walbrook {

// Bounds the memory of copies: so many units are under way at once, over all tables, and
// none goes on while memory is short. When memory stays short, the one that has been under
// way longest goes on, so that it ends and frees what it holds. Thread-safe.
class CopyGate {
 public:
    CopyGate(unsigned units_max, std::function<MemoryState()> memory)
        : units_max_(units_max), memory_(std::move(memory)) {}

    // One unit, from before it is read until it is written.
    class Pass {
     public:
        Pass(Pass&& other) noexcept : gate_(std::exchange(other.gate_, nullptr)), id_(other.id_) {}
        Pass& operator=(Pass&&) = delete;
        ~Pass() {
            if (gate_ != nullptr) gate_->leave(id_);
        }
        // Waits while this unit should not read, until `until` at the latest. True if it may;
        // false when stopped or late.
        bool wait(Instant until, const std::stop_token& stop) const;
        // Lets others have the place while this unit waits for something else than memory.
        void step_out() const { gate_->leave(id_); }
        // Waits for a place again; false when stopped.
        bool step_in(const std::stop_token& stop) const { return gate_->take_place(id_, stop); }

     private:
        friend class CopyGate;
        Pass(CopyGate* gate, std::uint64_t id) : gate_(gate), id_(id) {}
        CopyGate* gate_;
        std::uint64_t id_;
    };

    // Waits for a place. Nothing when stopped.
    std::optional<Pass> enter(const std::stop_token& stop);
    // After the state of the memory has changed.
    void wake() { changed_.notify_all(); }

 private:
    void leave(std::uint64_t id);
    bool take_place(std::uint64_t id, const std::stop_token& stop);
    bool may_enter() const;
    bool may_go_on(std::uint64_t id) const;

    const unsigned units_max_;
    const std::function<MemoryState()> memory_;
    std::mutex mutex_;  // Guards what follows.
    std::condition_variable_any changed_;
    std::uint64_t next_id_ = 0;
    std::set<std::uint64_t> under_way_;  // Oldest first.
};

}  // namespace walbrook
