#include "cli/schedule.h"

#include <fmt/chrono.h>
#include <gtest/gtest.h>

#include <string>

namespace walbrook {
namespace {

using namespace std::chrono;

// Friday.
constexpr sys_seconds kNow = sys_days(2026y / November / 27) + 10h + 15min + 20s;

std::string after(const std::string& schedule, sys_seconds from = kNow) {
    const auto parsed = Schedule::parse(schedule);
    if (!parsed) return "refused";
    const sys_seconds next{seconds(parsed->next_after(from.time_since_epoch().count()))};
    return fmt::format("{:%Y-%m-%d %H:%M:%S}", next);
}

TEST(Schedule, Intervals) {
    EXPECT_EQ(after("1s"), "2026-11-27 10:15:21");
    EXPECT_EQ(after("1m"), "2026-11-27 10:16:20");
    EXPECT_EQ(after("24h"), "2026-11-28 10:15:20");
    EXPECT_EQ(after("366d"), "2027-11-28 10:15:20");
    for (const char* text : {"", "h", "0h", "24", "0s", "367d", "-1h", "+1h", "1.5h", "1h ", " 1h",
                             "4294967296h", "99999999999999999999d"}) {
        EXPECT_EQ(after(text), "refused") << text;
    }
}

TEST(Schedule, FieldsOfCron) {
    const std::pair<const char*, const char*> cases[] = {
        {"* * * * *", "2026-11-27 10:16:00"},
        {"15 10 * * *", "2026-11-28 10:15:00"},  // Today's is past.
        {"30 3 * * *", "2026-11-28 03:30:00"},
        {"*/20 * * * *", "2026-11-27 10:20:00"},
        {"5-50/20,59 * * * *", "2026-11-27 10:25:00"},
        {"0 0 1 * *", "2026-12-01 00:00:00"},
        {"0 0 31 * *", "2026-12-31 00:00:00"},
        {"0 0 29 2 *", "2028-02-29 00:00:00"},
        {"0 0 * * 0", "2026-11-29 00:00:00"},
        {"0 0 * * 7", "2026-11-29 00:00:00"},
        {"0 3 * * 1-5", "2026-11-30 03:00:00"},
        // Either of the two, as both are chosen.
        {"0 0 5 * 6", "2026-11-28 00:00:00"},
        {"0 0 5 * 5", "2026-12-04 00:00:00"},
        // A star with a step is a star: both.
        {"0 0 */2 * 1", "2026-12-07 00:00:00"},
        {"  0  23  *  1  * ", "2027-01-01 23:00:00"},
    };
    for (const auto& [text, next] : cases) EXPECT_EQ(after(text), next) << text;
    // Over a century without a leap year.
    EXPECT_EQ(after("0 0 29 2 *", sys_days(2096y / March / 1)), "2104-02-29 00:00:00");
}

TEST(Schedule, RefusesWhatItDoesNotUnderstand) {
    for (const char* text :
         {"* * * *",     "* * * * * *",  "60 * * * *",    "* 24 * * *",    "* * 0 * *",
          "* * 32 * *",  "* * * 0 *",    "* * * 13 *",    "* * * * 8",     "5-1 * * * *",
          "*/0 * * * *", "*/99 * * * *", "5/2 * * * *",   "1,,2 * * * *",  ", * * * *",
          "-1 * * * *",  "1- * * * *",   "1-2-3 * * * *", "1/2/3 * * * *", "* * * jan *",
          "* * * * mon", "@daily",       "0 0 30 2 *",    "0 0 31 4,6 *"}) {
        EXPECT_EQ(after(text), "refused") << text;
    }
}

}  // namespace
}  // namespace walbrook
