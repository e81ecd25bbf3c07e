#include "pipeline/copy_snapshots.h"

#include "base/check.h"

#include <algorithm>

namespace walbrook {
namespace {

constexpr std::uint64_t kXidsMax = 1ULL << 30;

}  // namespace

Status CopySnapshots::add(std::optional<KeyPoint> up_to, const SnapshotXids& shown) {
    WALBROOK_CHECK(are_in_ranges() && !is_complete());
    if (!ranges_.empty()) {
        if (!shown.shows_all_of(newest_)) {
            return Error(ErrorCode::aborted,
                         "a snapshot of the copy does not show what the one before showed");
        }
        // An xid of 32 bits lies before or behind a snapshot by which of them is nearer.
        if (shown.xmax() - first_xmax_ > kXidsMax) {
            return Error(ErrorCode::aborted,
                         "more than 2^30 transactions have begun since the copy's first snapshot: "
                         "it begins again");
        }
        if (up_to && *up_to <= *ranges_.back().up_to) {
            return Error(ErrorCode::internal, "the source orders the key otherwise than we do");
        }
        // On a quiet source many are alike.
        if (shown == newest_) {
            ranges_.back().up_to = up_to;
            return {};
        }
    }
    if (ranges_.empty()) first_xmax_ = shown.xmax();
    ranges_.push_back({up_to, shown});
    newest_ = shown;
    return {};
}

bool CopySnapshots::shows(const Transaction& transaction, const KeyPoint& key) const {
    const auto range = std::partition_point(
        ranges_.begin(), ranges_.end(), [&](const Range& r) { return r.up_to && *r.up_to < key; });
    WALBROOK_CHECK(range != ranges_.end());
    return range->shown.contains(transaction.xid, transaction.commit_lsn);
}

std::optional<bool> CopySnapshots::shows(const Transaction& transaction, const RowBatch& rows,
                                         std::size_t row) const {
    const auto key = key_point_of(rows, row, attnum_);
    if (!key) return std::nullopt;
    return shows(transaction, *key);
}

std::optional<KeyPoint> key_point_of(const RowBatch& rows, std::size_t row, std::int16_t attnum) {
    const std::vector<ColumnSchema>& columns = rows.schema()->columns;
    for (std::size_t i = 0; i < columns.size(); ++i) {
        if (columns[i].attnum == attnum) return key_point(rows.columns()[i], row);
    }
    return std::nullopt;
}

}  // namespace walbrook
