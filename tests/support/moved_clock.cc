#include "support/moved_clock.h"

#include <cstdlib>
#include <filesystem>

namespace walbrook::testing {

std::vector<std::pair<std::string, std::string>> MovedClock::environment() const {
    const char* asan = std::getenv("ASAN_OPTIONS");
    return {{"LD_PRELOAD", MOVED_CLOCK},
            {"WALBROOK_TEST_CLOCK_FILE", folder_.file("seconds")},
            // What is preloaded comes before the sanitizer, which would refuse to start.
            {"ASAN_OPTIONS",
             (asan == nullptr ? "" : std::string(asan) + ":") + "verify_asan_link_order=0"}};
}

void MovedClock::set(std::chrono::seconds later) {
    // In one step: it is read all the time.
    write_file(folder_.file("seconds.new"), std::to_string(later.count()));
    std::filesystem::rename(folder_.file("seconds.new"), folder_.file("seconds"));
}

}  // namespace walbrook::testing
