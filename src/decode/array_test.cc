#include "decode/decode_testing.h"

#include <gtest/gtest.h>

namespace walbrook {
namespace {

std::vector<std::string> elements(const Column& column) {
    std::vector<std::string> out;
    for (auto i = column.offset_at(0); i < column.offset_at(1); ++i) {
        const auto row = static_cast<std::size_t>(i);
        out.push_back(column.element().is_null(row) ? "(null)"
                                                    : std::string(column.element().bytes_at(row)));
    }
    return out;
}

TEST(Arrays, ElementsComeOutOfQuotesAndEscapes) {
    const ColumnSchema schema = column_of(1009);
    ASSERT_EQ(to_string(schema.type), "list<text>");
    const struct {
        std::string_view text;
        std::vector<std::string> elements;
    } cases[] = {
        {"{}", {}},
        {R"({a,"b c",NULL,"NULL","null",nul,"","{}"})",
         {"a", "b c", "(null)", "NULL", "null", "nul", "", "{}"}},
        {R"({"a\"b","\\","x\\",y})", {"a\"b", "\\", "x\\", "y"}},
        {R"({"1,2",3})", {"1,2", "3"}},
    };
    for (const auto& one : cases) {
        SCOPED_TRACE(one.text);
        const Decoded out = decode(schema, Format::text, one.text);
        ASSERT_TRUE(out.status);
        EXPECT_EQ(elements(out.column), one.elements);
    }
}

// array_out() puts an element in quotes where it must and nowhere else.
TEST(Arrays, OtherQuotesAreMalformed) {
    const ColumnSchema schema = column_of(1009);
    for (const std::string_view text :
         {R"({"a"})", R"({"a;b"})", "{null}", "{Null}", "{a b}", "{ a}", "{a\tb}", R"({a\\b})",
          R"({"\a"})", R"({"a\,b"})"}) {
        const Decoded out = decode(schema, Format::text, text);
        ASSERT_FALSE(out.status) << text;
        EXPECT_EQ(out.status.error().code(), ErrorCode::malformed) << text;
    }
}

TEST(Arrays, BoxesAreSplitAtSemicolons) {
    ColumnSchema schema = column_of(1020);
    schema.element_delimiter = ';';
    const Decoded out = decode(schema, Format::text, "{(1,1),(0,0);(3,3),(2,2)}");
    ASSERT_TRUE(out.status);
    EXPECT_EQ(elements(out.column), (std::vector<std::string>{"(1,1),(0,0)", "(3,3),(2,2)"}));
}

TEST(Arrays, OtherShapesAreRefusedAndNotFlattened) {
    const ColumnSchema schema = column_of(1007);
    for (const std::string_view text : {"{{1,2},{3,4}}", "[0:1]={1,2}", "[2:2]={7}", "{{1}}"}) {
        const Decoded out = decode(schema, Format::text, text);
        ASSERT_FALSE(out.status) << text;
        EXPECT_EQ(out.status.error().code(), ErrorCode::unsupported_value) << text;
    }
    for (const std::string_view bytes : {
             "00000001 00000000 00000017 00000001 00000000 00000004 00000007",
             "00000002 00000000 00000017 00000001 00000001 00000001 00000001 00000004 00000007",
             // No server makes an empty one of two dimensions.
             "00000002 00000000 00000017 00000000 00000001 00000000 00000001",
         }) {
        const Decoded out = decode(schema, Format::binary, hex(bytes));
        ASSERT_FALSE(out.status) << bytes;
        EXPECT_EQ(out.status.error().code(), ErrorCode::unsupported_value) << bytes;
    }
}

TEST(Arrays, LyingBinaryHeadersAreMalformed) {
    const ColumnSchema schema = column_of(1007);
    for (const std::string_view bytes : {
             "00000001 00000000 00000017 7fffffff 00000001",                    // No such bytes.
             "00000001 00000000 00000017 ffffffff 00000001",                    // Negative.
             "00000001 00000000 00000014 00000001 00000001 00000004 00000007",  // Of bigint.
             "00000001 00000002 00000017 00000001 00000001 00000004 00000007",  // Unknown flag.
             "00000007 00000000 00000017",                                      // 7 dimensions.
             "00000001 00000000 00000017 00000001 00000001 fffffffe",           // Size -2.
             "00000001 00000000 00000017 00000001 00000001 00000004 00000007 00",
             "00000000 00000000 00000017 00",
             "00000001 00000000 00000017 00000001 00000001 ffffffff",  // Null, and no bitmap.
             "00000000 00000001 00000017",                             // Bitmap of nothing.
             "00000001 00000001 00000017 00000000 00000001",
         }) {
        const Decoded out = decode(schema, Format::binary, hex(bytes));
        ASSERT_FALSE(out.status) << bytes;
        EXPECT_EQ(out.status.error().code(), ErrorCode::malformed) << bytes;
    }
}

// As 17 sent them: what is left when the last null of {1,NULL} was overwritten, and
// ''::oidvector::oid[].
TEST(Arrays, MayHaveANullBitmapWithoutNullsOrADimensionWithoutElements) {
    const Decoded overwritten =
        decode(column_of(1007), Format::binary,
               hex("00000001 00000001 00000017 00000002 00000001 00000004 00000001 "
                   "00000004 00000005"));
    ASSERT_TRUE(overwritten.status);
    EXPECT_EQ(overwritten.column.element().size(), 2U);
    EXPECT_EQ(overwritten.column.element().null_count(), 0U);
    const Decoded vector = decode(column_of(1028), Format::binary,
                                  hex("00000001 00000000 0000001a 00000000 00000000"));
    ASSERT_TRUE(vector.status);
    EXPECT_EQ(vector.column.element().size(), 0U);
}

// array_send() names the domain, whose oid our schema has resolved away.
TEST(Arrays, ElementsMayBeOfADomain) {
    const ColumnSchema schema = column_of(1007);
    const Decoded out =
        decode(schema, Format::binary,
               hex("00000001 00000000 00004010 00000001 00000001 00000004 00000007"));
    ASSERT_TRUE(out.status);
    EXPECT_EQ(out.column.element().fixed_at<std::int32_t>(0), 7);
}

TEST(Arrays, AFailedElementIsTakenBackWithItsRow) {
    const ColumnSchema schema = column_of(1007);
    Column column(schema.type);
    const DecodeValue decoder = decoder_for(schema, Format::text);
    ASSERT_TRUE(decoder(schema, "{1,2}", column));
    ASSERT_FALSE(decoder(schema, "{3,4,x}", column));
    column.truncate(1);
    ASSERT_TRUE(decoder(schema, "{5}", column));
    EXPECT_EQ(column.size(), 2U);
    EXPECT_EQ(column.element().size(), 3U);
    EXPECT_EQ(column.element().fixed_at<std::int32_t>(2), 5);
}

}  // namespace
}  // namespace walbrook
