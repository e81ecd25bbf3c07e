#include "batch/value_text.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

namespace walbrook {
namespace {

__extension__ typedef __int128 int128;

ColumnSchema column_of(TypeKind kind, bool is_list = false) {
    ColumnSchema schema;
    schema.type = {kind, is_list, 0, 0};
    return schema;
}

template <class T>
std::string text_of(TypeKind kind, T value) {
    const ColumnSchema schema = column_of(kind);
    Column column(schema.type);
    column.append_fixed(value);
    return to_text(schema, column, 0);
}

std::string decimal_text(int128 value, int scale) {
    ColumnSchema schema = column_of(TypeKind::decimal);
    schema.type.precision = 38;
    schema.type.scale = static_cast<std::int8_t>(scale);
    Column column(schema.type);
    column.append_fixed(value);
    return to_text(schema, column, 0);
}

TEST(ValueText, Integers) {
    EXPECT_EQ(text_of(TypeKind::int16, std::int16_t{-32768}), "-32768");
    EXPECT_EQ(text_of(TypeKind::int32, std::int32_t{-2147483647 - 1}), "-2147483648");
    EXPECT_EQ(text_of(TypeKind::int64, std::numeric_limits<std::int64_t>::min()),
              "-9223372036854775808");
    EXPECT_EQ(text_of(TypeKind::uint32, std::uint32_t{4294967295}), "4294967295");
}

// What `SELECT x::float8` prints.
TEST(ValueText, FloatsAsPostgresPrintsThem) {
    const std::pair<double, const char*> doubles[] = {
        {0.0, "0"},
        {-0.0, "-0"},
        {0.1, "0.1"},
        {1.0 / 3, "0.3333333333333333"},
        {123456789012345, "123456789012345"},
        {1e14, "100000000000000"},
        {1e15, "1e+15"},
        {1234567890123456, "1.234567890123456e+15"},
        {0.0001, "0.0001"},
        {0.00001, "1e-05"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
        {5e-324, "5e-324"},
        {std::numeric_limits<double>::infinity(), "Infinity"},
        {-std::numeric_limits<double>::infinity(), "-Infinity"},
        {std::numeric_limits<double>::quiet_NaN(), "NaN"}};
    for (const auto& [value, text] : doubles) EXPECT_EQ(text_of(TypeKind::float64, value), text);
    EXPECT_EQ(text_of(TypeKind::float32, 0.1F), "0.1");
    EXPECT_EQ(text_of(TypeKind::float32, 100000.0F), "100000");
    EXPECT_EQ(text_of(TypeKind::float32, 1e6F), "1e+06");
    EXPECT_EQ(text_of(TypeKind::float32, 3.4028235e38F), "3.4028235e+38");
}

TEST(ValueText, Decimals) {
    EXPECT_EQ(decimal_text(0, 0), "0");
    EXPECT_EQ(decimal_text(0, 2), "0.00");
    EXPECT_EQ(decimal_text(-5, 2), "-0.05");
    EXPECT_EQ(decimal_text(12345, 2), "123.45");
    EXPECT_EQ(decimal_text(-12345, 0), "-12345");
    int128 nines = 0;
    for (int i = 0; i < 38; ++i) nines = nines * 10 + 9;
    EXPECT_EQ(decimal_text(-nines, 38), "-0." + std::string(38, '9'));
    EXPECT_EQ(decimal_text(nines, 0), std::string(38, '9'));
}

TEST(ValueText, Dates) {
    const std::pair<std::int32_t, const char*> dates[] = {
        {0, "1970-01-01"},
        {-1, "1969-12-31"},
        {11016, "2000-02-29"},
        {-719162, "0001-01-01"},
        {-719163, "0001-12-31 BC"},
        {-719528, "0001-01-01 BC"},
        {-2440588, "4714-11-24 BC"},
        {2145042905, "5874897-12-31"},
        {std::numeric_limits<std::int32_t>::max(), "infinity"},
        {-std::numeric_limits<std::int32_t>::max(), "-infinity"}};
    for (const auto& [days, text] : dates) EXPECT_EQ(text_of(TypeKind::date, days), text);
}

TEST(ValueText, TimesAndTimestamps) {
    EXPECT_EQ(text_of(TypeKind::time, std::int64_t{0}), "00:00:00");
    EXPECT_EQ(text_of(TypeKind::time, std::int64_t{86'400'000'000}), "24:00:00");
    EXPECT_EQ(text_of(TypeKind::time, std::int64_t{45'296'123'400}), "12:34:56.1234");
    EXPECT_EQ(text_of(TypeKind::timestamp, std::int64_t{-1}), "1969-12-31 23:59:59.999999");
    EXPECT_EQ(text_of(TypeKind::timestamptz, std::int64_t{1}), "1970-01-01 00:00:00.000001+00");
    EXPECT_EQ(text_of(TypeKind::timestamp, std::int64_t{-210866803200000000}),
              "4714-11-24 00:00:00 BC");
    EXPECT_EQ(text_of(TypeKind::timestamptz, std::int64_t{-62135596800000001}),
              "0001-12-31 23:59:59.999999+00 BC");
    EXPECT_EQ(text_of(TypeKind::timestamptz, std::numeric_limits<std::int64_t>::max() - 1),
              "294247-01-10 04:00:54.775806+00");
    EXPECT_EQ(text_of(TypeKind::timestamp, std::numeric_limits<std::int64_t>::max()), "infinity");
    EXPECT_EQ(text_of(TypeKind::timestamptz, -std::numeric_limits<std::int64_t>::max()),
              "-infinity");
}

TEST(ValueText, BytesUuidAndBoolean) {
    Column bytes(column_of(TypeKind::bytes).type);
    bytes.append_bytes(std::string_view("\x00\xfe", 2));
    EXPECT_EQ(to_text(column_of(TypeKind::bytes), bytes, 0), "\\x00fe");
    Column uuid(column_of(TypeKind::uuid).type);
    uuid.append_fixed_bytes("\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef", 16);
    EXPECT_EQ(to_text(column_of(TypeKind::uuid), uuid, 0), "01234567-89ab-cdef-0123-456789abcdef");
    Column boolean(column_of(TypeKind::boolean).type);
    boolean.append_bool(true);
    boolean.append_bool(false);
    EXPECT_EQ(to_text(column_of(TypeKind::boolean), boolean, 0), "t");
    EXPECT_EQ(to_text(column_of(TypeKind::boolean), boolean, 1), "f");
}

TEST(ValueText, ListsAreQuotedWhereNeeded) {
    const ColumnSchema schema = column_of(TypeKind::text, true);
    Column column(schema.type);
    for (const char* element :
         {"a", "", "null", "nullable", "a,b", "a b", "q\"", "b\\", "{}", ";"}) {
        column.element().append_bytes(element);
    }
    column.element().append_null();
    column.append_list_end();
    column.append_list_end();
    EXPECT_EQ(to_text(schema, column, 0),
              R"({a,"","null",nullable,"a,b","a b","q\"","b\\","{}",;,NULL})");
    EXPECT_EQ(to_text(schema, column, 1), "{}");
    ColumnSchema boxes = schema;
    boxes.element_delimiter = ';';
    EXPECT_EQ(to_text(boxes, column, 0),
              R"({a;"";"null";nullable;a,b;"a b";"q\"";"b\\";"{}";";";NULL})");
}

}  // namespace
}  // namespace walbrook
