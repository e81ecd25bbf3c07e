#pragma once

#include "support/temp_dir.h"

#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace walbrook::testing {

// A clock of the wall that a test sets, for the programs that it starts with environment().
// Time that only goes forward is left alone.
class MovedClock {
 public:
    MovedClock() { set({}); }

    std::vector<std::pair<std::string, std::string>> environment() const;
    // So much later than it really is, for running programs too.
    void set(std::chrono::seconds later);

 private:
    TempDir folder_{"clock"};
};

}  // namespace walbrook::testing
