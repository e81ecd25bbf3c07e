#pragma once

#include "postgres/slots.h"
#include "walbrook/store.h"

#include <vector>

namespace walbrook {

// Of a server's log. Where a standby is promoted that does not know of another promotion, both
// timelines have the same number, and other beginnings.
struct Timeline {
    std::uint32_t number = 0;
    Lsn begin;  // Where it left the one before it; 0: not known, or it is the first.
};
bool is_same(const Timeline& one, const Timeline& other);
inline Timeline timeline_of(const Lineage& lineage) {
    return {lineage.timeline, lineage.timeline_begin};
}

// Whether a server's log, whose timeline is `present`, continues the one that was followed on
// timeline `known` up to `position`: nothing before `position` may lie behind the point where the
// server's timeline branched off (a promoted standby begins a new one, a restore from a backup
// too). Returns up to which position both logs are the same: kLsnMax if it is the same timeline.
// On a replication connection.
//
// Errors: ErrorCode::corrupt_state when it does not.
//
// Source: PostgreSQL manual, "Timelines" (continuous archiving) and TIMELINE_HISTORY
// (streaming replication protocol).
Result<Lsn> check_timeline(Connection& connection, const Deadline& deadline, const Timeline& known,
                           const Timeline& present, Lsn position);
// The same, where the history of the server's timeline has been read.
Result<Lsn> check_history(const std::vector<TimelineSwitch>& history, const Timeline& known,
                          const Timeline& present, Lsn position);

}  // namespace walbrook
