#pragma once

#include "destinations/duckdb_engine/engine.h"
#include "destinations/ducklake/records.h"
#include "destinations/ducklake/thinning.h"
#include "walbrook/destinations.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace walbrook::ducklake {

// All snapshots of the lake that the session has attached as `lake`, in order of id.
Result<std::vector<Snapshot>> read_snapshots(duckdb_engine::Connection& session);

// A lake as it was at a position, seen by a reader of its own beside whoever writes to it.
class SnapshotView {
 public:
    struct Options {
        std::uint64_t memory_bytes_max = 512ULL << 20;
        unsigned threads = 1;
        std::string temp_directory;
    };
    // ErrorCode::corrupt_state when no snapshot shows the position (any more).
    static Result<std::unique_ptr<SnapshotView>> open(const DuckLakeConfig& config, Lsn position,
                                                      const Options& options);

    std::int64_t snapshot() const { return snapshot_; }
    // As read_lake_id() says.
    const std::string& lake_id() const { return lake_id_; }
    // How each table stood.
    const TableRecords& records() const { return records_; }
    // For FROM: "lake"."public"."orders" AT (VERSION => 7).
    std::string from(const TableRecord& record) const;
    duckdb_engine::Connection& session() { return *session_; }

 private:
    SnapshotView() = default;
    std::unique_ptr<duckdb_engine::Database> database_;
    std::unique_ptr<duckdb_engine::Connection> session_;
    std::int64_t snapshot_ = 0;
    std::string lake_id_;
    TableRecords records_;
};

}  // namespace walbrook::ducklake
