#pragma once

#include "batch/key_point.h"
#include "postgres/snapshot.h"
#include "walbrook/batch.h"

#include <cstdint>
#include <optional>
#include <vector>

namespace walbrook {

// What a copy shows: one snapshot for the whole table, or one for each range of its key, taken one
// after the other. A change is in the copy if and only if its transaction is shown by the
// snapshot of the range that its key is in (docs/design/snapshot-age.md).
class CopySnapshots {
 public:
    CopySnapshots() : CopySnapshots(ShownTransactions()) {}
    CopySnapshots(ShownTransactions whole) : ranges_{{std::nullopt, std::move(whole)}} {}
    CopySnapshots(SnapshotXids whole) : CopySnapshots(ShownTransactions(std::move(whole))) {}
    // In ranges of the column with this number; add() them from the lowest on.
    static CopySnapshots in_ranges_of(std::int16_t attnum) {
        CopySnapshots snapshots;
        snapshots.attnum_ = attnum;
        snapshots.ranges_.clear();
        return snapshots;
    }
    // Ends at this key, which is in it; nothing: the last one, which is open. ErrorCode::aborted
    // when the snapshot lacks something that the one before shows, or came too long after the
    // first.
    Status add(std::optional<KeyPoint> up_to, const SnapshotXids& shown);
    // The last range is there.
    bool is_complete() const { return !ranges_.empty() && !ranges_.back().up_to; }
    bool are_in_ranges() const { return attnum_ != 0; }
    std::int16_t attnum() const { return attnum_; }
    std::size_t ranges() const { return ranges_.size(); }

    // Later snapshots show what earlier ones show. When is_complete():
    bool all_show(const Transaction& transaction) const {
        return ranges_.front().shown.contains(transaction.xid, transaction.commit_lsn);
    }
    bool any_shows(const Transaction& transaction) const {
        return ranges_.back().shown.contains(transaction.xid, transaction.commit_lsn);
    }
    bool is_torn(const Transaction& transaction) const {
        return any_shows(transaction) && !all_show(transaction);
    }
    bool shows(const Transaction& transaction, const KeyPoint& key) const;
    // The same for a row; nothing where its key is not known.
    std::optional<bool> shows(const Transaction& transaction, const RowBatch& rows,
                              std::size_t row) const;

 private:
    struct Range {
        std::optional<KeyPoint> up_to;
        ShownTransactions shown;
    };
    std::int16_t attnum_ = 0;       // 0: one snapshot.
    std::uint64_t first_xmax_ = 0;  // Of the first range.
    SnapshotXids newest_;           // Of the last range.
    std::vector<Range> ranges_;     // By key.
};

// Of the column with this number in a row; nothing for null, or where there is no such column.
std::optional<KeyPoint> key_point_of(const RowBatch& rows, std::size_t row, std::int16_t attnum);

}  // namespace walbrook
