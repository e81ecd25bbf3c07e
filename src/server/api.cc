#include "server/api.h"

#include "base/json_number.h"
#include "telemetry/log.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
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

ApiAnswer problem(const Error& error) {
    const int status = error.code() == ErrorCode::config    ? 400
                       : error.code() == ErrorCode::aborted ? 409
                                                            : 503;
    return problem(status, error.message());
}

constexpr std::string_view kVerify = "/api/v1/verify/";

// {"snapshot": "00000003-1", "tables": [{"oid": 16384, "keys": [["1"], …]}, …]}
std::optional<std::vector<RowRepair>> row_repairs(const json& in) {
    std::vector<RowRepair> repairs;
    const auto tables = in.find("tables");
    if (tables == in.end() || !tables->is_array()) return std::nullopt;
    for (const json& table : *tables) {
        if (!table.is_object() || !table.contains("oid") || !table.contains("keys")) {
            return std::nullopt;
        }
        const json& oid = table["oid"];
        const json& keys = table["keys"];
        if (!is_number_of<std::uint32_t>(oid) || !keys.is_array()) return std::nullopt;
        RowRepair repair{{oid.get<std::uint32_t>()}, {}};
        for (const json& key : keys) {
            if (!key.is_array()) return std::nullopt;
            std::vector<std::string>& values = repair.keys.emplace_back();
            for (const json& value : key) {
                if (!value.is_string()) return std::nullopt;
                values.push_back(value.get<std::string>());
            }
        }
        repairs.push_back(std::move(repair));
    }
    return repairs;
}

ApiAnswer answer_repair(const json& in, Lsn position, std::chrono::milliseconds for_ms,
                        verify::Cutter& pipeline) {
    const std::optional<std::vector<RowRepair>> rows = row_repairs(in);
    const auto snapshot = in.find("snapshot");
    if (!rows || snapshot == in.end() || !snapshot->is_string()) {
        return problem(400, "the body must have a snapshot and tables with keys");
    }
    const Result<RowRepairs> done =
        pipeline.repair(position, snapshot->get<std::string>(), *rows, for_ms);
    if (!done) return problem(done.error());
    json refused = json::array();
    for (const auto& [table, why] : done->refused) {
        refused.push_back({{"oid", table.oid}, {"reason", why}});
    }
    return {200, "application/json",
            print({{"position", to_string(done->position)}, {"refused", std::move(refused)}})};
}

ApiAnswer answer_verify(std::string_view what, const std::string& body, verify::Cutter& pipeline) {
    const json in = json::parse(body, nullptr, false);
    const bool is_known = what == "hold" || what == "cut" || what == "repair" || what == "keep";
    if (!is_known) return problem(404, "there is nothing to be done at this path");
    constexpr std::int64_t kHourMs = 3'600'000;
    const auto time = in.is_object() ? in.find("for_ms") : in.end();
    if (!in.is_object() || time == in.end() || !is_number_of<std::int64_t>(*time) ||
        time->get<std::int64_t>() < 0 || time->get<std::int64_t>() > kHourMs) {
        return problem(400, "the body must have a for_ms of at most an hour");
    }
    const std::chrono::milliseconds for_ms(time->get<std::int64_t>());
    const auto text = in.find("position");
    std::optional<Lsn> position;
    if (text != in.end() && text->is_string()) position = parse_lsn(text->get<std::string>());
    if (what == "hold") {
        const Status held = pipeline.hold_for_cut(for_ms);
        return held ? ApiAnswer{200, "application/json", "{}\n"} : problem(held.error());
    }
    if (!position) return problem(400, "the body must have a position, as 0/16B3748");
    if (what == "keep") {
        const Status kept = pipeline.keep_readable(*position, for_ms);
        return kept ? ApiAnswer{200, "application/json", "{}\n"} : problem(kept.error());
    }
    if (what == "repair") return answer_repair(in, *position, for_ms, pipeline);
    const Result<Lsn> reached = pipeline.cut(*position, for_ms);
    if (!reached) return problem(reached.error());
    return {200, "application/json", print({{"position", to_string(*reached)}})};
}

// Ready means: whoever reads the destination now reads what is kept up to date.
// Single tables that are errored or still being copied do not make the whole unready;
// they are in the metrics.
ApiAnswer readiness(const PipelineStatus& status) {
    const bool ready = status.state == "streaming";
    std::string body = status.state + "\n";
    for (const std::string& problem : status.problems) body += without_secrets(problem) + "\n";
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

ApiAnswer answer_without_token(std::string_view path, const StatusSource& source) {
    if (path != "/livez" && path != "/readyz") {
        return problem(401, "the header Authorization: Bearer <server.token> is needed here");
    }
    ApiAnswer made = answer(path, source);
    made.body.resize(std::min(made.body.find('\n') + 1, made.body.size()));
    return made;
}

ApiAnswer answer_command(std::string_view path, const std::string& body,
                         const ControlCommands& commands) {
    if (path.starts_with(kVerify) && commands.pipeline != nullptr) {
        return answer_verify(path.substr(kVerify.size()), body, *commands.pipeline);
    }
    std::optional<TableCommand> what;
    if (path == "/api/v1/tables/resync") what = TableCommand::resync;
    if (path == "/api/v1/tables/pause") what = TableCommand::pause;
    if (path == "/api/v1/tables/resume") what = TableCommand::resume;
    if (!what || !commands.tables) return problem(404, "there is nothing to be done at this path");
    std::vector<std::string> tables;
    const json in = json::parse(body, nullptr, false);
    if (!in.is_object() || !in.contains("tables") || !in["tables"].is_array()) {
        return problem(400, "the body must be {\"tables\": [\"schema.table\", …]}");
    }
    for (const json& name : in["tables"]) {
        if (!name.is_string()) return problem(400, "tables must be a list of names");
        tables.push_back(name.get<std::string>());
    }
    const Result<std::vector<std::string>> done = commands.tables(*what, tables);
    if (done) return {200, "application/json", print({{"tables", *done}})};
    return problem(done.error());
}

std::string problem_in(const std::string& body) {
    const json in = json::parse(body, nullptr, false);
    const auto error = in.is_object() ? in.find("error") : in.end();
    return error != in.end() && error->is_string() ? error->get<std::string>() : body;
}

std::string command_body(const std::vector<std::string>& tables) {
    return print({{"tables", tables}});
}

}  // namespace walbrook
