#pragma once

#include "telemetry/log.h"
#include "verify/cutter.h"
#include "verify/report.h"
#include "verify/source_side.h"
#include "walbrook/config.h"
#include "walbrook/destinations.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

namespace walbrook::verify {

struct VerifyOptions {
    std::vector<std::string> tables;  // Names or patterns; empty: all.
    std::uint64_t rows_per_second_max = 0;
    std::size_t differences_max = 100;  // So many are kept of each table.
    // Rows that differ are put right and compared again; a table in which more of them differ than
    // are kept, or that has no key, is copied again.
    bool repair = false;
    // A snapshot is used for new tables as long as it is younger: while it lives, the source
    // keeps dead rows.
    std::chrono::seconds snapshot_age_max{1800};
    // How long is waited for the position: for transactions of the source that have an xid, and
    // for the destination to get there.
    std::chrono::seconds patience{600};
    // What is there already, of an earlier run: these tables are not compared again.
    std::vector<TableResult> done;
    // After each table.
    std::function<void(const TableResult&)> on_table;
    std::uint64_t memory_bytes_max = 512ULL << 20;  // Of the comparison's DuckDB.
    std::uint64_t rows_in_memory_max = 400'000;     // As in CompareLimits.
    std::string temp_directory;  // For what the comparison's DuckDB does not hold in memory.
};

// Why nothing can compare this lake with its source; empty if something can. (duckdb.org,
// "Concurrency": one process alone may open a file that it writes.)
std::string lake_problem(const DuckLakeConfig& lake);

// Compares tables of the source with the lake, both as of one position, while both live on. For
// each position Postgres is asked for a snapshot through a temporary slot; the pipeline lets the
// lake be at that very position for a moment, and keeps what that shows readable.
//
// An error when nothing could be compared at all; a table that could not be is in the report, and
// so is an error that came when some had been: what differs is known all the same.
// ErrorCode::config for a lake with a lake_problem().
Result<Report> verify(const PipelineConfig& config, const DuckLakeConfig& lake, Cutter& pipeline,
                      const VerifyOptions& options, const Logger& log, const std::stop_token& stop);

}  // namespace walbrook::verify
