#include "pipeline/stopped_tables.h"

#include "pipeline/error_policy.h"

namespace walbrook {
namespace {

// A change that is not to be followed, by policy, waits for the operator.
TableRegistry::Retries retries_after(const Error& error, SchemaChangePolicy policy) {
    const bool waits =
        policy == SchemaChangePolicy::stop && error.code() == ErrorCode::schema_mismatch;
    return waits ? TableRegistry::Retries::none : TableRegistry::Retries::planned;
}

}  // namespace

Result<bool> settle_stopped(const action::TableStopped& stopped, SchemaChangePolicy policy,
                            CopyEvents& copies, TableRegistry& tables) {
    switch (copies.stage(stopped.table)) {
        case CopyEvents::Stage::copying: {
            // The copy's to settle. Whoever asked for it while the one before was on its way, or
            // was followed, asked for the remedy of what is wrong with that.
            const bool is_older = stopped.attempt < tables.get(stopped.table).attempt;
            copies.tell(stopped.table, stopped.copy_again || is_older
                                           ? Error(ErrorCode::aborted, stopped.error.message())
                                           : stopped.error);
            return true;
        }
        case CopyEvents::Stage::published:
            // Nobody's until the copy has told the store so.
            return false;
        case CopyEvents::Stage::none:
            break;
    }
    const TablePhase phase = tables.get(stopped.table).phase;
    if (phase == TablePhase::errored) {
        // Why is told already: a flush that was under way was refused besides.
        const Status status = tables.set_position(stopped.table, stopped.position);
        if (!status) return status.error();
        return true;
    }
    // One that waits for a new copy stops for as long, whatever is wrong with it.
    const bool again = stopped.copy_again || phase == TablePhase::queued;
    const Status status = again ? tables.copy_again(stopped.table, stopped.error.message())
                                : tables.fail(stopped.table, stopped.error, stopped.position,
                                              retries_after(stopped.error, policy));
    if (!status) return status.error();
    return true;
}

Status settle_failed_copy(TableId table, const Error& error, TableRegistry& tables) {
    const Reaction reaction = reaction_to(error.code());
    if (reaction != Reaction::retry && reaction != Reaction::redo) {
        return tables.fail(table, error, Lsn{});
    }
    if (tables.get(table).phase != TablePhase::queued) {
        return tables.copy_again(table, error.message());
    }
    tables.note(table, error.message());  // It never began.
    return {};
}

}  // namespace walbrook
