#include "pipeline/flush_wait.h"

#include <gtest/gtest.h>

namespace walbrook {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

constexpr Lsn kPosition{100};

// A source that flushes by steps, and a copy that may get lost.
class FlushWaitTest : public ::testing::Test {
 protected:
    Status wait(milliseconds at_most, const std::stop_token& stop = {}) {
        return wait_for_flush(kPosition,
                              {[this]() -> Result<Lsn> {
                                   ++asked_;
                                   flushed_.value += step_;
                                   return flushed_;
                               },
                               [this]() -> std::optional<Error> {
                                   if (asked_ < lost_after_) return std::nullopt;
                                   return Error(ErrorCode::aborted, "lost");
                               },
                               [this] { ++told_; }, at_most},
                              stop);
    }
    Lsn flushed_{0};
    std::uint64_t step_ = 0;
    int asked_ = 0;
    int told_ = 0;
    int lost_after_ = 1000;
};

TEST_F(FlushWaitTest, EndsWhenThePositionIsFlushedAndNotBefore) {
    step_ = 40;
    EXPECT_TRUE(wait(hours(1)));
    EXPECT_EQ(asked_, 3);
    EXPECT_EQ(told_, 1);
    EXPECT_TRUE(wait(hours(1)));
    EXPECT_EQ(asked_, 4);
    EXPECT_EQ(told_, 1);
}

TEST_F(FlushWaitTest, ASourceThatNeverFlushesIsGivenUp) {
    const Status status = wait(milliseconds(50));
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code(), ErrorCode::timed_out);
    EXPECT_NE(status.error().message().find("flushed its WAL up to 0/0 only"), std::string::npos);
}

TEST_F(FlushWaitTest, ACopyThatIsLostWaitsNoLonger) {
    lost_after_ = 2;
    EXPECT_EQ(wait(hours(1)).error().code(), ErrorCode::aborted);
    EXPECT_EQ(asked_, 2);
}

TEST_F(FlushWaitTest, AStopEndsIt) {
    std::stop_source stop;
    stop.request_stop();
    EXPECT_EQ(wait(hours(1), stop.get_token()).error().code(), ErrorCode::cancelled);
}

}  // namespace
}  // namespace walbrook
