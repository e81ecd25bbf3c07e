#include "cli/log_sink.h"

#include "base/clock.h"
#include "telemetry/log.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/ansicolor_sink.h>
#include <spdlog/spdlog.h>

#include <ctime>
#include <memory>
#include <unistd.h>

namespace walbrook {
namespace {

constexpr std::int64_t kUsPerSecond = 1'000'000;

spdlog::level::level_enum spdlog_level(LogLevel level) {
    switch (level) {
        case LogLevel::debug:
            return spdlog::level::debug;
        case LogLevel::info:
            return spdlog::level::info;
        case LogLevel::warn:
            return spdlog::level::warn;
        case LogLevel::error:
            return spdlog::level::err;
    }
    return spdlog::level::err;
}

// Control characters would let a value forge a line, or colour the terminal.
void append_escaped(std::string& out, std::string_view text) {
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '\n') {
            out += "\\n";
        } else if (byte < 0x20 || byte == 0x7F) {
            out += fmt::format("\\x{:02x}", byte);
        } else {
            out += c;
        }
    }
}

std::string utc(std::int64_t unix_us) {
    std::tm parts{};
    const std::time_t seconds = unix_us / kUsPerSecond;
    gmtime_r(&seconds, &parts);
    return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", parts, unix_us % kUsPerSecond / 1000);
}

}  // namespace

std::string human_line(const LogRecord& record) {
    std::string out;
    append_escaped(out, record.message);
    for (const auto& [key, value] : record.fields) {
        out += fmt::format("  {}=", key);
        const bool plain = !value.empty() && value.find_first_of(" \"=") == std::string::npos;
        if (!plain) out += '"';
        append_escaped(out, value);
        if (!plain) out += '"';
    }
    return out;
}

std::string json_line(const LogRecord& record, std::int64_t unix_us) {
    nlohmann::ordered_json line = {
        {"time", utc(unix_us)}, {"level", name_of(record.level)}, {"message", record.message}};
    for (const auto& [key, value] : record.fields) {
        // A field may not replace what every line has.
        line[line.contains(key) ? key + "_" : key] = value;
    }
    return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

LogSink make_stderr_sink(const LogConfig& config) {
    const bool human = config.format == LogFormat::human ||
                       (config.format == LogFormat::automatic && isatty(STDERR_FILENO) == 1);
    auto colours = std::make_shared<spdlog::sinks::ansicolor_stderr_sink_mt>();
    auto logger = std::make_shared<spdlog::logger>("walbrook", std::move(colours));
    logger->set_level(spdlog::level::debug);
    logger->set_pattern(human ? "%Y-%m-%d %H:%M:%S.%e %^%5l%$ %v" : "%v");
    logger->flush_on(spdlog::level::debug);
    return [logger, human](const LogRecord& record) {
        logger->log(spdlog_level(record.level), "{}",
                    human ? human_line(record) : json_line(record, unix_time_us()));
    };
}

}  // namespace walbrook
