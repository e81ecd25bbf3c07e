#include "pipeline/table_selection.h"

#include <fnmatch.h>

#include <algorithm>

namespace walbrook {

bool is_copied(const TableSyncCopyConfig& config, const std::string& schema,
               const std::string& name) {
    const std::string full = schema + "." + name;
    const bool named = std::any_of(
        config.tables.begin(), config.tables.end(),
        [&](const std::string& pattern) { return fnmatch(pattern.c_str(), full.c_str(), 0) == 0; });
    switch (config.type) {
        case TableSyncCopyType::include_all_tables: return true;
        case TableSyncCopyType::skip_all_tables: return false;
        case TableSyncCopyType::include_tables: return named;
        case TableSyncCopyType::skip_tables: return !named;
    }
    return true;
}

}  // namespace walbrook
