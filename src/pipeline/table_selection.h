#pragma once

#include "walbrook/config.h"

#include <string>

namespace walbrook {

// Whether the rows that a table has at the start are copied, by table_sync_copy. Names
// are "schema.table", or patterns of it with * and ? (fnmatch(3)).
bool is_copied(const TableSyncCopyConfig& config, const std::string& schema,
               const std::string& name);

// The pattern that means this table and no other.
std::string pattern_of(const std::string& schema, const std::string& name);

// Whether a table is meant by one of these names or patterns.
bool is_named(const std::vector<std::string>& patterns, const std::string& schema,
              const std::string& name);

}  // namespace walbrook
