#pragma once

#include "walbrook/pipeline.h"
#include "walbrook/result.h"

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace walbrook {

// A table that the last comparison of source and destination did not find equal.
struct VerifiedTable {
    std::string schema;
    std::string name;
    std::string outcome;  // "different", "not compared"
    std::string reason;   // Why it was not compared.
    Lsn position;
    std::uint64_t differing_rows = 0;
    bool has_more = false;      // They were not counted to the end.
    bool copied_again = false;  // Because of that.
    std::int64_t at_secs = 0;   // Since 1970.
};

// The comparisons of source and destination: the last one that ended, by whoever it was asked for,
// and those that are done by themselves.
struct VerifyStatus {
    std::string schedule;            // As configured; empty: none.
    bool running = false;            // One of the schedule is under way.
    std::int64_t next_at_secs = 0;   // When the next one is due, since 1970; 0: none is.
    std::uint64_t failures = 0;      // Those of the schedule that did not end, since the start.
    std::string error;               // Why, if the last one did not.
    std::int64_t began_at_secs = 0;  // Of the last one, since 1970; 0: there was none.
    std::int64_t took_ms = 0;
    Lsn position;
    // Tables, as the last comparison of each found them.
    std::uint64_t equal = 0;
    std::uint64_t different = 0;
    std::uint64_t not_compared = 0;
    std::vector<VerifiedTable> tables;  // Those that are not equal.
};

// What a running program says of itself: its pipeline's status and who it is.
struct StatusReport {
    std::string version;
    std::uint64_t pipeline_id = 0;
    std::string publication;
    std::string destination;
    PipelineStatus pipeline;
    VerifyStatus verify = {};
};

// Called from the server's threads.
using StatusSource = std::function<StatusReport()>;

// The body of /api/v1/status. Keys are only ever added: scripts read them.
std::string to_json(const StatusReport& report);
// ErrorCode::malformed when the text is not what to_json makes.
Result<StatusReport> status_report_from_json(std::string_view text);

// The Prometheus text format, version 0.0.4.
std::string to_prometheus(const StatusReport& report);

}  // namespace walbrook
