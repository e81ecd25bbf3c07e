#include "forked_life.h"

#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

namespace walbrook::testing {

// The report is a file without a name, which takes any number of messages while nobody reads:
//
//     file \0 line \0 message \0    a failure
//     \0 number \0 \0               the last word

namespace {

// One write a record: threads of a case may fail at once.
void append(int report, const std::string& file, const std::string& line, std::string message) {
    for (char& c : message) c = c == '\0' ? '?' : c;
    const std::string record = file + '\0' + line + '\0' + message + '\0';
    if (write(report, record.data(), record.size()) != static_cast<ssize_t>(record.size())) {
        _exit(3);
    }
}

// While it lives, failures go into the report and nowhere else: this process has no test of its
// own, and what gtest would print about it is printed by the parent.
class Reporter final : public ::testing::ScopedFakeTestPartResultReporter {
 public:
    Reporter(int report, InterceptMode whose)
        : ScopedFakeTestPartResultReporter(whose, nullptr), report_(report) {}
    void ReportTestPartResult(const ::testing::TestPartResult& result) override {
        if (!result.failed()) return;
        append(report_, result.file_name() == nullptr ? "?" : result.file_name(),
               std::to_string(result.line_number()), result.message());
    }

 private:
    const int report_;
};

[[noreturn]] void run_child(int report, const std::function<void(ForkedLife&)>& live) {
    // Of this thread by itself, too, for which a test may have another one.
    const Reporter of_all(report, Reporter::INTERCEPT_ALL_THREADS);
    const Reporter of_this(report, Reporter::INTERCEPT_ONLY_CURRENT_THREAD);
    try {
        ForkedLife life(report);
        live(life);
    } catch (const std::exception& error) {
        ADD_FAILURE() << "a life that was to be ended threw: " << error.what();
    }
    _exit(2);
}

std::string how_it_ended(int status) {
    return WIFSIGNALED(status) ? "signal " + std::to_string(WTERMSIG(status))
                               : "exit code " + std::to_string(WEXITSTATUS(status));
}

std::string read_report(std::FILE* report) {
    std::string text;
    std::array<char, 4096> part;
    std::rewind(report);
    while (const std::size_t n = std::fread(part.data(), 1, part.size(), report)) {
        text.append(part.data(), n);
    }
    return text;
}

std::string_view cut(std::string_view& text) {
    const std::size_t end = std::min(text.find('\0'), text.size());
    const std::string_view out = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    return out;
}

int number_in(std::string_view text) {
    int number = 0;
    std::from_chars(text.data(), text.data() + text.size(), number);
    return number;
}

// Makes the failures in it ours. Nothing if there is no last word.
std::optional<std::uint64_t> take_over(std::string_view report) {
    std::optional<std::uint64_t> last_word;
    while (!report.empty()) {
        const std::string file(cut(report));
        const std::string_view line = cut(report);
        const std::string message(cut(report));
        if (file.empty()) {
            std::uint64_t& word = last_word.emplace();
            std::from_chars(line.data(), line.data() + line.size(), word);
        } else {
            ADD_FAILURE_AT(file.c_str(), number_in(line)) << "in the killed process: " << message;
        }
    }
    return last_word;
}

}  // namespace

void ForkedLife::end(std::uint64_t last_word) {
    append(report_, "", std::to_string(last_word), "");
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

std::uint64_t run_forked(const std::function<void(ForkedLife&)>& live) {
    std::FILE* const report = std::tmpfile();
    if (report == nullptr) {
        ADD_FAILURE() << "no file can be made for what a forked process finds";
        return 0;
    }
    const pid_t child = fork();
    if (child == 0) run_child(fileno(report), live);
    int status = 0;
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    const std::optional<std::uint64_t> last_word = take_over(read_report(report));
    std::fclose(report);
    if (child < 0) {
        ADD_FAILURE() << "fork failed";
    } else if (!last_word || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
        ADD_FAILURE() << "a process that was to be killed at its end ended before, by "
                      << how_it_ended(status);
    }
    return last_word.value_or(0);
}

}  // namespace walbrook::testing
