#pragma once

#include "base/clock.h"

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace walbrook {

// Since when the copies hold their snapshots: while one lives, vacuum removes no row of its
// database that died after it. Thread-safe.
class SnapshotAges {
 public:
    // One snapshot, from before it is taken until it is given back.
    class Held {
     public:
        Held(Held&& other) noexcept : ages_(std::exchange(other.ages_, nullptr)), id_(other.id_) {}
        Held& operator=(Held&&) = delete;
        ~Held() {
            if (ages_ != nullptr) ages_->end(id_);
        }

     private:
        friend class SnapshotAges;
        Held(SnapshotAges* ages, std::uint64_t id) : ages_(ages), id_(id) {}
        SnapshotAges* ages_;
        std::uint64_t id_;
    };

    Held begin(std::string table) {
        const std::lock_guard lock(mutex_);
        held_[++last_id_] = {std::move(table), now()};
        return Held(this, last_id_);
    }

    struct Old {
        std::uint64_t id;  // Another one for each snapshot.
        std::string table;
        std::chrono::seconds age;
    };
    // Those at least so old, the oldest first.
    std::vector<Old> older_than(std::chrono::seconds age) const {
        const std::lock_guard lock(mutex_);
        std::vector<Old> old;
        for (const auto& [id, one] : held_) {
            const auto is = std::chrono::duration_cast<std::chrono::seconds>(now() - one.since);
            if (is >= age) old.push_back({id, one.table, is});
        }
        return old;
    }

 private:
    struct One {
        std::string table;
        Instant since;
    };
    void end(std::uint64_t id) {
        const std::lock_guard lock(mutex_);
        held_.erase(id);
    }

    mutable std::mutex mutex_;  // Guards what follows.
    std::uint64_t last_id_ = 0;
    std::map<std::uint64_t, One> held_;  // In the order in which they began.
};

}  // namespace walbrook
