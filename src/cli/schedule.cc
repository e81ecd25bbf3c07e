#include "cli/schedule.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <vector>

namespace walbrook {
namespace {

constexpr std::int64_t kMinute = 60;
constexpr std::int64_t kHour = 60 * kMinute;
constexpr std::int64_t kDay = 24 * kHour;
// From one 29th of February to the next it may be eight years.
constexpr int kDaysMax = 9 * 366;

std::optional<unsigned> number(std::string_view text) {
    unsigned value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || error != std::errc() || end != text.data() + text.size()) return {};
    return value;
}

std::vector<std::string_view> split(std::string_view text, char by) {
    std::vector<std::string_view> parts;
    for (;;) {
        const std::size_t at = text.find(by);
        parts.push_back(text.substr(0, at));
        if (at == std::string_view::npos) return parts;
        text.remove_prefix(at + 1);
    }
}

// "*", "5", "1-5", "*/15", "8-18/2": their bits.
std::optional<std::uint64_t> range_bits(std::string_view text, unsigned min, unsigned max) {
    const std::vector<std::string_view> stepped = split(text, '/');
    const std::vector<std::string_view> ends = split(stepped[0], '-');
    if (stepped.size() > 2 || ends.size() > 2) return {};
    const bool is_star = stepped[0] == "*";
    const bool is_range = is_star || ends.size() == 2;
    const std::optional<unsigned> first = is_star ? min : number(ends.front());
    const std::optional<unsigned> last = is_star ? max : number(ends.back());
    const std::optional<unsigned> step = stepped.size() == 2 ? number(stepped[1]) : 1;
    if (!first || !last || !step || *first < min || *last > max || *first > *last) return {};
    if (*step == 0 || *step > max || (stepped.size() == 2 && !is_range)) return {};
    std::uint64_t bits = 0;
    for (unsigned i = *first; i <= *last; i += *step) bits |= std::uint64_t{1} << i;
    return bits;
}

bool read_field(std::string_view text, unsigned min, unsigned max, std::uint64_t& bits) {
    for (const std::string_view part : split(text, ',')) {
        const std::optional<std::uint64_t> some = range_bits(part, min, max);
        if (!some) return false;
        bits |= *some;
    }
    return true;
}

bool has(std::uint64_t bits, std::uint64_t value) { return (bits >> value & 1) != 0; }

std::optional<std::int64_t> interval_secs(std::string_view text) {
    if (text.empty()) return {};
    const std::int64_t unit = text.back() == 's'   ? 1
                              : text.back() == 'm' ? kMinute
                              : text.back() == 'h' ? kHour
                              : text.back() == 'd' ? kDay
                                                   : 0;
    text.remove_suffix(1);
    const std::optional<unsigned> count = number(text);
    if (unit == 0 || !count || *count == 0 || *count * unit > 366 * kDay) return {};
    return *count * unit;
}

}  // namespace

std::optional<Schedule> Schedule::parse(std::string_view text) {
    Schedule made;
    if (const auto secs = interval_secs(text)) {
        made.interval_secs_ = *secs;
        return made;
    }
    std::vector<std::string_view> fields = split(text, ' ');
    std::erase(fields, std::string_view());
    if (fields.size() != 5) return {};
    Fields& to = made.fields_;
    const bool is_read =
        read_field(fields[0], 0, 59, to.minutes) && read_field(fields[1], 0, 23, to.hours) &&
        read_field(fields[2], 1, 31, to.days) && read_field(fields[3], 1, 12, to.months) &&
        read_field(fields[4], 0, 7, to.weekdays);
    if (!is_read) return {};
    if (has(to.weekdays, 7)) to.weekdays |= 1;  // Sunday has two numbers.
    to.any_day = fields[2].front() == '*';
    to.any_weekday = fields[4].front() == '*';
    if (!made.find_after(0)) return {};
    return made;
}

// As crontab(5): where both kinds of days are chosen, either will do.
bool Schedule::is_day(std::chrono::year_month_day day) const {
    if (!has(fields_.months, static_cast<unsigned>(day.month()))) return false;
    const bool by_day = has(fields_.days, static_cast<unsigned>(day.day()));
    const bool by_weekday =
        has(fields_.weekdays, std::chrono::weekday(std::chrono::sys_days(day)).c_encoding());
    return fields_.any_day || fields_.any_weekday ? by_day && by_weekday : by_day || by_weekday;
}

std::optional<std::int64_t> Schedule::find_after(std::int64_t from) const {
    const std::chrono::sys_seconds after{std::chrono::seconds(from)};
    const std::chrono::sys_days first = std::chrono::floor<std::chrono::days>(after);
    for (int i = 0; i < kDaysMax; ++i) {
        const std::chrono::sys_days day = first + std::chrono::days(i);
        if (!is_day(std::chrono::year_month_day(day))) continue;
        for (int minute = 0; minute < 24 * 60; ++minute) {
            const bool fits = has(fields_.hours, static_cast<std::uint64_t>(minute / 60)) &&
                              has(fields_.minutes, static_cast<std::uint64_t>(minute % 60));
            const std::chrono::sys_seconds at = day + std::chrono::minutes(minute);
            if (fits && at > after) return at.time_since_epoch().count();
        }
    }
    return {};
}

std::int64_t Schedule::next_after(std::int64_t from) const {
    if (is_interval()) return from + interval_secs_;
    // parse() has found one.
    return find_after(from).value_or(std::numeric_limits<std::int64_t>::max());
}

}  // namespace walbrook
