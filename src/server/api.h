#pragma once

#include "server/status_report.h"
#include "walbrook/pipeline.h"

#include <functional>
#include <string>
#include <string_view>
#include <vector>

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

// Called from the server's threads: Pipeline::command.
using TableCommands =
    std::function<Result<std::vector<std::string>>(TableCommand, const std::vector<std::string>&)>;

// Answers to POST, over the control socket only:
//   /api/v1/tables/{resync,pause,resume}   body {"tables": ["public.orders", "audit.*"]}; an
//                                          empty list means all
// 200 with the names in {"tables": […]}, or an {"error": …}: 400 for a body or a name that is
// not understood, 503 when it could not be stored.
ApiAnswer answer_command(std::string_view path, const std::string& body,
                         const TableCommands& commands);
// What an {"error": …} says.
std::string problem_in(const std::string& body);
// The body of such a request.
std::string command_body(const std::vector<std::string>& tables);

}  // namespace walbrook
