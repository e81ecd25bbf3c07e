#pragma once

#include "walbrook/pipeline.h"
#include "walbrook/result.h"

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace walbrook {

// What a running program says of itself: its pipeline's status and who it is.
struct StatusReport {
    std::string version;
    std::uint64_t pipeline_id = 0;
    std::string publication;
    std::string destination;
    PipelineStatus pipeline;
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
