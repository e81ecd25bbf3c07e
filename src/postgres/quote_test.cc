#include "postgres/quote.h"

#include <gtest/gtest.h>

#include <array>

namespace walbrook {
namespace {

TEST(Quote, IdentifiersKeepCapitalsAndInnerQuotes) {
    EXPECT_EQ(quote_identifier("users"), R"("users")");
    EXPECT_EQ(quote_identifier("Weird \"name\""), R"("Weird ""name""")");
    EXPECT_EQ(quote_identifier(""), R"("")");
    EXPECT_EQ(quote_qualified("a.b", "c"), R"("a.b"."c")");
}

TEST(Quote, LiteralsDoNotDependOnStandardConformingStrings) {
    EXPECT_EQ(quote_literal("it's"), "'it''s'");
    EXPECT_EQ(quote_literal(""), "''");
    EXPECT_EQ(quote_literal(R"(a\'b)"), R"( E'a\\''b')");
}

TEST(Quote, LiteralsOfTheReplicationProtocolHaveNoEscapes) {
    EXPECT_EQ(quote_replication_literal(R"(a\'b)"), R"('a\''b')");
}

TEST(Quote, OidArraysAreTheTextOfAParameter) {
    EXPECT_EQ(oid_array({}), "{}");
    EXPECT_EQ(oid_array(std::array<std::uint32_t, 2>{1, 4294967295}), "{1,4294967295}");
}

}  // namespace
}  // namespace walbrook
