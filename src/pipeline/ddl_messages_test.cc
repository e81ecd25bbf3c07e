#include "pipeline/ddl_messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace walbrook {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

TEST(DdlMessage, NamesColumnsByTable) {
    const auto message = parse_ddl_message("1 16400:1,2,5;16411:;7:3");
    ASSERT_TRUE(message);
    EXPECT_THAT(message->columns,
                ElementsAre(Pair(7, ElementsAre(3)), Pair(16400, ElementsAre(1, 2, 5)),
                            Pair(16411, ElementsAre())));
    ASSERT_TRUE(parse_ddl_message("1 "));
    EXPECT_TRUE(parse_ddl_message("1 ")->columns.empty());
}

TEST(DdlMessage, WhatOthersWriteIsNotOurs) {
    for (const char* other : {"", "1", "2 7:1", "heartbeat", "1 7", "1 7:1:2", "1 7:1 ", "1 x:1",
                              "1 7:1,2;;", "1 99999999999:1", "1 7:99999"}) {
        EXPECT_FALSE(parse_ddl_message(other)) << other;
    }
}

}  // namespace
}  // namespace walbrook
