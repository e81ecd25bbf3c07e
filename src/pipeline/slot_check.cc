#include "pipeline/slot_check.h"

#include <fmt/format.h>

namespace walbrook {

Error slot_lost(const PipelineConfig& config, const std::string& why) {
    const bool recreates = config.invalidated_slot_behavior == InvalidatedSlotBehavior::recreate;
    return Error(
        ErrorCode::missing_slot,
        fmt::format("slot {} cannot be used: {}; changes are lost to the stream. {}",
                    config.slot_name(), why,
                    recreates ? "All tables are copied again at the next start "
                                "(pipeline.invalidated_slot_behavior: recreate)"
                              : "Set pipeline.invalidated_slot_behavior: recreate to copy all "
                                "tables again"));
}

std::string why_lost(const std::optional<Slot>& slot, Lsn confirm_bound) {
    if (!slot) return "it does not exist any more";
    if (slot->is_lost()) {
        return slot->invalidation_reason.empty()
                   ? std::string("the server invalidated it")
                   : fmt::format("the server invalidated it ({})", slot->invalidation_reason);
    }
    if (slot->confirmed_flush > confirm_bound) {
        return fmt::format(
            "it stands at {}, but this pipeline confirmed nothing of this log beyond {}: "
            "somebody else moved it or made it anew",
            to_string(slot->confirmed_flush), to_string(confirm_bound));
    }
    return {};
}

Status check_slot(const PipelineConfig& config, Lsn confirm_bound, const Deadline& deadline) {
    Purpose purpose;
    purpose.application_name = application_name(config.id, "slot");
    WALBROOK_TRY(Connection connection, Connection::open(config.pg_connection, purpose, deadline));
    WALBROOK_TRY(const std::optional<Slot> slot,
                 read_slot(connection, deadline, config.slot_name()));
    const std::string why = why_lost(slot, confirm_bound);
    return why.empty() ? Status() : slot_lost(config, why);
}

}  // namespace walbrook
