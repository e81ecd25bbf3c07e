#include "support/child_process.h"

#include "support/temp_dir.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <poll.h>
#include <signal.h>
#include <stdexcept>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

namespace walbrook::testing {
namespace {

// Everything that the child needs between fork and exec, made before: there it may only
// call what is safe in a signal handler.
struct Launch {
    std::string program;
    std::vector<std::string> args;
    std::vector<std::string> env;
    std::string folder;
    int input = -1;
    int output = -1;

    Launch(const std::string& name, const ChildOptions& options)
        : program(name), args(options.args), folder(options.folder) {
        args.insert(args.begin(), name);
        for (char** entry = environ; *entry != nullptr; ++entry) {
            const std::string_view text(*entry);
            const std::string_view key = text.substr(0, text.find('='));
            const bool replaced = std::any_of(options.env.begin(), options.env.end(),
                                              [&](const auto& own) { return own.first == key; });
            if (!replaced) env.emplace_back(text);
        }
        for (const auto& [key, value] : options.env) env.push_back(key + '=' + value);
    }
};

std::vector<char*> pointers(std::vector<std::string>& texts) {
    std::vector<char*> out;
    for (std::string& text : texts) out.push_back(text.data());
    out.push_back(nullptr);
    return out;
}

int open_or_throw(const std::string& path, int flags) {
    const int fd = open(path.empty() ? "/dev/null" : path.c_str(), flags | O_CLOEXEC, 0600);
    if (fd < 0) throw std::runtime_error("cannot open " + path + ": " + std::strerror(errno));
    return fd;
}

// Only in the child. Never returns; tells the parent over `failure` why exec failed.
[[noreturn]] void become(const Launch& launch, char** args, char** env, pid_t parent, int failure) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const bool orphan = getppid() != parent;  // It died before the prctl.
    if (!orphan && dup2(launch.input, 0) >= 0 && dup2(launch.output, 1) >= 0 &&
        dup2(launch.output, 2) >= 0 &&
        (launch.folder.empty() || chdir(launch.folder.c_str()) == 0)) {
        execvpe(launch.program.c_str(), args, env);
    }
    const int reason = errno;
    [[maybe_unused]] const auto told = write(failure, &reason, sizeof reason);
    _exit(127);
}

}  // namespace

ChildProcess::ChildProcess(const std::string& program, ChildOptions options)
    : output_file_(options.output_file) {
    Launch launch(program, options);
    launch.input = open_or_throw(options.input_file, O_RDONLY);
    launch.output = open_or_throw(options.output_file, O_WRONLY | O_CREAT | O_APPEND);
    std::vector<char*> args = pointers(launch.args);
    std::vector<char*> env = pointers(launch.env);
    int failure[2];
    if (pipe2(failure, O_CLOEXEC) != 0) throw std::runtime_error("pipe2 failed");
    const pid_t parent = getpid();
    pid_ = fork();
    if (pid_ == 0) become(launch, args.data(), env.data(), parent, failure[1]);
    close(failure[1]);
    close(launch.input);
    close(launch.output);
    int reason = 0;
    const ssize_t got = read(failure[0], &reason, sizeof reason);  // Ends with a good exec.
    close(failure[0]);
    if (pid_ < 0) throw std::runtime_error("fork failed");
    // By number: the header of glibc 2.36 declares pidfd_open without C linkage.
    pidfd_ = static_cast<int>(syscall(SYS_pidfd_open, pid_, 0));
    if (got > 0) {
        reap(0);
        close(pidfd_);
        throw std::runtime_error("cannot run " + program + ": " + std::strerror(reason));
    }
}

ChildProcess::~ChildProcess() {
    kill();
    if (pidfd_ >= 0) close(pidfd_);
}

void ChildProcess::reap(int options) {
    if (exit_) return;
    int status = 0;
    rusage usage{};
    pid_t reaped = 0;
    do {
        reaped = wait4(pid_, &status, options, &usage);
    } while (reaped < 0 && errno == EINTR);
    if (reaped != pid_) return;
    ChildExit exit;
    if (WIFEXITED(status)) exit.code = WEXITSTATUS(status);
    if (WIFSIGNALED(status)) exit.signal = WTERMSIG(status);
    exit.rss_kib_max = usage.ru_maxrss;
    exit.cpu = std::chrono::seconds(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
               std::chrono::microseconds(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    exit_ = exit;
}

void ChildProcess::signal(int number) {
    reap(WNOHANG);
    if (exit_) return;
    ::kill(pid_, number);  // Not reaped, so the pid is still its own.
    // Its threads go on until each has heard of it.
    siginfo_t info{};
    if (number == SIGSTOP) {
        waitid(P_PID, static_cast<id_t>(pid_), &info, WSTOPPED | WEXITED | WNOWAIT);
    }
}

ChildExit ChildProcess::kill() {
    signal(SIGKILL);
    reap(0);
    return exit_.value_or(ChildExit{});
}

std::optional<ChildExit> ChildProcess::wait(std::chrono::milliseconds timeout) {
    const auto until = std::chrono::steady_clock::now() + timeout;
    for (;;) {
        reap(WNOHANG);
        if (exit_) return exit_;
        const auto left =
            std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
        if (left.count() <= 0) return std::nullopt;
        pollfd fd{pidfd_, POLLIN, 0};
        poll(&fd, 1, static_cast<int>(std::min<std::int64_t>(left.count(), 1'000'000)));
    }
}

bool ChildProcess::is_running() {
    reap(WNOHANG);
    return !exit_;
}

std::string ChildProcess::output() const { return read_file(output_file_); }

std::int64_t ChildProcess::rss_kib_max_now() const {
    if (exit_) return 0;
    std::ifstream status("/proc/" + std::to_string(pid_) + "/status");
    for (std::string line; std::getline(status, line);) {
        if (line.rfind("VmHWM:", 0) != 0) continue;
        const std::size_t digits = line.find_first_of("0123456789");
        std::int64_t kib = 0;
        if (digits != std::string::npos) {
            std::from_chars(line.data() + digits, line.data() + line.size(), kib);
        }
        return kib;
    }
    return 0;
}

Finished run_program(const std::string& program, ChildOptions options,
                     std::chrono::milliseconds timeout) {
    const TempDir folder("run");
    if (options.output_file.empty()) options.output_file = folder.file("output");
    ChildProcess child(program, options);
    const auto exit = child.wait(timeout);
    if (!exit) throw std::runtime_error(program + " does not end: " + child.output());
    return {*exit, child.output()};
}

}  // namespace walbrook::testing
