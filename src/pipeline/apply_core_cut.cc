// A moment at which the destination has exactly what a position of the source names: what
// `walbrook verify` compares. Postgres names such a position only when a slot is made, so that it
// comes from outside, and by then the stream must not be behind it.

#include "pipeline/apply_core.h"
#include "pipeline/apply_core_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace walbrook {

Status ApplyCore::on_pause(const input::Pause& pause) {
    lose_cut("another one was asked for");
    paused_until_ = pause.until;
    return go_on_behind_cut();
}

Status ApplyCore::on_cut(const input::Cut& cut) {
    paused_until_.reset();
    lose_cut("another one was asked for");
    WALBROOK_RETURN_IF_ERROR(go_on_behind_cut());
    cut_at_ = cut.at;
    repairs_ = cut.repairs;
    // No record lies over the position: who ends behind it committed behind it.
    if (last_commit_ > cut.at || (in_transaction_ && transaction_.commit_lsn >= cut.at)) {
        lose_cut(fmt::format("the stream had passed {} already", to_string(cut.at)));
    }
    return {};
}

// The snapshot that a slot exports has what committed before the slot's position: the place of the
// commit record counts (SnapBuildXactNeedsSkip() in snapbuild.c), which pgoutput says at once.
bool ApplyCore::is_behind_cut(const PgoutputMessage& message) const {
    if (!cut_at_) return false;
    if (const auto* begin = std::get_if<BeginMessage>(&message)) {
        return begin->commit_lsn >= *cut_at_;
    }
    if (const auto* end = std::get_if<StreamCommitMessage>(&message)) {
        return end->commit_lsn >= *cut_at_;
    }
    return false;
}

bool ApplyCore::has_all_before_cut() const {
    // A cut that is named while nobody is connected may be of another server than what was
    // received.
    return cut_at_ && is_receiving_ && at_boundary() &&
           (!behind_cut_.empty() || received_ >= *cut_at_);
}

// What waits for the flush is all that the destination lacks: the rows follow it, and what commits
// behind the cut follows them.
void ApplyCore::add_repairs() {
    if (repairs_.empty() || !has_all_before_cut()) return;
    for (const Replace& repair : std::exchange(repairs_, {})) {
        const Table* table = find(repair.schema->id);
        if (table == nullptr || !table->applies) {
            unrepaired_.emplace_back(repair.schema->id, "it is not followed at present");
        } else if (table->held || table->publishing) {
            unrepaired_.emplace_back(repair.schema->id, "it is being copied again");
        } else if (table->schema->columns != repair.schema->columns) {
            unrepaired_.emplace_back(repair.schema->id, "its columns have changed");
        } else {
            pending_.add(Replace{table->schema, repair.keys, repair.rows});
        }
    }
}

// After a tick, which flushes what comes before the cut.
Status ApplyCore::settle_cut() {
    if (paused_until_ && clock_ >= *paused_until_) lose_cut("no position was named in time");
    if (has_all_before_cut() && is_idle()) {
        out_->emplace_back(action::CutReached{*cut_at_, std::max(*cut_at_, durable_),
                                              std::exchange(unrepaired_, {})});
        cut_at_.reset();
    }
    return cut_at_ ? Status() : go_on_behind_cut();
}

Status ApplyCore::go_on_behind_cut() {
    if (behind_cut_.empty()) return {};
    const std::vector<std::byte> frame = std::exchange(behind_cut_, {});
    return on_frame(frame);
}

void ApplyCore::lose_cut(std::string reason) {
    const bool was_asked_for = cut_at_ || paused_until_;
    cut_at_.reset();
    paused_until_.reset();
    repairs_.clear();
    unrepaired_.clear();
    if (was_asked_for) out_->emplace_back(action::CutLost{std::move(reason)});
}

}  // namespace walbrook
