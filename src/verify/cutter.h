#pragma once

#include "walbrook/pipeline.h"

#include <chrono>
#include <cstdint>
#include <map>

namespace walbrook::verify {

struct TableCopies {
    std::uint32_t begun = 0;    // How many have begun.
    bool is_under_way = false;  // Or waited for.
};

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
    virtual Result<std::map<TableId, TableCopies>> copies() = 0;
    virtual Status keep_readable(Lsn position, std::chrono::milliseconds how_long) = 0;
};

}  // namespace walbrook::verify
