#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>

namespace walbrook::testing {

// The end of a process that was forked to be killed: no destructor runs, nothing is flushed.
class ForkedLife {
 public:
    // `killer`: who kills from outside is at the other end of it; -1 if nobody does.
    ForkedLife(int report, int killer) : report_(report), killer_(killer) {}
    // Leaves this number behind and dies by SIGKILL. From any thread.
    [[noreturn]] void end(std::uint64_t last_word);
    // From here on whoever kills from outside counts the time. Only the first call says so, and it
    // returns when that was heard.
    void start_the_clock();

 private:
    const int report_;
    const int killer_;
    bool is_clock_running_ = false;
};

// Runs `live`, which calls end(), in a fork of this process, and returns its number: 0 if it did
// not come to that. What its expectations find there are failures of the test that runs here, and
// so is every other way to end. The fork has only the thread that calls this; what others have
// begun is not going on there.
std::uint64_t run_forked(const std::function<void(ForkedLife& life)>& live);

// The same, killed from outside: so long after it started the clock, wherever it is then, unless
// it comes to end() before. Returns how long after the clock that was; nothing if the kill came
// first.
using KillTime = std::optional<std::chrono::nanoseconds>;  // Nothing: at end().
KillTime run_forked_until(KillTime kill_after, const std::function<void(ForkedLife& life)>& live);

}  // namespace walbrook::testing
