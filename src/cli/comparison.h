#pragma once

#include "cli/config_keys.h"
#include "telemetry/log.h"
#include "verify/cutter.h"
#include "verify/report.h"

#include <cstdint>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

namespace walbrook {

struct ComparisonOptions {
    std::vector<std::string> tables;        // Names or patterns; none: all.
    std::uint64_t rows_per_second_max = 0;  // 0: as many as the source gives.
    std::size_t differences_max = 100;      // Named of each table.
    bool repair = false;
    // Goes on with one that did not end: what it compared within the last day, and not before
    // this, and nobody has compared since, is not compared again.
    bool resume = false;
    std::int64_t resume_from_secs = 0;
    std::string progress_file = "verify.progress";  // In work_dir.
    std::uint64_t memory_bytes_max = 512ULL << 20;  // Of the comparison's own DuckDB.
    std::uint64_t rows_in_memory_max = 400'000;
};

// What verify::Cutter::copies() says of a pipeline.
std::map<TableId, verify::TableCopies> copies_of(const PipelineStatus& status);

// verify::verify() with what it keeps in work_dir: the lock that lets no two be under way, how far
// it is, and at the end what status shows of it. A DuckLake is the destination.
Result<verify::Report> run_comparison(const ProgramConfig& config, verify::Cutter& pipeline,
                                      const ComparisonOptions& options, const Logger& log,
                                      const std::stop_token& stop);

}  // namespace walbrook
