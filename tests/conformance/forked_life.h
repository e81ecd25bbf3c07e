#pragma once

#include <cstdint>
#include <functional>

namespace walbrook::testing {

// The end of a process that was forked to be killed: no destructor runs, nothing is flushed.
class ForkedLife {
 public:
    explicit ForkedLife(int report) : report_(report) {}
    // Leaves this number behind and dies by SIGKILL. From any thread.
    [[noreturn]] void end(std::uint64_t last_word);

 private:
    const int report_;
};

// Runs `live`, which calls end(), in a fork of this process, and returns its number: 0 if it did
// not come to that. What its expectations find there are failures of the test that runs here, and
// so is every other way to end. The fork has only the thread that calls this; what others have
// begun is not going on there.
std::uint64_t run_forked(const std::function<void(ForkedLife& life)>& live);

}  // namespace walbrook::testing
