#include "source/timeline.h"

#include <fmt/format.h>

#include <algorithm>

namespace walbrook {

bool is_same(const Timeline& one, const Timeline& other) {
    return one.number == other.number && (!one.begin || !other.begin || one.begin == other.begin);
}

Result<Lsn> check_timeline(Connection& connection, const Deadline& deadline, const Timeline& known,
                           const Timeline& present, Lsn position) {
    if (known.number == 0 || is_same(known, present)) return kLsnMax;
    WALBROOK_TRY(const std::vector<TimelineSwitch> history,
                 read_timeline_history(connection, deadline, present.number));
    return check_history(history, known, present, position);
}

Result<Lsn> check_history(const std::vector<TimelineSwitch>& history, const Timeline& known,
                          const Timeline& present, Lsn position) {
    if (known.number == 0 || is_same(known, present)) return kLsnMax;
    const auto left = std::find_if(history.begin(), history.end(), [&](const TimelineSwitch& each) {
        return each.timeline == known.number;
    });
    // The one of that number there may be another one, too: it began where the one before it ended.
    const bool is_ours =
        left != history.end() &&
        is_same(known,
                {known.number, left == history.begin() ? Lsn{} : std::prev(left)->switch_point});
    if (is_ours && position <= left->switch_point) return left->switch_point;
    std::string how =
        fmt::format("its timeline {} does not come from timeline {}", present.number, known.number);
    if (is_ours) {
        how = fmt::format("its timeline {} left timeline {} at {}", present.number, known.number,
                          to_string(left->switch_point));
    } else if (left != history.end() || known.number == present.number) {
        how = fmt::format("its timeline {} began elsewhere than the one that was followed, at {}",
                          known.number, to_string(known.begin));
    }
    return Error(ErrorCode::corrupt_state,
                 fmt::format("the server does not continue the log that was followed up to {}: {}, "
                             "so transactions are in the destination that it never had. Another "
                             "server was promoted too early, or an older backup was restored: go "
                             "on with the right server, or copy all tables again with another "
                             "pipeline.id into an empty destination",
                             to_string(position), how));
}

}  // namespace walbrook
