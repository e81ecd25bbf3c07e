#pragma once

#include "server/status_report.h"

#include <string>
#include <string_view>

namespace walbrook {

struct ApiAnswer {
    int status = 200;
    std::string content_type;
    std::string body;
};

// The one set of answers, whether the question comes over TCP or the control socket:
//   /livez          200 while the process can answer at all
//   /readyz         200 while the pipeline streams, else 503; the body says why
//   /metrics        Prometheus text
//   /api/v1/status  the status report
// Anything else is 404 with a JSON {"error": …}.
ApiAnswer answer(std::string_view path, const StatusSource& source);

}  // namespace walbrook
