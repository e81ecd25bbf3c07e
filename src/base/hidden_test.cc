#include "base/hidden.h"

#include <gtest/gtest.h>

namespace walbrook {
namespace {

TEST(Hidden, EachPlaceIsAMark) {
    EXPECT_EQ(hidden("tea, teapot and tea", "tea"), "***, ***pot and ***");
    EXPECT_EQ(hidden("nothing here", "tea"), "nothing here");
    EXPECT_EQ(hidden("", "tea"), "");
    EXPECT_EQ(hidden("tea", ""), "tea");
}

// What the mark holds is not looked for in the mark.
TEST(Hidden, ASecretOfStarsEnds) {
    EXPECT_EQ(hidden("a * b", "*"), "a *** b");
    EXPECT_EQ(hidden("a ** b", "**"), "a *** b");
    EXPECT_EQ(hidden("****", "*"), "************");
}

}  // namespace
}  // namespace walbrook
