#include "decode/value.h"

#include "decode/damage_testing.h"
#include "decode/decode_testing.h"
#include "decode/numeric.h"
#include "decode/properties_testing.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace walbrook {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string decimal_to_string(internal::int128 value) {
    if (value == 0) return "0";
    const bool negative = value < 0;
    std::string digits;
    for (; value != 0; value /= 10) {
        digits.push_back(static_cast<char>('0' + std::abs(static_cast<int>(value % 10))));
    }
    if (negative) digits.push_back('-');
    std::reverse(digits.begin(), digits.end());
    return digits;
}

template <class T>
std::string or_infinity(T value) {
    if (value == std::numeric_limits<T>::max()) return "infinity";
    if (value == -std::numeric_limits<T>::max()) return "-infinity";
    return fmt::format("{}", value);
}

// The number that a column holds, as the samples write it.
std::string held(const Column& column) {
    switch (column.type().kind) {
        case TypeKind::int16:
            return fmt::format("{}", column.fixed_at<std::int16_t>(0));
        case TypeKind::int32:
            return fmt::format("{}", column.fixed_at<std::int32_t>(0));
        case TypeKind::int64:
            return fmt::format("{}", column.fixed_at<std::int64_t>(0));
        case TypeKind::uint32:
            return fmt::format("{}", column.fixed_at<std::uint32_t>(0));
        case TypeKind::decimal:
            return decimal_to_string(column.fixed_at<internal::int128>(0));
        case TypeKind::date:
            return or_infinity(column.fixed_at<std::int32_t>(0));
        case TypeKind::time:
            return fmt::format("{}", column.fixed_at<std::int64_t>(0));
        case TypeKind::timestamp:
        case TypeKind::timestamptz:
            return or_infinity(column.fixed_at<std::int64_t>(0));
        default:
            return "";
    }
}

// What the server prints and what it sends are the same value, or refused alike.
TEST(Values, TextAndBinaryOfTheServerAgree) {
    std::size_t in_binary = 0;
    for (const ValueSample& sample : kValueSamples) {
        SCOPED_TRACE(fmt::format("{} {}", sample.type_name, sample.text));
        const ColumnSchema schema = column_for(sample);
        const Decoded text = decode(schema, Format::text, sample.text);
        if (text.status.ok()) {
            if (!sample.held.empty()) {
                EXPECT_EQ(held(text.column), sample.held);
            }
            const TypeKind kind = schema.type.kind;
            if (!schema.type.is_list && (kind == TypeKind::text || kind == TypeKind::json)) {
                EXPECT_EQ(text.column.bytes_at(0), sample.text);
            }
        } else {
            EXPECT_EQ(text.status.error().code(), ErrorCode::unsupported_value);
        }
        if (decoder_for(schema, Format::binary) == nullptr) continue;
        ++in_binary;
        const Decoded binary = decode(schema, Format::binary, hex(sample.binary));
        ASSERT_EQ(binary.status.ok(), text.status.ok())
            << (binary.status.ok() ? text.status : binary.status).error().message();
        if (binary.status.ok()) {
            EXPECT_TRUE(Column::equal(text.column, 0, binary.column, 0));
        } else {
            EXPECT_EQ(binary.status.error().code(), text.status.error().code());
        }
    }
    EXPECT_GT(in_binary, 300U);
}

TEST(Values, DamagedBytesAreRefusedOrEncodeBackToTheSame) {
    for (const ValueSample& sample : kValueSamples) {
        const ColumnSchema schema = column_for(sample);
        for (const Format format : {Format::text, Format::binary}) {
            if (decoder_for(schema, format) == nullptr) continue;
            SCOPED_TRACE(
                fmt::format("{} {} {}", sample.type_name, sample.text, static_cast<char>(format)));
            const std::string bytes =
                format == Format::text ? std::string(sample.text) : hex(sample.binary);
            for_each_damage(bytes, 300, [&](const std::string& damaged) {
                expect_exact_or_refused(schema, format, damaged);
            });
        }
    }
}

// A fixed-width value that is one byte short or long never passes.
TEST(Values, BinaryOfFixedWidthTakesNoOtherWidth) {
    for (const ValueSample& sample : kValueSamples) {
        const ColumnSchema schema = column_for(sample);
        if (value_width(schema.type.kind) == 0 || schema.type.is_list) continue;
        SCOPED_TRACE(sample.type_name);
        const std::string bytes = hex(sample.binary);
        EXPECT_FALSE(decode(schema, Format::binary, bytes.substr(1)).status);
        EXPECT_FALSE(decode(schema, Format::binary, bytes + '\0').status);
        EXPECT_FALSE(decode(schema, Format::binary, "").status);
    }
}

TEST(Values, ErrorsNameColumnAndTypeButNoValue) {
    ColumnSchema column = column_of(1700, numeric_typmod(12, 2));
    column.name = "amount";
    column.type_name = "numeric(12,2)";
    const Decoded refused = decode(column, Format::text, "123456789012");
    ASSERT_FALSE(refused.status);
    EXPECT_EQ(refused.status.error().code(), ErrorCode::unsupported_value);
    EXPECT_THAT(refused.status.error().message(), HasSubstr("amount (numeric(12,2))"));
    EXPECT_THAT(refused.status.error().message(), Not(HasSubstr("123456789012")));
}

TEST(Values, TextThatPostgresDoesNotPrintIsMalformed) {
    const struct {
        std::uint32_t oid;
        std::vector<std::string> texts;
    } cases[] = {
        {16, {"", "true", "T", "tt", "1"}},
        {21, {"", "+1", " 1", "1 ", "32768", "-32769", "01", "-0", "-01", "00", "1.0", "0x1", "-"}},
        {23, {"2147483648", "-2147483649", "1e3"}},
        {20, {"9223372036854775808"}},
        {26, {"-1", "4294967296", "007"}},
        {18, {"ab", "\\100", "\\400", "\\38x", "\\3777"}},
        {701,
         {"", "nan", "inf", "-inf", "infinity", "-NaN", "+1", ".5", "1e999", "0x1p3", "1,5", "-",
          "1 "}},
        {700, {"1e39"}},
        {17, {"", "\\", "\\x0", "\\xzz", "deadbeef", "\\\\000", "\\xAB"}},
        {1082,
         {"", "2024-13-01", "2024-00-01", "2024-02-30", "2023-02-29", "2024-2-1", "24-01-01",
          "0000-01-01", "2024-01-01BC", "2024-01-01 AD", "5874898-01-01", "4714-11-23 BC",
          "Infinity", "2024-01-01 00:00:00", "12345678-01-01", "02024-01-01", "0012345-01-01"}},
        {1083,
         {"", "24:00:01", "25:00:00", "12:60:00", "12:00:60", "12:00", "12:00:00.",
          "12:00:00.1234567", "1:00:00", "24:00:00.000001", "12:00:00.50", "12:00:00.0"}},
        {1114,
         {"", "2024-01-01", "2024-01-01 24:00:00", "2024-01-01T00:00:00", "2024-01-01 00:00:00+00",
          "294277-01-01 00:00:00", "4714-11-23 23:59:59 BC"}},
        {1184,
         {"2024-01-01 00:00:00", "2024-01-01 00:00:00+01", "2024-01-01 00:00:00Z",
          "2024-01-01 00:00:00 BC+00", "5874897-01-01 00:00:00+00"}},
        {2950,
         {"", "a0eebc999c0b4ef8bb6d6bb9bd380a11", "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
          "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1g", "A0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
          "a0eebc99-9c0b-4ef8-bb6d+6bb9bd380a11"}},
        {1007,
         {"", "{", "}", "{}x", "{1", "{1,}", "{,1}", "{1}}", "{1;2}", "{\"1}", "{\"1\\", "1",
          "{1,2", "{a}", "{\"\"}", "{1\"2\"}", "{ 1}", "{\"1\"}"}},
    };
    for (const auto& one : cases) {
        const ColumnSchema schema = column_of(one.oid);
        for (const std::string& text : one.texts) {
            SCOPED_TRACE(fmt::format("{} '{}'", one.oid, text));
            const Decoded out = decode(schema, Format::text, text);
            ASSERT_FALSE(out.status);
            EXPECT_EQ(out.status.error().code(), ErrorCode::malformed);
        }
    }
}

TEST(Values, DatesOutsideThoseOfPostgresAreMalformedInBinary) {
    const ColumnSchema date = column_of(1082);
    const ColumnSchema timestamp = column_of(1114);
    const struct {
        const ColumnSchema* schema;
        std::string_view bytes;
    } cases[] = {
        {&date, "80000001"},  // After -infinity.
        {&date, "7ffffffe"},  // Before infinity.
        {&date, "ffda97a6"},  // 4714-11-23 BC.
        {&timestamp, "8000000000000001"},
        {&timestamp, "7ffffffffffffffe"},
        {&timestamp, "fd0f7cc1411f9fff"},  // A microsecond before 4714-11-24 BC.
        {&timestamp, "7fffff5bb3b2a000"},
    };
    for (const auto& one : cases) {
        SCOPED_TRACE(one.bytes);
        const Decoded out = decode(*one.schema, Format::binary, hex(one.bytes));
        ASSERT_FALSE(out.status);
        EXPECT_EQ(out.status.error().code(), ErrorCode::malformed);
    }
}

TEST(Values, EveryNanIsTheSame) {
    const ColumnSchema float8 = column_of(701);
    const ColumnSchema float4 = column_of(700);
    const Decoded text8 = decode(float8, Format::text, "NaN");
    const Decoded text4 = decode(float4, Format::text, "NaN");
    for (const std::string_view bytes : {"fff8000000000000", "7ff8000000000123"}) {
        const Decoded binary = decode(float8, Format::binary, hex(bytes));
        EXPECT_TRUE(Column::equal(text8.column, 0, binary.column, 0));
    }
    const Decoded binary = decode(float4, Format::binary, hex("ffc00001"));
    EXPECT_TRUE(Column::equal(text4.column, 0, binary.column, 0));
}

TEST(Numeric, TheLargestAndSmallestAreTextWithEveryDigit) {
    const ColumnSchema schema = column_of(1700);
    ASSERT_EQ(schema.type.kind, TypeKind::text);
    const struct {
        std::string_view bytes;
        std::string text;
    } cases[] = {
        // 1e131071, the largest power of ten, and the same with the largest scale.
        {"0001 7fff 0000 0000 03e8", "1" + std::string(131'071, '0')},
        {"0001 7fff 4000 3fff 03e8",
         "-1" + std::string(131'071, '0') + "." + std::string(16'383, '0')},
        // 1e-16383.
        {"0001 f000 0000 3fff 000a", "0." + std::string(16'382, '0') + "1"},
        {"0000 0000 0000 3fff", "0." + std::string(16'383, '0')},
    };
    for (const auto& one : cases) {
        SCOPED_TRACE(one.bytes);
        const Decoded out = decode(schema, Format::binary, hex(one.bytes));
        ASSERT_TRUE(out.status);
        EXPECT_TRUE(out.column.bytes_at(0) == one.text);
    }
}

TEST(Numeric, BytesThatPostgresWouldNotSendAreMalformed) {
    for (const std::int32_t typmod : {-1, numeric_typmod(12, 2)}) {
        const ColumnSchema schema = column_of(1700, typmod);
        for (const std::string_view bytes : {
                 "0001 0000 0000 0000 2710",       // A digit of 10000.
                 "0001 0000 0001 0000 0001",       // An unknown sign.
                 "0001 0000 0000 4000 0001",       // Display scale 16384.
                 "0001 0000 c000 0000 0001",       // NaN with digits,
                 "0000 0001 c000 0000",            // with a weight,
                 "0000 0000 c000 0020",            // with the scale of an infinity.
                 "0000 0000 d000 0000",            // Infinity without it.
                 "0000 0000 4000 0002",            // -0.00.
                 "0000 0001 0000 0000",            // Zero with a weight.
                 "0002 0001 0000 0000 0000 0001",  // A zero in front.
                 "0002 0000 0000 0004 0001 0000",  // A zero behind.
                 "0002 0000 0000 0002 0001 1389",  // A digit that the scale hides.
                 "0001 0000 0000 0000 0001 0001",  // More digits than said.
                 "ffff 0000 0000 0000 0001",
             }) {
            SCOPED_TRACE(bytes);
            const Decoded out = decode(schema, Format::binary, hex(bytes));
            ASSERT_FALSE(out.status);
            EXPECT_EQ(out.status.error().code(), ErrorCode::malformed);
        }
    }
}

// A column can become narrower than its values only behind our back.
TEST(Numeric, DecimalsRefuseWhatDoesNotFit) {
    const ColumnSchema schema = column_of(1700, numeric_typmod(5, 2));
    const struct {
        std::string_view text;
        std::string_view binary;
        bool fits;
    } cases[] = {
        {"999.99", "0002 0000 0000 0002 03e7 26ac", true},
        {"1000.00", "0001 0000 0000 0002 03e8", false},
        {"0.001", "0001 ffff 0000 0003 000a", false},
        {"0.010", "0001 ffff 0000 0003 0064", true},
        {"12.3400", "0002 0000 0000 0004 000c 0d48", true},
        {"10000000000", "0001 0002 0000 0000 0064", false},
        {"0.00000001", "0001 fffe 0000 0008 0001", false},
        {"NaN", "0000 0000 c000 0000", false},
        {"Infinity", "0000 0000 d000 0020", false},
        {"-Infinity", "0000 0000 f000 0020", false},
    };
    for (const auto& one : cases) {
        SCOPED_TRACE(one.text);
        const Decoded text = decode(schema, Format::text, one.text);
        const Decoded binary = decode(schema, Format::binary, hex(one.binary));
        ASSERT_EQ(text.status.ok(), one.fits);
        ASSERT_EQ(binary.status.ok(), one.fits);
        if (one.fits) {
            EXPECT_TRUE(Column::equal(text.column, 0, binary.column, 0));
        } else {
            EXPECT_EQ(text.status.error().code(), ErrorCode::unsupported_value);
            EXPECT_EQ(binary.status.error().code(), ErrorCode::unsupported_value);
        }
    }
}

TEST(Numeric, TextThatPostgresDoesNotPrintIsMalformed) {
    const ColumnSchema schema = column_of(1700, numeric_typmod(12, 2));
    for (const std::string_view text :
         {"", "-", ".", "1.", ".5", "+1", "1e3", "1_000", " 1", "1 ", "nan", "inf", "-NaN", "--1",
          "1.2.3", "1.-2", "01.00", "00", "-0.00"}) {
        SCOPED_TRACE(text);
        const Decoded out = decode(schema, Format::text, text);
        ASSERT_FALSE(out.status);
        EXPECT_EQ(out.status.error().code(), ErrorCode::malformed);
    }
}

// "char" before Postgres 16 sends its bare byte, which is not UTF-8.
TEST(Values, CharIsTheSameTextFromEveryVersion) {
    const ColumnSchema schema = column_of(18);
    for (const auto& [format, bytes] :
         {std::pair{Format::text, "\377"}, {Format::text, "\\377"}, {Format::binary, "\377"}}) {
        const Decoded out = decode(schema, format, bytes);
        ASSERT_TRUE(out.status);
        EXPECT_EQ(out.column.bytes_at(0), "\\377");
    }
}

}  // namespace
}  // namespace walbrook
