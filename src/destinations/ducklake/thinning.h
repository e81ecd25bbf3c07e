#pragma once

#include "base/clock.h"
#include "walbrook/lsn.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

namespace walbrook::ducklake {

struct Snapshot {
    std::int64_t id = 0;
    std::int64_t time_us = 0;       // Since 1970-01-01 UTC.
    std::optional<Lsn> position{};  // Of those that a pipeline wrote.
};

// Which snapshots are kept: all of the last ten minutes, then one a minute for an hour, one an
// hour for a day, one a day for 30 days. Every transaction and every query of a lake reads the
// list of all snapshots and the list of all files that any of them needs, so few are kept
// (docs/design/ducklake.md, "Upkeep"), and there is a limit: beyond it "all of the last ten
// minutes" becomes shorter.
struct ThinningPolicy {
    static constexpr std::int64_t kMinute = 60'000'000;
    static constexpr std::int64_t kHour = 60 * kMinute;
    static constexpr std::int64_t kDay = 24 * kHour;

    std::int64_t keep_all_us = 10 * kMinute;
    std::int64_t keep_minutely_us = kHour;
    std::int64_t keep_hourly_us = kDay;
    std::int64_t keep_daily_us = 30 * kDay;
    std::size_t snapshots_max = 1'500;
};

// Ids to expire, oldest first. `snapshots` are in order of id. The newest one stays,
// and the newest that has a position, and for each position in `wanted` those that show it.
std::vector<std::int64_t> choose_expired(const std::vector<Snapshot>& snapshots,
                                         std::int64_t now_us, const ThinningPolicy& policy,
                                         const std::vector<Lsn>& wanted = {});

// What the lake had at a position: in the snapshots whose own position is the newest that is not
// beyond it, and in those that others than a pipeline made of them. All of them, since each was the
// last one once, and somebody may have begun to read it then. Indexes; nothing: there is none.
struct ShownAt {
    std::size_t first = 0;
    std::size_t last = 0;
};
std::optional<ShownAt> find_snapshot(const std::vector<Snapshot>& snapshots, Lsn position);

// Positions that somebody reads, each for as long as it was said last.
class WantedPositions {
 public:
    void keep(Lsn position, Instant present, Instant until);
    std::vector<Lsn> at(Instant present) const;
    // For how long those have been read that are; 0: none is.
    std::chrono::seconds age(Instant present) const;

 private:
    struct Want {
        Instant since;
        Instant until;
    };
    std::map<Lsn, Want> wants_;
};

}  // namespace walbrook::ducklake
