#pragma once

#include "cli/config_load.h"
#include "cli/exit_code.h"

#include <string>

namespace walbrook {

// "walbrook: text" on stderr.
void complain(const std::string& text);

// Prints every problem on stderr.
ExitCode report_problems(const LoadedConfig& loaded);

// The file to read. Without --config and without a walbrook.yaml, but with WALBROOK__
// variables (a container), that is none: "".
std::string config_file(const std::string& path, bool given);

}  // namespace walbrook
