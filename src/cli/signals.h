#pragma once

#include "walbrook/result.h"

#include <functional>
#include <memory>

namespace walbrook {

// Waits for SIGINT and SIGTERM in a thread of its own, where any function may be
// called, and counts: `on_signal(signal, count)`, count from 1.
//
// To be made before any other thread: the signals are blocked in the calling thread,
// and every later one inherits that.
class SignalWatch {
 public:
    using Handler = std::function<void(int signal, int count)>;
    static Result<std::unique_ptr<SignalWatch>> create(Handler on_signal);
    // Ends the thread; the signals stay blocked.
    ~SignalWatch();
    SignalWatch(const SignalWatch&) = delete;
    SignalWatch& operator=(const SignalWatch&) = delete;

 private:
    struct State;
    explicit SignalWatch(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace walbrook
