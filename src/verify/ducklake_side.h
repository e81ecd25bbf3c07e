#pragma once

#include "destinations/ducklake/snapshot_view.h"
#include "verify/side.h"

namespace walbrook::verify {

// A lake as of one of its snapshots. Used by one thread.
class DuckLakeSide final : public Side {
 public:
    // `view` outlives this.
    explicit DuckLakeSide(ducklake::SnapshotView& view) : view_(view) {}

    Result<Digest> digest(const ComparedTable& table, unsigned groups,
                          const std::stop_token& stop) override;
    Result<std::vector<RowPrint>> rows(const ComparedTable& table, unsigned groups,
                                       const std::vector<unsigned>& wanted,
                                       const std::stop_token& stop) override;

 private:
    std::string from(const ComparedTable& table) const;
    ducklake::SnapshotView& view_;
};

}  // namespace walbrook::verify
