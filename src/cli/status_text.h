#pragma once

#include "server/status_report.h"

#include <string>

namespace walbrook {

// The status for people: a few lines and a table of the tables.
std::string status_as_text(const StatusReport& report);

// 1536 is "1.5 KiB".
std::string bytes_text(std::uint64_t bytes);
// 1234567 is "1,234,567".
std::string count_text(std::uint64_t count);
// 1500 is "1.5 s".
std::string duration_text(std::int64_t ms);

}  // namespace walbrook
