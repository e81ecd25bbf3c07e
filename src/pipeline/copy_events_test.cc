#include "pipeline/copy_events.h"

#include <gtest/gtest.h>

namespace walbrook {
namespace {

constexpr TableId kTable{1};

bool has_event(CopyEvents& events) {
    std::stop_source now;
    now.request_stop();
    return events.wait(kTable, now.get_token()).has_value();
}

// It waited behind a long transaction while its copy was given up. The next copy must not begin
// before its own hold, nor take this one for its publication.
TEST(CopyEvents, AHoldOfACopyThatWasGivenUpIsNoneOfTheNextOnes) {
    CopyEvents events;
    const std::uint64_t first = events.open(kTable);
    events.close(kTable);
    const std::uint64_t second = events.open(kTable);
    events.tell_holding(kTable, first);
    EXPECT_FALSE(has_event(events));
    events.tell_holding(kTable, second);
    EXPECT_TRUE(has_event(events));
    EXPECT_FALSE(has_event(events));
}

// A new copy was asked for while the Publish of the one before was on its way. It would be called
// visible before it is, and nobody would hear that it was lost after that.
TEST(CopyEvents, APublicationOfACopyThatWasGivenUpIsNoneOfTheNextOnes) {
    CopyEvents events;
    const std::uint64_t first = events.open(kTable);
    events.close(kTable);
    const std::uint64_t second = events.open(kTable);
    events.tell_published(kTable, first);
    EXPECT_FALSE(has_event(events));
    EXPECT_EQ(events.stage(kTable), CopyEvents::Stage::copying);
    events.tell_published(kTable, second);
    EXPECT_TRUE(has_event(events));
    EXPECT_EQ(events.stage(kTable), CopyEvents::Stage::published);
}

}  // namespace
}  // namespace walbrook
