#include "postgres/slots.h"

#include <gtest/gtest.h>

namespace walbrook {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

XidHolder hidden(std::uint32_t pid, std::uint32_t xid) {
    XidHolder holder;
    holder.pid = pid;
    holder.xid = xid;
    holder.user = "bob";
    holder.database = "shop";
    holder.is_hidden = true;
    return holder;
}

XidHolder shown(std::uint32_t pid, std::int64_t age_secs) {
    XidHolder holder;
    holder.pid = pid;
    holder.age_secs = age_secs;
    return holder;
}

TEST(OpenTransactions, WhatIsShownCounts) {
    OpenTransactions open;
    const Instant at{};
    EXPECT_FALSE(open.not_younger_than(seconds(2), {}, at));
    EXPECT_FALSE(open.not_younger_than(seconds(2), {shown(1, 1)}, at));
    EXPECT_EQ(open.not_younger_than(seconds(2), {shown(1, 1), shown(2, 2)}, at)->pid, 2U);
}

// It may have been there for hours.
TEST(OpenTransactions, AHiddenOneThatWasThereAtTheFirstLookIsOld) {
    OpenTransactions open;
    const Instant first{};
    const auto at_first = open.not_younger_than(seconds(2), {hidden(1, 7)}, first);
    ASSERT_TRUE(at_first);
    EXPECT_EQ(at_first->age_secs, 0);
    const auto later = open.not_younger_than(seconds(2), {hidden(1, 7)}, first + seconds(73));
    ASSERT_TRUE(later);
    EXPECT_EQ(describe(*later), "session 1 (user bob, database shop, 73 s or more)");
}

TEST(OpenTransactions, AHiddenOneThatWasNotThereIsYoungForAWhile) {
    OpenTransactions open;
    const Instant first{};
    ASSERT_TRUE(open.not_younger_than(seconds(2), {hidden(1, 7)}, first));
    // The same session's next transaction, and another's.
    const std::vector<XidHolder> next = {hidden(1, 8), hidden(2, 9)};
    EXPECT_FALSE(open.not_younger_than(seconds(2), next, first + milliseconds(500)));
    EXPECT_FALSE(open.not_younger_than(seconds(2), next, first + milliseconds(1900)));
    const auto old = open.not_younger_than(seconds(2), next, first + milliseconds(2600));
    ASSERT_TRUE(old);
    EXPECT_EQ(old->pid, 1U);
    EXPECT_EQ(old->age_secs, 2);
}

// Between two looks that are far apart it may have become old.
TEST(OpenTransactions, AHiddenOneIsNotTakenForYoungAfterALongPause) {
    OpenTransactions open;
    const Instant first{};
    EXPECT_FALSE(open.not_younger_than(seconds(2), {}, first));
    EXPECT_TRUE(open.not_younger_than(seconds(2), {hidden(1, 7)}, first + seconds(60)));
}

// What has been flushed ends at a page's begin; the next record stands behind the page's header.
TEST(BeforePageHeader, LowersWhatIsBehindAHeader) {
    EXPECT_EQ(before_page_header(Lsn{0x1'0000'2018}), Lsn{0x1'0000'2000});
    EXPECT_EQ(before_page_header(Lsn{0x1'0100'0028}), Lsn{0x1'0100'0000});
    EXPECT_EQ(before_page_header(Lsn{0x1'0000'2000}), Lsn{0x1'0000'2000});
    // Ends of records that began on the page before.
    EXPECT_EQ(before_page_header(Lsn{0x1'0000'2020}), Lsn{0x1'0000'2020});
    EXPECT_EQ(before_page_header(Lsn{0x1'0000'2028}), Lsn{0x1'0000'2028});
    EXPECT_EQ(before_page_header(Lsn{0x1'0000'2030}), Lsn{0x1'0000'2030});
}

}  // namespace
}  // namespace walbrook
