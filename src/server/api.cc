#include "server/api.h"

#include <fmt/format.h>

namespace walbrook {
namespace {

// Ready means: whoever reads the destination now reads what is kept up to date.
// Single tables that are errored or still being copied do not make the whole unready;
// they are in the metrics.
ApiAnswer readiness(const PipelineStatus& status) {
    const bool ready = status.state == "streaming";
    std::string body = status.state + "\n";
    for (const std::string& problem : status.problems) body += problem + "\n";
    return {ready ? 200 : 503, "text/plain; charset=utf-8", std::move(body)};
}

}  // namespace

ApiAnswer answer(std::string_view path, const StatusSource& source) {
    if (path == "/livez") {
        // Taking the status takes the pipeline's locks: a deadlock shows here.
        source();
        return {200, "text/plain; charset=utf-8", "ok\n"};
    }
    if (path == "/readyz") return readiness(source().pipeline);
    if (path == "/metrics") {
        return {200, "text/plain; version=0.0.4; charset=utf-8", to_prometheus(source())};
    }
    if (path == "/api/v1/status") return {200, "application/json", to_json(source())};
    return {404, "application/json", "{\"error\": \"there is nothing at this path\"}\n"};
}

}  // namespace walbrook
