#include "pipeline/memory_pressure.h"

#include "pipeline/copy_gate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace walbrook {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;

class MemoryPressureTest : public ::testing::Test {
 protected:
    MemoryPressure make(std::optional<MemoryBackpressureConfig> thresholds) {
        return {{thresholds, 1000, milliseconds(100)},
                [this] { return used_; },
                Logger([this](const LogRecord& line) { log_.push_back(line.message); }),
                [this] { ++changes_; }};
    }
    MemoryState look(MemoryPressure& memory, std::uint64_t used, milliseconds later) {
        used_ = used;
        at_ += later;
        memory.look(at_);
        return memory.state();
    }

    std::optional<std::uint64_t> used_ = 0;
    Instant at_ = now();
    int changes_ = 0;
    std::vector<std::string> log_;
};

constexpr milliseconds kTick{100};

TEST_F(MemoryPressureTest, StaysAsItIsBetweenTheThresholds) {
    auto memory = make(MemoryBackpressureConfig{0.85, 0.75});
    EXPECT_EQ(look(memory, 849, kTick), MemoryState::ample);
    EXPECT_EQ(look(memory, 850, kTick), MemoryState::paused);
    EXPECT_EQ(look(memory, 800, kTick), MemoryState::paused);
    EXPECT_EQ(look(memory, 750, kTick), MemoryState::paused);
    EXPECT_EQ(look(memory, 749, kTick), MemoryState::ample);
    EXPECT_EQ(look(memory, 849, kTick), MemoryState::ample);
    EXPECT_EQ(changes_, 2);
    EXPECT_THAT(log_, ElementsAre("memory is short: reading pauses",
                                  "memory is ample again: reading goes on"));
    const MemoryFigures figures = memory.figures();
    EXPECT_EQ(figures.times_short, 1U);
    EXPECT_EQ(figures.short_for, 3 * kTick);
    EXPECT_EQ(figures.used_bytes, 849U);
    EXPECT_EQ(figures.limit_bytes, 1000U);
}

// A pause that does not help must not last for ever.
TEST_F(MemoryPressureTest, APauseEndsInSmallSteps) {
    auto memory = make(MemoryBackpressureConfig{0.85, 0.75});
    EXPECT_EQ(look(memory, 2000, kTick), MemoryState::paused);
    EXPECT_EQ(look(memory, 2000, MemoryPressure::kPatience - milliseconds(1)), MemoryState::paused);
    EXPECT_EQ(look(memory, 2000, milliseconds(1)), MemoryState::scarce);
    for (int i = 0; i < 50; ++i) EXPECT_EQ(look(memory, 900, kTick), MemoryState::scarce);
    EXPECT_EQ(log_.size(), 2U);  // One line a change, not one a look.
    EXPECT_EQ(look(memory, 10, kTick), MemoryState::ample);
    // Each time is a pause first.
    EXPECT_EQ(look(memory, 2000, seconds(60)), MemoryState::paused);
    EXPECT_EQ(memory.figures().times_short, 2U);
}

TEST_F(MemoryPressureTest, NothingPausesWhenItIsOffOrCannotBeMeasured) {
    auto off = make(std::nullopt);
    EXPECT_EQ(look(off, 5000, kTick), MemoryState::ample);
    EXPECT_EQ(off.figures().used_bytes, 5000U);
    auto blind = make(MemoryBackpressureConfig{0.85, 0.75});
    used_.reset();
    blind.look(at_);
    EXPECT_EQ(blind.state(), MemoryState::ample);
}

TEST_F(MemoryPressureTest, WatchesByItself) {
    used_ = 5000;
    auto memory = make(MemoryBackpressureConfig{0.85, 0.75});
    memory.start();
    const Instant limit = now() + seconds(20);
    while (memory.state() != MemoryState::scarce && now() < limit) std::this_thread::yield();
    EXPECT_EQ(memory.state(), MemoryState::scarce);
    memory.stop();
}

// --- CopyGate

class CopyGateTest : public ::testing::Test {
 protected:
    CopyGate make(unsigned units_max) {
        return {units_max, [this] { return state_.load(); }};
    }
    std::atomic<MemoryState> state_{MemoryState::ample};
    std::stop_source stop_;
};

TEST_F(CopyGateTest, AdmitsSoManyUnits) {
    CopyGate gate = make(2);
    auto first = gate.enter(stop_.get_token());
    auto second = gate.enter(stop_.get_token());
    ASSERT_TRUE(first && second);
    std::atomic<bool> is_in{false};
    std::jthread third([&] { is_in = gate.enter(stop_.get_token()).has_value(); });
    EXPECT_FALSE(is_in);
    first.reset();
    third.join();
    EXPECT_TRUE(is_in);
}

// A table that is locked for an hour keeps no other from being copied.
TEST_F(CopyGateTest, WhoStepsOutLeavesItsPlace) {
    CopyGate gate = make(1);
    auto first = gate.enter(stop_.get_token());
    ASSERT_TRUE(first);
    first->step_out();
    auto second = gate.enter(stop_.get_token());
    ASSERT_TRUE(second);
    std::atomic<bool> is_back{false};
    std::jthread waiting([&] { is_back = first->step_in(stop_.get_token()); });
    EXPECT_FALSE(is_back);
    second.reset();
    waiting.join();
    EXPECT_TRUE(is_back);
    // It is counted once, and gone when it ends.
    first.reset();
    EXPECT_TRUE(gate.enter(stop_.get_token()));
    auto last = gate.enter(stop_.get_token());
    last->step_out();
    stop_.request_stop();
    state_ = MemoryState::paused;
    EXPECT_FALSE(last->step_in(stop_.get_token()));
}

TEST_F(CopyGateTest, NobodyGoesOnInAPause) {
    CopyGate gate = make(4);
    auto pass = gate.enter(stop_.get_token());
    ASSERT_TRUE(pass);
    EXPECT_TRUE(pass->wait(Instant::max(), stop_.get_token()));
    state_ = MemoryState::paused;
    EXPECT_FALSE(pass->wait(now() + milliseconds(5), stop_.get_token()));
    std::atomic<bool> went_on{false};
    std::jthread waiting([&] { went_on = pass->wait(Instant::max(), stop_.get_token()); });
    EXPECT_FALSE(went_on);
    state_ = MemoryState::ample;
    gate.wake();
    waiting.join();
    EXPECT_TRUE(went_on);
}

// Whoever has been under way longest can end, and then the next: no one waits for ever.
TEST_F(CopyGateTest, TheOldestGoesOnWhileMemoryStaysShort) {
    CopyGate gate = make(4);
    auto oldest = gate.enter(stop_.get_token());
    auto next = gate.enter(stop_.get_token());
    ASSERT_TRUE(oldest && next);
    state_ = MemoryState::scarce;
    EXPECT_TRUE(oldest->wait(Instant::max(), stop_.get_token()));
    EXPECT_FALSE(next->wait(now() + milliseconds(5), stop_.get_token()));
    oldest.reset();
    EXPECT_TRUE(next->wait(Instant::max(), stop_.get_token()));
    std::atomic<bool> is_in{false};
    std::jthread third([&] { is_in = gate.enter(stop_.get_token()).has_value(); });
    EXPECT_FALSE(is_in);
    next.reset();
    third.join();
    EXPECT_TRUE(is_in);
}

TEST_F(CopyGateTest, AStopEndsEveryWait) {
    CopyGate gate = make(1);
    auto pass = gate.enter(stop_.get_token());
    ASSERT_TRUE(pass);
    state_ = MemoryState::paused;
    std::jthread inside([&] { EXPECT_FALSE(pass->wait(Instant::max(), stop_.get_token())); });
    std::jthread outside([&] { EXPECT_FALSE(gate.enter(stop_.get_token())); });
    stop_.request_stop();
}

}  // namespace
}  // namespace walbrook
