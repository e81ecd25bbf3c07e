// `walbrook verify`: beside the process that runs the pipeline, or, when none does, with a pipeline
// of its own that goes on to where the source is.

#include "base/json_number.h"
#include "cli/commands.h"
#include "cli/comparison.h"
#include "cli/config_file.h"
#include "cli/log_sink.h"
#include "cli/make_parts.h"
#include "cli/signals.h"
#include "server/control_server.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cstdio>
#include <filesystem>
#include <unistd.h>

namespace walbrook {
namespace {

#ifdef WALBROOK_WITH_DUCKLAKE

using nlohmann::json;
using std::chrono::milliseconds;

// The pipeline in the process that listens on the control socket.
class OtherProcess final : public verify::Cutter {
 public:
    explicit OtherProcess(std::string work_dir) : work_dir_(std::move(work_dir)) {}

    Status hold_for_cut(milliseconds at_most) override {
        return ask("hold", {{"for_ms", at_most.count()}}, {}).status();
    }
    Result<Lsn> cut(Lsn at, milliseconds at_most) override {
        WALBROOK_TRY(
            const std::string answer,
            ask("cut", {{"position", to_string(at)}, {"for_ms", at_most.count()}}, at_most));
        const std::optional<Lsn> position = position_in(json::parse(answer, nullptr, false));
        return position ? Result<Lsn>(*position) : Result<Lsn>(not_understood());
    }
    Result<RowRepairs> repair(Lsn at, const std::string& snapshot,
                              const std::vector<RowRepair>& rows, milliseconds at_most) override {
        json body = {{"position", to_string(at)},
                     {"snapshot", snapshot},
                     {"for_ms", at_most.count()},
                     {"tables", json::array()}};
        for (const RowRepair& table : rows) {
            body["tables"].push_back({{"oid", table.table.oid}, {"keys", table.keys}});
        }
        WALBROOK_TRY(const std::string answer, ask("repair", body, at_most));
        const json in = json::parse(answer, nullptr, false);
        const std::optional<Lsn> position = position_in(in);
        if (!position || !in.contains("refused") || !in["refused"].is_array()) {
            return not_understood();
        }
        RowRepairs repaired{*position, {}};
        for (const json& one : in["refused"]) {
            const bool is_known = one.is_object() && one.contains("oid") &&
                                  is_number_of<std::uint32_t>(one["oid"]) &&
                                  one.contains("reason") && one["reason"].is_string();
            if (!is_known) return not_understood();
            repaired.refused.emplace_back(TableId{one["oid"].get<std::uint32_t>()},
                                          one["reason"].get<std::string>());
        }
        return repaired;
    }
    Status resync(const std::vector<std::string>& tables) override {
        return command_control_socket(work_dir_, "/api/v1/tables/resync", command_body(tables))
            .status();
    }
    Result<std::map<TableId, verify::TableCopies>> copies() override {
        WALBROOK_TRY(const std::string answer, ask_control_socket(work_dir_, "/api/v1/status"));
        WALBROOK_TRY(const StatusReport report, status_report_from_json(answer));
        return copies_of(report.pipeline);
    }
    Status keep_readable(Lsn position, milliseconds how_long) override {
        return ask("keep", {{"position", to_string(position)}, {"for_ms", how_long.count()}}, {})
            .status();
    }

 private:
    Result<std::string> ask(const std::string& what, const json& body, milliseconds patience) {
        return command_control_socket(work_dir_, "/api/v1/verify/" + what,
                                      body.dump(-1, ' ', false, json::error_handler_t::replace),
                                      patience);
    }
    static std::optional<Lsn> position_in(const json& answer) {
        const auto text = answer.is_object() ? answer.find("position") : answer.end();
        if (text == answer.end() || !text->is_string()) return std::nullopt;
        return parse_lsn(text->get<std::string>());
    }
    static Error not_understood() {
        return Error(ErrorCode::malformed,
                     "what the running process answered is not understood; is it of another "
                     "version?");
    }
    const std::string work_dir_;
};

// The pipeline in this process.
class OwnPipeline final : public verify::Cutter {
 public:
    static Result<std::unique_ptr<OwnPipeline>> start(const ProgramConfig& config,
                                                      const Logger& log) {
        PipelineOptions options;
        options.log = log.as_sink();
        std::unique_ptr<OwnPipeline> made(new OwnPipeline());
        WALBROOK_TRY(made->pipeline_,
                     Pipeline::create(config.pipeline, make_store(config), make_destination(config),
                                      std::move(options)));
        WALBROOK_RETURN_IF_ERROR(made->pipeline_->start());
        return made;
    }
    ~OwnPipeline() override {
        if (!pipeline_) return;
        pipeline_->shutdown();
        pipeline_->wait().ignore();
    }
    Status hold_for_cut(milliseconds at_most) override { return pipeline_->hold_for_cut(at_most); }
    Result<Lsn> cut(Lsn at, milliseconds at_most) override { return pipeline_->cut(at, at_most); }
    Result<RowRepairs> repair(Lsn at, const std::string& snapshot,
                              const std::vector<RowRepair>& rows, milliseconds at_most) override {
        return pipeline_->repair(at, snapshot, rows, at_most);
    }
    Status resync(const std::vector<std::string>& tables) override {
        return pipeline_->command(TableCommand::resync, tables).status();
    }
    Result<std::map<TableId, verify::TableCopies>> copies() override {
        return copies_of(pipeline_->status());
    }
    Status keep_readable(Lsn position, milliseconds how_long) override {
        return pipeline_->keep_readable(position, how_long);
    }

 private:
    OwnPipeline() = default;
    std::unique_ptr<Pipeline> pipeline_;
};

void print(const std::string& text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
}

Result<std::unique_ptr<verify::Cutter>> find_pipeline(const ProgramConfig& config,
                                                      const Logger& log) {
    const std::string& work_dir = config.pipeline.work_dir;
    if (ask_control_socket(work_dir, "/livez")) {
        return std::unique_ptr<verify::Cutter>(std::make_unique<OtherProcess>(work_dir));
    }
    if (!std::filesystem::exists(work_dir)) {
        return Error(
            ErrorCode::config,
            fmt::format("pipeline {} has never run here ({} does not exist); start it with "
                        "`walbrook run`",
                        config.pipeline.id, work_dir));
    }
    log.info("no pipeline runs here: going on to where the source is");
    WALBROOK_TRY(std::unique_ptr<OwnPipeline> own, OwnPipeline::start(config, log));
    return std::unique_ptr<verify::Cutter>(std::move(own));
}

Result<verify::Report> compare(const VerifyCommandOptions& options, const ProgramConfig& config,
                               const Logger& log, const std::stop_token& stop) {
    WALBROOK_TRY(const std::unique_ptr<verify::Cutter> pipeline, find_pipeline(config, log));
    ComparisonOptions how;
    how.tables = options.tables;
    how.rows_per_second_max = options.max_rows_per_second;
    how.differences_max = options.max_differences;
    how.repair = options.repair;
    how.resume = options.resume;
    return run_comparison(config, *pipeline, how, log, stop);
}

ExitCode exit_code_of(const Error& error) {
    // Stopped half way it has not found all equal, which 0 would say.
    return error.code() == ErrorCode::cancelled ? ExitCode::try_again : exit_code_of(error.code());
}

ExitCode exit_code_of(const verify::Report& report) {
    // Also when it did not come to its end: no error hides a difference.
    if (report.count(verify::Outcome::different) != 0) return ExitCode::finding;
    if (report.error) return exit_code_of(*report.error);
    return report.is_equal() ? ExitCode::done : ExitCode::tables_errored;
}

#endif

}  // namespace

ExitCode verify_command(const VerifyCommandOptions& options) {
    const LoadedConfig loaded =
        load_config(config_file(options.config, options.config_given), process_environment());
    if (!loaded.problems.empty()) return report_problems(loaded);
#ifdef WALBROOK_WITH_DUCKLAKE
    const ProgramConfig& config = loaded.config;
    if (config.destination != DestinationKind::ducklake) {
        complain("only a DuckLake destination can be compared with its source");
        return ExitCode::config;
    }
    std::stop_source stop;
    const auto signals = SignalWatch::create([&](int signal, int count) {
        if (count > 1) _exit(128 + signal);
        stop.request_stop();
    });
    if (!signals) {
        complain(signals.error().message());
        return ExitCode::internal;
    }
    const Logger log(make_stderr_sink(config.log), config.log.level);
    const Result<verify::Report> report = compare(options, config, log, stop.get_token());
    if (!report) {
        complain(report.error().message());
        return exit_code_of(report.error());
    }
    if (report->error) complain(report->error->message());
    print(options.json ? to_json(*report, options.max_differences)
                       : to_text(*report, options.max_differences));
    return exit_code_of(*report);
#else
    complain("this program was built without DuckLake, the destination that can be compared");
    return ExitCode::config;
#endif
}

}  // namespace walbrook
