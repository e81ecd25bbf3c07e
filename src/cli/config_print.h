#pragma once

#include "cli/config_load.h"

#include <string>

namespace walbrook {

// The effective configuration as YAML, each value with where it came from; secrets
// are masked.
std::string config_as_yaml(LoadedConfig loaded);

// A JSON Schema (draft 2020-12) of walbrook.yaml, for editors.
std::string config_as_json_schema();

// docs/configuration.md.
std::string config_as_markdown();

}  // namespace walbrook
