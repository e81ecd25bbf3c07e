#pragma once

#include "pipeline/apply_core.h"
#include "pipeline/copy_events.h"
#include "pipeline/table_registry.h"
#include "walbrook/config.h"

namespace walbrook {

// What becomes of a table that the core has stopped: it is copied again, or errored. True when
// that is settled; false while it is nobody's yet, so that it must be asked again, as after an
// error of the store's.
Result<bool> settle_stopped(const action::TableStopped& stopped, SchemaChangePolicy policy,
                            CopyEvents& copies, TableRegistry& tables);

// What becomes of a table whose copy has failed of itself, likewise. After an error of the store's
// it must be asked again: else nobody would copy it, or say why not.
Status settle_failed_copy(TableId table, const Error& error, TableRegistry& tables);

}  // namespace walbrook
