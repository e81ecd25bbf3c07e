#pragma once

// A destination that fails where a test wants it to, around one that works.

#include "walbrook/destination.h"

#include <array>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

namespace walbrook::testing {

enum class DestinationCall : std::uint8_t {
    open,
    begin_copy,
    write_copy,
    finish_copy,
    discard_copy,
    apply,
    read_position,
    maintain,
    close,
};
inline constexpr std::size_t kDestinationCalls = 9;

// What goes wrong with one call.
struct Fault {
    enum class Kind : std::uint8_t {
        before,  // The call fails and has done nothing.
        after,   // It has done everything, and then fails: a lost acknowledgement.
        hold,    // It does nothing until release() or a stop: a slow destination.
    };
    // Which call: the nth (from 1) of this kind, or, without a kind, the nth of all.
    std::optional<DestinationCall> call;
    std::uint64_t nth = 1;
    Kind kind = Kind::before;
    // For `before` and `after`; unknown_outcome is the code of a time-out on commit.
    ErrorCode code = ErrorCode::unavailable;
};

// Wraps a destination. To try every call of a scenario, run it with {.nth = 1}, 2, … until
// has_struck() stays false. Thread-safe where the wrapped destination is.
class FaultyDestination final : public Destination {
 public:
    explicit FaultyDestination(std::unique_ptr<Destination> inner) : inner_(std::move(inner)) {}

    void add(const Fault& fault) {
        const std::lock_guard lock(mutex_);
        faults_.push_back({fault, false});
    }
    // True once every fault has struck.
    bool has_struck() const {
        const std::lock_guard lock(mutex_);
        for (const Planned& planned : faults_) {
            if (!planned.has_struck) return false;
        }
        return true;
    }
    std::uint64_t calls(DestinationCall call) const {
        const std::lock_guard lock(mutex_);
        return calls_[static_cast<std::size_t>(call)];
    }
    // Waits until a call is held; false if stopped before.
    bool wait_until_held(const std::stop_token& stop = {}) {
        std::unique_lock lock(mutex_);
        return changed_.wait(lock, stop, [&] { return held_ > 0; });
    }
    // Lets go of all that is held now.
    void release() {
        const std::lock_guard lock(mutex_);
        ++releases_;
        changed_.notify_all();
    }
    Destination& inner() { return *inner_; }

    std::string_view name() const override { return inner_->name(); }
    Capabilities capabilities() const override { return inner_->capabilities(); }
    std::vector<std::string> refusals(const std::vector<TableSchemaPtr>& tables) const override {
        return inner_->refusals(tables);
    }
    Result<Recovered> open(const PipelineIdentity& who, std::stop_token stop) override {
        return around<Result<Recovered>>(DestinationCall::open, stop,
                                         [&] { return inner_->open(who, stop); });
    }
    Status begin_copy(const CopyTargetPtr& copy, std::stop_token stop) override {
        return around<Status>(DestinationCall::begin_copy, stop,
                              [&] { return inner_->begin_copy(copy, stop); });
    }
    Status write_copy(const CopyUnit& unit, RowReader& rows, std::stop_token stop) override {
        return around<Status>(DestinationCall::write_copy, stop,
                              [&] { return inner_->write_copy(unit, rows, stop); });
    }
    Status finish_copy(const CopyTargetPtr& copy, std::stop_token stop) override {
        return around<Status>(DestinationCall::finish_copy, stop,
                              [&] { return inner_->finish_copy(copy, stop); });
    }
    Status discard_copy(const CopyTargetPtr& copy, std::stop_token stop) override {
        return around<Status>(DestinationCall::discard_copy, stop,
                              [&] { return inner_->discard_copy(copy, stop); });
    }
    Result<Ack> apply(Flush& flush, Ack required, std::stop_token stop) override {
        return around<Result<Ack>>(DestinationCall::apply, stop,
                                   [&] { return inner_->apply(flush, required, stop); });
    }
    Result<Lsn> read_position(std::stop_token stop) override {
        return around<Result<Lsn>>(DestinationCall::read_position, stop,
                                   [&] { return inner_->read_position(stop); });
    }
    Status maintain(std::stop_token stop) override {
        return around<Status>(DestinationCall::maintain, stop,
                              [&] { return inner_->maintain(stop); });
    }
    Status keep_readable(Lsn position, std::chrono::milliseconds how_long,
                         std::stop_token stop) override {
        return inner_->keep_readable(position, how_long, stop);
    }
    Status close() override {
        return around<Status>(DestinationCall::close, {}, [&] { return inner_->close(); });
    }

 private:
    struct Planned {
        Fault fault;
        bool has_struck;
    };

    // Counts the call and says what happens to it.
    std::optional<Fault> strike(DestinationCall call) {
        const std::lock_guard lock(mutex_);
        const std::uint64_t of_kind = ++calls_[static_cast<std::size_t>(call)];
        ++all_calls_;
        for (Planned& planned : faults_) {
            const bool is_this = planned.fault.call
                                     ? *planned.fault.call == call && planned.fault.nth == of_kind
                                     : planned.fault.nth == all_calls_;
            if (!is_this || planned.has_struck) continue;
            planned.has_struck = true;
            return planned.fault;
        }
        return std::nullopt;
    }
    // False when stopped.
    bool hold(const std::stop_token& stop) {
        std::unique_lock lock(mutex_);
        const std::uint64_t before = releases_;
        ++held_;
        changed_.notify_all();
        const bool released = changed_.wait(lock, stop, [&] { return releases_ != before; });
        --held_;
        return released;
    }
    template <class R, class Call>
    R around(DestinationCall kind, const std::stop_token& stop, Call call) {
        const std::optional<Fault> fault = strike(kind);
        if (!fault) return call();
        switch (fault->kind) {
            case Fault::Kind::before:
                return Error(fault->code, "planned: nothing was done");
            case Fault::Kind::hold:
                if (!hold(stop)) return Error(ErrorCode::cancelled, "stopped while held");
                return call();
            case Fault::Kind::after:
                break;
        }
        R done = call();
        if (!done) return done;
        return Error(fault->code, "planned: done, but the answer was lost");
    }

    const std::unique_ptr<Destination> inner_;
    mutable std::mutex mutex_;  // Guards everything below.
    std::condition_variable_any changed_;
    std::vector<Planned> faults_;
    std::array<std::uint64_t, kDestinationCalls> calls_{};
    std::uint64_t all_calls_ = 0;
    std::uint64_t releases_ = 0;
    int held_ = 0;
};

}  // namespace walbrook::testing
