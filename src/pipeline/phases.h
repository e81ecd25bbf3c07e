#pragma once

#include <optional>
#include <string_view>

#include "walbrook/batch.h"

namespace walbrook {

// What can happen to a table.
enum class PhaseEvent {
    copy_started,    // Its phase is stored; its changes are about to be held.
    copy_finished,   // All its rows are in the shadow table.
    published,       // The flush with its Publish is durable.
    copy_again,      // The copy was lost or its ground moved; another snapshot is needed.
    failed,          // An error of this table that does not heal by itself.
    resync,          // The operator, or the automatic retry, wants a new copy.
};
std::string_view name_of(PhaseEvent event);

// The phase that follows, or nothing where the event cannot happen in that phase.
// This is the one place that knows the order of phases.
std::optional<TablePhase> next_phase(TablePhase phase, PhaseEvent event);

}  // namespace walbrook
