#pragma once

#include "batch/value_text.h"
#include "decode/datetime.h"
#include "decode/decode_testing.h"
#include "walbrook/column.h"
#include "walbrook/schema.h"

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <bit>
#include <charconv>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

// The way back: from a column to the bytes of the type's send function. What the column
// holds as text is read with other means than those that printed it, so that a mistake
// of the decoder is not repeated.
namespace walbrook {

// A number in network order.
template <class T>
std::string wire(T value) {
    std::string out;
    for (int shift = static_cast<int>(sizeof(T)) * 8 - 8; shift >= 0; shift -= 8) {
        out += static_cast<char>(static_cast<std::uint64_t>(value) >> shift);
    }
    return out;
}

// A number in front of `text`, which it leaves behind.
template <class T>
T take_number(std::string_view& text, int base = 10) {
    T value{};
    const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    EXPECT_EQ(error, std::errc());
    text.remove_prefix(static_cast<std::size_t>(stop - text.data()));
    return value;
}

inline bool take(std::string_view& text, char wanted) {
    if (!text.starts_with(wanted)) return false;
    text.remove_prefix(1);
    return true;
}

// numeric_send() of what numeric_out() printed.
inline std::string encode_numeric(std::string_view text) {
    if (text == "NaN") return hex("0000 0000 c000 0000");
    if (text == "Infinity") return hex("0000 0000 d000 0020");
    if (text == "-Infinity") return hex("0000 0000 f000 0020");
    const bool negative = take(text, '-');
    std::string digits(text.substr(0, text.find('.')));
    digits.insert(0, (4 - digits.size() % 4) % 4, '0');
    auto weight = static_cast<std::int16_t>(digits.size() / 4 - 1);
    const std::size_t point = text.find('.');
    const std::string_view fraction =
        point == std::string_view::npos ? std::string_view() : text.substr(point + 1);
    digits += fraction;
    digits.append((4 - digits.size() % 4) % 4, '0');
    while (digits.starts_with("0000")) {
        digits.erase(0, 4);
        --weight;
    }
    while (digits.ends_with("0000")) digits.erase(digits.size() - 4);
    if (digits.empty()) weight = 0;
    std::string out = wire(static_cast<std::uint16_t>(digits.size() / 4)) + wire(weight) +
                      wire(static_cast<std::uint16_t>(negative ? 0x4000 : 0)) +
                      wire(static_cast<std::uint16_t>(fraction.size()));
    std::string_view rest = digits;
    for (; !rest.empty(); rest.remove_prefix(4)) {
        std::string_view group = rest.substr(0, 4);
        out += wire(take_number<std::uint16_t>(group));
    }
    return out;
}

// "12:34:56.789" in front of `text`; an interval has any number of hours.
inline std::uint64_t take_clock(std::string_view& text) {
    auto micros = take_number<std::uint64_t>(text) * 3600;
    EXPECT_TRUE(take(text, ':'));
    micros += take_number<std::uint64_t>(text) * 60;
    EXPECT_TRUE(take(text, ':'));
    micros += take_number<std::uint64_t>(text);
    micros *= 1'000'000;
    if (!take(text, '.')) return micros;
    std::string fraction(text.substr(0, text.find_first_not_of("0123456789")));
    text.remove_prefix(fraction.size());
    fraction.resize(6, '0');
    std::string_view digits = fraction;
    return micros + take_number<std::uint64_t>(digits);
}

inline std::string encode_timetz(std::string_view text) {
    const auto micros = static_cast<std::int64_t>(take_clock(text));
    const bool west = take(text, '-');
    if (!west) {
        EXPECT_TRUE(take(text, '+'));
    }
    std::int32_t zone = 0;
    for (const std::int32_t unit : {3600, 60, 1}) {
        if (text.empty()) break;
        zone += take_number<std::int32_t>(text) * unit;
        take(text, ':');
    }
    return wire(micros) + wire(west ? zone : -zone);
}

inline std::string encode_interval(std::string_view text) {
    if (text == "infinity") return hex("7fffffffffffffff 7fffffff 7fffffff");
    if (text == "-infinity") return hex("8000000000000000 80000000 80000000");
    std::int32_t months = 0;
    std::int32_t days = 0;
    std::uint64_t micros = 0;
    while (!text.empty()) {
        const std::string_view word = text.substr(0, text.find(' '));
        const bool negative = take(text, '-');
        if (!negative) take(text, '+');
        if (word.find(':') != std::string_view::npos) {
            micros = take_clock(text);
            if (negative) micros = -micros;
            break;
        }
        // Unsigned, so that the lowest number has a sign to lose.
        auto number = take_number<std::uint32_t>(text);
        if (negative) number = -number;
        EXPECT_TRUE(take(text, ' '));
        const auto value = static_cast<std::int32_t>(number);
        const std::string_view unit = text.substr(0, text.find(' '));
        if (unit.starts_with("year")) months += value * 12;
        if (unit.starts_with("mon")) months += value;
        if (unit.starts_with("day")) days = value;
        text.remove_prefix(unit.size());
        take(text, ' ');
    }
    return wire(micros) + wire(days) + wire(months);
}

inline std::string encode_bits(std::string_view text) {
    std::string bytes((text.size() + 7) / 8, '\0');
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '1') bytes[i / 8] = static_cast<char>(bytes[i / 8] | 0x80 >> i % 8);
    }
    return wire(static_cast<std::uint32_t>(text.size())) + bytes;
}

inline std::string encode_inet(std::string_view text, bool is_cidr) {
    const bool is_ipv6 = text.find(':') != std::string_view::npos;
    const std::string address(text.substr(0, text.find('/')));
    std::string bytes(is_ipv6 ? 16 : 4, '\0');
    EXPECT_EQ(inet_pton(is_ipv6 ? AF_INET6 : AF_INET, address.c_str(), bytes.data()), 1) << text;
    text.remove_prefix(address.size());
    unsigned bits = is_ipv6 ? 128 : 32;
    if (take(text, '/')) bits = take_number<unsigned>(text);
    return std::string{is_ipv6 ? '\3' : '\2', static_cast<char>(bits), is_cidr ? '\1' : '\0',
                       static_cast<char>(bytes.size())} +
           bytes;
}

inline std::string encode_macaddr(std::string_view text) {
    std::string out;
    do {
        out += wire(take_number<std::uint8_t>(text, 16));
    } while (take(text, ':'));
    return out;
}

inline std::string encode_pg_lsn(std::string_view text) {
    const auto high = take_number<std::uint32_t>(text, 16);
    EXPECT_TRUE(take(text, '/'));
    return wire(high) + wire(take_number<std::uint32_t>(text, 16));
}

inline std::string encode_tid(std::string_view text) {
    EXPECT_TRUE(take(text, '('));
    const auto block = take_number<std::uint32_t>(text);
    EXPECT_TRUE(take(text, ','));
    return wire(block) + wire(take_number<std::uint16_t>(text));
}

inline std::string encode_char(std::string_view text) {
    if (text.empty()) return std::string(1, '\0');
    if (text.size() == 1) return std::string(text);
    EXPECT_TRUE(take(text, '\\'));
    return wire(take_number<std::uint8_t>(text, 8));
}

// What a column holds as text, by the type that it came from (type_table.h).
inline std::string encode_printed(std::uint32_t type_oid, std::string_view text) {
    switch (type_oid) {
        case 18:
            return encode_char(text);
        case 27:
            return encode_tid(text);
        case 28:
        case 29:
            return wire(take_number<std::uint32_t>(text));
        case 650:
            return encode_inet(text, true);
        case 774:
        case 829:
            return encode_macaddr(text);
        case 869:
            return encode_inet(text, false);
        case 1186:
            return encode_interval(text);
        case 1266:
            return encode_timetz(text);
        case 1560:
        case 1562:
            return encode_bits(text);
        case 1700:
            return encode_numeric(text);
        case 3220:
            return encode_pg_lsn(text);
        case 4072:
            return '\1' + std::string(text);
        case 5069:
            return wire(take_number<std::uint64_t>(text));
        default:
            return std::string(text);
    }
}

// From the epoch of columns to that of Postgres.
template <class T>
std::string encode_since_2000(T value, T epoch) {
    constexpr T kInfinity = std::numeric_limits<T>::max();
    if (value == kInfinity) return wire(kInfinity);
    if (value == -kInfinity) return wire(std::numeric_limits<T>::min());
    return wire(static_cast<T>(value - epoch));
}

inline std::string encode_scalar(const ColumnSchema& schema, std::uint32_t type_oid,
                                 const Column& column, std::size_t row) {
    switch (column.type().kind) {
        case TypeKind::boolean:
            return std::string(1, column.bool_at(row) ? '\1' : '\0');
        case TypeKind::int16:
            return wire(column.fixed_at<std::int16_t>(row));
        case TypeKind::int32:
            return wire(column.fixed_at<std::int32_t>(row));
        case TypeKind::uint32:
            return wire(column.fixed_at<std::uint32_t>(row));
        case TypeKind::int64:
        case TypeKind::time:
            return wire(column.fixed_at<std::int64_t>(row));
        case TypeKind::float32:
            return wire(column.fixed_at<std::uint32_t>(row));
        case TypeKind::float64:
            return wire(column.fixed_at<std::uint64_t>(row));
        case TypeKind::decimal:
            return encode_numeric(to_text(schema, column, row));
        case TypeKind::date:
            return encode_since_2000(column.fixed_at<std::int32_t>(row), internal::kEpochDays);
        case TypeKind::timestamp:
        case TypeKind::timestamptz:
            return encode_since_2000(column.fixed_at<std::int64_t>(row), internal::kEpochMicros);
        case TypeKind::uuid:
            return std::string(reinterpret_cast<const char*>(column.values().data()) + row * 16,
                               16);
        case TypeKind::bytes:
            return std::string(column.bytes_at(row));
        case TypeKind::json:
            return (type_oid == 3802 ? "\1" : "") + std::string(column.bytes_at(row));
        case TypeKind::text:
            return encode_printed(type_oid, column.bytes_at(row));
        case TypeKind::list:
            break;
    }
    ADD_FAILURE() << "a list has no scalar form";
    return {};
}

// One value, which is not NULL, in the form that canonical_binary() gives.
inline std::string encode_binary(const ColumnSchema& schema, const Column& column,
                                 std::size_t row) {
    if (!column.type().is_list) return encode_scalar(schema, schema.base_type_oid, column, row);
    const Column& elements = column.element();
    const auto first = static_cast<std::size_t>(column.offset_at(row));
    const auto end = static_cast<std::size_t>(column.offset_at(row + 1));
    std::uint32_t has_nulls = 0;
    std::string inside;
    for (std::size_t i = first; i < end; ++i) {
        if (elements.is_null(i)) {
            has_nulls = 1;
            inside += wire(std::int32_t{-1});
            continue;
        }
        const std::string bytes = encode_scalar(schema, schema.element_type_oid, elements, i);
        inside += wire(static_cast<std::uint32_t>(bytes.size())) + bytes;
    }
    std::string head = wire(std::uint32_t{end == first ? 0U : 1U}) + wire(has_nulls) +
                       wire(schema.element_type_oid);
    if (end == first) return head;
    return head + wire(static_cast<std::uint32_t>(end - first)) + wire(std::uint32_t{1}) + inside;
}

}  // namespace walbrook
