#pragma once

#include <deque>
#include <functional>
#include <mutex>

#include "pipeline/apply_core.h"

namespace walbrook {

// Inputs for the core from other threads. The stream thread waits for its socket and
// for this at once: fd() is readable while something is inside.
class Inbox {
 public:
    Inbox();
    ~Inbox();
    Inbox(const Inbox&) = delete;
    Inbox& operator=(const Inbox&) = delete;

    void put(CoreInput input);
    // Only wakes the reader.
    void wake();
    std::deque<CoreInput> take_all();
    int fd() const { return fd_; }

 private:
    int fd_ = -1;
    std::mutex mutex_;  // Guards inputs_.
    std::deque<CoreInput> inputs_;
};

}  // namespace walbrook
