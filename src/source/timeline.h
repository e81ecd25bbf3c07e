#pragma once

#include "postgres/slots.h"

namespace walbrook {

// Whether a server's log continues the one that was followed on timeline `known` up to
// `position`: nothing before `position` may lie behind the point where the server's timeline
// branched off (a promoted standby begins a new one, a restore from a backup too). On a
// replication connection.
//
// Errors: ErrorCode::corrupt_state when it does not.
//
// Source: PostgreSQL manual, "Timelines" (continuous archiving) and TIMELINE_HISTORY
// (streaming replication protocol).
Status check_timeline(Connection& connection, const Deadline& deadline, std::uint32_t known,
                      const SystemIdentity& server, Lsn position);

}  // namespace walbrook
