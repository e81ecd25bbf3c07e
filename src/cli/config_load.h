#pragma once

#include "cli/config_keys.h"

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace walbrook {

// One thing that is wrong with the configuration.
struct ConfigProblem {
    std::string key;    // "" when it is about the file as a whole.
    std::string where;  // "walbrook.yaml:3", "environment WALBROOK__LOG__LEVEL", or "".
    std::string text;   // What is wrong and what to do.
};

// "walbrook.yaml:3: log.level: must be …".
std::string to_string(const ConfigProblem& problem);

struct LoadedConfig {
    ProgramConfig config;
    // Where the value of each key that is not at its default came from.
    std::map<std::string, std::string> origins;
    // All there are; empty means that `config` can be used.
    std::vector<ConfigProblem> problems;
};

// The variables of a process, as `environ` lists them: NAME=value.
using Environment = std::vector<std::string>;
Environment process_environment();

// Reads walbrook.yaml and lays the WALBROOK__… variables over it. `file` is where it
// is; "" reads the environment alone, relative to the present folder. Never stops at
// the first problem.
LoadedConfig load_config(const std::string& file, const Environment& environment);

// The same from a text; `name` is what problems call it, `folder` what paths are
// relative to.
LoadedConfig parse_config(std::string_view text, const std::string& name, const std::string& folder,
                          const Environment& environment);

// The best of `candidates` for a misspelt `word`; "" if none is near.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace walbrook
