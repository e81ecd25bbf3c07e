#include "batch/change_log.h"
#include "pipeline/slot_check.h"
#include "pipeline/start_plan.h"
#include "sim/process.h"
#include "source/timeline.h"

#include <algorithm>
#include <utility>

// World: how the process starts, and what an operator does who begins anew.
namespace walbrook::sim {
namespace {

const PipelineIdentity& identity() {
    static const PipelineIdentity who{1, "7000000000000000000", "shop", 5, "walbrook_1", "", 0};
    return who;
}

}  // namespace

// What an operator does whose server is not the right one: another pipeline, an empty lake.
void World::begin_anew() {
    process_.reset();
    walsender_.reset();
    expect(store_.open({1, "memory"}), "open the store");
    expect(store_.clear(), "clear the store");
    lake_ = MemoryDestination::make_lake();
    view_ = {};
    slot_ = {};
    for (Rows& rows : rows_) rows.clear();
    next_commit_ = 0;
    last_cut_at_ = last_cut_ = {};
    lost_from_ = gone_from_ = {};
    is_foreign_ = {};
    excuses_ = {};
}

// Until it works, as whoever watches over the process does.
void World::start() {
    while (!start_once()) {
        trace("the start fails");
        ++coverage_.starts_failed;
    }
    memory_ = MemoryState::ample;
    is_paused_for_cut_ = false;
    cut_at_.reset();
    check_lake();
}

bool World::dies_while_starting() { return faults_ && random_.percent(4); }

// PipelineImpl::start(), with its decisions.
bool World::start_once() {
    process_.reset();
    walsender_.reset();
    // What was stored is so, whether the dead process heard that or not.
    for (Excuses& excuses : excuses_) excuses.unheard.reset();
    const auto known = store_.load_lineage();
    const Timeline present = source_->timeline();
    Lineage lineage{identity().system_identifier, present.number, 5, "walbrook_1", present.begin};
    if (known && *known) lineage = **known;
    if (!store_.save_lineage(lineage, kLsnMax)) return false;

    auto lake = std::make_unique<FaultyLake>(random_, lake_, view_, rates_.lake, coverage_);
    lake->on_refusal = [this](std::size_t t) { ++excuses_[t].refusals; };
    const auto recovered = lake->open(identity(), {});
    if (!recovered) return false;
    if (recovered->position != view_.position) throw Violation("the lake lost its position");
    const Lsn position = recovered->position;
    if (position > source_->flushed()) {
        refuse("the log ends before");
        return false;
    }

    const Source::Snapshot snapshot = source_->take_snapshot();
    const auto stored = store_.load_tables();
    std::vector<TableState> states;
    std::vector<ReadyTable> ready;
    std::vector<ReadyTable> returned;
    for (std::size_t t = 0; t < kTables; ++t) {
        const auto state = std::find_if(stored->begin(), stored->end(),
                                        [&](const auto& s) { return s.table == id_of(t); });
        const auto held = std::find_if(recovered->tables.begin(), recovered->tables.end(),
                                       [&](const auto& h) { return h.table == id_of(t); });
        const bool is_there = held != recovered->tables.end();
        if (is_there && view_.tables[t].phase != held->phase) {
            throw Violation("the lake lost a phase");
        }
        const bool is_held = is_there && held->phase == TablePhase::ready;
        TablePlan plan =
            plan_table(look_at(*source_, snapshot, t), state == stored->end() ? nullptr : &*state,
                       is_held ? held->schema : nullptr, is_held);
        if (plan.visible) (plan.stands_still ? returned : ready).push_back(*plan.visible);
        states.push_back(std::move(plan.state));
    }
    if (!freeze(*lake, returned, position) || dies_while_starting()) return false;
    if (!store_.save_tables(states) || dies_while_starting()) return false;

    const std::string lost = slot_loss(position, !ready.empty());
    if (!lost.empty()) {
        trace("slot lost: {}", lost);
        ++coverage_.slots_lost;
        // Without the key an operator sets it when he hears of it.
        recreates_slot_ = true;
        if (!freeze(*lake, ready, position)) return false;
        for (TableState& state : states) state.phase = TablePhase::queued;
        ready.clear();
        if (dies_while_starting() || !store_.save_tables(states)) return false;
        slot_ = {};
    }
    if (dies_while_starting()) return false;
    if (!slot_.exists) make_slot();
    if (dies_while_starting()) return false;

    if (!is_same(timeline_of(lineage), present)) {
        const Result<Lsn> shared_until =
            check_history(source_->history(), timeline_of(lineage), present, position);
        if (!ready.empty() && !shared_until) {
            refuse(shared_until.error().message());
            return false;
        }
        lineage.timeline = present.number;
        lineage.timeline_begin = present.begin;
        const Lsn begin = std::max(position, slot_.confirmed);
        if (!store_.save_lineage(lineage, shared_until ? *shared_until : begin)) return false;
    }
    // What only the process had that is gone is forgotten with it.
    if (lost_from_ && lost_from_ <= position) {
        if (!ready.empty()) {
            throw Violation("it starts with transactions that the server never had");
        }
        // They all stand still, and wait for new copies.
        for (std::size_t t = 0; t < kTables; ++t) is_foreign_[t] = view_.tables[t].is_visible;
        for (Rows& rows : rows_) rows.clear();
        next_commit_ = 0;
    }
    lost_from_ = gone_from_ = {};
    CoreOptions options = core_options_;
    options.last_commit = position;
    options.position = std::max(position, slot_.confirmed);
    if (options_.bug == Bug::forgets_position) {
        options.position = slot_.confirmed;
        options.last_commit.reset();
    }
    if (!store_.advance({position, options.position})) return false;
    trace("start at {} (lake {}, slot {})", to_string(options.position), to_string(position),
          to_string(slot_.confirmed));
    note(options.position.value);
    const Lsn begin = options.position;
    process_ = std::make_unique<Process>(*this, std::move(lake), std::move(ready),
                                         std::move(options), lineage, begin);
    if (!process_->tables.begin_with(std::move(states))) return false;
    process_->catalog.begin(snapshot);
    return true;
}

// As PipelineImpl::prepare_slot() asks why_lost().
std::string World::slot_loss(Lsn recovered, bool has_data) {
    const auto positions = store_.load_positions();
    std::optional<Slot> slot;
    if (slot_.exists) {
        slot.emplace();
        slot->confirmed_flush = slot_.confirmed;
        if (slot_.is_lost) slot->wal_status = "lost";
    }
    if (!slot) return has_data || recovered ? why_lost(slot, {}) : std::string();
    // Nothing was stored, or nothing is there.
    if (!positions->confirm_bound || (!has_data && !recovered)) return why_lost(slot, kLsnMax);
    if (has_data && recovered < positions->durable) {
        throw Violation("the lake seems to have been put back, which nobody did");
    }
    const Lineage known = **store_.load_lineage();
    const Result<Lsn> shared_until =
        check_history(source_->history(), timeline_of(known), source_->timeline(), {});
    const Lsn bound = std::min(positions->confirm_bound, shared_until ? *shared_until : kLsnMax);
    return why_lost(slot, std::max(bound, recovered));
}

void World::make_slot() {
    source_->end_all();
    slot_ = {true, false, source_->insert_position(), source_->insert_position()};
}

bool World::freeze(FaultyLake& lake, const std::vector<ReadyTable>& tables, Lsn position) {
    if (tables.empty()) return true;
    ChangeLog log(core_options_.spill);
    for (const ReadyTable& table : tables) {
        log.add(Freeze{table.schema, TablePhase::queued, position, "it stands still"});
    }
    const auto flush = log.finish(position);
    return lake.apply(*flush, Ack::durable, {}).status().ok();
}

}  // namespace walbrook::sim
