#include "server/api.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <optional>

namespace walbrook {
namespace {

using nlohmann::json;

std::string print(const json& value) {
    return value.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

ApiAnswer problem(int status, const std::string& text) {
    return {status, "application/json", print({{"error", text}})};
}

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

ApiAnswer answer_command(std::string_view path, const std::string& body,
                         const TableCommands& commands) {
    std::optional<TableCommand> what;
    if (path == "/api/v1/tables/resync") what = TableCommand::resync;
    if (path == "/api/v1/tables/pause") what = TableCommand::pause;
    if (path == "/api/v1/tables/resume") what = TableCommand::resume;
    if (!what || !commands) return problem(404, "there is nothing to be done at this path");
    std::vector<std::string> tables;
    const json in = json::parse(body, nullptr, false);
    if (!in.is_object() || !in.contains("tables") || !in["tables"].is_array()) {
        return problem(400, "the body must be {\"tables\": [\"schema.table\", …]}");
    }
    for (const json& name : in["tables"]) {
        if (!name.is_string()) return problem(400, "tables must be a list of names");
        tables.push_back(name.get<std::string>());
    }
    const Result<std::vector<std::string>> done = commands(*what, tables);
    if (done) return {200, "application/json", print({{"tables", *done}})};
    return problem(done.error().code() == ErrorCode::config ? 400 : 503, done.error().message());
}

std::string problem_in(const std::string& body) {
    const json in = json::parse(body, nullptr, false);
    return in.is_object() ? in.value("error", body) : body;
}

std::string command_body(const std::vector<std::string>& tables) {
    return print({{"tables", tables}});
}

}  // namespace walbrook
