#pragma once

#include "base/check.h"

#include <cstdint>
#include <vector>

namespace walbrook::internal {

inline constexpr std::int32_t kNone = -1;

// What the run has shown about the row that stood under a key before it.
enum class Origin : std::uint8_t {
    unknown,  // It may be there: the next change that names the key takes it.
    taken,    // One of the run's rows is this row.
    absent,   // The run inserted the key while no other row could have it.
};

// What is known about one key (keyless tables: about one content of a whole row).
struct Key {
    std::uint64_t hash = 0;
    std::int32_t at = kNone;     // Where it can be read; see NetChangeBuilder::State::at().
    std::int32_t first = kNone;  // The rows that stand under it now, oldest first.
    std::int64_t balance = 0;    // Keyless: rows added less rows removed,
    std::int64_t lowest = 0;     // and the least that this has been.
    Origin origin = Origin::unknown;
};

// Finds keys by hash: open addressing over the numbers of `keys`, no allocation per
// key. Keys are never removed before clear().
class KeyTable {
 public:
    std::vector<Key>& keys() { return keys_; }
    const std::vector<Key>& keys() const { return keys_; }
    std::size_t bytes() const {
        return slots_.capacity() * sizeof(std::int32_t) + keys_.capacity() * sizeof(Key);
    }
    void clear() {
        // Nor does one huge run make every later clear() slow.
        if (slots_.size() > 64 + keys_.size() * 16) slots_.clear();
        slots_.assign(slots_.size(), kNone);
        keys_.clear();
    }

    // The number of the key with this hash for which `is_it(key)` holds, or kNone.
    template <class IsIt>
    std::int32_t find(std::uint64_t hash, IsIt is_it) const {
        if (slots_.empty()) return kNone;
        for (std::size_t slot = start(hash);; slot = (slot + 1) & (slots_.size() - 1)) {
            const std::int32_t number = slots_[slot];
            if (number == kNone) return kNone;
            const Key& key = keys_[static_cast<std::size_t>(number)];
            if (key.hash == hash && is_it(key)) return number;
        }
    }
    // Adds a key that is not there yet.
    std::int32_t add(std::uint64_t hash, std::int32_t at) {
        if ((keys_.size() + 1) * 2 > slots_.size()) grow();
        const auto number = static_cast<std::int32_t>(keys_.size());
        keys_.push_back({.hash = hash, .at = at});
        put(hash, number);
        return number;
    }

 private:
    std::size_t start(std::uint64_t hash) const {
        // Column::hash mixes all bits into the low ones.
        return static_cast<std::size_t>(hash) & (slots_.size() - 1);
    }
    void put(std::uint64_t hash, std::int32_t number) {
        std::size_t slot = start(hash);
        while (slots_[slot] != kNone) slot = (slot + 1) & (slots_.size() - 1);
        slots_[slot] = number;
    }
    void grow() {
        slots_.assign(slots_.empty() ? 64 : slots_.size() * 2, kNone);
        for (std::size_t i = 0; i < keys_.size(); ++i) {
            put(keys_[i].hash, static_cast<std::int32_t>(i));
        }
    }

    std::vector<std::int32_t> slots_;  // A power of two, at most half full.
    std::vector<Key> keys_;
};

}  // namespace walbrook::internal
