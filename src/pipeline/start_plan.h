#pragma once

#include "pipeline/apply_core.h"
#include "pipeline/catalog_look.h"
#include "walbrook/store.h"

#include <optional>
#include <string>

namespace walbrook {

// What a table that was found at a start is to do.
struct TablePlan {
    TableState state;
    // Nothing: none that could go on is in the destination.
    std::optional<ReadyTable> visible;
    bool stands_still = false;  // `visible` goes no further until it is copied again.
    bool is_late = false;       // See TableRegistry::begin_with().
    std::string refused;        // Why it cannot be followed.
    std::string warning;        // Why it is copied again.
};

// As TableState::content: what the rows are to be compared with that the table has now. `known` and
// `visible` as below.
std::string content_before(const TableState* known, const TableSchema* visible);

// `known`: what the store says, or nullptr. `visible`: the version that is ready, or nullptr;
// `is_held`: the destination itself says so. It is right about what is visible; the store remembers
// why a table stands where it stands. Whatever is not ready is copied again.
TablePlan plan_table(const CatalogLook::Table& table, const TableState* known,
                     const TableSchemaPtr& visible, bool is_held);

}  // namespace walbrook
