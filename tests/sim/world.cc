#include "sim/world.h"

#include "pipeline/error_policy.h"
#include "pipeline/slot_check.h"
#include "pipeline/stopped_tables.h"
#include "sim/process.h"
#include "source/timeline.h"
#include "walbrook/testing/rows.h"

#include <algorithm>
#include <array>
#include <utility>

namespace walbrook::sim {
namespace {

constexpr int kSettleRoundsMax = 3000;

// What is not text, and zeros of numbers, are left out.
std::string printable(const std::string& frame) {
    std::string out;
    for (const char letter : frame) {
        const auto value = static_cast<unsigned char>(letter);
        if (letter >= ' ' && letter <= '~') {
            out += letter;
        } else if (value != 0) {
            out += fmt::format("<{:x}>", value);
        }
    }
    return out;
}

}  // namespace

World::World(const WorldOptions& options)
    : options_(options), random_(options.seed), store_(random_, rates_.store_per_mille, coverage_) {
    store_.on_table = [this](const TableState& s, bool is_heard) { check_state(s, is_heard); };
    choose_rates();
    begin_anew();
}

World::~World() = default;

// Small limits, so that each is reached; some runs without faults, so that a fault does
// not hide what would go wrong without it.
void World::choose_rates() {
    core_options_.max_fill = std::chrono::milliseconds(random_.below(200));
    core_options_.flush_bytes = random_.between(300, 6000);
    core_options_.pending_bytes_max = random_.between(1500, 10'000);
    core_options_.slice_bytes = random_.between(300, 4000);
    core_options_.held_bytes_max = random_.percent(15) ? random_.between(3000, 9000) : 1ULL << 30;
    core_options_.spill.directory = options_.spill_directory;
    core_options_.spill.memory_bytes_max =
        random_.percent(60) ? random_.between(400, 4000) : 1ULL << 20;
    core_options_.spill.chunk_bytes = random_.between(100, 2000);
    core_options_.waiting_bytes_max = random_.percent(60) ? random_.between(400, 8000) : 1ULL << 20;
    if (random_.percent(40)) rates_.memory_per_mille = random_.between(5, 60);

    SourceOptions source;
    source.clients = random_.between(2, 7);
    source.ledger_identity = random_.percent(50)   ? ReplicaIdentity::default_key
                             : random_.percent(50) ? ReplicaIdentity::full
                                                   : ReplicaIdentity::nothing;
    // Around the turn of the 32-bit xid, too.
    source.first_xid = random_.percent(50) ? 700 : 0x3'0000'0000ULL - random_.between(1, 300);
    source.truncate_per_mille = random_.percent(50) ? 15 : 0;
    source.alter_per_mille = random_.percent(50) ? random_.between(5, 40) : 0;
    source.async_percent = random_.percent(30) ? random_.between(10, 100) : 0;
    source.large_per_mille = random_.percent(70) ? 80 : 0;
    source.window_percent = random_.below(80);
    // Long enough for a copy to begin meanwhile, in some runs.
    if (random_.percent(40)) source.lingering_percent = random_.between(60, 95);
    source.has_huge = random_.percent(2);
    source.has_leaves = random_.percent(40);
    walsender_options_.is_binary = random_.percent(50);
    walsender_options_.sends_empty_transactions = random_.percent(50);
    walsender_options_.streams = random_.percent(80);
    walsender_options_.tells_ddl = random_.percent(40);
    walsender_options_.waits_for_standby = random_.percent(40);
    core_options_.binary = walsender_options_.is_binary;
    core_options_.copies_again_on_change = random_.percent(80);
    recreates_slot_ = random_.percent(80);
    has_failover_slot_ = random_.percent(70);

    rates_.source_weight = random_.between(5, 50);
    rates_.deliver_weight = random_.between(5, 50);
    rates_.writer_weight = random_.between(3, 30);
    if (random_.percent(50)) rates_.cut_weight = random_.between(1, 6);
    if (random_.percent(60)) rates_.crash_per_mille = random_.between(1, 5);
    if (random_.percent(60)) rates_.disconnect_per_mille = random_.between(1, 12);
    if (random_.percent(45)) rates_.server_per_mille = random_.between(1, 5);
    if (random_.percent(15)) rates_.slot_per_mille = 1;
    if (random_.percent(40)) rates_.command_per_mille = random_.between(1, 8);
    if (random_.percent(20)) rates_.store_per_mille = random_.between(20, 250);
    if (random_.percent(30)) rates_.give_up_per_mille = random_.between(1, 30);
    if (random_.percent(50)) rates_.lake.unavailable_per_mille = random_.between(50, 500);
    if (random_.percent(40)) rates_.lake.lost_answer_per_mille = random_.between(5, 60);
    if (random_.percent(30)) rates_.lake.refusal_per_mille = random_.between(5, 30);
    if (random_.percent(20)) rates_.lake.refused = random_.below(kTables);
    if (random_.percent(25)) rates_.lake.call_per_mille = random_.between(20, 150);
    if (random_.percent(20)) walsender_options_.unreadable_per_mille = random_.between(1, 12);
    walsender_options_.on_unreadable = [this](std::size_t t) { ++excuses_[t].unreadable; };

    source_.emplace(random_, source);
    const std::uint64_t head_start = random_.below(200);
    for (std::uint64_t i = 0; i < head_start; ++i) source_->step();
    source_->flush();
    standby_ = source_->flushed();
}

// ---------------------------------------------------------------- the process

void World::crash() {
    trace("crash");
    note(1);
    ++coverage_.crashes;
    start();
}

// StreamThread::connect().
void World::connect() {
    if (walsender_) return;
    ApplyCore& core = *process_->core;
    Lineage next = process_->lineage;
    const Timeline present = source_->timeline();
    const bool is_new = !is_same(timeline_of(next), present);
    Result<Lsn> shared_until = kLsnMax;
    if (is_new) {
        shared_until =
            check_history(source_->history(), timeline_of(next), present, core.continues_from());
        if (!shared_until) return refuse(shared_until.error().message()), start();
        if (lost_from_) throw Violation("it goes on with transactions that the server never had");
        gone_from_ = {};
        process_->received = {};  // It may go back, this once.
        feed(input::TimelineChanged{});
    }
    if (core.received() > source_->flushed()) {
        return refuse("the log ends before what was received"), start();
    }
    Slot slot;
    slot.confirmed_flush = slot_.confirmed;
    if (slot_.is_lost) slot.wal_status = "lost";
    const Lsn bound = std::min(process_->confirm_bound, *shared_until);
    if (!why_lost(slot_.exists ? std::optional(slot) : std::nullopt, bound).empty()) {
        trace("the slot is lost to the stream");
        return start();
    }
    if (is_new) {
        next.timeline = present.number;
        next.timeline_begin = present.begin;
        // Another time.
        if (!store_.save_lineage(next, *shared_until)) return feed(input::Disconnected{});
        process_->lineage = next;
        process_->confirm_bound = bound;
    }
    // A client that asks for less than it has is answered from what it confirmed.
    const Lsn asked = random_.percent(75) ? core.received() : Lsn{};
    const Lsn from = std::max(asked, slot_.confirmed);
    trace("connect from {}", to_string(from));
    WalsenderOptions options = walsender_options_;
    if (!faults_) options.unreadable_per_mille = 0;
    walsender_ = std::make_unique<Walsender>(*source_, random_, options, from, random_.below(30));
}

void World::disconnect() {
    if (!walsender_) return;
    trace("disconnect");
    ++coverage_.disconnects;
    walsender_.reset();
    feed(input::Disconnected{});
}

// Sessions of copies notice by themselves.
void World::harm_server() {
    disconnect();
    if (random_.percent(40)) {
        ++coverage_.server_crashes;
        source_->crash();
        slot_.confirmed = slot_.persisted;
        trace("the server crashes; its log ends at {}", to_string(source_->insert_position()));
        note(2);
        return;
    }
    ++coverage_.failovers;
    // Keepalives may tell of more: of transactions that say nothing of our tables.
    const Lsn has_up_to = has();
    std::vector<Lsn> ends;
    for (const std::size_t tx : source_->commits()) ends.push_back(source_->txs()[tx].end_lsn);
    source_->promote(standby_);
    const std::size_t left = source_->commits().size();
    const Lsn gone{source_->history().back().switch_point.value + 1};
    gone_from_ = gone_from_ ? std::min(gone_from_, gone) : gone;
    if (ends.size() > left && ends[left] <= has_up_to) {
        lost_from_ = lost_from_ ? std::min(lost_from_, ends[left]) : ends[left];
    }
    const Lsn confirmed = std::min(standby_synced_, slot_.confirmed);
    const bool is_synced = has_failover_slot_ && slot_.exists && !slot_.is_lost && confirmed;
    slot_ = is_synced ? SlotModel{true, false, confirmed, confirmed} : SlotModel{};
    standby_ = source_->flushed();
    standby_synced_ = {};
    trace("a standby takes over at {}{}", to_string(source_->history().back().switch_point),
          lost_from_ ? ", and lacks what was received" : "");
    note(3);
}

void World::harm_slot() {
    if (!slot_.exists || slot_.is_lost) return;
    disconnect();
    ++coverage_.slots_harmed;
    switch (random_.below(4)) {
        case 0:
            slot_.is_lost = true;
            break;
        case 1:
            slot_ = {};
            break;
        case 2: {
            const std::uint64_t room = source_->flushed().value - slot_.confirmed.value;
            slot_.confirmed.value += random_.below(room + 1);
            slot_.persisted = slot_.confirmed;
            break;
        }
        default:
            make_slot();
    }
    trace("somebody harms the slot");
    note(4);
}

void World::replicate() {
    const std::uint64_t room =
        source_->flushed().value - std::min(standby_, source_->flushed()).value;
    standby_.value += random_.below(room + 1);
    if (random_.percent(50)) standby_synced_ = std::min(slot_.confirmed, standby_);
}

Lsn World::sent_up_to() const {
    return walsender_options_.waits_for_standby && faults_ ? std::min(standby_, source_->flushed())
                                                           : source_->flushed();
}

// PipelineImpl::command_table().
void World::command() {
    const TableId table = id_of(random_.below(kTables));
    const TableState state = process_->tables.get(table);
    note(5);
    switch (random_.below(6)) {
        case 0:
        case 1:
            return resync(table);
        case 2: {
            if (state.paused) return;
            ++coverage_.pauses;
            trace("pause {}", table.oid);
            excuses_[Source::table_of(table.oid)].is_paused = true;
            if (!process_->tables.set_paused(table, true)) return;
            const Error why(ErrorCode::aborted, "paused by the operator");
            process_->inbox.push_back(input::Stop{table, true, why});
            return;
        }
        default:
            return resume(table);
    }
}

void World::resync(TableId table) {
    const TablePhase phase = process_->tables.get(table).phase;
    trace("resync {}", table.oid);
    coverage_.resyncs += phase == TablePhase::ready;
    if (phase == TablePhase::copying || phase == TablePhase::catching_up) {
        process_->events.tell(table, Error(ErrorCode::aborted, "a new copy was asked for"));
    } else {
        request_copy(table, "a new copy was asked for");
    }
}

// Of what the store does not take he is told, and may ask again.
void World::request_copy(TableId table, const std::string& reason) {
    Excuses& excuses = excuses_[Source::table_of(table.oid)];
    excuses.is_asked_for = true;
    process_->tables.request_copy(table, reason).ignore();
    excuses.is_asked_for = false;
}

void World::resume(TableId table) {
    const TableState state = process_->tables.get(table);
    if (!state.paused && state.phase != TablePhase::errored) return;
    trace("resume {}", table.oid);
    if (!process_->tables.set_paused(table, false)) return;
    excuses_[Source::table_of(table.oid)].is_paused = false;
    if (state.phase == TablePhase::errored) request_copy(table, "resumed by the operator");
}

void World::deliver(std::uint64_t messages) {
    if (!walsender_) return;
    const Lsn limit = sent_up_to();
    for (std::uint64_t i = 0; i < messages; ++i) {
        if (!process_->core->wants_frames() || !process_->versions.empty()) return;
        const auto message = walsender_->next(limit);
        if (!message) return;
        if (message->frame.empty()) {
            trace("keepalive {}", to_string(message->wal_end));
            feed(input::Keepalive{message->wal_end});
            continue;
        }
        trace("frame {}", printable(message->frame));
        coverage_.transactions += message->frame[0] == 'C';
        coverage_.streamed += message->frame[0] == 'c';
        coverage_.stream_aborts += message->frame[0] == 'A';
        coverage_.truncates += message->frame[0] == 'T';
        coverage_.ddl_told += message->frame[0] == 'M';
        feed(input::Frame{std::as_bytes(std::span(message->frame))});
    }
}

// As MemoryPressure moves: a pause ends in small steps or well.
void World::change_memory() {
    memory_ = memory_ == MemoryState::ample                           ? MemoryState::paused
              : memory_ == MemoryState::paused && random_.percent(50) ? MemoryState::scarce
                                                                      : MemoryState::ample;
    trace("memory is {}", name_of(memory_));
    feed(input::Memory{memory_});
}

// What would be written waits for the versions.
void World::tick(std::int64_t ms) {
    now_ms_ += ms;
    if (!process_->versions.empty()) return;
    feed(input::Tick{Instant(std::chrono::milliseconds(now_ms_))});
}

// StreamThread::take_inputs(): a hold waits for the end of a transaction, and what came after it
// waits behind it; except an acknowledgement or an answer, without which the transaction might
// never end.
void World::take_inputs() {
    Process& process = *process_;
    settle_stopped();
    store_versions();
    while (!process.inbox.empty()) {
        CoreInput input = std::move(process.inbox.front());
        process.inbox.pop_front();
        if (std::holds_alternative<input::Acked>(input) ||
            std::holds_alternative<input::Described>(input)) {
            feed(input);
        } else {
            process.waiting.push_back(std::move(input));
        }
    }
    while (!process.waiting.empty()) {
        const bool is_hold = std::holds_alternative<input::Hold>(process.waiting.front());
        if (is_hold && !process.core->is_at_boundary()) return;
        const CoreInput input = std::move(process.waiting.front());
        process.waiting.pop_front();
        feed(input);
    }
}

void World::settle_stopped() {
    Process& process = *process_;
    const SchemaChangePolicy policy = core_options_.copies_again_on_change
                                          ? SchemaChangePolicy::resync
                                          : SchemaChangePolicy::stop;
    std::erase_if(process.stopped, [&](const action::TableStopped& stopped) {
        const Result<bool> settled =
            walbrook::settle_stopped(stopped, policy, process.events, process.tables);
        if (settled) return *settled;
        const bool passes = reaction_to(settled.error().code()) == Reaction::retry;
        if (!passes) throw Violation("settle a table that stopped: " + settled.error().message());
        return false;
    });
}

// StreamThread::store_versions().
void World::store_versions() {
    Process& process = *process_;
    while (!process.versions.empty()) {
        const action::NewVersion& version = process.versions.front();
        if (!store_.put_schema(*version.schema, version.from)) return;
        process.versions.pop_front();
    }
    while (!process.flushes.empty()) {
        if (process.flush) throw Violation("a flush was submitted while another is in flight");
        action::SubmitFlush next = std::move(process.flushes.front());
        process.flushes.pop_front();
        process.flush.emplace(*process.lake, process.gate, process.log, std::move(next.flush),
                              next.kind, process.applied);
    }
}

// FlushWriter::apply(), a try at a time.
void World::write() {
    Process& process = *process_;
    if (!process.flush) return;
    const FlushApply::Progress progress = process.flush->try_once({});
    if (process.lake->has_landed()) {
        trace("landed up to {}", to_string(view_.position));
        note(view_.position.value);
        if (gone_from_ && gone_from_ <= view_.position && !lost_from_) lost_from_ = gone_from_;
        ++coverage_.flushes;
        check_lake();
    }
    if (process.flush->has_landed()) process.applied = process.flush->position();
    if (progress == FlushApply::Progress::again) return;
    FlushOutcome outcome = process.flush->take_outcome();
    process.flush.reset();
    if (!outcome.status) {
        trace("the process ends: {}", outcome.status.error().message());
        ++coverage_.unknown;
        // Where no position moves nothing tells whether it landed; the next start asks the lake.
        if (outcome.status.error().code() != ErrorCode::corrupt_state) {
            throw Violation("a flush fails: " + outcome.status.error().message());
        }
        return crash();
    }
    coverage_.refused += outcome.refused.size();
    process.inbox.push_back(input::Acked{std::move(outcome.refused)});
}

// StreamThread::confirm().
void World::confirm() {
    if (!walsender_) return;
    Process& process = *process_;
    Lsn target = process.core->confirmable();
    if (options_.bug == Bug::confirms_too_early) target = process.core->received();
    if (target > process.confirm_bound) {
        const auto stored = store_.advance({Lsn{}, target});
        if (!stored) return;
        process.confirm_bound = stored->confirm_bound;
    }
    const Lsn next = std::min(target, process.confirm_bound);
    if (next <= slot_.confirmed) return;
    trace("confirm {}", to_string(next));
    note(next.value);
    slot_.confirmed = next;
    if (random_.percent(40)) slot_.persisted = next;
    check_confirmed();
}

// The position that a new slot names, which is never behind what was sent.
void World::ask_for_cut() {
    if (cut_at_) return;
    if (!is_paused_for_cut_) {
        is_paused_for_cut_ = true;
        const auto until = std::chrono::milliseconds(now_ms_ + random_.between(1, 400));
        return feed(input::Pause{Instant(until)});
    }
    is_paused_for_cut_ = false;
    source_->flush();
    cut_at_ = source_->insert_position();
    trace("cut at {}", to_string(*cut_at_));
    const std::uint64_t too_late = options_.bug == Bug::cuts_too_late ? 1000 : 0;
    feed(input::Cut{Lsn{cut_at_->value + too_late}, some_repairs(*cut_at_)});
}

// Of rows that are right already: whoever writes them at another position than the cut's undoes
// what came later, or doubles what came before.
std::vector<Replace> World::some_repairs(Lsn cut) {
    std::vector<Replace> repairs;
    if (!random_.percent(50)) return repairs;
    for (std::size_t t = 0; t < kTables; ++t) {
        const TableSchemaPtr schema = source_->version_at(t, cut)->schema;
        const std::vector<std::size_t> places = schema->key_columns();
        if (places.empty() || !random_.percent(60)) continue;
        const auto keys = std::make_shared<RowBatch>(schema);
        const auto rows = std::make_shared<RowBatch>(schema);
        for (const auto& [row, values] : source_->rows_at(t, cut)) {
            if (values.size() != schema->columns.size()) break;
            if (!random_.percent(30)) continue;
            testing::append_text_row(*rows, values);
            Values key(values.size());
            for (const std::size_t place : places) key[place] = values[place];
            testing::append_text_row(*keys, key);
        }
        coverage_.repaired_rows += rows->rows();
        repairs.push_back({schema, keys, rows});
    }
    return repairs;
}

void World::feed(const CoreInput& input) {
    trace_news(input);
    std::vector<CoreAction> actions;
    const Lsn before = process_->core->received();
    process_->core->step(input, actions);
    const Lsn received = process_->core->received();
    if (!std::holds_alternative<input::Keepalive>(input) && received > before) {
        process_->last_transaction = received;
    }
    note(input.index() * 1000 + actions.size());
    for (CoreAction& action : actions) act(action);
    check_positions();
}

// What versions are heard of.
void World::trace_news(const CoreInput& input) {
    if (!options_.trace) return;
    const auto print = [](const SourceTable& now) {
        if (now.schema == nullptr) return std::string("none of ours");
        std::string names;
        for (const ColumnSchema& column : now.schema->columns) names += " " + column.name;
        return fmt::format("{}, look {}:{}, content {}; other rows: '{}', in copy {}: '{}'",
                           now.schema->name, now.seen, names, now.schema->content, now.other_rows,
                           now.attempt_in_copy, now.other_rows_in_copy);
    };
    if (const auto* changed = std::get_if<input::Changed>(&input)) {
        trace("changed at {}: {}", to_string(changed->position), print(changed->now));
    } else if (const auto* described = std::get_if<input::Described>(&input)) {
        trace("described at {}: {}", to_string(described->position), print(described->now));
    } else if (const auto* hold = std::get_if<input::Hold>(&input)) {
        trace("hold {} read at {}, look {}, content {}", hold->schema->id.oid,
              to_string(hold->read_at), hold->seen, hold->schema->content);
    } else if (const auto* done = std::get_if<input::CopyDone>(&input)) {
        trace("copied {} at {}, look {}, content {}", done->copy->schema->id.oid,
              to_string(done->copy->position), done->seen, done->copy->schema->content);
    }
}

void World::act(CoreAction& any) {
    Process& process = *process_;
    if (auto* flush = std::get_if<action::SubmitFlush>(&any)) {
        trace("submit {} up to {}", static_cast<int>(flush->kind),
              to_string(flush->flush->position()));
        coverage_.slices += flush->kind == FlushKind::slice;
        process.flushes.push_back(std::move(*flush));
        store_versions();
    } else if (const auto* holding = std::get_if<action::Holding>(&any)) {
        trace("holding {}", holding->table.oid);
        process.events.tell_holding(holding->table, holding->copy);
    } else if (const auto* published = std::get_if<action::Published>(&any)) {
        trace("published {}", published->table.oid);
        ++coverage_.published;
        process.events.tell_published(published->table, published->copy);
    } else if (const auto* lost = std::get_if<action::CopyLost>(&any)) {
        trace("lost {}: {}", lost->table.oid, lost->reason);
        ++coverage_.copies_lost;
        coverage_.moves_lost += lost->in_one_snapshot;
        if (lost->in_one_snapshot) process.tables.lose_ranges(lost->table, true);
        process.events.tell(lost->table, Error(ErrorCode::aborted, lost->reason));
    } else if (auto* stopped = std::get_if<action::TableStopped>(&any)) {
        trace("stopped {}: {}", stopped->table.oid, stopped->error.message());
        ++coverage_.tables_stopped;
        const LakeTable& table = view_.tables[Source::table_of(stopped->table.oid)];
        // Where the record is in the lake already, both must name the same position.
        if (table.phase == TablePhase::errored && table.is_visible && !stopped->copy_again &&
            stopped->error.message().starts_with("refused") && stopped->position &&
            table.frozen_at != stopped->position) {
            throw Violation(fmt::format("table {} stands at {} but is said to stand at {}",
                                        stopped->table.oid, to_string(table.frozen_at),
                                        to_string(stopped->position)));
        }
        process.stopped.push_back(std::move(*stopped));
        settle_stopped();
    } else if (const auto* describe = std::get_if<action::Describe>(&any)) {
        process.catalog.ask(*describe);
    } else if (std::holds_alternative<action::Look>(any)) {
        process.catalog.look();
    } else if (const auto* version = std::get_if<action::NewVersion>(&any)) {
        ++coverage_.versions;
        trace("version of {} from {}: {} columns, copy {}, content {}", version->schema->id.oid,
              to_string(version->from), version->schema->columns.size(), version->schema->attempt,
              version->schema->content);
        process.versions.push_back(*version);
        store_versions();
    } else if (const auto* cut = std::get_if<action::CutReached>(&any)) {
        trace("cut reached: {}", to_string(cut->position));
        ++coverage_.cuts;
        check_cut(cut->position);
    } else if (std::holds_alternative<action::CutLost>(any)) {
        ++coverage_.cuts_lost;
        is_paused_for_cut_ = false;
        cut_at_.reset();
    } else if (const auto* fail = std::get_if<action::Fail>(&any)) {
        throw Violation("the core gives up: " + fail->error.message());
    } else {
        throw Violation("the core asks for what was not foreseen");
    }
}

// ---------------------------------------------------------------- the run

void World::run() {
    start();
    const std::uint64_t steps = random_.between(500, 4000);
    for (std::uint64_t i = 0; i < steps; ++i) step();
    source_->settle();
    faults_ = false;
    rates_ = {};
    disconnect();
    // Memory may stay short for ever, a pause may not.
    if (memory_ == MemoryState::paused) change_memory();
    settle();
}

void World::step() {
    const std::uint64_t fault = random_.below(1000);
    std::uint64_t upto = rates_.crash_per_mille;
    if (fault < upto) return crash();
    if (fault < (upto += rates_.disconnect_per_mille)) return disconnect();
    if (fault < (upto += rates_.server_per_mille)) return harm_server();
    if (fault < (upto += rates_.slot_per_mille)) return harm_slot();
    if (fault < (upto += rates_.command_per_mille)) return command();
    if (random_.below(1000) < rates_.memory_per_mille) return change_memory();
    const std::array<std::uint64_t, 11> weights{rates_.source_weight,
                                                rates_.deliver_weight,
                                                15,
                                                rates_.writer_weight,
                                                25,
                                                10,
                                                5,
                                                rates_.cut_weight,
                                                5,
                                                2,
                                                3};
    std::uint64_t sum = 0;
    for (const std::uint64_t weight : weights) sum += weight;
    std::uint64_t dice = random_.below(sum);
    std::size_t choice = 0;
    while (dice >= weights[choice]) dice -= weights[choice++];
    switch (choice) {
        case 0:
            return source_->step();
        case 1:
            if (!walsender_) return connect();
            return deliver(random_.between(1, 25));
        case 2:
            return tick(static_cast<std::int64_t>(random_.below(60)));
        case 3:
            return write();
        case 4: {
            const std::uint64_t before = process_->copier.published_in_ranges();
            process_->copier.begin_one();
            process_->copier.step(random_.below(kTables), rates_.give_up_per_mille);
            coverage_.published_in_ranges += process_->copier.published_in_ranges() - before;
            return;
        }
        case 5:
            return take_inputs();
        case 6:
            return confirm();
        case 7:
            return ask_for_cut();
        case 8:
            process_->catalog.answer();
            return;
        case 9:
            return replicate();
        default:
            return process_->catalog.look();
    }
}

// Without faults and new transactions everything must come to an end, without an operator but for
// what may wait for him.
void World::settle() {
    trace("settling");
    for (int round = 0; round < kSettleRoundsMax; ++round) {
        // Every log grows, if only by checkpoints: what was to be waited for may have been lost in
        // a crash, unflushed.
        for (int i = 0; round % 100 == 99 && i < 1000; ++i) source_->settle();
        connect();
        for (std::size_t t = 0; t < kTables; ++t) {
            if (waits_for_operator(t)) resume(id_of(t));
        }
        process_->catalog.look();
        process_->catalog.answer();
        take_inputs();
        deliver(1'000'000);
        if (walsender_ && !walsender_->has_more()) {
            feed(input::Keepalive{walsender_->keepalive().wal_end});
        }
        tick(50);
        write();
        for (std::size_t t = 0; t < kTables; ++t) {
            process_->copier.begin_one();
            process_->copier.step(t, 0);
        }
        confirm();
        if (!is_settled()) continue;
        check_lake();
        for (std::size_t t = 0; t < kTables; ++t) check_whole(t);
        return;
    }
    const Process& process = *process_;
    std::string state = fmt::format(" confirmed {}, wanted {}, inbox {}, waiting {}{}{};",
                                    to_string(slot_.confirmed), to_string(process.core->wanted()),
                                    process.inbox.size(), process.waiting.size(),
                                    process.core->is_idle() ? "" : ", not idle",
                                    process.core->is_at_boundary() ? "" : ", within a transaction");
    for (std::size_t t = 0; t < kTables; ++t) {
        const std::optional<TablePhase> phase = view_.tables[t].phase;
        state += fmt::format(" table {} {}, in the lake {}, content {} of {};", t,
                             process.copier.describe(t), phase ? name_of(*phase) : "nowhere",
                             process.tables.contents(id_of(t)).visible,
                             content_of(*source_->version_now(t)));
    }
    throw Violation(fmt::format("lag does not end: received {}, durable {}, source {};{}",
                                to_string(process_->core->received()),
                                to_string(process_->core->durable()),
                                to_string(source_->insert_position()), state));
}

}  // namespace walbrook::sim
