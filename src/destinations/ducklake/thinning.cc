#include "destinations/ducklake/thinning.h"

#include <algorithm>
#include <array>
#include <limits>

namespace walbrook::ducklake {

namespace {

enum class Reason : std::uint8_t { none, recent, lasting };

// From the newest to the oldest: the first one seen of a minute, an hour or a day stands for it.
std::vector<Reason> reasons_to_keep(const std::vector<Snapshot>& snapshots, std::int64_t now_us,
                                    const ThinningPolicy& policy) {
    struct Rung {
        std::int64_t age_max;
        std::int64_t length;
        std::int64_t last = std::numeric_limits<std::int64_t>::max();
    };
    auto rungs = std::to_array<Rung>({{policy.keep_minutely_us, ThinningPolicy::kMinute},
                                      {policy.keep_hourly_us, ThinningPolicy::kHour},
                                      {policy.keep_daily_us, ThinningPolicy::kDay}});
    std::vector<Reason> reasons(snapshots.size(), Reason::none);
    bool has_position = false;
    for (std::size_t i = snapshots.size(); i-- > 0;) {
        const Snapshot& snapshot = snapshots[i];
        const std::int64_t age = now_us - snapshot.time_us;
        if (age <= policy.keep_all_us) reasons[i] = Reason::recent;
        for (Rung& rung : rungs) {
            // Clocks may go back; then a minute is met again and just has one more.
            const std::int64_t number = snapshot.time_us / rung.length;
            if (age > rung.age_max || number == rung.last) continue;
            rung.last = number;
            reasons[i] = Reason::lasting;
        }
        if (i + 1 == snapshots.size() || (snapshot.position && !has_position)) {
            reasons[i] = Reason::lasting;
        }
        has_position = has_position || snapshot.position;
    }
    return reasons;
}

std::size_t first_with_position_of(const std::vector<Snapshot>& snapshots, std::size_t one) {
    std::size_t first = one;
    for (std::size_t i = one; i-- > 0;) {
        if (!snapshots[i].position) continue;
        if (*snapshots[i].position != *snapshots[one].position) break;
        first = i;
    }
    return first;
}

}  // namespace

std::vector<std::int64_t> choose_expired(const std::vector<Snapshot>& snapshots,
                                         std::int64_t now_us, const ThinningPolicy& policy,
                                         const std::vector<Lsn>& wanted) {
    std::vector<Reason> reasons = reasons_to_keep(snapshots, now_us, policy);
    for (const Lsn position : wanted) {
        if (const auto found = find_snapshot(snapshots, position)) {
            for (std::size_t i = found->first; i <= found->last; ++i) {
                reasons[i] = Reason::lasting;
            }
        }
    }
    std::size_t kept = static_cast<std::size_t>(
        std::count_if(reasons.begin(), reasons.end(), [](Reason r) { return r != Reason::none; }));
    // Over the limit the oldest go that stand for no minute.
    for (std::size_t i = 0; i < reasons.size() && kept > policy.snapshots_max; ++i) {
        if (reasons[i] != Reason::recent) continue;
        reasons[i] = Reason::none;
        --kept;
    }
    std::vector<std::int64_t> expired;
    for (std::size_t i = 0; i < reasons.size(); ++i) {
        if (reasons[i] == Reason::none) expired.push_back(snapshots[i].id);
    }
    return expired;
}

std::optional<ShownAt> find_snapshot(const std::vector<Snapshot>& snapshots, Lsn position) {
    std::size_t end = snapshots.size();
    for (std::size_t i = snapshots.size(); i-- > 0;) {
        if (!snapshots[i].position) continue;
        if (*snapshots[i].position <= position) {
            return ShownAt{first_with_position_of(snapshots, i), end - 1};
        }
        end = i;
    }
    return std::nullopt;
}

void WantedPositions::keep(Lsn position, Instant present, Instant until) {
    std::erase_if(wants_, [&](const auto& each) { return each.second.until <= present; });
    wants_.try_emplace(position, Want{present, until}).first->second.until = until;
}

std::vector<Lsn> WantedPositions::at(Instant present) const {
    std::vector<Lsn> positions;
    for (const auto& [position, want] : wants_) {
        if (want.until > present) positions.push_back(position);
    }
    return positions;
}

std::chrono::seconds WantedPositions::age(Instant present) const {
    Instant first = present;
    for (const auto& [position, want] : wants_) {
        if (want.until > present) first = std::min(first, want.since);
    }
    return std::chrono::ceil<std::chrono::seconds>(present - first);
}

}  // namespace walbrook::ducklake
