#include "cli/commands.h"

#include "cli/config_file.h"
#include "cli/config_print.h"
#include "cli/status_text.h"
#include "server/control_server.h"

#include <fmt/format.h>

#include <cstdio>

namespace walbrook {
namespace {

void print(const std::string& text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
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
        complain(fmt::format("no pipeline runs here: {}; start one with `walbrook run`",
                             body.error().message()));
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

}  // namespace walbrook
