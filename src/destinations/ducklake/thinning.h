#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace walbrook::ducklake {

struct Snapshot {
    std::int64_t id = 0;
    std::int64_t time_us = 0;  // Since 1970-01-01 UTC.
    bool is_ours = false;      // It has a position.
};

// Which snapshots are kept: all of the last hour, then one a minute for a day, one an
// hour for 30 days. Every transaction and every query of a lake reads the list of
// snapshots (measured: 0.8 CPU-ms for each thousand), so there is also a limit: beyond
// it "all of the last hour" becomes shorter. A reader's transaction that goes on with a
// snapshot that is gone would miss rows, so the last ten minutes shrink only beyond a second,
// larger limit.
struct ThinningPolicy {
    std::int64_t keep_all_us = 3'600'000'000LL;
    std::int64_t keep_minutely_us = 86'400'000'000LL;
    std::int64_t keep_hourly_us = 30 * 86'400'000'000LL;
    std::size_t snapshots_max = 5'000;
    std::int64_t keep_for_readers_us = 600'000'000LL;
    std::size_t snapshots_limit = 18'000;
};

// Ids to expire, oldest first. `snapshots` are in order of id. The newest one stays,
// and the newest that has a position.
std::vector<std::int64_t> choose_expired(const std::vector<Snapshot>& snapshots,
                                         std::int64_t now_us, const ThinningPolicy& policy);

}  // namespace walbrook::ducklake
