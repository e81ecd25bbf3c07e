#include "pipeline/inbox.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include "base/check.h"

namespace walbrook {

Inbox::Inbox() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) { WALBROOK_CHECK(fd_ >= 0); }

Inbox::~Inbox() { close(fd_); }

void Inbox::put(CoreInput input) {
    {
        const std::lock_guard lock(mutex_);
        inputs_.push_back(std::move(input));
    }
    wake();
}

void Inbox::wake() {
    const std::uint64_t one = 1;
    // Fails only when the counter is full: then the reader is awake anyway.
    (void)!write(fd_, &one, sizeof one);
}

std::deque<CoreInput> Inbox::take_all() {
    std::uint64_t count = 0;
    (void)!read(fd_, &count, sizeof count);
    const std::lock_guard lock(mutex_);
    return std::exchange(inputs_, {});
}

}  // namespace walbrook
