#include "pipeline/open_question.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace walbrook {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

class OpenQuestionTest : public ::testing::Test {
 protected:
    Instant at_{seconds(1000)};
    OpenQuestion open_;
};

TEST_F(OpenQuestionTest, IsLookedForAtOnceAndThenRarer) {
    EXPECT_EQ(open_.due(), Instant::max());
    open_.ask({1, 16384, 700, 0}, at_);
    EXPECT_EQ(open_.due(), at_);
    milliseconds before{0};
    for (int i = 0; i < 12; ++i) {
        open_.not_seen(at_);
        const auto pause = std::chrono::duration_cast<milliseconds>(open_.due() - at_);
        EXPECT_TRUE(pause > before || pause == seconds(1)) << pause.count();
        before = pause;
        at_ = open_.due();
    }
    EXPECT_EQ(before, seconds(1));
}

// The server of the older one is gone, and with it the transaction: another one's number may come
// there only after days.
TEST_F(OpenQuestionTest, ANewerOneMakesTheOlderMoot) {
    open_.ask({1, 16384, 700, 0}, at_);
    for (int i = 0; i < 12; ++i) open_.not_seen(at_);
    at_ += milliseconds(1);
    open_.ask({2, 16384, 650, 0}, at_);
    ASSERT_TRUE(open_.get());
    EXPECT_EQ(open_.get()->request, 2U);
    EXPECT_EQ(open_.due(), at_);
    open_.not_seen(at_);
    EXPECT_LT(open_.due(), at_ + milliseconds(10));
}

TEST_F(OpenQuestionTest, WhatIsWaitedForIsSaidAfterSomeSeconds) {
    open_.ask({1, 16384, 700, 0}, at_);
    EXPECT_EQ(open_.trouble(at_ + seconds(60)), "") << "no look was made";
    open_.not_seen(at_);
    EXPECT_EQ(open_.trouble(at_ + seconds(1)), "");
    EXPECT_THAT(open_.trouble(at_ + seconds(6)), HasSubstr("transaction 700"));
    open_.withdraw();
    EXPECT_EQ(open_.trouble(at_ + seconds(6)), "");
    EXPECT_EQ(open_.due(), Instant::max());
}

}  // namespace
}  // namespace walbrook
