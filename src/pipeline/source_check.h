#pragma once

#include "pipeline/catalog_look.h"
#include "postgres/slots.h"
#include "source/timeline.h"
#include "walbrook/config.h"

#include <string>
#include <vector>

namespace walbrook {

// What was found at the source before anything was changed there.
struct SourceFacts {
    ServerState server;
    SystemIdentity system;
    Timeline timeline;
    CatalogLook look;         // With the publication, and all of its tables.
    bool all_binary = false;  // Every column has an exact binary decoder.
};

// Connects and checks what can be checked without changing anything: reachable, logical
// decoding possible, the publication there and not empty. ErrorCode::config or
// permission with the remedy.
Result<SourceFacts> check_source(const PipelineConfig& config);

// Makes the folder, for us alone (0700). ErrorCode::config on a network file system, where the
// store, the locks and the control socket in it could not be trusted.
Status make_work_dir(const std::string& directory);
// And removes what a crash left in it.
Status prepare_work_dir(const std::string& directory);

}  // namespace walbrook
