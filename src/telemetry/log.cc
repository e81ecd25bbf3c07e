#include "telemetry/log.h"

#include <algorithm>
#include <cctype>
#include <mutex>

namespace walbrook {
namespace {

char lower(char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); }

// Where `word` (lower case) begins in `text` at or after `from`, in whatever case.
std::size_t find_word(std::string_view text, std::string_view word, std::size_t from) {
    if (from >= text.size()) return std::string_view::npos;
    const auto found =
        std::search(text.begin() + static_cast<std::ptrdiff_t>(from), text.end(), word.begin(),
                    word.end(), [](char a, char b) { return lower(a) == b; });
    if (found == text.end()) return std::string_view::npos;
    return static_cast<std::size_t>(found - text.begin());
}

// scheme://user:PASSWORD@host. The last '@' before the path counts, because people
// forget to encode one in a password.
void mask_urls(std::string& text) {
    std::size_t at = 0;
    while ((at = text.find("://", at)) != std::string::npos) {
        at += 3;
        const std::size_t end = std::min(text.find_first_of(" \t\r\n<>", at), text.size());
        const std::size_t path = std::min(text.find_first_of("/?#", at), end);
        std::size_t host = text.rfind('@', path);
        // A '/' in the password hides the '@' behind what looks like the path.
        if (host == std::string::npos || host < at) host = text.rfind('@', end);
        if (host == std::string::npos || host < at) continue;
        const std::size_t colon = text.find(':', at);
        if (colon == std::string::npos || colon > host) continue;
        text.replace(colon + 1, host - colon - 1, "***");
        at = colon + 4;
    }
}

// Where an unquoted value of libpq's ends: at a blank without a backslash before it. In a url it
// may end earlier, but what stands around is not known, and a password may have any other
// character.
std::size_t end_of_value(std::string_view text, std::size_t at) {
    for (; at < text.size(); ++at) {
        if (text[at] == '\\') {
            ++at;
        } else if (std::isspace(static_cast<unsigned char>(text[at])) != 0) {
            break;
        }
    }
    return std::min(at, text.size());
}

// password=SECRET and password='a \' secret', as libpq's settings and URL options.
void mask_settings(std::string& text, std::string_view word) {
    std::size_t at = 0;
    while ((at = find_word(text, word, at)) != std::string_view::npos) {
        at += word.size();
        std::size_t value = text.find_first_not_of(" \t", at);
        if (value == std::string::npos || text[value] != '=') continue;
        value = text.find_first_not_of(" \t", value + 1);
        if (value == std::string::npos) return;
        std::size_t end = value;
        if (text[value] == '\'') {
            for (++end; end < text.size() && text[end] != '\''; ++end) {
                if (text[end] == '\\') ++end;
            }
            end = std::min(end + 1, text.size());
        } else {
            end = end_of_value(text, value);
        }
        text.replace(value, end - value, "***");
        at = value + 3;
    }
}

}  // namespace

std::string_view name_of(LogLevel level) {
    switch (level) {
        case LogLevel::debug:
            return "debug";
        case LogLevel::info:
            return "info";
        case LogLevel::warn:
            return "warn";
        case LogLevel::error:
            return "error";
    }
    return "error";
}

std::string without_secrets(std::string_view text) {
    std::string masked(text);
    mask_urls(masked);
    mask_settings(masked, "password");
    mask_settings(masked, "secret");
    return masked;
}

struct Logger::Shared {
    LogSink sink;
    LogLevel least = LogLevel::debug;
    std::mutex mutex;  // A sink sees one line at a time.
};

Logger::Logger(LogSink sink, LogLevel least) {
    if (!sink) return;
    shared_ = std::make_shared<Shared>();
    shared_->sink = std::move(sink);
    shared_->least = least;
}

bool Logger::is_on(LogLevel level) const { return shared_ && level >= shared_->least; }

void Logger::write(LogLevel level, std::string_view message,
                   const std::vector<LogField>& fields) const {
    LogRecord record{level, without_secrets(message), {}};
    record.fields.reserve(fields_.size() + fields.size());
    for (const auto* list : {&fields_, &fields}) {
        for (const LogField& field : *list) {
            record.fields.emplace_back(field.key, without_secrets(field.value));
        }
    }
    const std::lock_guard lock(shared_->mutex);
    shared_->sink(record);
}

void Logger::debug(std::string_view message, std::initializer_list<LogField> fields) const {
    if (is_on(LogLevel::debug)) write(LogLevel::debug, message, fields);
}
void Logger::info(std::string_view message, std::initializer_list<LogField> fields) const {
    if (is_on(LogLevel::info)) write(LogLevel::info, message, fields);
}
void Logger::warn(std::string_view message, std::initializer_list<LogField> fields) const {
    if (is_on(LogLevel::warn)) write(LogLevel::warn, message, fields);
}
void Logger::error(std::string_view message, std::initializer_list<LogField> fields) const {
    if (is_on(LogLevel::error)) write(LogLevel::error, message, fields);
}

void Logger::failed(LogLevel level, std::string_view message, const Error& error,
                    std::initializer_list<LogField> fields) const {
    if (!is_on(level)) return;
    std::vector<LogField> all(fields);
    all.emplace_back("error", error);
    all.emplace_back("code", name_of(error.code()));
    if (!error.sqlstate().empty()) all.emplace_back("sqlstate", error.sqlstate());
    write(level, message, all);
}

Logger Logger::with(LogField field) const {
    Logger copy = *this;
    if (copy.shared_) copy.fields_.push_back(std::move(field));
    return copy;
}

LogSink Logger::as_sink() const {
    if (!shared_) return {};
    return [log = *this](const LogRecord& record) {
        if (!log.is_on(record.level)) return;
        std::vector<LogField> fields;
        fields.reserve(record.fields.size());
        for (const auto& [key, value] : record.fields) fields.emplace_back(key, value);
        log.write(record.level, record.message, fields);
    };
}

}  // namespace walbrook
