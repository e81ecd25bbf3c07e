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
#include <poll.h>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

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

using Live = std::function<void(ForkedLife&)>;

[[noreturn]] void run_child(int report, int killer, const Live& live) {
    // Of this thread by itself, too, for which a test may have another one.
    const Reporter of_all(report, Reporter::INTERCEPT_ALL_THREADS);
    const Reporter of_this(report, Reporter::INTERCEPT_ONLY_CURRENT_THREAD);
    try {
        ForkedLife life(report, killer);
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

// Words between a life and the one who kills it.
constexpr char kClock = 'c';
constexpr char kEnd = 'e';

void say(int to, char word) {
    while (send(to, &word, 1, MSG_NOSIGNAL) < 0 && errno == EINTR) {
    }
}

// Nothing if the other end is gone.
std::optional<char> hear(int from) {
    char word = 0;
    ssize_t got = 0;
    while ((got = recv(from, &word, 1, 0)) < 0 && errno == EINTR) {
    }
    return got == 1 ? std::optional(word) : std::nullopt;
}

// Returns when the life at the other end is to be killed, or is gone; and how long after it
// started the clock it came to its end, if it did.
KillTime wait_to_kill(int life, KillTime kill_after) {
    using Clock = std::chrono::steady_clock;
    std::optional<Clock::time_point> start;
    for (;;) {
        timespec left{};
        if (start && kill_after) {
            const auto ns = std::chrono::nanoseconds(*start + *kill_after - Clock::now()).count();
            if (ns <= 0) return std::nullopt;
            left = {ns / 1'000'000'000, ns % 1'000'000'000};
        }
        // Asleep: the life may need the processor that we are on.
        pollfd waiting{life, POLLIN, 0};
        if (ppoll(&waiting, 1, start && kill_after ? &left : nullptr, nullptr) <= 0) continue;
        const std::optional<char> word = hear(life);
        if (!word) return std::nullopt;
        if (*word == kEnd) return start ? Clock::now() - *start : Clock::duration::zero();
        start = Clock::now();
        say(life, kClock);
    }
}

// A process that lives, and the file that it reports to.
class Fork {
 public:
    // `ours`, if there is one, is the end of this process, `killer` that of the life.
    Fork(int ours, int killer, const Live& live) : report_(std::tmpfile()) {
        if (report_ == nullptr) {
            ADD_FAILURE() << "no file can be made for what a forked process finds";
            return;
        }
        child_ = fork();
        if (child_ < 0) ADD_FAILURE() << "fork failed";
        if (child_ != 0) return;
        if (ours >= 0) close(ours);
        run_child(fileno(report_), killer, live);
    }
    ~Fork() {
        if (report_ != nullptr) std::fclose(report_);
    }
    Fork(const Fork&) = delete;
    Fork& operator=(const Fork&) = delete;

    void kill() const {
        if (child_ > 0) ::kill(child_, SIGKILL);
    }
    // Its last word when it is gone, which must be by SIGKILL.
    std::optional<std::uint64_t> wait(bool has_last_word) {
        if (child_ <= 0) return std::nullopt;
        int status = 0;
        while (waitpid(child_, &status, 0) < 0 && errno == EINTR) {
        }
        const std::optional<std::uint64_t> last_word = take_over(read_report(report_));
        if ((has_last_word && !last_word) || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
            ADD_FAILURE() << "a process that was to be killed at its end ended before, by "
                          << how_it_ended(status);
        }
        return last_word;
    }

 private:
    std::FILE* const report_;
    pid_t child_ = -1;
};

}  // namespace

void ForkedLife::end(std::uint64_t last_word) {
    append(report_, "", std::to_string(last_word), "");
    if (killer_ >= 0) {
        say(killer_, kEnd);
        // No word comes; without the one who kills nobody would end this.
        while (hear(killer_)) {
        }
    }
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

void ForkedLife::start_the_clock() {
    if (killer_ < 0 || std::exchange(is_clock_running_, true)) return;
    say(killer_, kClock);
    hear(killer_);
}

std::uint64_t run_forked(const Live& live) { return Fork(-1, -1, live).wait(true).value_or(0); }

KillTime run_forked_until(KillTime kill_after, const Live& live) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        ADD_FAILURE() << "no socket to a forked process can be made";
        return std::nullopt;
    }
    Fork forked(ends[0], ends[1], live);
    close(ends[1]);
    const KillTime ended = wait_to_kill(ends[0], kill_after);
    forked.kill();
    forked.wait(false);
    close(ends[0]);
    return ended;
}

}  // namespace walbrook::testing
