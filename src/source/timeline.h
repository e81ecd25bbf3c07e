#pragma once

#include "postgres/slots.h"

#include <vector>

namespace walbrook {

// Whether a server's log continues the one that was followed on timeline `known` up to
// `position`: nothing before `position` may lie behind the point where the server's timeline
// branched off (a promoted standby begins a new one, a restore from a backup too). Returns up to
// which position both logs are the same: kLsnMax if it is the same timeline. On a replication
// connection.
//
// Errors: ErrorCode::corrupt_state when it does not.
//
// Source: PostgreSQL manual, "Timelines" (continuous archiving) and TIMELINE_HISTORY
// (streaming replication protocol).
Result<Lsn> check_timeline(Connection& connection, const Deadline& deadline, std::uint32_t known,
                           const SystemIdentity& server, Lsn position);
// The same, where the history of the server's timeline, `present`, has been read.
Result<Lsn> check_history(const std::vector<TimelineSwitch>& history, std::uint32_t known,
                          std::uint32_t present, Lsn position);

}  // namespace walbrook
