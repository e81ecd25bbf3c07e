#include "walbrook/pipeline.h"

#include "base/backoff.h"
#include "base/failpoints.h"
#include "pipeline/catalog_watch.h"
#include "pipeline/copy_workers.h"
#include "pipeline/lease_keeper.h"
#include "pipeline/memory_budget.h"
#include "pipeline/memory_pressure.h"
#include "pipeline/row_repair.h"
#include "pipeline/slot_check.h"
#include "pipeline/source_check.h"
#include "pipeline/source_watch.h"
#include "pipeline/start_plan.h"
#include "pipeline/stored_commands.h"
#include "pipeline/stream_thread.h"
#include "pipeline/table_selection.h"
#include "postgres/slots.h"
#include "source/timeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <thread>

namespace walbrook {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kStartDeadline{30};
// The permanent slot waits for every transaction with an xid; it is asked for again
// and again, so that nothing stays on the source if we die meanwhile.
constexpr milliseconds kSlotLockTimeout{10'000};
constexpr seconds kSlotDeadline{60};
// A standby waits for records that the primary writes now and then.
constexpr seconds kStandbySlotDeadline{600};
constexpr milliseconds kCaughtUpInterval{10};
// Less than verify holds the stream for.
constexpr milliseconds kRepairReadMax{50'000};
// Of a stop; service managers kill after 30 to 90 s.
constexpr seconds kDrainMax{60};

MachineLimits machine_limits(const PipelineOptions& options) {
    MachineLimits limits = read_machine_limits();
    if (options.memory_limit_bytes != 0) {
        limits.memory_bytes = options.memory_limit_bytes;
        limits.is_container = false;  // It is this process whose use counts.
    }
    return limits;
}

// What the tables that were found at the start are to do.
struct StartPlan {
    std::vector<TableState> states;
    std::vector<ReadyTable> returned;  // Visible, and to stand still until they are copied again.
    std::set<TableId> late;
    std::vector<std::pair<TableId, std::string>> refused;  // And why.
};

class PipelineImpl final : public Pipeline {
 public:
    PipelineImpl(PipelineConfig config, std::unique_ptr<Store> store,
                 std::unique_ptr<Destination> destination, PipelineOptions options,
                 SourceFacts facts)
        : config_(std::move(config)),
          store_(std::move(store)),
          destination_(std::move(destination)),
          options_(std::move(options)),
          facts_(std::move(facts)),
          log_(options_.log),
          gate_(*store_),
          machine_(machine_limits(options_)),
          budget_(divide_memory(machine_, config_.batch)),
          tables_(gate_, {milliseconds(config_.table_error_retry_delay_ms),
                          config_.table_error_retry_max_attempts}),
          writer_(*destination_, gate_, log_,
                  [this](FlushOutcome outcome) { stream_->on_flush_done(std::move(outcome)); }),
          memory_(
              {config_.memory_backpressure, machine_.memory_bytes,
               milliseconds(config_.memory_refresh_interval_ms)},
              [this] { return read_memory_in_use(machine_); }, log_,
              [this] {
                  inbox_.wake();
                  copy_gate_.wake();
              }),
          watch_(parts_),
          copy_gate_(budget_.copy_units_max, [this] { return memory_.state(); }),
          parts_{config_,
                 *destination_,
                 gate_,
                 tables_,
                 writer_,
                 inbox_,
                 events_,
                 copy_gate_,
                 memory_,
                 watch_,
                 log_,
                 {},
                 {},
                 // Ends the pipeline.
                 [this](Error error) { fail(std::move(error)); }},
          lease_(config_, log_, parts_.fail),
          kindness_(parts_) {}

    ~PipelineImpl() override { stop_threads(); }

    Status start() override;
    Status wait() override;
    void shutdown() override {
        const std::lock_guard lock(mutex_);
        shutdown_ = true;
        stop_start_.request_stop();
        changed_.notify_all();
    }
    PipelineStatus status() const override;
    Result<std::vector<std::string>> command(TableCommand what,
                                             const std::vector<std::string>& tables) override;
    Status hold_for_cut(milliseconds at_most) override;
    Result<Lsn> cut(Lsn at, milliseconds at_most) override;
    Result<RowRepairs> repair(Lsn at, const std::string& snapshot,
                              const std::vector<RowRepair>& rows, milliseconds at_most) override;
    Status keep_readable(Lsn position, milliseconds how_long) override;

 private:
    Status check_running() const;
    Result<RowRepairs> ask_for_cut(input::Cut cut, milliseconds at_most);
    Status command_table(TableCommand what, const TableState& table);
    Lineage lineage() const {
        return {facts_.system.system_identifier, facts_.timeline.number, facts_.system.database_oid,
                config_.slot_name(), facts_.timeline.begin};
    }
    Status open_store();
    Result<Recovered> open_destination();
    Status prepare_tables(const Recovered& recovered);
    Status prepare_table(Connection& connection, CatalogLook::Table& table, const TableState* known,
                         const RecoveredTable* held, StartPlan& plan);
    Status retire_others(const Recovered& recovered, const std::vector<TableState>& stored);
    Lsn position_of(const Recovered& recovered, const StoredPositions& stored) const;
    Status check_position(const Recovered& recovered);
    Status prepare_slot(const Recovered& recovered, bool has_data);
    Result<Lsn> shared_log(Lsn position);
    Status create_slot();
    Status match_failover(const Slot& slot);
    void find_problems(const Recovered& recovered);
    Status freeze(const std::vector<ReadyTable>& tables, Lsn position, const std::string& reason);
    Status choose_start(const Recovered& recovered);
    StreamSettings stream_settings() const;
    bool is_caught_up() const;
    void show_memory(PipelineStatus& out) const;
    void fail(Error error);
    void stop_threads();
    Result<Connection> connect(std::string_view role, bool replication,
                               milliseconds lock_timeout = milliseconds(30'000)) const;

    const PipelineConfig config_;
    std::unique_ptr<Store> store_;
    std::unique_ptr<Destination> destination_;
    const PipelineOptions options_;
    SourceFacts facts_;
    Logger log_;
    StoreGate gate_;
    const MachineLimits machine_;
    const MemoryBudget budget_;
    TableRegistry tables_;
    Inbox inbox_;
    CopyEvents events_;
    FlushWriter writer_;
    std::unique_ptr<StreamThread> stream_;
    MemoryPressure memory_;
    CatalogWatch watch_;  // Refers to parts_, uses it from start() on.
    CopyGate copy_gate_;
    Parts parts_;
    std::optional<CopyWorkers> copies_;
    LeaseKeeper lease_;
    SourceWatch kindness_;
    bool destination_open_ = false;
    std::stop_source stop_start_;

    Timeline timeline_;  // That the store knew; its number is 0: none.
    Lsn start_position_;
    Lsn last_commit_;  // That the destination holds.
    Lsn catch_up_target_;
    std::vector<ReadyTable> ready_;

    mutable std::mutex mutex_;  // Guards what follows.
    std::condition_variable changed_;
    bool shutdown_ = false;
    bool running_ = false;
    std::optional<Error> error_;
    mutable Lsn source_end_;
};

Result<Connection> PipelineImpl::connect(std::string_view role, bool replication,
                                         milliseconds lock_timeout) const {
    Purpose purpose;
    purpose.application_name = application_name(config_.id, role);
    purpose.replication = replication;
    purpose.lock_timeout = lock_timeout;
    return Connection::open(config_.pg_connection, purpose,
                            within(kStartDeadline, stop_start_.get_token()));
}

// Reads like the order in which nothing can be lost: who are we, is this our source,
// what does the destination hold, is the slot there, then the threads.
Status PipelineImpl::start() {
    WALBROOK_RETURN_IF_ERROR(prepare_work_dir(config_.work_dir));
    WALBROOK_RETURN_IF_ERROR(lease_.take(within(kStartDeadline, stop_start_.get_token())));
    lease_.start();
    WALBROOK_RETURN_IF_ERROR(open_store());
    WALBROOK_TRY(const Recovered recovered, open_destination());
    WALBROOK_RETURN_IF_ERROR(check_position(recovered));
    WALBROOK_RETURN_IF_ERROR(prepare_tables(recovered));
    WALBROOK_RETURN_IF_ERROR(prepare_slot(recovered, !ready_.empty()));
    WALBROOK_RETURN_IF_ERROR(choose_start(recovered));
    {
        const std::lock_guard lock(mutex_);  // A status may be asked for already.
        stream_ = std::make_unique<StreamThread>(parts_, stream_settings());
    }
    watch_.start(facts_.look);
    if (options_.until_caught_up) stream_->want(catch_up_target_);
    memory_.start();
    writer_.start(last_commit_);
    stream_->start();
    copies_.emplace(parts_);
    copies_->start();
    kindness_.start();
    const std::lock_guard lock(mutex_);
    running_ = true;
    return {};
}

Status PipelineImpl::open_store() {
    WALBROOK_RETURN_IF_ERROR(store_->open({config_.id, std::string(destination_->name())}));
    WALBROOK_TRY(const std::optional<Lineage> known, store_->load_lineage());
    Lineage present = lineage();
    if (known && (known->system_identifier != present.system_identifier ||
                  known->database_oid != present.database_oid)) {
        return Error(ErrorCode::corrupt_state,
                     fmt::format("the store belongs to another source (system {}, database {}); "
                                 "this one is system {}, database {}: use another pipeline.id or "
                                 "another store",
                                 known->system_identifier, known->database_oid,
                                 present.system_identifier, present.database_oid));
    }
    // A new timeline is one to go on with only once it is known where the destination stands.
    if (known) {
        timeline_ = timeline_of(*known);
        // Where it began was not stored once.
        if (is_same(timeline_, facts_.timeline)) timeline_ = facts_.timeline;
        present.timeline = timeline_.number;
        present.timeline_begin = timeline_.begin;
    }
    WALBROOK_RETURN_IF_ERROR(store_->save_lineage(present, kLsnMax));
    return failpoint("start.before_slot");
}

Result<Recovered> PipelineImpl::open_destination() {
    PipelineIdentity who;
    who.pipeline_id = config_.id;
    who.system_identifier = facts_.system.system_identifier;
    who.database = facts_.system.database;
    who.database_oid = facts_.system.database_oid;
    who.slot = config_.slot_name();
    who.work_dir = config_.work_dir;
    who.memory_bytes_max = budget_.destination_bytes;
    who.memory_bytes_in_need = budget_.destination_bytes_in_need;
    WALBROOK_TRY(Recovered recovered, destination_->open(who, stop_start_.get_token()));
    destination_open_ = true;
    return recovered;
}

Status PipelineImpl::prepare_tables(const Recovered& recovered) {
    WALBROOK_TRY(const std::vector<TableState> stored, store_->load_tables());
    StartPlan plan;
    find_problems(recovered);
    WALBROOK_TRY(Connection connection, connect("start", false));
    for (auto& [id, table] : facts_.look.tables) {
        if (!table.source.schema && table.problem.empty()) continue;  // Dropped a moment ago.
        const auto known = std::find_if(stored.begin(), stored.end(),
                                        [&](const auto& s) { return s.table == id; });
        const auto held = std::find_if(recovered.tables.begin(), recovered.tables.end(),
                                       [&](const auto& t) { return t.table == id; });
        WALBROOK_RETURN_IF_ERROR(
            prepare_table(connection, table, known == stored.end() ? nullptr : &*known,
                          held == recovered.tables.end() ? nullptr : &*held, plan));
    }
    WALBROOK_RETURN_IF_ERROR(
        freeze(plan.returned, recovered.position,
               "paused, refused, or its place in the publication has changed"));
    WALBROOK_RETURN_IF_ERROR(retire_others(recovered, stored));
    WALBROOK_RETURN_IF_ERROR(tables_.begin_with(std::move(plan.states), std::move(plan.late)));
    for (const auto& [id, problem] : plan.refused) {
        WALBROOK_RETURN_IF_ERROR(
            tables_.fail(id, Error(ErrorCode::unsupported_value, problem), Lsn{}));
    }
    return {};
}

// What the destination cannot hold beside the others; what is there already goes first.
void PipelineImpl::find_problems(const Recovered& recovered) {
    std::vector<TableSchemaPtr> accepted;
    const auto is_there = [&](TableId id) {
        return std::any_of(recovered.tables.begin(), recovered.tables.end(),
                           [&](const auto& held) { return held.table == id; });
    };
    for (const auto& [id, table] : facts_.look.tables) {
        if (table.source.schema && table.problem.empty()) accepted.push_back(table.source.schema);
    }
    if (destination_->refusals(accepted).empty()) return;
    accepted.clear();
    for (const bool there : {true, false}) {
        for (auto& [id, table] : facts_.look.tables) {
            if (!table.source.schema || !table.problem.empty() || is_there(id) != there) continue;
            accepted.push_back(table.source.schema);
            const std::vector<std::string> refusals = destination_->refusals(accepted);
            if (refusals.empty()) continue;
            accepted.pop_back();
            table.problem = refusals.front();
        }
    }
}

Status PipelineImpl::prepare_table(Connection& connection, CatalogLook::Table& table,
                                   const TableState* known, const RecoveredTable* held,
                                   StartPlan& plan) {
    const TableId id = table.published.id;
    if (held != nullptr) parts_.visible.insert(id);
    const bool is_held = held != nullptr && held->phase == TablePhase::ready;
    const bool is_stored = destination_->capabilities().forgets && known != nullptr &&
                           known->phase == TablePhase::ready;
    TableSchemaPtr visible = is_held ? held->schema : nullptr;
    if (!is_held && is_stored && table.problem.empty()) {
        // The destination keeps nothing: the version as of the position is the store's.
        WALBROOK_TRY(const StoredPositions positions, store_->load_positions());
        WALBROOK_TRY(visible, store_->get_schema(id, positions.durable));
        if (visible == nullptr) visible = table.source.schema;
    }
    if (const auto before = parse_table_content(content_before(known, visible.get()))) {
        WALBROOK_RETURN_IF_ERROR(
            check_new_partitions(connection, within(kStartDeadline, stop_start_.get_token()),
                                 table.published, *before, table.look));
    }
    TablePlan planned = plan_table(table, known, visible, is_held);
    if (!planned.warning.empty()) {
        log_.warn(planned.warning, {{"table", planned.state.schema + "." + planned.state.name},
                                    {"reason", planned.state.reason}});
    }
    if (planned.visible) {
        (planned.stands_still ? plan.returned : ready_).push_back(*std::move(planned.visible));
    }
    if (planned.is_late) plan.late.insert(id);
    if (!planned.refused.empty()) plan.refused.emplace_back(id, std::move(planned.refused));
    plan.states.push_back(std::move(planned.state));
    return {};
}

// Tables that left the publication while nobody watched: their records go, their data stays.
Status PipelineImpl::retire_others(const Recovered& recovered,
                                   const std::vector<TableState>& stored) {
    ChangeLog log({config_.work_dir});
    for (const RecoveredTable& table : recovered.tables) {
        if (!facts_.look.tables.contains(table.table)) log.add(Retire{table.table});
    }
    if (!log.empty()) {
        const auto flush = log.finish(recovered.position);
        WALBROOK_RETURN_IF_ERROR(
            destination_->apply(*flush, Ack::durable, stop_start_.get_token()).status());
    }
    for (const TableState& state : stored) {
        if (facts_.look.tables.contains(state.table)) continue;
        WALBROOK_RETURN_IF_ERROR(store_->remove_table(state.table));
    }
    return {};
}

Lsn PipelineImpl::position_of(const Recovered& recovered, const StoredPositions& stored) const {
    return destination_->capabilities().exactly_once ? recovered.position
                                                     : std::max(stored.durable, recovered.position);
}

// Before anything is changed there or in the destination: the server accepts a position ahead
// of its log, and would leave out in silence what it writes up to there.
Status PipelineImpl::check_position(const Recovered& recovered) {
    WALBROOK_TRY(Connection connection, connect("start", false));
    WALBROOK_TRY(const WalPositions wal,
                 read_wal_positions(connection, within(kStartDeadline, stop_start_.get_token())));
    WALBROOK_TRY(const StoredPositions stored, store_->load_positions());
    const Lsn position = position_of(recovered, stored);
    if (position > wal.flush && facts_.server.in_recovery) {
        return Error(ErrorCode::unavailable,
                     fmt::format("the standby has replayed up to {}, the destination stands at {}: "
                                 "waiting until it is there again",
                                 to_string(wal.flush), to_string(position)));
    }
    if (position > wal.flush) {
        return Error(ErrorCode::corrupt_state,
                     fmt::format("the destination stands at {}, but the source's log ends at {}: "
                                 "it was restored or another server took over, and transactions "
                                 "in the destination are not in this source. Go on with the right "
                                 "server, or copy all tables again with another pipeline.id into "
                                 "an empty destination",
                                 to_string(position), to_string(wal.flush)));
    }
    return {};
}

// Up to where the source's log is the one that the store knows of. ErrorCode::corrupt_state where
// it is another one before `position`.
Result<Lsn> PipelineImpl::shared_log(Lsn position) {
    if (timeline_.number == 0 || is_same(timeline_, facts_.timeline)) return kLsnMax;
    WALBROOK_TRY(Connection walsender, connect("start", true));
    return check_timeline(walsender, within(kStartDeadline, stop_start_.get_token()), timeline_,
                          facts_.timeline, position);
}

Status PipelineImpl::prepare_slot(const Recovered& recovered, bool has_data) {
    WALBROOK_TRY(Connection connection, connect("start", false));
    const Deadline deadline = within(kStartDeadline, stop_start_.get_token());
    WALBROOK_TRY(const std::optional<Slot> slot,
                 read_slot(connection, deadline, config_.slot_name()));
    WALBROOK_TRY(const StoredPositions stored, store_->load_positions());
    std::string lost;
    const bool is_known = has_data || recovered.position;
    if (!slot) {
        if (is_known) lost = why_lost(slot, {});
    } else if (is_known && stored.confirm_bound) {
        // Whether it may be another log is asked once it is known what goes on.
        Result<Lsn> shared_until = shared_log({});
        if (!shared_until && shared_until.error().code() == ErrorCode::corrupt_state) {
            shared_until = kLsnMax;
        }
        if (!shared_until) return shared_until.error();
        lost = why_lost(
            slot, std::max(std::min(stored.confirm_bound, *shared_until), recovered.position));
    } else {
        // Nothing is there to go on with, or nothing lies between if it was us, who confirm what
        // holds no changes for us.
        lost = why_lost(slot, kLsnMax);
        if (lost.empty() && recovered.position && slot->confirmed_flush > recovered.position) {
            log_.warn(
                "the store knows nothing of this pipeline: that nobody else moved its slot cannot "
                "be checked",
                {{"slot", config_.slot_name()},
                 {"slot_position", slot->confirmed_flush},
                 {"destination_position", recovered.position}});
        }
    }
    if (slot && lost.empty() && has_data && destination_->capabilities().exactly_once &&
        recovered.position < stored.durable && recovered.position < slot->confirmed_flush) {
        lost = fmt::format(
            "the destination stands at {}, but stood at {} before: an older state of it was put "
            "back, and the slot has passed what came after that",
            to_string(recovered.position), to_string(stored.durable));
    }
    if (lost.empty()) {
        if (slot) return match_failover(*slot);
        tables_.forget_late_members();
        return create_slot();
    }
    if (config_.invalidated_slot_behavior == InvalidatedSlotBehavior::error) {
        return slot_lost(config_, lost);
    }
    log_.warn("the slot was lost: all tables are copied again", {{"reason", lost}});
    WALBROOK_RETURN_IF_ERROR(
        freeze(ready_, recovered.position, "the replication slot was lost: " + lost));
    std::vector<TableState> states = tables_.all();
    for (TableState& state : states) state.phase = TablePhase::queued;
    ready_.clear();
    WALBROOK_RETURN_IF_ERROR(tables_.begin_with(std::move(states)));
    WALBROOK_RETURN_IF_ERROR(drop_slot(connection, deadline, config_.slot_name()));
    tables_.forget_late_members();
    return create_slot();
}

// Before the store forgets why: before the new slot exists, before the new membership is known. A
// start after a crash would else find tables that look ready and go on without the changes
// between.
Status PipelineImpl::freeze(const std::vector<ReadyTable>& tables, Lsn position,
                            const std::string& reason) {
    if (tables.empty()) return {};
    ChangeLog log({config_.work_dir});
    for (const ReadyTable& table : tables) {
        log.add(Freeze{table.schema, TablePhase::queued, position, reason});
    }
    const auto flush = log.finish(position);
    return destination_->apply(*flush, Ack::durable, stop_start_.get_token()).status();
}

Status PipelineImpl::create_slot() {
    Backoff backoff({milliseconds(100), milliseconds(2000)});
    WALBROOK_TRY(Connection observer, connect("start", false));
    for (;;) {
        WALBROOK_TRY(Connection walsender, connect("slot", true, kSlotLockTimeout));
        const bool at_standby = facts_.server.in_recovery;
        if (at_standby) {
            log_.info("waiting for the replication slot", {{"reason", std::string(kStandbyWaits)}});
        }
        const auto made = create_permanent_slot(
            walsender,
            within(at_standby ? kStandbySlotDeadline : kSlotDeadline, stop_start_.get_token()),
            config_.slot_name(), config_.failover_slot && !at_standby);
        if (made) {
            log_.info("made the replication slot",
                      {{"slot", config_.slot_name()}, {"consistent_point", *made}});
            return failpoint("start.after_slot");
        }
        if (made.error().sqlstate() == "42710") return {};  // Our own, of a lost answer.
        if (made.error().sqlstate() != "55P03") {
            return Error(made.error()).with_context("create slot " + config_.slot_name());
        }
        const auto holders = read_xid_holders(observer, within(kStartDeadline));
        for (std::size_t i = 0; holders && i < std::min<std::size_t>(holders->size(), 3); ++i) {
            log_.warn("the slot's creation waits for a transaction",
                      {{"holder", describe((*holders)[i])}});
        }
        if (!sleep_for(backoff.next(), stop_start_.get_token())) {
            return Error(ErrorCode::cancelled, "stopped before the slot could be made");
        }
    }
}

// A slot that an older program made, or whose key has changed since.
Status PipelineImpl::match_failover(const Slot& slot) {
    if (facts_.server.version < 170'000 || slot.failover == config_.failover_slot) return {};
    if (facts_.server.in_recovery) return {};  // Standbys make none.
    WALBROOK_TRY(Connection walsender, connect("slot", true));
    const Status set = set_slot_failover(walsender, within(kStartDeadline, stop_start_.get_token()),
                                         config_.slot_name(), config_.failover_slot);
    // The session of a process that died may still use it: then the next start does this.
    if (set || set.error().sqlstate() == "55006") return {};
    return set;
}

Status PipelineImpl::choose_start(const Recovered& recovered) {
    WALBROOK_TRY(Connection connection, connect("start", false));
    const Deadline deadline = within(kStartDeadline, stop_start_.get_token());
    WALBROOK_TRY(const std::optional<Slot> slot,
                 read_slot(connection, deadline, config_.slot_name()));
    if (!slot) return Error(ErrorCode::missing_slot, "the slot vanished during the start");
    WALBROOK_TRY(const StoredPositions stored, store_->load_positions());
    const Lsn position = position_of(recovered, stored);
    start_position_ = std::max(position, slot->confirmed_flush);
    if (timeline_.number != 0 && !is_same(timeline_, facts_.timeline)) {
        Result<Lsn> shared_until = shared_log(position);
        // Where every table is copied again there is nothing to be continued.
        if (!shared_until && ready_.empty() &&
            shared_until.error().code() == ErrorCode::corrupt_state) {
            shared_until = start_position_;
        }
        if (!shared_until) return shared_until.error();
        log_.info("the server is on a new timeline",
                  {{"timeline", facts_.timeline.number}, {"before", timeline_.number}});
        WALBROOK_RETURN_IF_ERROR(store_->save_lineage(lineage(), *shared_until));
    }
    last_commit_ = position;
    WALBROOK_RETURN_IF_ERROR(store_->advance({position, start_position_}).status());
    WALBROOK_TRY(const WalPositions wal, read_wal_positions(connection, deadline));
    catch_up_target_ = before_page_header(wal.insert);
    source_end_ = wal.insert;
    return {};
}

StreamSettings PipelineImpl::stream_settings() const {
    StreamSettings settings;
    settings.core.position = start_position_;
    settings.core.last_commit = last_commit_;
    settings.core.max_fill = milliseconds(config_.batch.max_fill_ms);
    settings.core.flush_bytes = budget_.flush_bytes;
    settings.core.pending_bytes_max = budget_.pending_bytes_max;
    settings.core.waiting_bytes_max = budget_.waiting_bytes_max;
    settings.core.slice_bytes = budget_.slice_bytes;
    settings.core.spill.directory = config_.work_dir;
    settings.core.spill.memory_bytes_max = budget_.waiting_bytes_max;
    settings.core.spill.chunk_bytes = budget_.chunk_bytes;
    settings.ready = ready_;
    settings.binary = settings.core.binary = facts_.all_binary;
    settings.core.copies_again_on_change =
        config_.schema_change_policy == SchemaChangePolicy::resync;
    settings.lineage = lineage();
    settings.wal_sender_timeout = facts_.server.wal_sender_timeout;
    return settings;
}

Status PipelineImpl::wait() {
    std::unique_lock lock(mutex_);
    if (!running_) return Error(ErrorCode::internal, "wait() before start()");
    while (!shutdown_ && !error_) {
        if (!options_.until_caught_up) {
            changed_.wait(lock);
            continue;
        }
        changed_.wait_for(lock, kCaughtUpInterval);
        lock.unlock();
        const bool done = is_caught_up();
        lock.lock();
        if (done) break;
    }
    lock.unlock();
    stop_threads();
    lock.lock();
    if (error_) return *error_;
    return {};
}

bool PipelineImpl::is_caught_up() const {
    const StreamCounters& counters = stream_->counters();
    return tables_.is_settled() && counters.received >= catch_up_target_.value && counters.idle;
}

void PipelineImpl::fail(Error error) {
    const std::lock_guard lock(mutex_);
    if (!error_) error_ = std::move(error);
    changed_.notify_all();
}

void PipelineImpl::stop_threads() {
    bool failed = false;
    {
        const std::lock_guard lock(mutex_);
        failed = error_.has_value();
        running_ = false;
    }
    parts_.cuts.close();
    // A destination that refuses for ever does not keep us for ever.
    std::jthread watchdog;
    if (stream_) {
        if (failed) {
            stream_->stop();
            writer_.cancel();
        } else {
            watchdog = std::jthread([this](const std::stop_token& done) {
                if (!sleep_for(kDrainMax, done)) return;
                fail(Error(ErrorCode::unavailable,
                           "stopped, but the destination did not take what was left (" +
                               writer_.trouble() +
                               "); the next start goes on from what is durable"));
                stream_->stop();
                writer_.cancel();
            });
        }
        watch_.stop();
        // Copies are given up: they need the writer for that, and the stream for nothing.
        if (copies_) copies_->stop();
        copies_.reset();
        if (!failed) stream_->drain();
        stream_->join();
    }
    kindness_.stop();
    writer_.stop(failed);
    memory_.stop();
    if (std::exchange(destination_open_, false)) {
        const Status closed = destination_->close();
        if (!closed) log_.failed(LogLevel::warn, "closing the destination failed", closed.error());
    }
    lease_.stop();
}

void PipelineImpl::show_memory(PipelineStatus& out) const {
    const MemoryFigures memory = memory_.figures();
    out.memory_state = name_of(memory.state);
    out.memory_limit_bytes = memory.limit_bytes;
    out.memory_used_bytes = memory.used_bytes;
    out.memory_short_ms = static_cast<std::uint64_t>(memory.short_for.count());
    out.memory_short_times = memory.times_short;
    if (memory.state == MemoryState::ample) return;
    out.problems.push_back(fmt::format(
        "memory is short ({} of {} MiB in use): {}", memory.used_bytes >> 20,
        memory.limit_bytes >> 20,
        memory.state == MemoryState::paused ? "reading pauses" : "reading goes on in small steps"));
}

Status PipelineImpl::check_running() const {
    const std::lock_guard lock(mutex_);
    if (running_) return {};
    return Error(ErrorCode::unavailable, "the pipeline has not started yet, or stops; try again");
}

Status PipelineImpl::hold_for_cut(milliseconds at_most) {
    WALBROOK_RETURN_IF_ERROR(check_running());
    inbox_.put(input::Pause{now() + at_most});
    return {};
}

Result<Lsn> PipelineImpl::cut(Lsn at, milliseconds at_most) {
    WALBROOK_RETURN_IF_ERROR(check_running());
    WALBROOK_TRY(const RowRepairs reached, ask_for_cut({at}, at_most));
    // A table that was rewritten before it differs there until that is noticed: soon, then.
    watch_.look_soon();
    return reached.position;
}

Result<RowRepairs> PipelineImpl::repair(Lsn at, const std::string& snapshot,
                                        const std::vector<RowRepair>& rows, milliseconds at_most) {
    WALBROOK_RETURN_IF_ERROR(check_running());
    const Instant until = now() + at_most;
    WALBROOK_TRY(ReadRepairs read,
                 read_repairs(config_, snapshot, rows, kRepairReadMax, stop_start_.get_token()));
    const auto left = std::chrono::duration_cast<milliseconds>(until - now());
    WALBROOK_TRY(RowRepairs repaired, ask_for_cut({at, std::move(read.repairs)}, left));
    watch_.look_soon();  // As above: what was put right is compared again.
    repaired.refused.insert(repaired.refused.end(), read.refused.begin(), read.refused.end());
    return repaired;
}

Result<RowRepairs> PipelineImpl::ask_for_cut(input::Cut cut, milliseconds at_most) {
    const Lsn at = cut.at;
    const std::uint64_t number = parts_.cuts.begin(at);
    inbox_.put(std::move(cut));
    // An idle server says where it is only when it is asked.
    stream_->want(at);
    inbox_.wake();
    return parts_.cuts.wait(number, now() + at_most);
}

Status PipelineImpl::keep_readable(Lsn position, milliseconds how_long) {
    WALBROOK_RETURN_IF_ERROR(check_running());
    return writer_.run([=](Destination& destination, const std::stop_token& stop) {
        return destination.keep_readable(position, how_long, stop);
    });
}

Result<std::vector<std::string>> PipelineImpl::command(TableCommand what,
                                                       const std::vector<std::string>& tables) {
    WALBROOK_RETURN_IF_ERROR(check_running());
    WALBROOK_TRY(const std::vector<TableState> meant, named_tables(tables_.all(), tables));
    std::vector<std::string> names;
    std::string uncopied;
    for (const TableState& table : meant) {
        // A copy without rows would take what was streamed from the readers.
        if (what == TableCommand::resync && table.phase == TablePhase::ready &&
            !is_copied(config_.table_sync_copy, table.schema, table.name)) {
            uncopied = table.schema + "." + table.name;
            continue;
        }
        WALBROOK_RETURN_IF_ERROR(command_table(what, table));
        names.push_back(table.schema + "." + table.name);
    }
    if (names.empty() && !uncopied.empty()) {
        return Error(ErrorCode::config,
                     fmt::format("table_sync_copy says that the rows of {} are not copied: it is "
                                 "followed as it is; let table_sync_copy include it first",
                                 uncopied));
    }
    return names;
}

Status PipelineImpl::command_table(TableCommand what, const TableState& table) {
    const TableId id = table.table;
    const bool is_under_way =
        table.phase == TablePhase::copying || table.phase == TablePhase::catching_up;
    switch (what) {
        case TableCommand::resync:
            if (is_under_way) {
                events_.tell(id, Error(ErrorCode::aborted, "a new copy was asked for"));
                return {};
            }
            return tables_.request_copy(id, "a new copy was asked for");
        case TableCommand::pause:
            if (table.paused) return {};
            WALBROOK_RETURN_IF_ERROR(tables_.set_paused(id, true));
            inbox_.put(input::Stop{id, true, Error(ErrorCode::aborted, "paused by the operator")});
            return {};
        case TableCommand::resume:
            if (!table.paused && table.phase != TablePhase::errored) return {};
            WALBROOK_RETURN_IF_ERROR(tables_.set_paused(id, false));
            return table.phase == TablePhase::errored
                       ? tables_.request_copy(id, "resumed by the operator")
                       : Status();
    }
    return {};
}

PipelineStatus PipelineImpl::status() const {
    PipelineStatus out;
    const std::lock_guard lock(mutex_);
    out.source_end = source_end_;
    if (stream_) {
        const StreamCounters& counters = stream_->counters();
        out.state = counters.state.load();
        if (std::string trouble = stream_->trouble(); !trouble.empty()) {
            out.problems.push_back("the source is not streamed from: " + trouble);
        }
        out.received = Lsn{counters.received};
        out.durable = Lsn{counters.durable};
        out.confirmed = Lsn{counters.confirmed};
        out.changes_received = counters.changes;
        out.transactions = counters.transactions;
        out.memory_bytes = counters.memory_bytes;
        out.flushes = writer_.flushes();
        if (const std::string trouble = writer_.trouble(); !trouble.empty()) {
            if (out.state == "streaming") out.state = "retrying";
            out.problems.push_back("the destination refuses a flush: " + trouble);
        }
        if (std::string trouble = stream_->store_trouble(); !trouble.empty()) {
            if (out.state == "streaming") out.state = "retrying";
            out.problems.push_back(std::move(trouble));
        }
        for (std::string& trouble : stream_->lesser_store_troubles()) {
            out.problems.push_back(std::move(trouble));
        }
        const std::int64_t oldest = counters.oldest_waiting_us;
        out.lag_ms = oldest == 0 ? 0 : std::max<std::int64_t>(0, (unix_time_us() - oldest) / 1000);
        out.source_end = std::max(source_end_, Lsn{counters.source_end});
        out.lag_bytes = out.source_end > out.durable && !counters.idle
                            ? out.source_end.value - out.durable.value
                            : 0;
    } else {
        out.state = "starting";
    }
    show_memory(out);
    if (const std::string trouble = watch_.trouble(); !trouble.empty()) {
        out.problems.push_back(trouble);
    }
    for (std::string& problem : kindness_.problems()) out.problems.push_back(std::move(problem));
    if (std::string lost = lease_.problem(); !lost.empty()) out.problems.push_back(std::move(lost));
    for (const TableState& state : tables_.all()) {
        TableStatus table;
        table.table = state.table;
        table.schema = state.schema;
        table.name = state.name;
        table.phase = state.phase;
        const TableRegistry::CopyProgress progress = tables_.progress(state.table);
        table.rows_copied = progress.rows_copied;
        table.rows_estimated = progress.rows_estimated;
        table.held_bytes = progress.held_bytes;
        table.changes_applied = tables_.changes_applied(state.table);
        table.paused = state.paused;
        table.copies = state.attempt;
        table.reason = progress.waiting_for.empty() ? state.reason : progress.waiting_for;
        table.remedy = state.remedy;
        if (state.phase == TablePhase::errored) {
            out.problems.push_back(table.schema + "." + table.name + ": " + state.reason);
        }
        out.tables.push_back(std::move(table));
    }
    return out;
}

}  // namespace

Result<std::unique_ptr<Pipeline>> Pipeline::create(PipelineConfig config,
                                                   std::unique_ptr<Store> store,
                                                   std::unique_ptr<Destination> destination,
                                                   PipelineOptions options) {
    if (config.work_dir.empty()) config.work_dir = fmt::format("./walbrook-{}", config.id);
    const std::vector<std::string> problems = config.problems();
    if (!problems.empty()) {
        return Error(ErrorCode::config, fmt::format("{}", fmt::join(problems, "; ")));
    }
    WALBROOK_TRY(SourceFacts facts, check_source(config));
    return std::unique_ptr<Pipeline>(
        std::make_unique<PipelineImpl>(std::move(config), std::move(store), std::move(destination),
                                       std::move(options), std::move(facts)));
}

}  // namespace walbrook
