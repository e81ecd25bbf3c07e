#include "pipeline/copy_rate.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace walbrook {
namespace {

using std::chrono::duration;

TEST(CopyRate, WithoutALimitNobodyWaits) {
    CopyRate rate(0);
    EXPECT_EQ(rate.range_bytes(), 0U);
    for (int i = 0; i < 100; ++i) EXPECT_TRUE(rate.admit(1ULL << 40, {}));
}

// Only lower bounds of time are asserted: a busy machine makes it longer.
TEST(CopyRate, ConnectionsTogetherStayBelowTheLimit) {
    CopyRate rate(1'000'000);
    const Instant began = now();
    std::vector<std::jthread> connections;
    for (int i = 0; i < 4; ++i) {
        connections.emplace_back([&] {
            for (int range = 0; range < 5; ++range) {
                EXPECT_TRUE(rate.admit(10'000, {}));
                rate.settle(10'000, 50'000);
            }
        });
    }
    connections.clear();
    EXPECT_TRUE(rate.admit(1, {}));  // The debt of all: a million bytes.
    EXPECT_GE(duration<double>(now() - began).count(), 0.99);
}

TEST(CopyRate, WhatDidNotComeIsGivenBack) {
    CopyRate rate(100'000);
    EXPECT_TRUE(rate.admit(1ULL << 40, {}));
    rate.settle(1ULL << 40, 0);
    EXPECT_TRUE(rate.admit(1, {}));
}

TEST(CopyRate, WhoWaitsCanBeStopped) {
    CopyRate rate(1);
    EXPECT_TRUE(rate.admit(1'000'000, {}));
    std::stop_source stop;
    stop.request_stop();
    EXPECT_FALSE(rate.admit(1, stop.get_token()));
}

}  // namespace
}  // namespace walbrook
