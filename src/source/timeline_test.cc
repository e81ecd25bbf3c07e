#include "source/timeline.h"

#include <gtest/gtest.h>

namespace walbrook {
namespace {

const std::vector<TimelineSwitch> kHistory = {{1, Lsn{100}}, {2, Lsn{200}}};
constexpr Timeline kPresent{3, Lsn{200}};

TEST(Timelines, GoOnWhereTheOneBeforeWasLeft) {
    EXPECT_EQ(*check_history(kHistory, {1, {}}, kPresent, Lsn{100}), Lsn{100});
    EXPECT_EQ(*check_history(kHistory, {2, Lsn{100}}, kPresent, Lsn{150}), Lsn{200});
    EXPECT_EQ(*check_history(kHistory, kPresent, kPresent, Lsn{1000}), kLsnMax);
    // None was known.
    EXPECT_EQ(*check_history(kHistory, {}, kPresent, Lsn{1000}), kLsnMax);
}

TEST(Timelines, ThatWereLeftBeforeAreOthers) {
    EXPECT_FALSE(check_history(kHistory, {1, {}}, kPresent, Lsn{101}));
    EXPECT_FALSE(check_history(kHistory, {2, Lsn{100}}, kPresent, Lsn{201}));
    EXPECT_FALSE(check_history(kHistory, {4, Lsn{300}}, kPresent, {}));
    EXPECT_FALSE(check_history({}, {2, Lsn{100}}, {1, {}}, {}));
}

// Two standbys that did not know of each other were promoted.
TEST(Timelines, OfOneNumberAreTwoWhereTheyBeganElsewhere) {
    const auto refused = check_history(kHistory, {3, Lsn{190}}, kPresent, Lsn{50});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::corrupt_state);
    EXPECT_NE(refused.error().message().find("its timeline 3 began elsewhere"), std::string::npos);
    // Also where that is one that the present one comes from.
    EXPECT_FALSE(check_history(kHistory, {2, Lsn{90}}, kPresent, Lsn{50}));
    // Where it began was not stored by older programs, nor kept by every server.
    EXPECT_EQ(*check_history(kHistory, {3, {}}, kPresent, Lsn{1000}), kLsnMax);
    EXPECT_EQ(*check_history(kHistory, {2, {}}, kPresent, Lsn{150}), Lsn{200});
    EXPECT_EQ(*check_history(kHistory, {3, Lsn{190}}, {3, {}}, Lsn{1000}), kLsnMax);
}

}  // namespace
}  // namespace walbrook
