#pragma once

#include "pipeline/apply_core.h"
#include "pipeline/copy_events.h"
#include "pipeline/table_registry.h"
#include "walbrook/config.h"

namespace walbrook {

// What becomes of a table that the core has stopped: it is copied again, or errored. True when
// that is settled; false while it is nobody's yet, so that it must be asked again. An error of the
// store's, which has changed nothing.
Result<bool> settle_stopped(const action::TableStopped& stopped, SchemaChangePolicy policy,
                            CopyEvents& copies, TableRegistry& tables);

}  // namespace walbrook
