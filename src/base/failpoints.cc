#include "base/failpoints.h"

#ifdef WALBROOK_FAILPOINTS

#include "base/check.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <cstdlib>
#include <signal.h>
#include <string>
#include <unistd.h>

namespace walbrook {
namespace {

enum class Action { none, kill, error, wait };

struct Place {
    Action action = Action::none;
    unsigned only = 0;  // 0: every time.
    std::string file;   // That is waited for.
    std::atomic<unsigned> hits{0};
};

std::size_t index_of(std::string_view name) {
    const auto found = std::find(kFailpoints.begin(), kFailpoints.end(), name);
    WALBROOK_CHECK(found != kFailpoints.end());
    return static_cast<std::size_t>(found - kFailpoints.begin());
}

// Written once, before main's threads exist to ask; counters are atomic.
struct Places {
    std::array<Place, kFailpoints.size()> all;

    Places() {
        const char* text = std::getenv("WALBROOK_FAILPOINTS");
        std::string_view rest = text == nullptr ? "" : text;
        while (!rest.empty()) {
            const std::size_t end = std::min(rest.find(';'), rest.size());
            parse(rest.substr(0, end));
            rest.remove_prefix(std::min(end + 1, rest.size()));
        }
    }
    void parse(std::string_view item) {
        const std::size_t equals = item.find('=');
        WALBROOK_CHECK(equals != std::string_view::npos);
        Place& place = all[index_of(item.substr(0, equals))];
        std::string_view action = item.substr(equals + 1);
        if (const std::size_t at = action.find('@'); at != std::string_view::npos) {
            const std::string_view digits = action.substr(at + 1);
            std::from_chars(digits.data(), digits.data() + digits.size(), place.only);
            action = action.substr(0, at);
        }
        if (constexpr std::string_view kWait = "wait:"; action.starts_with(kWait)) {
            place.action = Action::wait;
            place.file = action.substr(kWait.size());
            return;
        }
        WALBROOK_CHECK(action == "kill" || action == "error");
        place.action = action == "kill" ? Action::kill : Action::error;
    }
};

}  // namespace

Status failpoint(std::string_view name) {
    static Places places;
    Place& place = places.all[index_of(name)];
    if (place.action == Action::none) return {};
    const unsigned hit = place.hits.fetch_add(1) + 1;
    if (place.only != 0 && place.only != hit) return {};
    if (place.action == Action::wait) {
        while (access(place.file.c_str(), F_OK) != 0) usleep(1000);
        return {};
    }
    if (place.action == Action::kill) {
        kill(getpid(), SIGKILL);
        pause();
    }
    return Error(ErrorCode::unavailable, "failpoint " + std::string(name) + " was asked to fail");
}

}  // namespace walbrook

#endif
