#include "pipeline/remedies.h"

#include <gmock/gmock.h>

namespace walbrook {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

const Error kUnfit(ErrorCode::unsupported_value, "column n: NaN does not fit");
const Error kDenied(ErrorCode::permission, "permission denied for table item");

TEST(Remedies, WhatIsTriedByItselfNeedsNoCommand) {
    EXPECT_EQ(remedy_of(kUnfit, "public.item", true), "a new copy is tried by itself");
    EXPECT_THAT(remedy_of(kDenied, "public.item", true),
                AllOf(HasSubstr("grant the role SELECT"), HasSubstr("bypassrls"),
                      HasSubstr("a new copy is tried by itself"), Not(HasSubstr("resync"))));
}

TEST(Remedies, WhatIsNotTriedAgainNamesTheCommandAndTheTable) {
    EXPECT_EQ(remedy_of(kUnfit, "public.item", false),
              "mend the cause, then copy the table again: walbrook resync public.item");
    EXPECT_THAT(remedy_of(kDenied, "public.item", false),
                AllOf(HasSubstr("grant the role SELECT"), HasSubstr("walbrook resync public.item"),
                      Not(HasSubstr("by itself"))));
}

// A copy that is refused at the door is no matter of its table; whatever else went wrong keeps
// its reaction.
TEST(Remedies, ARefusedConnectionIsTriedAgain) {
    const Error refused =
        refused_connection(Error(ErrorCode::permission, "wrong password").with_sqlstate("28P01"));
    EXPECT_EQ(refused.code(), ErrorCode::unavailable);
    EXPECT_EQ(refused.message(), "wrong password");
    EXPECT_EQ(refused.sqlstate(), "28P01");
    for (const ErrorCode code : {ErrorCode::config, ErrorCode::cancelled, ErrorCode::unavailable,
                                 ErrorCode::aborted, ErrorCode::internal}) {
        EXPECT_EQ(refused_connection(Error(code, "else")).code(), code);
    }
}

}  // namespace
}  // namespace walbrook
