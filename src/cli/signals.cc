#include "cli/signals.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <thread>
#include <unistd.h>

namespace walbrook {

struct SignalWatch::State {
    Handler on_signal;
    int signals = -1;  // signalfd
    int end = -1;      // eventfd: readable when the watch ends
    std::thread thread;

    ~State() {
        if (thread.joinable()) {
            eventfd_write(end, 1);
            thread.join();
        }
        if (signals >= 0) close(signals);
        if (end >= 0) close(end);
    }
    void watch() const {
        int count = 0;
        for (;;) {
            pollfd both[2] = {{signals, POLLIN, 0}, {end, POLLIN, 0}};
            if (poll(both, 2, -1) < 0) continue;  // EINTR: another signal's handler ran.
            if (both[1].revents != 0) return;
            signalfd_siginfo info;
            if (read(signals, &info, sizeof info) == sizeof info) {
                on_signal(static_cast<int>(info.ssi_signo), ++count);
            }
        }
    }
};

SignalWatch::SignalWatch(std::unique_ptr<State> state) : state_(std::move(state)) {}
SignalWatch::~SignalWatch() = default;

Result<std::unique_ptr<SignalWatch>> SignalWatch::create(Handler on_signal) {
    auto state = std::make_unique<State>();
    state->on_signal = std::move(on_signal);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    const int failed = pthread_sigmask(SIG_BLOCK, &set, nullptr);
    state->signals = signalfd(-1, &set, SFD_CLOEXEC);
    state->end = eventfd(0, EFD_CLOEXEC);
    if (failed != 0 || state->signals < 0 || state->end < 0) {
        return Error(ErrorCode::internal,
                     fmt::format("watch for signals: {}", std::strerror(errno)));
    }
    state->thread = std::thread([watched = state.get()] { watched->watch(); });
    return std::unique_ptr<SignalWatch>(new SignalWatch(std::move(state)));
}

}  // namespace walbrook
