#pragma once

#include "walbrook/lsn.h"
#include "walbrook/pipeline.h"
#include "walbrook/result.h"

#include <concepts>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace walbrook {

// "debug", "info", "warn", "error".
std::string_view name_of(LogLevel level);

// One named value of a log line. Values are printed as text: whoever reads them
// knows the names, and the sink decides how lines look.
struct LogField {
    std::string key;
    std::string value;

    LogField(std::string_view name, std::string_view text) : key(name), value(text) {}
    LogField(std::string_view name, const char* text) : key(name), value(text) {}
    LogField(std::string_view name, bool yes) : key(name), value(yes ? "true" : "false") {}
    LogField(std::string_view name, Lsn lsn) : key(name), value(to_string(lsn)) {}
    // The whole chain of contexts; the code goes into a field of its own (Logger::failed).
    LogField(std::string_view name, const Error& error) : key(name), value(error.message()) {}
    template <std::integral T>
        requires(!std::same_as<T, bool> && !std::same_as<T, char>)
    LogField(std::string_view name, T number) : key(name), value(std::to_string(number)) {}
};

// Hands lines to a sink: one at a time, from any thread, free of secrets. Copies
// share the sink. Without a sink every call returns at once.
class Logger {
 public:
    Logger() = default;
    // Lines below `least` are dropped here, before their text is looked at.
    explicit Logger(LogSink sink, LogLevel least = LogLevel::debug);

    // Worth making a line of this level at all?
    bool is_on(LogLevel level) const;

    void debug(std::string_view message, std::initializer_list<LogField> fields = {}) const;
    void info(std::string_view message, std::initializer_list<LogField> fields = {}) const;
    void warn(std::string_view message, std::initializer_list<LogField> fields = {}) const;
    void error(std::string_view message, std::initializer_list<LogField> fields = {}) const;
    // An error with its code, and its SQLSTATE if it has one, as fields.
    void failed(LogLevel level, std::string_view message, const Error& error,
                std::initializer_list<LogField> fields = {}) const;

    // A logger whose every line also carries this field: `log.with({"table", name})`.
    Logger with(LogField field) const;
    // A sink that ends here: for handing this logger to what takes a sink. Lines get
    // this logger's fields and obey its level.
    LogSink as_sink() const;

 private:
    struct Shared;
    void write(LogLevel level, std::string_view message, const std::vector<LogField>& fields) const;

    std::shared_ptr<Shared> shared_;
    std::vector<LogField> fields_;
};

// Passwords in connection URLs and in `password=...` settings become "***". A net
// below the rule that no secret is put into a message in the first place: texts of
// servers and libraries pass through here too.
std::string without_secrets(std::string_view text);

}  // namespace walbrook
