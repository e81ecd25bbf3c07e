#pragma once

#include <cstdint>
#include <limits>
#include <string_view>

#include "decode/fit.h"

// Dates and times. Postgres counts from 2000-01-01, columns from 1970-01-01.
// The limits are those of src/include/datatype/timestamp.h: 4714-11-24 BC to
// 5874897-12-31 for dates, to 294276-12-31 for timestamps.
namespace walbrook::internal {

inline constexpr std::int64_t kMicrosPerSecond = 1'000'000;
inline constexpr std::int64_t kMicrosPerDay = 86'400 * kMicrosPerSecond;
inline constexpr std::int32_t kEpochDays = 10'957;  // 1970-01-01 to 2000-01-01.
inline constexpr std::int64_t kEpochMicros = kEpochDays * kMicrosPerDay;
inline constexpr std::int32_t kDateMin = -2'451'545;                     // Julian day 0.
inline constexpr std::int32_t kDateEnd = 2'145'031'949;                  // JULIAN_MAX, exclusive.
inline constexpr std::int64_t kTimestampMin = kDateMin * kMicrosPerDay;  // MIN_TIMESTAMP
inline constexpr std::int64_t kTimestampEnd = 106'751'983 * kMicrosPerDay;  // END_TIMESTAMP

// Days since 2000 to days since 1970; infinities to ±INT32_MAX. Every date fits.
inline Fit date_from_postgres(std::int32_t days, std::int32_t& out) {
    constexpr std::int32_t infinity = std::numeric_limits<std::int32_t>::max();
    static_assert(std::int64_t{kDateEnd} + kEpochDays < infinity);
    if (days >= kDateMin && days < kDateEnd) [[likely]] {
        out = days + kEpochDays;
        return Fit::ok;
    }
    if (days == infinity) {
        out = infinity;
    } else if (days == std::numeric_limits<std::int32_t>::min()) {
        out = -infinity;
    } else {
        return Fit::malformed;
    }
    return Fit::ok;
}

// Microseconds since 2000 to microseconds since 1970; infinities to ±INT64_MAX.
// 64 bits from 1970 end at 294247-01-10 04:00:54.775806, 30 years before Postgres
// does: what is later is unsupported.
inline Fit timestamp_from_postgres(std::int64_t micros, std::int64_t& out) {
    constexpr std::int64_t infinity = std::numeric_limits<std::int64_t>::max();
    if (micros >= kTimestampMin && micros < infinity - kEpochMicros) [[likely]] {
        out = micros + kEpochMicros;
        return Fit::ok;
    }
    if (micros == infinity) {
        out = infinity;
    } else if (micros == std::numeric_limits<std::int64_t>::min()) {
        out = -infinity;
    } else {
        return micros >= kTimestampMin && micros < kTimestampEnd ? Fit::unsupported
                                                                 : Fit::malformed;
    }
    return Fit::ok;
}

// 24:00:00 is a time of day of its own, as in Postgres.
inline Fit time_from_postgres(std::int64_t micros, std::int64_t& out) {
    if (micros < 0 || micros > kMicrosPerDay) return Fit::malformed;
    out = micros;
    return Fit::ok;
}

// The text forms under DateStyle ISO and TimeZone UTC ("Date/Time Output"):
// "2024-02-29", "0044-03-15 BC", "10000-01-01", "infinity"; "24:00:00";
// "2024-02-29 12:34:56.789", with "+00" before any " BC" where there is a zone.
Fit parse_date(std::string_view text, std::int32_t& out);
Fit parse_time(std::string_view text, std::int64_t& out);
Fit parse_timestamp(std::string_view text, bool with_zone, std::int64_t& out);

// The text of a timetz: `zone_seconds` counts to the west, as Postgres stores it.
inline constexpr std::size_t kTimetzTextMax = 32;
char* print_timetz(std::int64_t micros, std::int32_t zone_seconds, char* out);

// The text of an interval under IntervalStyle postgres.
inline constexpr std::size_t kIntervalTextMax = 96;
char* print_interval(std::int64_t micros, std::int32_t days, std::int32_t months, char* out);

}  // namespace walbrook::internal
