#pragma once

#include "sim/source.h"
#include "walbrook/destination.h"

#include <array>
#include <optional>
#include <stdexcept>
#include <string>

namespace walbrook::sim {

// What the auditor says when something is wrong.
class Violation : public std::runtime_error {
 public:
    using std::runtime_error::runtime_error;
};

// Mistakes that the harness makes on purpose: each must be found.
enum class Bug {
    none,
    skips_writer_wait,      // Takes the snapshot while transactions from before the hold run.
    ignores_in_progress,    // Takes everything below xmax for visible.
    publishes_too_early,    // Does not wait until the stream has passed the snapshot.
    confirms_too_early,     // Tells the server what was received instead of what is durable.
    repeats_unknown_flush,  // Applies a flush again after a lost answer.
    forgets_position,       // Starts again from what the server confirmed alone.
    asks_one_snapshot,      // Takes the first snapshot of a copy in ranges for that of all.
    ranges_of_places,       // Makes ranges of where rows are instead of the key.
    cuts_too_late,          // Names a later position than that of the snapshot.
};

// What the destination holds, as told by the flushes that landed.
struct LakeTable {
    std::optional<TablePhase> phase;
    Lsn frozen_at;            // Unless ready: how far the visible rows go.
    bool is_visible = false;  // It was published once.
};
struct LakeView {
    Lsn position;
    std::array<LakeTable, kTables> tables;
};

}  // namespace walbrook::sim
