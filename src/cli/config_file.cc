#include "cli/config_file.h"

#include "telemetry/log.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>

namespace walbrook {

void complain(const std::string& text) {
    std::fprintf(stderr, "walbrook: %s\n", without_secrets(text).c_str());
}

ExitCode report_problems(const LoadedConfig& loaded) {
    if (loaded.problems.size() > 1) {
        complain(fmt::format("the configuration has {} problems:", loaded.problems.size()));
        for (const ConfigProblem& problem : loaded.problems) {
            std::fprintf(stderr, "  %s\n", without_secrets(to_string(problem)).c_str());
        }
    } else {
        for (const ConfigProblem& problem : loaded.problems) complain(to_string(problem));
    }
    return ExitCode::config;
}

std::string config_file(const std::string& path, bool given) {
    std::error_code ignored;
    if (given || std::filesystem::exists(path, ignored)) return path;
    const Environment environment = process_environment();
    const bool by_environment =
        std::any_of(environment.begin(), environment.end(),
                    [](const std::string& entry) { return entry.starts_with("WALBROOK__"); });
    return by_environment ? "" : path;
}

}  // namespace walbrook
