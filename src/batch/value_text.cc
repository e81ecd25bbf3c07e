#include "batch/value_text.h"

#include "base/check.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string_view>

namespace walbrook {
namespace {

__extension__ typedef __int128 int128;
__extension__ typedef unsigned __int128 uint128;

constexpr std::int64_t kMicrosPerDay = 86'400'000'000;

template <class T>
std::string integer(T value) {
    std::array<char, 24> text{};
    return {text.data(), std::to_chars(text.data(), text.data() + text.size(), value).ptr};
}

// At least `width` digits.
std::string padded(std::int64_t value, std::size_t width) {
    const std::string digits = integer(value);
    return std::string(digits.size() < width ? width - digits.size() : 0, '0') + digits;
}

std::string hex(std::string_view bytes) {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string out;
    for (const char c : bytes) {
        const auto byte = static_cast<unsigned char>(c);
        out += kDigits[byte >> 4];
        out += kDigits[byte & 15];
    }
    return out;
}

// The shortest text that reads back as the same value; fixed or with an exponent where
// Postgres chooses so (double_to_shortest_decimal_buf and its brother for floats).
template <class T>
std::string floating(T value, int exponent_end) {
    if (std::isnan(value)) return "NaN";
    if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
    std::array<char, 64> text{};
    const auto print = [&](std::chars_format format) {
        return std::string(
            text.data(), std::to_chars(text.data(), text.data() + text.size(), value, format).ptr);
    };
    const std::string scientific = print(std::chars_format::scientific);
    const std::size_t mark = scientific.find('e');
    int exponent = 0;
    // from_chars takes no plus sign.
    const char* from = scientific.data() + mark + (scientific[mark + 1] == '+' ? 2 : 1);
    std::from_chars(from, scientific.data() + scientific.size(), exponent);
    return exponent >= -4 && exponent < exponent_end ? print(std::chars_format::fixed) : scientific;
}

std::string decimal(int128 value, int scale) {
    const bool is_negative = value < 0;
    uint128 rest = is_negative ? -static_cast<uint128>(value) : static_cast<uint128>(value);
    std::string out;
    for (int digit = 0; rest != 0 || digit <= scale; ++digit, rest /= 10) {
        if (digit == scale && scale != 0) out += '.';
        out += static_cast<char>('0' + static_cast<int>(rest % 10));
    }
    if (is_negative) out += '-';
    return {out.rbegin(), out.rend()};
}

// The proleptic Gregorian calendar (H. Hinnant, "chrono-compatible low-level date
// algorithms"); std::chrono's year ends at 32767, Postgres' at 5874897.
struct Civil {
    std::int64_t year;
    std::int64_t month;
    std::int64_t day;
};

Civil civil_from_days(std::int64_t days) {
    days += 719468;  // Since 0000-03-01.
    const std::int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    const std::int64_t day_of_era = days - era * 146097;
    const std::int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    const std::int64_t day_of_year =
        day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    const std::int64_t shifted_month = (5 * day_of_year + 2) / 153;
    const std::int64_t month = shifted_month < 10 ? shifted_month + 3 : shifted_month - 9;
    return {year_of_era + era * 400 + (month <= 2 ? 1 : 0), month,
            day_of_year - (153 * shifted_month + 2) / 5 + 1};
}

// The year before 1 is "1 BC", which the calendar calls 0.
std::string date_and(std::int64_t days, const std::string& time) {
    const Civil civil = civil_from_days(days);
    const bool is_bc = civil.year <= 0;
    return padded(is_bc ? 1 - civil.year : civil.year, 4) + "-" + padded(civil.month, 2) + "-" +
           padded(civil.day, 2) + time + (is_bc ? " BC" : "");
}

std::string time_of_day(std::int64_t micros) {
    const std::int64_t seconds = micros / 1'000'000;
    std::string out = padded(seconds / 3600, 2) + ":" + padded(seconds / 60 % 60, 2) + ":" +
                      padded(seconds % 60, 2);
    if (micros % 1'000'000 == 0) return out;
    out += "." + padded(micros % 1'000'000, 6);
    while (out.back() == '0') out.pop_back();
    return out;
}

std::string date(std::int32_t days) {
    constexpr std::int32_t kInfinity = std::numeric_limits<std::int32_t>::max();
    if (days == kInfinity) return "infinity";
    if (days == -kInfinity) return "-infinity";
    return date_and(days, "");
}

std::string timestamp(std::int64_t micros, std::string_view zone) {
    constexpr std::int64_t kInfinity = std::numeric_limits<std::int64_t>::max();
    if (micros == kInfinity) return "infinity";
    if (micros == -kInfinity) return "-infinity";
    std::int64_t days = micros / kMicrosPerDay;
    if (micros % kMicrosPerDay < 0) --days;
    return date_and(days, " " + time_of_day(micros - days * kMicrosPerDay) + std::string(zone));
}

std::string uuid(std::string_view bytes) {
    std::string out = hex(bytes);
    for (const std::size_t at : {20U, 16U, 12U, 8U}) out.insert(at, "-");
    return out;
}

std::string scalar(const ColumnType& type, const Column& column, std::size_t row) {
    const auto fixed_bytes = [&](std::size_t width) {
        return std::string_view(reinterpret_cast<const char*>(column.values().data()) + row * width,
                                width);
    };
    switch (type.kind) {
        case TypeKind::boolean:
            return column.bool_at(row) ? "t" : "f";
        case TypeKind::int16:
            return integer(column.fixed_at<std::int16_t>(row));
        case TypeKind::int32:
            return integer(column.fixed_at<std::int32_t>(row));
        case TypeKind::int64:
            return integer(column.fixed_at<std::int64_t>(row));
        case TypeKind::uint32:
            return integer(column.fixed_at<std::uint32_t>(row));
        case TypeKind::float32:
            return floating(column.fixed_at<float>(row), 6);
        case TypeKind::float64:
            return floating(column.fixed_at<double>(row), 15);
        case TypeKind::decimal:
            return decimal(column.fixed_at<int128>(row), type.scale);
        case TypeKind::text:
        case TypeKind::json:
            return std::string(column.bytes_at(row));
        case TypeKind::bytes:
            return "\\x" + hex(column.bytes_at(row));
        case TypeKind::date:
            return date(column.fixed_at<std::int32_t>(row));
        case TypeKind::time:
            return time_of_day(column.fixed_at<std::int64_t>(row));
        case TypeKind::timestamp:
            return timestamp(column.fixed_at<std::int64_t>(row), "");
        case TypeKind::timestamptz:
            return timestamp(column.fixed_at<std::int64_t>(row), "+00");
        case TypeKind::uuid:
            return uuid(fixed_bytes(16));
        case TypeKind::list:
            break;
    }
    WALBROOK_CHECK(type.kind != TypeKind::list);
    return {};
}

// array_out: an element is quoted where array_in would otherwise read something else.
void append_element(std::string& out, const std::string& element, char delimiter) {
    constexpr std::string_view kSpace = " \t\n\r\v\f";
    std::string upper = element.substr(0, 5);
    for (char& c : upper) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    bool needs_quotes = element.empty() || upper == "NULL";
    for (const char c : element) {
        needs_quotes = needs_quotes || c == '"' || c == '\\' || c == '{' || c == '}' ||
                       c == delimiter || kSpace.find(c) != std::string_view::npos;
    }
    if (!needs_quotes) {
        out += element;
        return;
    }
    out += '"';
    for (const char c : element) {
        if (c == '"' || c == '\\') out += '\\';
        out += c;
    }
    out += '"';
}

}  // namespace

std::string to_text(const ColumnSchema& schema, const Column& column, std::size_t row) {
    WALBROOK_CHECK(!column.is_null(row));
    if (!column.type().is_list) return scalar(column.type(), column, row);
    const Column& elements = column.element();
    std::string out = "{";
    const auto end = static_cast<std::size_t>(column.offset_at(row + 1));
    for (auto i = static_cast<std::size_t>(column.offset_at(row)); i < end; ++i) {
        if (out.size() > 1) out += schema.element_delimiter;
        if (elements.is_null(i)) {
            out += "NULL";
        } else {
            append_element(out, scalar(elements.type(), elements, i), schema.element_delimiter);
        }
    }
    return out + "}";
}

}  // namespace walbrook
