#include "postgres/wait.h"

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace walbrook {

void StopEvent::Signal::operator()() const {
    const std::uint64_t one = 1;
    // Fails only when the counter is full, and then the descriptor is readable anyway.
    [[maybe_unused]] const auto written = write(fd, &one, sizeof one);
}

StopEvent::StopEvent(const std::stop_token& stop) : token_(stop) {
    if (!token_.stop_possible()) return;
    fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd_ >= 0) callback_.emplace(token_, Signal{fd_});
}

StopEvent::~StopEvent() {
    callback_.reset();  // Waits for a callback that is running: it still needs the descriptor.
    if (fd_ >= 0) close(fd_);
}

Wait wait_for(int fd, short events, Instant until, const StopEvent& stop) {
    using std::chrono::milliseconds;
    constexpr milliseconds slice_max(3'600'000);  // Keeps the count within poll's int.
    constexpr milliseconds slice_without_event(100);
    const bool blind = stop.fd() < 0;
    for (;;) {
        if (stop.requested()) return Wait::stopped;
        const auto left = std::chrono::ceil<milliseconds>(until - now());
        const auto slice =
            std::clamp(left, milliseconds(0), blind ? slice_without_event : slice_max);
        pollfd fds[2] = {{fd, events, 0}, {stop.fd(), POLLIN, 0}};
        const int count = poll(fds, 2, static_cast<int>(slice.count()));
        if (count > 0 && fds[1].revents == 0) return Wait::ready;
        if (count < 0 && errno != EINTR && errno != EAGAIN) return Wait::ready;
        if (count <= 0 && now() >= until) return Wait::timed_out;
    }
}

}  // namespace walbrook
