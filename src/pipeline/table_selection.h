#pragma once

#include <string>

#include "walbrook/config.h"

namespace walbrook {

// Whether the rows that a table has at the start are copied, by table_sync_copy. Names
// are "schema.table", or patterns of it with * and ? (fnmatch(3)).
bool is_copied(const TableSyncCopyConfig& config, const std::string& schema,
               const std::string& name);

}  // namespace walbrook
