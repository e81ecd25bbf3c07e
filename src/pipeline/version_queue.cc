#include "pipeline/version_queue.h"

#include "base/failpoints.h"

#include <fmt/format.h>

namespace walbrook {
namespace {

Status store_version(Store& store, const action::NewVersion& version, Lsn durable) {
    WALBROOK_FAILPOINT("schema.before_store");
    WALBROOK_RETURN_IF_ERROR(store.put_schema(*version.schema, version.from));
    // Whoever starts again begins at what is durable, or later.
    WALBROOK_RETURN_IF_ERROR(store.prune_schemas(version.schema->id, durable));
    return failpoint("schema.after_store");
}

// The rest is about the store itself, also where its tables are not what they were.
bool is_about_the_version(const Error& error) {
    return error.code() == ErrorCode::malformed || error.code() == ErrorCode::unsupported_value;
}

}  // namespace

Result<std::vector<std::pair<TableId, Error>>> VersionQueue::store(Lsn durable, Instant at) {
    std::vector<std::pair<TableId, Error>> refused;
    while (!versions_.empty() && patience_.is_due(at)) {
        const action::NewVersion& version = versions_.front();
        Status status =
            store_.with([&](Store& store) { return store_version(store, version, durable); });
        if (!status && is_about_the_version(status.error())) {
            const TableId table = version.schema->id;
            refused.emplace_back(
                table, std::move(status).error().with_context(fmt::format(
                           "the store cannot hold how {} looks", version.schema->display_name())));
            std::erase_if(versions_, [&](const auto& each) { return each.schema->id == table; });
            status = {};
        } else if (status) {
            versions_.pop_front();
        }
        WALBROOK_RETURN_IF_ERROR(patience_.note(status, at));
    }
    return refused;
}

}  // namespace walbrook
