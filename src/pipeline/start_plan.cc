#include "pipeline/start_plan.h"

#include <algorithm>

namespace walbrook {
namespace {

// By what the visible rows belong to the publication; empty: none are visible, or it is not known.
std::string visible_membership(const TableState* known, const TableSchema* visible) {
    if (visible == nullptr) return {};
    // The destination's word counts, where it has one: a store may be new.
    if (!visible->membership.empty()) return visible->membership;
    return known != nullptr ? known->membership : std::string();
}

// Fills in what becomes of a table that is visible and may be followed.
void plan_visible(const CatalogLook::Table& table, const TableState* known,
                  const TableSchema& schema, bool is_held, TablePlan& plan) {
    TableState& state = plan.state;
    const std::string member = visible_membership(known, &schema);
    state.content = content_before(known, &schema);
    const auto then = parse_table_content(state.content);
    const std::string other_rows =
        then ? compare_contents(*then, table.look, truncates_are_sent(table.published)) : "";
    const bool has_newer_copy =
        known != nullptr && schema.attempt != 0 && known->attempt > schema.attempt;
    const bool is_copy_due =
        known != nullptr && is_held && (has_newer_copy || known->phase == TablePhase::queued);
    if (state.paused) {
        plan.stands_still = true;
    } else if (!member.empty() && member != table.membership) {
        plan.warning =
            "a table was removed from the publication and added again, or it is "
            "published in another way: it is copied again";
        plan.stands_still = true;
        state.reason = "its place in the publication has changed";
    } else if (!other_rows.empty()) {
        plan.warning = "rows changed without changes in the stream: the table is copied again";
        state.reason = other_rows;
        // The stream may be behind: leaves that have gone are its own until it is there, and those
        // that have come are whose they were.
        ReadyTable& visible = *plan.visible;
        for (const auto& [oid, file] : then->files) visible.partitions_gone.push_back(oid);
        const auto came =
            std::stable_partition(visible.partitions.begin(), visible.partitions.end(),
                                  [&](std::uint32_t oid) { return then->has_file(oid); });
        visible.partitions_new.assign(came, visible.partitions.end());
        visible.partitions.erase(came, visible.partitions.end());
    } else {
        if (!is_copy_due) state.phase = TablePhase::ready;
        state.content = to_string(table.look.content);
    }
}

}  // namespace

std::string content_before(const TableState* known, const TableSchema* visible) {
    if (visible == nullptr) return known != nullptr ? known->content : std::string();
    if (known == nullptr || known->content.empty()) return visible->content;
    // A copy of which the store has not heard that it is visible now.
    const bool is_news =
        known->attempt == visible->attempt &&
        (known->phase == TablePhase::copying || known->phase == TablePhase::catching_up);
    return is_news ? visible->content : known->content;
}

TablePlan plan_table(const CatalogLook::Table& table, const TableState* known,
                     const TableSchemaPtr& visible, bool is_held) {
    TablePlan plan;
    TableState& state = plan.state;
    if (known != nullptr) state = *known;
    // A copy that has become visible has waited for whatever was prepared before its table had
    // this place. Nothing else shows that: a copy that waits has told the store of the place.
    const std::string member = visible_membership(known, visible.get());
    plan.is_late = member.empty() || member != table.membership;
    // No copy gets the number of the visible one, though the store may be new.
    if (visible != nullptr) state.attempt = std::max(state.attempt, visible->attempt);
    state.table = table.published.id;
    state.schema = table.published.schema;
    state.name = table.published.name;
    if (state.phase == TablePhase::errored) {
        // A restart is the operator's wish to try again, once: what was tried by itself counts
        // on, so that a process that is restarted again and again does not copy for ever.
        state.next_retry_unix_ms = 0;
    }
    state.phase = TablePhase::queued;
    state.membership = table.membership;
    if (!table.problem.empty()) {
        plan.refused = table.problem;
        if (is_held) plan.visible = ReadyTable{visible, {}};
        plan.stands_still = is_held;
    } else if (visible != nullptr) {
        plan.visible = ReadyTable{visible, table.partitions()};
        plan_visible(table, known, *visible, is_held, plan);
    }
    return plan;
}

}  // namespace walbrook
