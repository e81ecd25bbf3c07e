// Preloaded into a program that a test starts (LD_PRELOAD): the clock of the wall says what a
// file says to add to it. Time that only goes forward (CLOCK_MONOTONIC) is left alone, as it is
// when a person or NTP sets a machine's clock.
//
//   WALBROOK_TEST_CLOCK_FILE   a file with the seconds to add, read each time

#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

namespace {

time_t seconds_to_add() {
    const char* path = std::getenv("WALBROOK_TEST_CLOCK_FILE");
    char text[32];
    const int fd = path == nullptr ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    const ssize_t size = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0) close(fd);
    if (size <= 0) return 0;
    text[size] = '\0';
    return std::atol(text);
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

int clock_gettime(clockid_t clock, struct timespec* out) noexcept {
    const auto result = static_cast<int>(syscall(SYS_clock_gettime, clock, out));
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        out->tv_sec += seconds_to_add();
    }
    return result;
}

int gettimeofday(struct timeval* out, void*) noexcept {
    struct timespec at{};
    if (clock_gettime(CLOCK_REALTIME, &at) != 0) return -1;
    out->tv_sec = at.tv_sec;
    out->tv_usec = at.tv_nsec / 1000;
    return 0;
}

time_t time(time_t* out) noexcept {
    struct timespec at{};
    clock_gettime(CLOCK_REALTIME, &at);
    if (out != nullptr) *out = at.tv_sec;
    return at.tv_sec;
}
}
#pragma GCC visibility pop
