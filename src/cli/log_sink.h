#pragma once

#include "cli/config_keys.h"

namespace walbrook {

// Lines on stderr: for people on a terminal, JSON elsewhere, or as the configuration
// says. Every line is one line, whatever is in its values.
LogSink make_stderr_sink(const LogConfig& config);

// The two forms of a line, without its time and newline.
std::string human_line(const LogRecord& record);
std::string json_line(const LogRecord& record, std::int64_t unix_us);

}  // namespace walbrook
