#include "pipeline/apply_core.h"

#include "base/check.h"
#include "pipeline/apply_core_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace walbrook {
namespace {

// While memory is short the limits are so many times smaller.
constexpr std::size_t kShortage = 8;

constexpr std::size_t kReplayFramesPerStep = 16'384;

// The (sub)transaction of a message inside a stream; 0 where it has none.
std::uint32_t xid_of(const PgoutputMessage& message) {
    return std::visit(
        [](const auto& m) -> std::uint32_t {
            if constexpr (requires { m.xid; }) return m.xid;
            return 0;
        },
        message);
}

}  // namespace

ApplyCore::ApplyCore(CoreOptions options, const std::vector<ReadyTable>& ready)
    : options_(std::move(options)),
      received_(options_.position),
      last_commit_(options_.last_commit.value_or(options_.position)),
      submitted_(last_commit_),
      durable_(last_commit_),
      start_(options_.position),
      begin_(options_.position),
      pending_(options_.spill) {
    binary_ = options_.binary;
    for (const ReadyTable& ready_table : ready) {
        Table& table = table_at(ready_table.schema->id);
        table.schema = ready_table.schema;
        table.applies = true;
    }
    for (const auto partitions :
         {&ReadyTable::partitions, &ReadyTable::partitions_gone, &ReadyTable::partitions_new}) {
        for (const ReadyTable& ready_table : ready) {
            for (const std::uint32_t oid : ready_table.*partitions) {
                if (find_by_relation(oid) != nullptr) continue;
                take_relation(*find(ready_table.schema->id), oid, 0);
            }
        }
    }
}

ApplyCore::~ApplyCore() = default;

ApplyCore::Table* ApplyCore::find(TableId id) {
    const auto found = tables_.find(id.oid);
    return found == tables_.end() ? nullptr : found->second.get();
}

ApplyCore::Table& ApplyCore::table_at(TableId id) {
    auto& slot = tables_[id.oid];
    if (!slot) {
        slot = std::make_unique<Table>();
        slot->id = id;
    }
    return *slot;
}

ApplyCore::Table* ApplyCore::find_by_relation(std::uint32_t oid) {
    const auto found = by_partition_.find(oid);
    return found == by_partition_.end() ? find({oid}) : found->second.table;
}

bool ApplyCore::set_partitions(Table& table, const std::vector<std::uint32_t>& partitions,
                               std::uint64_t seen) {
    std::erase_if(by_partition_, [&](const auto& entry) { return entry.second.table == &table; });
    table.partitions.clear();
    bool has_all = true;
    for (const std::uint32_t oid : partitions) has_all &= take_relation(table, oid, seen);
    // What the stream still has of others is asked for anew.
    for (const auto& [oid, relation] : relations_) {
        if (relation->table != &table || find_by_relation(oid) == &table) continue;
        relation->table = nullptr;
        relation->is_verified = false;
    }
    return has_all;
}

// The look by which its owner has a relation; 0: it keeps nothing of it.
std::uint64_t ApplyCore::seen_at(const Table& owner, std::uint32_t oid) const {
    const auto found = by_partition_.find(oid);
    if (found != by_partition_.end()) return found->second.seen;
    return std::max(owner.applies ? owner.seen : 0, owner.held ? owner.held_seen : 0);
}

// A relation's rows go to one table: the one that had it by the latest look. Whoever had it before
// lacks some from now on and must not go on, so a table that is followed or held has all of its
// relations.
bool ApplyCore::take_relation(Table& table, std::uint32_t oid, std::uint64_t seen) {
    Table* const before = find_by_relation(oid);
    if (before != nullptr && before != &table) {
        if (seen_at(*before, oid) > seen) return false;
        lose_relation(*before, oid);
        by_partition_.erase(oid);
    }
    if (before != &table) {
        const auto relation = relations_.find(oid);
        if (relation != relations_.end()) {
            relation->second->table = nullptr;
            relation->second->is_verified = false;
        }
    }
    if (oid == table.id.oid) return true;
    table.partitions.insert(oid);
    Owner& owner = by_partition_[oid];
    owner = {&table, std::max(owner.seen, seen)};
    return true;
}

void ApplyCore::lose_relation(Table& table, std::uint32_t oid) {
    table.partitions.erase(oid);
    const bool is_leaving = std::any_of(forget_.begin(), forget_.end(), [&](const auto& news) {
        return news.table == table.id && received_ >= news.position;
    });
    if (is_leaving) return;
    const auto& copied = table.copied_partitions;
    const bool is_copied =
        oid == table.id.oid || std::find(copied.begin(), copied.end(), oid) != copied.end();
    if (table.applies) cannot_follow(table, kOtherPartitions);
    if (table.held && is_copied) lose_copy(table, kOtherPartitions);
}

void ApplyCore::step(const CoreInput& in, std::vector<CoreAction>& actions) {
    out_ = &actions;
    Status status;
    if (const auto* frame = std::get_if<input::Frame>(&in)) {
        is_receiving_ = true;
        status = on_frame(frame->payload);
    } else if (const auto* keepalive = std::get_if<input::Keepalive>(&in)) {
        is_receiving_ = true;
        if (at_boundary()) received_ = std::max(received_, keepalive->wal_end);
    } else if (const auto* tick = std::get_if<input::Tick>(&in)) {
        clock_ = tick->at;
        if (is_busy()) status = replay_some();
        if (status) advance();
        if (status) status = settle_cut();
    } else if (const auto* acked = std::get_if<input::Acked>(&in)) {
        on_acked(*acked);
    } else if (std::holds_alternative<input::Disconnected>(in)) {
        is_receiving_ = false;
        status = on_disconnected();
    } else if (std::holds_alternative<input::TimelineChanged>(in)) {
        on_timeline_changed();
    } else if (const auto* hold = std::get_if<input::Hold>(&in)) {
        on_hold(*hold);
    } else if (const auto* done = std::get_if<input::CopyDone>(&in)) {
        on_copy_done(*done);
    } else if (const auto* abandoned = std::get_if<input::CopyAbandoned>(&in)) {
        on_copy_abandoned(abandoned->table);
    } else if (const auto* memory = std::get_if<input::Memory>(&in)) {
        status = on_memory(memory->state);
    } else if (const auto* described = std::get_if<input::Described>(&in)) {
        status = on_described(*described);
    } else if (const auto* changed = std::get_if<input::Changed>(&in)) {
        on_changed(*changed);
    } else if (const auto* forgotten = std::get_if<input::Forget>(&in)) {
        on_forget(*forgotten);
    } else if (const auto* stop = std::get_if<input::Stop>(&in)) {
        if (Table* table = find(stop->table)) stop_table(*table, stop->copy_again, stop->error);
    } else if (const auto* jump = std::get_if<input::Jump>(&in)) {
        on_jump(*jump);
    } else if (const auto* pause = std::get_if<input::Pause>(&in)) {
        status = on_pause(*pause);
    } else if (const auto* cut = std::get_if<input::Cut>(&in)) {
        status = on_cut(*cut);
    }
    if (!status) actions.emplace_back(action::Fail{std::move(status).error()});
    WALBROOK_CHECK(durable_ <= submitted_);
    WALBROOK_CHECK(submitted_ <= received_);
    out_ = nullptr;
}

// ---------------------------------------------------------------- the stream

Status ApplyCore::on_frame(FrameView payload) {
    WALBROOK_CHECK(asked_relation_ == 0);
    WALBROOK_TRY(const PgoutputMessage message, parse_pgoutput(payload, stream_xid_ != 0));
    if (stream_xid_ != 0) return on_streamed(message, payload);
    if (is_behind_cut(message)) {
        behind_cut_.assign(payload.begin(), payload.end());
        return {};
    }
    present_frame_ = payload;
    present_streamed_ = false;
    return on_message(message, payload.size());
}

// Inside a stream block nothing is decided: the transaction may still abort. Its
// frames wait. Relations belong to the whole transaction even if the subtransaction in
// which they were sent aborts: the server sends each once for a streamed transaction
// (pgoutput.c, get_schema_sent_in_streamed_txn), so rows after the abort rely on them.
Status ApplyCore::on_streamed(const PgoutputMessage& message, FrameView payload) {
    if (std::holds_alternative<StreamStopMessage>(message)) {
        stream_xid_ = 0;
        return {};
    }
    Spooled& spooled = *spooled_.at(stream_xid_);
    const bool of_whole = std::holds_alternative<RelationMessage>(message) ||
                          std::holds_alternative<TypeMessage>(message);
    WALBROOK_RETURN_IF_ERROR(
        spooled.frames.append(of_whole ? stream_xid_ : xid_of(message), Lsn{}, payload));
    return count_growth(payload.size());
}

void ApplyCore::on_stream_start(const StreamStartMessage& start) {
    stream_xid_ = start.xid;
    auto& slot = spooled_[start.xid];
    if (!slot) {
        slot = std::make_unique<Spooled>(FrameSpool(
            options_.spill.directory, options_.waiting_bytes_max, options_.spill.chunk_bytes));
    }
}

Status ApplyCore::on_stream_commit(const StreamCommitMessage& end) {
    const auto found = spooled_.find(end.xid);
    if (found == spooled_.end()) {
        return Error(
            ErrorCode::malformed,
            fmt::format("the stream commits transaction {}, which it never began", end.xid));
    }
    replay_ = std::make_unique<Replay>();
    replay_->spooled = std::move(found->second);
    replay_->transaction = {end.commit_lsn, end.end_lsn, end.commit_time_us, end.xid};
    spooled_.erase(found);
    // While it is read it cannot be spilled, and its changes need room beside it.
    FrameSpool& frames = replay_->spooled->frames;
    if (frames.bytes_in_memory() > options_.waiting_bytes_max / 2) {
        WALBROOK_RETURN_IF_ERROR(frames.spill());
    }
    begin(replay_->transaction);
    return replay_some();
}

void ApplyCore::on_stream_abort(const StreamAbortMessage& abort) {
    if (abort.xid == abort.subxid) {
        spooled_.erase(abort.xid);
        return;
    }
    const auto found = spooled_.find(abort.xid);
    if (found != spooled_.end()) found->second->frames.abort(abort.subxid);
}

// A part of a large transaction at a time, so that the caller can answer the server.
Status ApplyCore::replay_some() {
    for (std::size_t i = 0; i < kReplayFramesPerStep && is_busy(); ++i) {
        WALBROOK_TRY(const FrameSpool::Frame* frame, replay_->spooled->frames.next());
        if (frame == nullptr) {
            replay_.reset();
            commit();
            return {};
        }
        // The server counts relations as described once the transaction has committed,
        // whether its rows were news to us or not.
        if (skipping_ && frame->bytes.front() != std::byte{'R'}) continue;
        WALBROOK_TRY(const PgoutputMessage message, parse_pgoutput(frame->bytes, true));
        present_frame_ = frame->bytes;
        present_streamed_ = true;
        WALBROOK_RETURN_IF_ERROR(on_message(message, frame->bytes.size()));
    }
    return {};
}

Status ApplyCore::on_message(const PgoutputMessage& message, std::size_t bytes) {
    if (const auto* insert = std::get_if<InsertMessage>(&message)) {
        return on_change(
            {insert->relation, ChangeKind::insert, nullptr, false, &insert->new_row, bytes});
    }
    if (const auto* update = std::get_if<UpdateMessage>(&message)) {
        return on_change({update->relation, ChangeKind::update,
                          update->old_kind == OldRow::none ? nullptr : &update->old_row,
                          update->old_kind == OldRow::full, &update->new_row, bytes});
    }
    if (const auto* remove = std::get_if<DeleteMessage>(&message)) {
        return on_change({remove->relation, ChangeKind::remove, &remove->old_row,
                          remove->old_kind == OldRow::full, nullptr, bytes});
    }
    if (const auto* begin_message = std::get_if<BeginMessage>(&message)) {
        if (in_transaction_) return Error(ErrorCode::malformed, "a transaction begins in another");
        begin({begin_message->commit_lsn, {}, begin_message->commit_time_us, begin_message->xid});
        return {};
    }
    if (const auto* end = std::get_if<CommitMessage>(&message)) {
        if (!in_transaction_ || end->commit_lsn != transaction_.commit_lsn) {
            return Error(ErrorCode::malformed, "a commit does not belong to the open transaction");
        }
        transaction_.end_lsn = end->end_lsn;
        commit();
        return {};
    }
    if (const auto* relation = std::get_if<RelationMessage>(&message)) {
        on_relation(*relation);
        return {};
    }
    if (const auto* truncate = std::get_if<TruncateMessage>(&message)) {
        return on_truncate(*truncate);
    }
    if (const auto* start = std::get_if<StreamStartMessage>(&message)) {
        on_stream_start(*start);
        return {};
    }
    if (const auto* end = std::get_if<StreamCommitMessage>(&message)) return on_stream_commit(*end);
    if (const auto* abort = std::get_if<StreamAbortMessage>(&message)) {
        on_stream_abort(*abort);
        return {};
    }
    if (const auto* logical = std::get_if<LogicalMessage>(&message)) {
        on_logical_message(*logical);
        return {};
    }
    // Types are known from the catalog; origins are not ours.
    if (std::holds_alternative<TypeMessage>(message) ||
        std::holds_alternative<OriginMessage>(message)) {
        return {};
    }
    return Error(ErrorCode::malformed,
                 "the stream sent a two-phase message, which was not asked for");
}

void ApplyCore::begin(const Transaction& transaction) {
    in_transaction_ = true;
    transaction_ = transaction;
    skipping_ = transaction.commit_lsn < start_;
    pending_begun_ = false;
    ordinal_ = 0;
}

void ApplyCore::commit() {
    in_transaction_ = false;
    ++transactions_;
    if (pending_begun_) pending_.commit_transaction(transaction_);
    pending_begun_ = false;
    for (Table* table : begun_holds_) {
        if (!table->held || !table->held_begun) continue;
        table->held->commit_transaction(transaction_);
        table->held_begun = false;
        table->held_up_to = transaction_.end_lsn;
    }
    begun_holds_.clear();
    undo_.clear();
    if (std::exchange(has_news_, false)) out_->emplace_back(action::Look{});
    received_ = std::max(received_, transaction_.end_lsn);
    // What comes again and is left out is nothing that we have of this server.
    if (!skipping_) last_commit_ = std::max(last_commit_, transaction_.end_lsn);
    enforce_held_limit();
}

// ---------------------------------------------------------------- memory

// Looking at every log for every change would cost more than the change.
Status ApplyCore::count_growth(std::size_t bytes) {
    growth_ += bytes;
    if (growth_ <= waiting_bytes_limit() / 64) return {};
    growth_ = 0;
    return spill_beyond(waiting_bytes_limit());
}

// What waits goes to disk at once, and then piece by piece, so that the pause, or what
// follows it, has little to wait for.
Status ApplyCore::on_memory(MemoryState state) {
    const MemoryState before = std::exchange(memory_, state);
    return before == MemoryState::ample && state != before ? spill_beyond(0) : Status();
}

std::size_t ApplyCore::waiting_bytes_limit() const {
    return options_.waiting_bytes_max / (memory_ == MemoryState::ample ? 1 : kShortage);
}

std::size_t ApplyCore::flush_bytes_limit() const {
    // Never nothing: nobody would read then.
    return std::max<std::size_t>(
        1, options_.flush_bytes / (memory_ == MemoryState::ample ? 1 : kShortage));
}

// One limit for all that waits, however many tables are held and transactions streamed:
// the largest goes to disk, so that small ones stay in memory.
Status ApplyCore::spill_beyond(std::size_t bytes_max) {
    std::size_t before = waiting_memory_bytes();
    while (before > bytes_max) {
        ChangeLog* log = &pending_;
        for (Table* table : holding_) {
            if (table->held->memory_bytes() > log->memory_bytes()) log = &*table->held;
        }
        Spooled* largest = nullptr;
        for (const auto& [xid, spooled] : spooled_) {
            const std::size_t bytes = spooled->frames.bytes_in_memory();
            if (bytes > log->memory_bytes() &&
                (largest == nullptr || bytes > largest->frames.bytes_in_memory())) {
                largest = spooled.get();
            }
        }
        WALBROOK_RETURN_IF_ERROR(largest != nullptr ? largest->frames.spill() : log->spill());
        const std::size_t after = waiting_memory_bytes();
        if (after >= before) break;  // What is left cannot go to disk.
        before = after;
    }
    return {};
}

// ---------------------------------------------------------------- questions

bool ApplyCore::wants_frames() const {
    if (replay_ || asked_relation_ != 0 || ends_stream()) return false;
    // A Hold before the Cut waits for the end of a transaction.
    if ((paused_until_ && at_boundary()) || !behind_cut_.empty()) return false;
    switch (memory_) {
        case MemoryState::ample:
            return !in_flight_ || pending_.bytes() < options_.pending_bytes_max;
        case MemoryState::paused:
            return false;
        case MemoryState::scarce:
            // One flush at a time. Half a transaction cannot be flushed: the rest must come.
            return !in_flight_ && (pending_.bytes() < flush_bytes_limit() || !at_boundary());
    }
    return true;
}

Lsn ApplyCore::confirmable() const {
    return pending_.empty() && !in_flight_ && at_boundary() ? received_
                                                            : std::max(durable_, begin_);
}

bool ApplyCore::is_idle() const { return pending_.empty() && !in_flight_ && at_boundary(); }

Lsn ApplyCore::wanted() const {
    Lsn highest;
    for (const Table* table : holding_) {
        if (table->copy && table->copy->position > received_) {
            highest = std::max(highest, table->copy->position);
        }
    }
    for (const auto& hold : waiting_holds_) highest = std::max(highest, hold.read_at);
    for (const auto& news : changed_) highest = std::max(highest, news.position);
    for (const auto& news : forget_) highest = std::max(highest, news.position);
    return highest;
}

std::size_t ApplyCore::waiting_memory_bytes() const {
    std::size_t sum = pending_.memory_bytes();
    for (const Table* table : holding_) sum += table->held->memory_bytes();
    for (const auto& [xid, spooled] : spooled_) sum += spooled->frames.bytes_in_memory();
    if (replay_) sum += replay_->spooled->frames.bytes_in_memory();
    return sum;
}

std::vector<std::pair<TableId, std::uint64_t>> ApplyCore::held_bytes() const {
    std::vector<std::pair<TableId, std::uint64_t>> all;
    for (const Table* table : holding_) all.emplace_back(table->id, table->held->bytes());
    return all;
}

std::uint64_t ApplyCore::held_bytes(TableId id) const {
    const auto found = tables_.find(id.oid);
    return found == tables_.end() || !found->second->held ? 0 : found->second->held->bytes();
}

std::int64_t ApplyCore::oldest_waiting_commit_us() const {
    if (in_flight_oldest_us_ != 0) return in_flight_oldest_us_;
    return pending_.oldest_commit_time_us();
}

}  // namespace walbrook
