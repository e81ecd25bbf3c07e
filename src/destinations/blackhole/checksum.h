#pragma once

#include "walbrook/batch.h"

#include <cstdint>
#include <vector>

namespace walbrook {

// Folds values into one number that does not depend on their order: the sum of the
// hashes of all values, each mixed with its table, its column and how it came. Equal
// sums mean that the same values came in the same roles.
class ChangeChecksum {
 public:
    void add_copied(const RowBatch& rows);
    void add_changes(const ChangeBatch& batch);
    void add(const ChangeChecksum& other) {
        sum_ += other.sum_;
        values_ += other.values_;
    }

    std::uint64_t sum() const { return sum_; }
    std::uint64_t values() const { return values_; }

 private:
    // What a row was; part of each of its values' hashes.
    enum class Role : std::uint8_t { copied, inserted, updated, replaced, removed };

    void add_value(const Column& column, std::size_t row, std::uint64_t salt);

    std::uint64_t sum_ = 0;
    std::uint64_t values_ = 0;
    std::vector<Role> new_roles_;  // Of the batch at hand, by row.
    std::vector<Role> old_roles_;
};

}  // namespace walbrook
