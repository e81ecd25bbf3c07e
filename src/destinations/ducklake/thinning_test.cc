#include "destinations/ducklake/thinning.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace walbrook::ducklake {
namespace {

constexpr std::int64_t kSecond = 1'000'000;
constexpr std::int64_t kNow = 1'800'000'000 * kSecond;

// One snapshot every `step` seconds for `count` of them, the newest now.
std::vector<Snapshot> every(std::int64_t step, std::size_t count) {
    std::vector<Snapshot> result;
    for (std::size_t i = 0; i < count; ++i) {
        result.push_back({static_cast<std::int64_t>(i),
                          kNow - static_cast<std::int64_t>(count - 1 - i) * step * kSecond,
                          Lsn{100 + i}});
    }
    return result;
}

TEST(Thinning, KeepsAllOfTheLastTenMinutes) {
    EXPECT_TRUE(choose_expired(every(1, 600), kNow, {}).empty());
    EXPECT_TRUE(choose_expired({}, kNow, {}).empty());
}

TEST(Thinning, KeepsOneAMinuteForAnHourOneAnHourForADayAndOneADayForAMonth) {
    const std::vector<Snapshot> all = every(10, 60 * 86'400 / 10);  // 60 days.
    const auto expired = choose_expired(all, kNow, {});
    const std::size_t kept = all.size() - expired.size();
    EXPECT_NEAR(static_cast<double>(kept), 61 + 50 + 23 + 29, 4);
    EXPECT_TRUE(std::is_sorted(expired.begin(), expired.end()));
    EXPECT_EQ(expired.front(), 0);
    // What is kept is kept again: thinning twice changes nothing.
    std::vector<Snapshot> rest;
    for (const Snapshot& snapshot : all) {
        if (!std::binary_search(expired.begin(), expired.end(), snapshot.id)) {
            rest.push_back(snapshot);
        }
    }
    EXPECT_TRUE(choose_expired(rest, kNow, {}).empty());
}

TEST(Thinning, NeverMoreThanTheLimit) {
    std::vector<Snapshot> all = every(1, 100'000);
    for (std::size_t i = 0; i < all.size(); ++i) {
        all[i].time_us = kNow - static_cast<std::int64_t>(all.size() - i) * 30'000;  // 33 a second.
    }
    const auto expired = choose_expired(all, kNow, {});
    EXPECT_EQ(all.size() - expired.size(), ThinningPolicy{}.snapshots_max);
    // The newest stay, and the oldest that stand for a minute.
    EXPECT_FALSE(std::binary_search(expired.begin(), expired.end(), 99'999));
    EXPECT_FALSE(std::binary_search(expired.begin(), expired.end(), 99'000));
    EXPECT_LT(expired.size(), static_cast<std::size_t>(expired.back() + 1));
}

TEST(Thinning, KeepsTheNewestAndTheNewestWithAPosition) {
    std::vector<Snapshot> old = every(1, 10);
    for (Snapshot& snapshot : old) {
        snapshot.time_us -= 365 * 86'400 * kSecond;
        if (snapshot.id != 4) snapshot.position.reset();
    }
    const auto expired = choose_expired(old, kNow, {});
    EXPECT_EQ(expired, (std::vector<std::int64_t>{0, 1, 2, 3, 5, 6, 7, 8}));
}

TEST(Thinning, KeepsWhatShowsAPositionThatIsWanted) {
    std::vector<Snapshot> old = every(1, 10);
    for (Snapshot& snapshot : old) snapshot.time_us -= 365 * 86'400 * kSecond;
    old[3].position = old[5].position = Lsn{105};  // Upkeep has the position of the flush before.
    old[4].position.reset();                       // Somebody else's.
    // Whoever reads it may have begun when the first of them was the last.
    EXPECT_EQ(choose_expired(old, kNow, {}, {Lsn{105}, Lsn{101}}),
              (std::vector<std::int64_t>{0, 2, 6, 7, 8}));
    // Between two flushes the earlier one counts, with what others made of it; before the first
    // there is nothing.
    old[6].position.reset();
    EXPECT_EQ(choose_expired(old, kNow, {}, {Lsn{106}, Lsn{50}}),
              (std::vector<std::int64_t>{0, 1, 2, 7, 8}));
}

TEST(WantedPositions, AreThoseThatAreReadAndSinceWhen) {
    using std::chrono::seconds;
    const Instant start{};
    WantedPositions wanted;
    EXPECT_EQ(wanted.age(start), seconds(0));
    wanted.keep(Lsn{100}, start, start + seconds(300));
    wanted.keep(Lsn{200}, start + seconds(60), start + seconds(90));
    wanted.keep(Lsn{100}, start + seconds(60), start + seconds(360));
    EXPECT_EQ(wanted.at(start + seconds(89)), (std::vector<Lsn>{Lsn{100}, Lsn{200}}));
    EXPECT_EQ(wanted.at(start + seconds(90)), std::vector<Lsn>{Lsn{100}});
    EXPECT_EQ(wanted.age(start + seconds(359)), seconds(359));
    EXPECT_EQ(wanted.age(start + seconds(360)), seconds(0));
    EXPECT_TRUE(wanted.at(start + seconds(360)).empty());
    // By somebody else, then.
    wanted.keep(Lsn{100}, start + seconds(360), start + seconds(500));
    EXPECT_EQ(wanted.age(start + seconds(400)), seconds(40));
}

}  // namespace
}  // namespace walbrook::ducklake

// What libduckdb keeps until the process ends is not ours to free.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:libduckdb\n"; }
