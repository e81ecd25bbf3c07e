#include "cli/commands.h"

#include "cli/config_file.h"
#include "cli/config_print.h"
#include "cli/make_parts.h"
#include "cli/status_text.h"
#include "pipeline/ddl_messages.h"
#include "pipeline/stored_commands.h"
#include "server/control_server.h"

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>

namespace walbrook {
namespace {

void print(const std::string& text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
}

// No process runs: the next one does it.
ExitCode stored_table_command(const TableOptions& options, const LoadedConfig& loaded) {
    if (!loaded.problems.empty()) return report_problems(loaded);
    const ProgramConfig& config = loaded.config;
    const bool has_records =
        config.store.type == StoreType::postgres ||
        (config.store.type == StoreType::sqlite && std::filesystem::exists(config.store.path));
    if (!has_records) {
        complain(
            fmt::format("no pipeline runs here, and pipeline {} has no records {}; start it "
                        "with `walbrook run`",
                        config.pipeline.id,
                        config.store.type == StoreType::memory ? "(pipeline.store.type: memory)"
                                                               : "yet at " + config.store.path));
        return ExitCode::config;
    }
    const TableCommand what = options.command == "resync"  ? TableCommand::resync
                              : options.command == "pause" ? TableCommand::pause
                                                           : TableCommand::resume;
    const Result<std::vector<std::string>> names =
        command_stored(config.pipeline, *make_store(config), make_destination(config)->name(), what,
                       options.tables);
    if (!names) {
        complain(names.error().message());
        return exit_code_of(names.error().code());
    }
    complain("no pipeline runs here: the next `walbrook run` does it");
    print(command_body(*names));
    return ExitCode::done;
}

}  // namespace

std::string_view program_version() { return WALBROOK_VERSION; }

ExitCode config_show_command(const std::string& config, bool config_given) {
    LoadedConfig loaded = load_config(config_file(config, config_given), process_environment());
    if (!loaded.problems.empty()) return report_problems(loaded);
    print(config_as_yaml(std::move(loaded)));
    return ExitCode::done;
}

ExitCode config_schema_command() {
    print(config_as_json_schema());
    return ExitCode::done;
}

ExitCode config_docs_command() {
    print(config_as_markdown());
    return ExitCode::done;
}

ExitCode version_command() {
    std::string destinations = "blackhole";
#ifdef WALBROOK_WITH_DUCKLAKE
    destinations += ", ducklake";
#endif
    print(fmt::format("walbrook {}\ndestinations: {}\n", program_version(), destinations));
    return ExitCode::done;
}

ExitCode status_command(const StatusOptions& options) {
    const LoadedConfig loaded =
        load_config(config_file(options.config, options.config_given), process_environment());
    // Only the place of the socket matters: a password that is missing in this shell
    // must not keep anybody from looking.
    const std::string& work_dir = loaded.config.pipeline.work_dir;
    if (work_dir.empty()) return report_problems(loaded);
    const Result<std::string> body = ask_control_socket(work_dir, "/api/v1/status");
    if (!body) {
        complain(body.error().message());
        return exit_code_of(body.error().code());
    }
    if (options.json) {
        print(*body);
        return ExitCode::done;
    }
    const Result<StatusReport> report = status_report_from_json(*body);
    if (!report) {
        complain(report.error().message());
        return ExitCode::internal;
    }
    print(status_as_text(*report));
    return ExitCode::done;
}

ExitCode table_command(const TableOptions& options) {
    const LoadedConfig loaded =
        load_config(config_file(options.config, options.config_given), process_environment());
    const std::string& work_dir = loaded.config.pipeline.work_dir;
    if (work_dir.empty()) return report_problems(loaded);
    const Result<std::string> body = command_control_socket(
        work_dir, "/api/v1/tables/" + options.command, command_body(options.tables));
    if (body) {
        print(*body);
        return ExitCode::done;
    }
    const bool is_served =
        body.error().code() != ErrorCode::unavailable || ask_control_socket(work_dir, "/livez");
    if (!is_served) return stored_table_command(options, loaded);
    complain(body.error().message());
    return exit_code_of(body.error().code());
}

ExitCode init_command(const InitOptions& options) {
    if (options.print) {
        print(options.remove ? ddl_triggers_removal_sql() : ddl_triggers_sql());
        return ExitCode::done;
    }
    const LoadedConfig loaded =
        load_config(config_file(options.config, options.config_given), process_environment());
    if (!loaded.problems.empty()) return report_problems(loaded);
    const Status done = set_ddl_triggers(loaded.config.pipeline, !options.remove);
    if (done) {
        print(options.remove ? "removed the event triggers walbrook_ddl and walbrook_drop\n"
                             : "made the event triggers walbrook_ddl and walbrook_drop\n");
        return ExitCode::done;
    }
    complain(done.error().message());
    return exit_code_of(done.error().code());
}

}  // namespace walbrook
