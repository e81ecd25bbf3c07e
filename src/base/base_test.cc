#include <gtest/gtest.h>

#include <thread>

#include "base/backoff.h"
#include "base/bounded_queue.h"
#include "walbrook/lsn.h"
#include "walbrook/result.h"

namespace walbrook {
namespace {

TEST(Lsn, PrintsAndParsesAsPostgresDoes) {
    EXPECT_EQ(to_string(Lsn{0x16'B374'D848}), "16/B374D848");
    EXPECT_EQ(to_string(Lsn{}), "0/0");
    EXPECT_EQ(parse_lsn("16/B374D848"), Lsn{0x16'B374'D848});
    for (const char* bad : {"", "/", "1", "1/", "/1", "1/G", "1/1 ", "123456789/1", "-1/1"}) {
        EXPECT_EQ(parse_lsn(bad), std::nullopt) << bad;
    }
}

Result<int> half(int n) {
    if (n % 2 != 0) return Error(ErrorCode::malformed, "odd");
    return n / 2;
}

Result<int> quarter(int n) {
    WALBROOK_TRY(const int h, half(n));
    WALBROOK_TRY(const int q, half(h));
    return q;
}

TEST(Result, CarriesTheErrorOut) {
    EXPECT_EQ(*quarter(8), 2);
    ASSERT_FALSE(quarter(6));
    EXPECT_EQ(quarter(6).error().code(), ErrorCode::malformed);
    EXPECT_EQ(quarter(7).error().message(), "odd");
    Error error = Error(ErrorCode::internal, "c").with_context("b").with_context("a");
    EXPECT_EQ(error.message(), "a: b: c");
}

TEST(BoundedQueue, HoldsItsBoundAndDrainsAfterClose) {
    BoundedQueue<int> queue(1);
    std::stop_source stop;
    int one = 1;
    int two = 2;
    EXPECT_TRUE(queue.try_put(one));
    EXPECT_FALSE(queue.try_put(two));
    queue.close();
    EXPECT_FALSE(queue.put(two, stop.get_token()));
    EXPECT_EQ(queue.take(stop.get_token()), 1);
    EXPECT_EQ(queue.take(stop.get_token()), std::nullopt);
}

TEST(BoundedQueue, StopWakesAWaitingTaker) {
    BoundedQueue<int> queue(1);
    std::stop_source stop;
    std::jthread taker([&] { EXPECT_EQ(queue.take(stop.get_token()), std::nullopt); });
    stop.request_stop();
}

TEST(Backoff, StaysWithinItsBounds) {
    Backoff backoff({std::chrono::milliseconds(100), std::chrono::milliseconds(1000)}, 1);
    for (int i = 0; i < 20; ++i) {
        const auto delay = backoff.next();
        EXPECT_GE(delay.count(), 50);
        EXPECT_LE(delay.count(), 1000);
    }
    EXPECT_EQ(backoff.attempts(), 20U);
    backoff.reset();
    EXPECT_LE(backoff.next().count(), 100);
}

}  // namespace
}  // namespace walbrook
