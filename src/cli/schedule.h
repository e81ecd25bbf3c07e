#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

namespace walbrook {

// When something is done again: after an interval, or at moments of the calendar, in UTC.
class Schedule {
 public:
    // "30s", "90m", "24h", "7d": up to a year. Or the five fields of crontab(5), in numbers:
    // minute, hour, day of the month, month, day of the week ("30 3 * * 1-5"), each a list of *, n
    // or n-m, the last two with a step. Nothing for anything else, and for days that never come.
    static std::optional<Schedule> parse(std::string_view text);

    // The first moment after `from`, in seconds since 1970.
    std::int64_t next_after(std::int64_t from) const;
    bool is_interval() const { return interval_secs_ != 0; }

 private:
    // One bit for each value that fits.
    struct Fields {
        std::uint64_t minutes = 0, hours = 0, days = 0, months = 0, weekdays = 0;
        bool any_day = false, any_weekday = false;  // The field begins with a star.
    };
    bool is_day(std::chrono::year_month_day day) const;
    std::optional<std::int64_t> find_after(std::int64_t from) const;

    std::int64_t interval_secs_ = 0;  // 0: fields_.
    Fields fields_;
};

}  // namespace walbrook
