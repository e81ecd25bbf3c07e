#pragma once

#include "server/status_report.h"
#include "verify/cutter.h"
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
// The same for somebody who does not have the token: /livez, and /readyz without its reasons (so
// that a probe needs no secret); 401 for all else.
ApiAnswer answer_without_token(std::string_view path, const StatusSource& source);

// Called from the server's threads: Pipeline::command.
using TableCommands =
    std::function<Result<std::vector<std::string>>(TableCommand, const std::vector<std::string>&)>;

// What may be asked for with POST.
struct ControlCommands {
    TableCommands tables;
    verify::Cutter* pipeline = nullptr;  // Outlives the server; thread-safe.
};

// Answers to POST, over the control socket only:
//   /api/v1/tables/{resync,pause,resume}   body {"tables": ["public.orders", "audit.*"]}; an
//                                          empty list means all; {"tables": [names]}
//   /api/v1/verify/hold                    body {"for_ms": 10000}: Cutter::hold_for_cut; {}
//   /api/v1/verify/cut                     body {"position": "0/16B3748", "for_ms": 60000}:
//                                          Cutter::cut; {"position": "0/16B3750"}
//   /api/v1/verify/repair                  with {"snapshot": "00000003-1", "tables": [{"oid":
//   16384,
//                                          "keys": [["1"]]}]} besides: Cutter::repair;
//                                          {"position": …, "refused": [{"oid": 1, "reason": …}]}
//   /api/v1/verify/keep                    the same body: Cutter::keep_readable; {}
// 200, or an {"error": …}: 400 for a body or a name that is not understood, 409 when there was no
// cut at that position, 503 when it could not be done.
ApiAnswer answer_command(std::string_view path, const std::string& body,
                         const ControlCommands& commands);
// What an {"error": …} says.
std::string problem_in(const std::string& body);
// The body of such a request.
std::string command_body(const std::vector<std::string>& tables);

}  // namespace walbrook
