#include "pipeline/table_selection.h"

#include <algorithm>
#include <fnmatch.h>
#include <string_view>

namespace walbrook {

bool is_named(const std::vector<std::string>& patterns, const std::string& schema,
              const std::string& name) {
    const std::string full = schema + "." + name;
    return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
        // A name may hold what a pattern means something by.
        return pattern == full || fnmatch(pattern.c_str(), full.c_str(), 0) == 0;
    });
}

std::string pattern_of(const std::string& schema, const std::string& name) {
    std::string pattern;
    for (const char c : schema + "." + name) {
        if (std::string_view("*?[\\").find(c) != std::string_view::npos) pattern += '\\';
        pattern += c;
    }
    return pattern;
}

bool is_copied(const TableSyncCopyConfig& config, const std::string& schema,
               const std::string& name) {
    const bool named = is_named(config.tables, schema, name);
    switch (config.type) {
        case TableSyncCopyType::include_all_tables:
            return true;
        case TableSyncCopyType::skip_all_tables:
            return false;
        case TableSyncCopyType::include_tables:
            return named;
        case TableSyncCopyType::skip_tables:
            return !named;
    }
    return true;
}

}  // namespace walbrook
