#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace walbrook::testing {

// How a process ended, and what it used.
struct ChildExit {
    int code = -1;                     // Exit code; -1 when a signal ended it.
    int signal = 0;                    // Which one; 0 when it exited.
    std::int64_t rss_kib_max = 0;      // VmHWM, from wait4(2).
    std::chrono::microseconds cpu{0};  // User and system time.
    bool ok() const { return code == 0; }
};

struct ChildOptions {
    std::vector<std::string> args{};
    // Added to our own environment, winning over it.
    std::vector<std::pair<std::string, std::string>> env{};
    std::string folder{};       // Working directory; empty: ours.
    std::string output_file{};  // stdout and stderr are appended to it; empty: /dev/null.
    std::string input_file{};   // stdin; empty: /dev/null.
};

// A program that runs beside the test. Killed and reaped at destruction, and killed by
// the kernel (PR_SET_PDEATHSIG) when the thread that started it ends, so start it from
// a thread that lives as long as the test.
class ChildProcess {
 public:
    // `program` is a path or is looked up in PATH. Throws when there is no such program.
    ChildProcess(const std::string& program, ChildOptions options);
    ~ChildProcess();
    ChildProcess(const ChildProcess&) = delete;
    ChildProcess& operator=(const ChildProcess&) = delete;

    pid_t pid() const { return pid_; }
    // Nothing is sent once it has ended.
    void signal(int number);
    // SIGKILL, then waits for the end.
    ChildExit kill();
    // Waits for its end; nothing when that does not come in time. May be asked again.
    std::optional<ChildExit> wait(std::chrono::milliseconds timeout = std::chrono::seconds(60));
    bool is_running();
    // What it has written so far; needs output_file.
    std::string output() const;
    // Peak resident memory until now, in KiB, from /proc; 0 once it has ended.
    std::int64_t rss_kib_max_now() const;

 private:
    void reap(int options);

    std::string output_file_;
    pid_t pid_ = -1;
    int pidfd_ = -1;
    std::optional<ChildExit> exit_;
};

// Runs a program to its end and returns its output with its exit; throws on time-out.
struct Finished {
    ChildExit exit;
    std::string output;
};
Finished run_program(const std::string& program, ChildOptions options,
                     std::chrono::milliseconds timeout = std::chrono::seconds(120));

}  // namespace walbrook::testing
