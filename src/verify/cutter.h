#pragma once

#include "walbrook/pipeline.h"

#include <chrono>
#include <set>

namespace walbrook::verify {

// The pipeline whose destination is compared, in this process or in another one: what Pipeline
// says of these.
class Cutter {
 public:
    virtual ~Cutter() = default;
    virtual Status hold_for_cut(std::chrono::milliseconds at_most) = 0;
    virtual Result<Lsn> cut(Lsn at, std::chrono::milliseconds at_most) = 0;
    virtual Result<RowRepairs> repair(Lsn at, const std::string& snapshot,
                                      const std::vector<RowRepair>& rows,
                                      std::chrono::milliseconds at_most) = 0;
    virtual Status resync(const std::vector<std::string>& tables) = 0;
    // Those that are being copied, or wait for it.
    virtual Result<std::set<TableId>> tables_in_copy() = 0;
    virtual Status keep_readable(Lsn position, std::chrono::milliseconds how_long) = 0;
};

}  // namespace walbrook::verify
