#include "postgres/snapshot_lock.h"

#include "base/backoff.h"
#include "base/clock.h"
#include "postgres/quote.h"

#include <fmt/format.h>

namespace walbrook {
namespace {

constexpr std::string_view kLockNotAvailable = "55P03";
// It has another name by now, or is gone.
constexpr std::string_view kUndefinedTable = "42P01";
constexpr std::string_view kInvalidSchemaName = "3F000";

}  // namespace

Error changed_since_snapshot(const PhysicalTable& table) {
    return Error(ErrorCode::aborted,
                 fmt::format("{} was altered, rewritten or truncated since its snapshot was taken",
                             table.name));
}

Result<bool> lock_as_in_snapshot(Connection& reader, Connection& catalog, const Deadline& deadline,
                                 const PhysicalTable& table, const TableShape& shape) {
    const Status locked =
        reader.exec(deadline, fmt::format("lock table only {} in access share mode nowait",
                                          quote_qualified(table.schema, table.name)));
    if (locked) {
        const auto shape_now = read_shape(catalog, deadline, table.id);
        if (shape_now && *shape_now == shape) return true;
        if (!shape_now && shape_now.error().code() != ErrorCode::schema_mismatch) {
            return shape_now.error();
        }
        return changed_since_snapshot(table);
    }
    if (reader.is_open()) WALBROOK_RETURN_IF_ERROR(reader.exec(deadline, "rollback"));
    const std::string& state = locked.error().sqlstate();
    if (state == kUndefinedTable || state == kInvalidSchemaName) {
        return changed_since_snapshot(table);
    }
    if (state != kLockNotAvailable) return locked.error();
    return false;
}

Status lock_patiently(const PhysicalTable& table, std::chrono::seconds patience,
                      const std::stop_token& stop, const std::function<Result<bool>()>& attempt) {
    Backoff backoff({std::chrono::milliseconds(20), std::chrono::milliseconds(1000)});
    const Instant until = now() + patience;
    for (;;) {
        WALBROOK_TRY(const bool is_locked, attempt());
        if (is_locked) return {};
        if (now() >= until) {
            return Error(ErrorCode::aborted,
                         fmt::format("{} is locked by somebody else, for more than {} s",
                                     table.name, patience.count()));
        }
        if (!sleep_for(backoff.next(), stop)) {
            return Error(ErrorCode::cancelled, "stopped while a lock was not to be had");
        }
    }
}

}  // namespace walbrook
