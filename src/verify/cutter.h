#pragma once

#include "walbrook/lsn.h"
#include "walbrook/result.h"

#include <chrono>

namespace walbrook::verify {

// The pipeline whose destination is compared, in this process or in another one: what Pipeline
// says of these three.
class Cutter {
 public:
    virtual ~Cutter() = default;
    virtual Status hold_for_cut(std::chrono::milliseconds at_most) = 0;
    virtual Result<Lsn> cut(Lsn at, std::chrono::milliseconds at_most) = 0;
    virtual Status keep_readable(Lsn position, std::chrono::milliseconds how_long) = 0;
};

}  // namespace walbrook::verify
