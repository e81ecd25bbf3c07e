#pragma once

#include "postgres/slots.h"
#include "walbrook/config.h"
#include "walbrook/lsn.h"

#include <optional>
#include <string>

namespace walbrook {

// ErrorCode::missing_slot with the remedy: what was between is lost to the stream.
Error slot_lost(const PipelineConfig& config, const std::string& why);

// Why the pipeline's slot cannot go on from where we are; empty: it can. It must be there, not
// invalidated, and confirmed no further than `confirm_bound`, beyond which we never confirmed
// anything. Else somebody else moved it or made it anew, and the server would leave out in silence
// what lies between.
std::string why_lost(const std::optional<Slot>& slot, Lsn confirm_bound);

// Asks on a session of its own; ErrorCode::missing_slot if it is lost. Asked after
// START_REPLICATION has taken the slot, nobody can change the answer any more.
Status check_slot(const PipelineConfig& config, Lsn confirm_bound, const Deadline& deadline);

}  // namespace walbrook
