#include "source/timeline.h"

#include <fmt/format.h>

#include <algorithm>

namespace walbrook {

Result<Lsn> check_timeline(Connection& connection, const Deadline& deadline, std::uint32_t known,
                           const SystemIdentity& server, Lsn position) {
    if (known == 0 || known == server.timeline) return kLsnMax;
    WALBROOK_TRY(const std::vector<TimelineSwitch> history,
                 read_timeline_history(connection, deadline, server.timeline));
    return check_history(history, known, server.timeline, position);
}

Result<Lsn> check_history(const std::vector<TimelineSwitch>& history, std::uint32_t known,
                          std::uint32_t present, Lsn position) {
    if (known == 0 || known == present) return kLsnMax;
    const auto left = std::find_if(history.begin(), history.end(), [&](const TimelineSwitch& each) {
        return each.timeline == known;
    });
    if (left != history.end() && position <= left->switch_point) return left->switch_point;
    const std::string how =
        left == history.end()
            ? fmt::format("its timeline {} does not come from timeline {}", present, known)
            : fmt::format("its timeline {} left timeline {} at {}", present, known,
                          to_string(left->switch_point));
    return Error(ErrorCode::corrupt_state,
                 fmt::format("the server does not continue the log that was followed up to {}: {}, "
                             "so transactions are in the destination that it never had. Another "
                             "server was promoted too early, or an older backup was restored: go "
                             "on with the right server, or copy all tables again with another "
                             "pipeline.id into an empty destination",
                             to_string(position), how));
}

}  // namespace walbrook
