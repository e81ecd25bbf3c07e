#include "decode/datetime.h"

#include <charconv>
#include <cstdlib>
#include <cstring>

namespace walbrook::internal {
namespace {

// Eats a fixed piece of text from the front.
bool take(std::string_view& in, char wanted) {
    if (!in.starts_with(wanted)) return false;
    in.remove_prefix(1);
    return true;
}

// Eats all digits in front: at least `min` and at most `max` of them.
bool take_digits(std::string_view& in, std::size_t min, std::size_t max, int& out) {
    std::size_t n = 0;
    out = 0;
    while (n < in.size() && in[n] >= '0' && in[n] <= '9') {
        if (++n > max) return false;
        out = out * 10 + (in[n - 1] - '0');
    }
    in.remove_prefix(n);
    return n >= min;
}

int days_of_month(std::int64_t year, int month) {
    constexpr int kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return month == 2 && leap ? 29 : kDays[month - 1];
}

// Days since 2000-01-01 in the proleptic Gregorian calendar; year 0 is 1 BC.
// The years are shifted to begin in March, so that the leap day comes last.
std::int64_t days_from_civil(std::int64_t year, int month, int day) {
    if (month <= 2) --year;
    const std::int64_t era = (year >= 0 ? year : year - 399) / 400;
    const std::int64_t year_of_era = year - era * 400;
    const std::int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    const std::int64_t day_of_era =
        year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146'097 + day_of_era - 719'468 - kEpochDays;
}

// "2024-02-29" in front of `in`, to days since 2000. Whether " BC" follows is known
// from the end of the text, which the caller has cut off already.
bool take_date(std::string_view& in, bool before_christ, std::int64_t& days) {
    int year;
    int month;
    int day;
    const std::string_view start = in;
    if (!take_digits(in, 4, 7, year) || !take(in, '-') || !take_digits(in, 2, 2, month) ||
        !take(in, '-') || !take_digits(in, 2, 2, day)) {
        return false;
    }
    // Years are filled up to four digits and no further.
    if (start[0] == '0' && start[4] != '-') return false;
    if (year == 0 || month < 1 || month > 12) return false;
    const std::int64_t astronomical = before_christ ? 1 - year : year;
    if (day < 1 || day > days_of_month(astronomical, month)) return false;
    days = days_from_civil(astronomical, month, day);
    return true;
}

// "12:34:56.789" in front of `in`, to microseconds. The fraction has no trailing zeros.
bool take_time(std::string_view& in, std::int64_t& micros) {
    int hour;
    int minute;
    int second;
    if (!take_digits(in, 2, 2, hour) || !take(in, ':') || !take_digits(in, 2, 2, minute) ||
        !take(in, ':') || !take_digits(in, 2, 2, second)) {
        return false;
    }
    if (minute > 59 || second > 59) return false;
    micros = (hour * 3600 + minute * 60 + second) * kMicrosPerSecond;
    if (!take(in, '.')) return true;
    const std::size_t before = in.size();
    int fraction;
    if (!take_digits(in, 1, 6, fraction) || fraction % 10 == 0) return false;
    for (std::size_t digits = before - in.size(); digits < 6; ++digits) fraction *= 10;
    micros += fraction;
    return true;
}

bool take_era(std::string_view& in) {
    const bool before_christ = in.ends_with(" BC");
    if (before_christ) in.remove_suffix(3);
    return before_christ;
}

char* put_number(std::int64_t value, char* out) { return std::to_chars(out, out + 20, value).ptr; }

char* put_two_digits(std::int64_t value, char* out) {
    if (value < 10) *out++ = '0';
    return put_number(value, out);
}

char* put_text(std::string_view text, char* out) {
    std::memcpy(out, text.data(), text.size());
    return out + text.size();
}

// "12:34:56.789": AppendSeconds() drops the trailing zeros of the fraction.
char* put_clock(std::int64_t micros, char* out) {
    out = put_two_digits(micros / (3600 * kMicrosPerSecond), out);
    *out++ = ':';
    out = put_two_digits(micros / (60 * kMicrosPerSecond) % 60, out);
    *out++ = ':';
    out = put_two_digits(micros / kMicrosPerSecond % 60, out);
    std::int64_t fraction = micros % kMicrosPerSecond;
    if (fraction == 0) return out;
    *out++ = '.';
    for (std::int64_t unit = kMicrosPerSecond / 10; fraction != 0; unit /= 10) {
        *out++ = static_cast<char>('0' + fraction / unit);
        fraction %= unit;
    }
    return out;
}

}  // namespace

Fit parse_date(std::string_view text, std::int32_t& out) {
    if (text == "infinity") {
        return date_from_postgres(std::numeric_limits<std::int32_t>::max(), out);
    }
    if (text == "-infinity") {
        return date_from_postgres(std::numeric_limits<std::int32_t>::min(), out);
    }
    const bool before_christ = take_era(text);
    std::int64_t days;
    if (!take_date(text, before_christ, days) || !text.empty()) return Fit::malformed;
    if (days < kDateMin || days >= kDateEnd) return Fit::malformed;
    return date_from_postgres(static_cast<std::int32_t>(days), out);
}

Fit parse_time(std::string_view text, std::int64_t& out) {
    std::int64_t micros;
    if (!take_time(text, micros) || !text.empty()) return Fit::malformed;
    return time_from_postgres(micros, out);
}

Fit parse_timestamp(std::string_view text, bool with_zone, std::int64_t& out) {
    if (text == "infinity") {
        return timestamp_from_postgres(std::numeric_limits<std::int64_t>::max(), out);
    }
    if (text == "-infinity") {
        return timestamp_from_postgres(std::numeric_limits<std::int64_t>::min(), out);
    }
    const bool before_christ = take_era(text);
    std::int64_t days;
    std::int64_t micros;
    if (!take_date(text, before_christ, days) || !take(text, ' ') || !take_time(text, micros)) {
        return Fit::malformed;
    }
    // Our sessions run under TimeZone UTC; another offset means that they do not.
    if (text != (with_zone ? "+00" : "") || micros >= kMicrosPerDay) return Fit::malformed;
    // Also keeps the product below from overflowing.
    if (days < kDateMin || days >= kTimestampEnd / kMicrosPerDay) return Fit::malformed;
    return timestamp_from_postgres(days * kMicrosPerDay + micros, out);
}

// EncodeTimeOnly() and EncodeTimezone(): minutes and seconds only where not zero.
char* print_timetz(std::int64_t micros, std::int32_t zone_seconds, char* out) {
    out = put_clock(micros, out);
    *out++ = zone_seconds <= 0 ? '+' : '-';
    const int zone = std::abs(zone_seconds);
    out = put_two_digits(zone / 3600, out);
    if (zone % 3600 == 0) return out;
    *out++ = ':';
    out = put_two_digits(zone / 60 % 60, out);
    if (zone % 60 == 0) return out;
    *out++ = ':';
    return put_two_digits(zone % 60, out);
}

// EncodeInterval() with INTSTYLE_POSTGRES: each field that is not zero makes the next
// one carry a plus sign when it was negative itself.
char* print_interval(std::int64_t micros, std::int32_t days, std::int32_t months, char* out) {
    using limits32 = std::numeric_limits<std::int32_t>;
    using limits64 = std::numeric_limits<std::int64_t>;
    // From 17 on the ends of all three fields together mean infinity.
    if (micros == limits64::max() && days == limits32::max() && months == limits32::max()) {
        return put_text("infinity", out);
    }
    if (micros == limits64::min() && days == limits32::min() && months == limits32::min()) {
        return put_text("-infinity", out);
    }
    char* const start = out;
    bool after_negative = false;
    const auto put_field = [&](std::int64_t value, std::string_view unit) {
        if (value == 0) return;
        if (out != start) *out++ = ' ';
        if (after_negative && value > 0) *out++ = '+';
        out = put_number(value, out);
        *out++ = ' ';
        out = put_text(unit, out);
        if (value != 1) *out++ = 's';
        after_negative = value < 0;
    };
    put_field(months / 12, "year");
    put_field(months % 12, "mon");
    put_field(days, "day");
    if (micros == 0 && out != start) return out;
    if (out != start) *out++ = ' ';
    if (micros < 0) {
        *out++ = '-';
    } else if (after_negative) {
        *out++ = '+';
    }
    // -INT64_MIN is no int64: take the last microsecond apart.
    if (micros == limits64::min()) return put_text("2562047788:00:54.775808", out);
    return put_clock(micros < 0 ? -micros : micros, out);
}

}  // namespace walbrook::internal
