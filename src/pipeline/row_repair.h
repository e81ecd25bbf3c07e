#pragma once

#include "walbrook/batch.h"
#include "walbrook/config.h"
#include "walbrook/pipeline.h"

#include <chrono>
#include <stop_token>
#include <utility>
#include <vector>

namespace walbrook {

// What the source has under some keys, as of one snapshot.
struct ReadRepairs {
    std::vector<Replace> repairs;
    std::vector<std::pair<TableId, std::string>> refused;  // And why.
};

// Reads them in the snapshot of this name, in short transactions whose locks are not waited for.
// A table whose keys cannot be told for sure, or whose rows are too large for memory, is refused,
// and so is what is not read in the time. An error when nothing can be read: a connection, or the
// snapshot, is gone.
Result<ReadRepairs> read_repairs(const PipelineConfig& config, const std::string& snapshot,
                                 const std::vector<RowRepair>& repairs,
                                 std::chrono::milliseconds at_most, const std::stop_token& stop);

}  // namespace walbrook
