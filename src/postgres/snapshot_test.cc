#include "postgres/snapshot.h"

#include <gtest/gtest.h>

namespace walbrook {
namespace {

SnapshotXids parsed(std::string_view text) {
    auto xids = SnapshotXids::parse(text);
    EXPECT_TRUE(xids) << text;
    return xids ? *xids : SnapshotXids();
}

TEST(SnapshotXids, SeesWhatEndedBeforeIt) {
    const auto xids = parsed("740:750:741,745");
    EXPECT_TRUE(xids.visible(3));
    EXPECT_TRUE(xids.visible(739));
    EXPECT_TRUE(xids.visible(740));  // xmin is what may be in progress; only xip says it is.
    EXPECT_FALSE(xids.visible(741));
    EXPECT_TRUE(xids.visible(744));
    EXPECT_FALSE(xids.visible(745));
    EXPECT_TRUE(xids.visible(749));
    EXPECT_FALSE(xids.visible(750));
    EXPECT_FALSE(xids.visible(751));
}

// A young cluster has no epoch before its first: an xid far above xmax is yet to come.
TEST(SnapshotXids, DoesNotLookBeforeTheFirstEpoch) {
    const auto xids = parsed("740:740:");
    EXPECT_TRUE(xids.visible(739));
    EXPECT_FALSE(xids.visible(4'294'967'295U));
    EXPECT_FALSE(xids.visible(2'147'484'500U));
}

TEST(SnapshotXids, CrossesTheWraparound) {
    constexpr std::uint64_t epoch = 0x1'0000'0000ULL;
    // xmax is 5 xids into epoch 7; the oldest running one is still in epoch 6.
    const std::uint64_t xmax = 7 * epoch + 5;
    const std::uint64_t running = 7 * epoch - 10;
    const auto xids = parsed(std::to_string(running) + ':' + std::to_string(xmax) + ':' +
                             std::to_string(running) + ',' + std::to_string(xmax - 2));
    EXPECT_FALSE(xids.visible(4'294'967'286U));  // running
    EXPECT_TRUE(xids.visible(4'294'967'285U));
    EXPECT_TRUE(xids.visible(4'294'967'295U));
    EXPECT_TRUE(xids.visible(4));
    EXPECT_FALSE(xids.visible(3));  // running
    EXPECT_FALSE(xids.visible(5));
    EXPECT_FALSE(xids.visible(6));
    EXPECT_FALSE(xids.visible(2'000'000'000U));  // nearer ahead than behind
    EXPECT_TRUE(xids.visible(2'147'483'700U));   // nearer behind
}

TEST(SnapshotXids, CrossesTheWraparoundAheadOfXmax) {
    constexpr std::uint64_t epoch = 0x1'0000'0000ULL;
    const auto xids =
        parsed(std::to_string(2 * epoch - 3) + ':' + std::to_string(2 * epoch - 3) + ':');
    EXPECT_TRUE(xids.visible(4'294'967'292U));
    EXPECT_FALSE(xids.visible(4'294'967'293U));
    EXPECT_FALSE(xids.visible(3));  // The next epoch's.
}

// What pg_xact may lack is either in progress or, if it is the newest of all, beyond xmax.
TEST(SnapshotXids, ShowsAllOfAnOlderOne) {
    const auto shown = parsed("100:101:");  // 100 has committed.
    EXPECT_FALSE(parsed("100:100:").shows_all_of(shown));
    EXPECT_FALSE(parsed("100:102:100").shows_all_of(shown));
    EXPECT_TRUE(parsed("101:101:").shows_all_of(shown));
    EXPECT_TRUE(parsed("101:103:101").shows_all_of(shown));
    EXPECT_TRUE(parsed("99:103:99").shows_all_of(parsed("99:101:99")));
    EXPECT_FALSE(parsed("99:103:99,100").shows_all_of(parsed("99:101:99")));
}

TEST(SnapshotXids, SortsWhatIsInProgress) {
    const auto xids = parsed("10:20:15,11,12");
    EXPECT_EQ(xids, parsed("10:20:11,12,15"));
    for (const std::uint32_t running : {11U, 12U, 15U}) EXPECT_FALSE(xids.visible(running));
    for (const std::uint32_t ended : {10U, 13U, 16U}) EXPECT_TRUE(xids.visible(ended));
}

// Of a slot, whose xmax moves on with commits only: aborted ones lie between.
TEST(SnapshotXids, NothingIsInProgressBelowXmin) {
    const auto xids = parsed("1611:1588:");
    EXPECT_TRUE(xids.visible(1587));
    EXPECT_TRUE(xids.visible(1600));
    EXPECT_FALSE(xids.visible(1611));
    EXPECT_EQ(xids.xmax(), 1611U);
}

TEST(SnapshotXids, RefusesEveryOtherText) {
    for (const char* bad :
         {"", ":", "::", "1", "1:", "1:2", "a:2:", "1:b:", "1:2:c", "1:9:2,", "1:9:,2", "1:9:2 ",
          "1:9:9", "5:9:4", "-1:5:", "1:99999999999999999999:", "1:9:2,3,x"}) {
        EXPECT_FALSE(SnapshotXids::parse(bad)) << bad;
    }
}

}  // namespace
}  // namespace walbrook
