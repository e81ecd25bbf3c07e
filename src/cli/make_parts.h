#pragma once

#include "cli/config_load.h"
#include "walbrook/destination.h"
#include "walbrook/store.h"

#include <memory>

namespace walbrook {

// What the configuration names, not yet opened.
std::unique_ptr<Store> make_store(const ProgramConfig& config);
std::unique_ptr<Destination> make_destination(const ProgramConfig& config);

}  // namespace walbrook
