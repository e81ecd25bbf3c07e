#include "pipeline/apply_core.h"

#include "base/check.h"
#include "base/narrow.h"
#include "batch/row_append.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace walbrook {
namespace {

// While memory is short the limits are so many times smaller.
constexpr std::size_t kShortage = 8;

constexpr std::size_t kReplayFramesPerStep = 16'384;

// What one change costs beside its values.
constexpr std::size_t kChangeOverhead = sizeof(Change);

// Changes of these transactions are in the copy already.
ChangeLog::Skip shown_by(SnapshotXids snapshot) {
    return [snapshot = std::move(snapshot)](const Transaction& transaction) {
        return snapshot.visible(transaction.xid);
    };
}

// Up to 64 times the configured size: 1 GiB by default, on disk if need be.
constexpr unsigned kSliceDoublingsMax = 6;

// The (sub)transaction of a message inside a stream; 0 where it has none.
std::uint32_t xid_of(const PgoutputMessage& message) {
    return std::visit(
        [](const auto& m) -> std::uint32_t {
            if constexpr (requires { m.xid; }) return m.xid;
            return 0;
        },
        message);
}

// A relation message whose frame is gone.
struct OwnedRelation {
    struct Column {
        std::string name;
        std::uint32_t type_oid;
        std::int32_t typmod;
        bool in_identity;
    };
    explicit OwnedRelation(const RelationMessage& message)
        : oid(message.oid),
          schema(message.schema),
          name(message.name),
          replica_identity(message.replica_identity) {
        RelationColumn column;
        for (auto each = message.columns.columns(); each.next(column);) {
            columns.push_back(
                {std::string(column.name), column.type_oid, column.typmod, column.in_identity});
        }
    }
    std::uint32_t oid;
    std::string schema;
    std::string name;
    ReplicaIdentity replica_identity;
    std::vector<Column> columns;
};

}  // namespace

// One table that the core knows: followed, held for a copy, or stopped.
struct ApplyCore::Table {
    TableSchemaPtr schema;  // Of rows that are appended now.
    Route route = Route::skip;
    bool publishing = false;  // Its Publish waits for the acknowledgement.

    // While it is held.
    std::optional<ChangeLog> held;
    bool held_begun = false;  // The present transaction is in the log.
    Lsn held_up_to;           // Transactions up to here are in it: a reconnect sends some again.
    CopyTargetPtr copy;       // Once the copy is done.
    SnapshotXids snapshot;
    // Transactions with rows of another shape than the schema's. Harmless if the
    // copy's snapshot shows them.
    std::vector<std::uint32_t> unreadable;
    std::string unreadable_why;
    unsigned slices = 0;  // Applied so far while catching up.
};

// What the stream has said of a relation, bound to the table's schema.
struct ApplyCore::Relation {
    explicit Relation(const RelationMessage& from) : message(from) {}
    OwnedRelation message;
    Table* table = nullptr;  // nullptr: not one of ours.
    TableSchemaPtr schema;   // What the decoders were chosen for.
    std::optional<RowDecoders> decoders;
    std::string mismatch;  // Why rows of this relation do not fit the schema; else empty.
};

// A transaction that the server streams before its end.
struct ApplyCore::Spooled {
    FrameSpool frames;
};

// A streamed transaction that has committed and is being taken over.
struct ApplyCore::Replay {
    std::unique_ptr<Spooled> spooled;
    Transaction transaction;
};

ApplyCore::ApplyCore(CoreOptions options, std::vector<ReadyTable> ready)
    : options_(std::move(options)),
      received_(options_.position),
      submitted_(options_.position),
      durable_(options_.position),
      start_(options_.position),
      pending_(options_.spill) {
    for (ReadyTable& table : ready) {
        auto entry = std::make_unique<Table>();
        entry->schema = std::move(table.schema);
        entry->route = Route::apply;
        tables_[entry->schema->id.oid] = std::move(entry);
    }
}

ApplyCore::~ApplyCore() = default;

ApplyCore::Table* ApplyCore::find(TableId id) {
    const auto found = tables_.find(id.oid);
    return found == tables_.end() ? nullptr : found->second.get();
}

void ApplyCore::step(const CoreInput& in, std::vector<CoreAction>& actions) {
    out_ = &actions;
    Status status;
    if (const auto* frame = std::get_if<input::Frame>(&in)) {
        status = on_frame(frame->payload);
    } else if (const auto* keepalive = std::get_if<input::Keepalive>(&in)) {
        if (at_boundary()) received_ = std::max(received_, keepalive->wal_end);
    } else if (const auto* tick = std::get_if<input::Tick>(&in)) {
        clock_ = tick->at;
        if (replay_) status = replay_some();
        if (status) advance();
    } else if (const auto* acked = std::get_if<input::Acked>(&in)) {
        on_acked(*acked);
    } else if (std::holds_alternative<input::Disconnected>(in)) {
        status = on_disconnected();
    } else if (const auto* hold = std::get_if<input::Hold>(&in)) {
        on_hold(*hold);
    } else if (const auto* done = std::get_if<input::CopyDone>(&in)) {
        on_copy_done(*done);
    } else if (const auto* abandoned = std::get_if<input::CopyAbandoned>(&in)) {
        on_copy_abandoned(abandoned->table);
    } else if (const auto* memory = std::get_if<input::Memory>(&in)) {
        status = on_memory(memory->state);
    }
    if (!status) actions.emplace_back(action::Fail{std::move(status).error()});
    WALBROOK_CHECK(durable_ <= submitted_);
    WALBROOK_CHECK(submitted_ <= received_);
    out_ = nullptr;
}

// ---------------------------------------------------------------- the stream

Status ApplyCore::on_frame(FrameView payload) {
    WALBROOK_TRY(const PgoutputMessage message, parse_pgoutput(payload, stream_xid_ != 0));
    if (stream_xid_ != 0) return on_streamed(message, payload);
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
    for (std::size_t i = 0; i < kReplayFramesPerStep; ++i) {
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
    // Types are known from the catalog; origins and messages of others are not ours.
    if (std::holds_alternative<TypeMessage>(message) ||
        std::holds_alternative<OriginMessage>(message) ||
        std::holds_alternative<LogicalMessage>(message)) {
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
    received_ = std::max(received_, transaction_.end_lsn);
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
    return options_.flush_bytes / (memory_ == MemoryState::ample ? 1 : kShortage);
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

// ---------------------------------------------------------------- relations

namespace {

// Why rows of the relation do not fit the schema, or nothing.
std::string difference(const OwnedRelation& relation, const TableSchema& schema) {
    if (relation.columns.size() != schema.columns.size()) {
        return fmt::format("it has {} columns instead of {}", relation.columns.size(),
                           schema.columns.size());
    }
    const bool keyed = schema.replica_identity == ReplicaIdentity::default_key ||
                       schema.replica_identity == ReplicaIdentity::index;
    if (relation.replica_identity != schema.replica_identity) {
        return "its replica identity changed";
    }
    for (std::size_t i = 0; i < schema.columns.size(); ++i) {
        const OwnedRelation::Column& now = relation.columns[i];
        const ColumnSchema& known = schema.columns[i];
        if (now.name != known.name) {
            return fmt::format("column {} is now called {}", known.name, now.name);
        }
        if (now.type_oid != known.type_oid || now.typmod != known.typmod) {
            return fmt::format("column {} has another type", known.name);
        }
        if (keyed && now.in_identity != known.in_identity) {
            return fmt::format("column {} entered or left the key", known.name);
        }
    }
    if (relation.schema != schema.schema || relation.name != schema.name) {
        return "it was renamed";
    }
    return {};
}

}  // namespace

void ApplyCore::on_relation(const RelationMessage& message) {
    auto& slot = relations_[message.oid];
    slot = std::make_unique<Relation>(message);
    last_relation_ = nullptr;
    bind(*slot);
}

void ApplyCore::bind(Relation& relation) {
    relation.table = find({relation.message.oid});
    if (relation.table == nullptr) return;
    relation.schema = relation.table->schema;
    relation.mismatch = difference(relation.message, *relation.schema);
    relation.decoders.emplace(*relation.schema);
}

void ApplyCore::unbind(TableId table) {
    const auto found = relations_.find(table.oid);
    if (found != relations_.end()) {
        found->second->schema = nullptr;
        found->second->table = nullptr;
    }
}

Result<ApplyCore::Relation*> ApplyCore::relation_of(std::uint32_t oid) {
    Relation* relation = last_relation_;
    if (relation == nullptr || relation->message.oid != oid) {
        const auto found = relations_.find(oid);
        if (found == relations_.end()) {
            return Error(
                ErrorCode::malformed,
                fmt::format("the stream sent a row of relation {} before describing it", oid));
        }
        relation = last_relation_ = found->second.get();
    }
    if (relation->schema == nullptr || relation->schema != relation->table->schema) {
        bind(*relation);
    }
    return relation;
}

// ---------------------------------------------------------------- changes

Status ApplyCore::on_change(const RowChange& change) {
    if (!in_transaction_) return Error(ErrorCode::malformed, "a row came outside a transaction");
    ++ordinal_;
    ++changes_;
    if (skipping_) return {};
    WALBROOK_TRY(Relation * relation, relation_of(change.relation));
    Table* table = relation->table;
    if (table == nullptr || table->route == Route::skip) return {};
    if (!relation->mismatch.empty()) {
        on_mismatch(*table, relation->mismatch);
        return {};
    }
    Status status;
    if (table->route == Route::apply) {
        begin_pending();
        status = append_change(pending_, *relation, change);
    } else if (begin_held(*table)) {
        status = append_change(*table->held, *relation, change);
    }
    if (status) [[likely]]
        return {};
    switch (status.error().code()) {
        case ErrorCode::schema_mismatch:
            on_mismatch(*table, status.error().message());
            return {};
        case ErrorCode::unsupported_value:
        case ErrorCode::malformed:
            stop_table(*table, false,
                       std::move(status).error().with_context("read changes of " +
                                                              table->schema->display_name()));
            return {};
        default:
            return status;  // Disk full and the like: not about one table.
    }
}

void ApplyCore::begin_pending() {
    if (pending_begun_) return;
    pending_begun_ = true;
    pending_.begin_transaction(transaction_);
}

// False if the log has this transaction already (it was sent again after a reconnect).
bool ApplyCore::begin_held(Table& table) {
    if (table.held_begun) return true;
    if (transaction_.commit_lsn < table.held_up_to) return false;
    table.held_begun = true;
    table.held->begin_transaction(transaction_);
    begun_holds_.push_back(&table);
    return true;
}

Status ApplyCore::append_change(ChangeLog& log, Relation& relation, const RowChange& in) {
    ChangeBatch& batch = log.open_batch(relation.schema);
    Change change;
    change.kind = in.kind;
    change.ordinal = ordinal_;
    change.transaction = narrow<std::uint32_t>(batch.transactions.size() - 1);
    const std::size_t old_before = batch.old_rows.rows();
    if (in.old_row != nullptr) {
        change.old_row = static_cast<std::int32_t>(old_before);
        change.old_is_full = in.old_is_full;
        WALBROOK_RETURN_IF_ERROR(append_tuple(*in.old_row, *relation.decoders, !in.old_is_full,
                                              batch.old_rows, nullptr));
    }
    if (in.new_row != nullptr) {
        change.new_row = static_cast<std::int32_t>(batch.new_rows.rows());
        ChangeBatch* partial = in.kind == ChangeKind::update ? &batch : nullptr;
        Status status =
            append_tuple(*in.new_row, *relation.decoders, false, batch.new_rows, partial);
        if (!status) {
            batch.old_rows.truncate(old_before);
            return status;
        }
    }
    batch.changes.push_back(change);
    WALBROOK_RETURN_IF_ERROR(log.add_bytes(relation.schema->id, in.bytes + kChangeOverhead));
    return count_growth(in.bytes + kChangeOverhead);
}

Status ApplyCore::on_truncate(const TruncateMessage& message) {
    if (!in_transaction_) return Error(ErrorCode::malformed, "a truncate outside a transaction");
    ++ordinal_;
    if (skipping_) return {};
    Truncate visible;
    visible.cascade = message.cascade;
    visible.restart_identity = message.restart_identity;
    visible.ordinal = ordinal_;
    for (std::size_t i = 0; i < message.relations.size(); ++i) {
        Table* table = find({message.relations[i]});
        if (table == nullptr) continue;
        if (table->route == Route::apply) {
            visible.tables.push_back(table->schema);
        } else if (table->route == Route::hold && begin_held(*table)) {
            Truncate held = visible;
            held.tables = {table->schema};
            table->held->add(std::move(held));
        }
    }
    if (visible.tables.empty()) return {};
    begin_pending();
    pending_.add(std::move(visible));
    return {};
}

// Rows do not fit what we know of the table: its copy begins again, with the schema
// that the catalog has then.
void ApplyCore::on_mismatch(Table& table, const std::string& why) {
    if (table.route == Route::hold) {
        // Perhaps the stream is only behind: these rows may be in the snapshot.
        if (table.unreadable.empty() || table.unreadable.back() != transaction_.xid) {
            table.unreadable.push_back(transaction_.xid);
            table.unreadable_why = why;
        }
        if (table.copy) check_unreadable(table);
        return;
    }
    stop_table(table, true,
               Error(ErrorCode::schema_mismatch, fmt::format("rows of {} no longer fit: {}",
                                                             table.schema->display_name(), why)));
}

void ApplyCore::check_unreadable(Table& table) {
    for (const std::uint32_t xid : table.unreadable) {
        if (table.snapshot.visible(xid)) continue;
        lose_copy(table, "the table changed while it was copied: " + table.unreadable_why);
        return;
    }
    table.unreadable.clear();
}

// The table goes no further: what it has up to the last whole transaction is applied.
void ApplyCore::stop_table(Table& table, bool copy_again, Error error) {
    const TableId id = table.schema->id;
    if (table.route == Route::hold) {
        release_hold(table);
    } else {
        // Whoever waits for its Publish hears of the stop instead, and must not hear of
        // the Publish when the next copy is under way.
        std::erase(publishing_, id);
        std::erase(publishing_in_flight_, id);
        if (pending_begun_) pending_.drop_from_transaction(id);
        pending_.add(Freeze{table.schema, copy_again ? TablePhase::queued : TablePhase::errored,
                            received_, error.message()});
    }
    table.route = Route::skip;
    out_->emplace_back(action::TableStopped{id, copy_again, received_, std::move(error)});
}

// ---------------------------------------------------------------- copies

void ApplyCore::on_hold(const input::Hold& hold) {
    WALBROOK_CHECK(at_boundary());
    auto& slot = tables_[hold.schema->id.oid];
    if (!slot) slot = std::make_unique<Table>();
    WALBROOK_CHECK(slot->route == Route::skip);
    *slot = Table{};
    holding_.push_back(slot.get());
    slot->schema = hold.schema;
    slot->route = Route::hold;
    slot->held.emplace(options_.spill);
    slot->held_up_to = received_;
    unbind(hold.schema->id);
    out_->emplace_back(action::Holding{hold.schema->id});
}

void ApplyCore::on_copy_done(const input::CopyDone& done) {
    Table* table = find(done.copy->schema->id);
    // Stopped meanwhile: whoever copies hears of it from the action that said so.
    if (table == nullptr || table->route != Route::hold) return;
    table->copy = done.copy;
    table->snapshot = done.snapshot;
    if (!same_shape(*done.copy->schema, *table->schema)) {
        lose_copy(*table, "the table changed before its snapshot was taken");
        return;
    }
    check_unreadable(*table);
}

void ApplyCore::release_hold(Table& table) {
    std::erase(holding_, &table);
    table.held.reset();
    table.copy.reset();
    table.held_begun = false;
}

void ApplyCore::on_copy_abandoned(TableId id) {
    Table* table = find(id);
    if (table == nullptr || table->route != Route::hold) return;
    release_hold(*table);
    table->route = Route::skip;
}

void ApplyCore::lose_copy(Table& table, std::string reason) {
    release_hold(table);
    table.route = Route::skip;
    out_->emplace_back(action::CopyLost{table.schema->id, std::move(reason)});
}

bool ApplyCore::same_shape(const TableSchema& a, const TableSchema& b) {
    if (a.columns.size() != b.columns.size() || a.replica_identity != b.replica_identity ||
        a.schema != b.schema || a.name != b.name) {
        return false;
    }
    for (std::size_t i = 0; i < a.columns.size(); ++i) {
        const ColumnSchema& x = a.columns[i];
        const ColumnSchema& y = b.columns[i];
        if (x.name != y.name || x.attnum != y.attnum || x.type_oid != y.type_oid ||
            x.typmod != y.typmod || x.in_identity != y.in_identity || x.type != y.type) {
            return false;
        }
    }
    return true;
}

// Held changes never make the stream wait: the table that holds most pays.
void ApplyCore::enforce_held_limit() {
    std::uint64_t sum = 0;
    Table* largest = nullptr;
    for (Table* table : holding_) {
        sum += table->held->bytes();
        if (largest == nullptr || table->held->bytes() > largest->held->bytes()) largest = table;
    }
    if (sum <= options_.held_bytes_max || largest == nullptr) return;
    lose_copy(*largest, fmt::format("{} bytes of changes wait for its copy, more than the limit",
                                    largest->held->bytes()));
}

// ---------------------------------------------------------------- flushes

// How much of a table's held changes one flush takes. It doubles with each slice: a
// flush costs little more for twice the rows, so even a table that changes all the time
// is caught at last.
std::size_t ApplyCore::slice_limit(const Table& table) const {
    return options_.slice_bytes << std::min(table.slices, kSliceDoublingsMax);
}

// Tables whose copy is complete become visible once the stream has passed their
// snapshot and what they hold fits into one flush.
void ApplyCore::publish_ready_copies() {
    std::vector<Table*> complete;
    for (Table* table : holding_) {
        if (table->copy && received_ >= table->copy->position &&
            table->held->bytes() <= slice_limit(*table)) {
            complete.push_back(table);
        }
    }
    for (Table* table : complete) {
        pending_.append(std::move(*table->held), table->copy, shown_by(table->snapshot));
        pending_.add(Publish{table->copy});
        table->schema = table->copy->schema;
        release_hold(*table);
        table->route = Route::apply;
        table->publishing = true;
        unbind(table->schema->id);
        publishing_.push_back(table->schema->id);
    }
}

// Applies a part of what one table holds to its shadow table. True if there was one.
bool ApplyCore::submit_catch_up_slice() {
    for (Table* table : holding_) {
        const std::size_t limit = slice_limit(*table);
        if (!table->copy || table->held->bytes() <= limit) continue;
        ChangeLog slice(options_.spill);
        slice.append_front(*table->held, limit, table->copy, shown_by(table->snapshot));
        ++table->slices;
        submit(slice, submitted_, FlushKind::slice);
        return true;
    }
    return false;
}

void ApplyCore::submit(ChangeLog& log, Lsn position, FlushKind kind) {
    WALBROOK_CHECK(!in_flight_);
    WALBROOK_CHECK(position >= submitted_);
    in_flight_ = true;
    last_submit_ = clock_;
    in_flight_oldest_us_ = log.oldest_commit_time_us();
    in_flight_bytes_ = log.memory_bytes();
    submitted_ = position;
    out_->emplace_back(action::SubmitFlush{log.finish(position), kind});
}

void ApplyCore::advance() {
    if (!at_boundary()) return;
    publish_ready_copies();
    if (in_flight_) return;
    const bool common_first = slice_was_last_ && is_flush_due();
    if (!common_first && submit_catch_up_slice()) {
        slice_was_last_ = true;
        return;
    }
    slice_was_last_ = false;
    if (!is_flush_due()) return;
    const FlushKind kind = publishing_.empty() ? FlushKind::common : FlushKind::publish;
    publishing_in_flight_ = std::exchange(publishing_, {});
    submit(pending_, received_, kind);
}

// At once after a pause; under steady traffic once every max_fill, so that the number
// of snapshots is bounded by time and not by transactions.
bool ApplyCore::is_flush_due() const {
    if (pending_.empty()) return false;
    return pending_.bytes() >= flush_bytes_limit() || !publishing_.empty() ||
           memory_ == MemoryState::paused || clock_ - last_submit_ >= options_.max_fill;
}

void ApplyCore::on_acked(const input::Acked& acked) {
    WALBROOK_CHECK(in_flight_);
    in_flight_ = false;
    in_flight_oldest_us_ = 0;
    in_flight_bytes_ = 0;
    // Where a table stands whose part of the flush was refused.
    const Lsn before = std::exchange(durable_, submitted_);
    for (const auto& [id, error] : acked.refused) {
        Table* table = find(id);
        std::erase(publishing_in_flight_, id);
        if (table == nullptr || table->route == Route::skip) continue;
        // A Publish may wait behind the slice that was refused.
        std::erase(publishing_, id);
        pending_.drop_table(id);
        if (table->route == Route::hold) {
            lose_copy(*table, error.message());
            continue;
        }
        table->route = Route::skip;
        // What is visible while the copy still waits for its Publish is an older matter.
        const Lsn position = table->publishing ? Lsn{} : before;
        out_->emplace_back(action::TableStopped{id, false, position, error});
    }
    for (const TableId id : std::exchange(publishing_in_flight_, {})) {
        if (Table* table = find(id)) table->publishing = false;
        out_->emplace_back(action::Published{id});
    }
}

Status ApplyCore::on_disconnected() {
    // A streamed transaction whose commit has arrived is complete: it lies in the spool.
    while (replay_) WALBROOK_RETURN_IF_ERROR(replay_some());
    if (in_transaction_) {
        if (pending_begun_) pending_.drop_transaction();
        for (Table* table : begun_holds_) {
            if (table->held && table->held_begun) table->held->drop_transaction();
            table->held_begun = false;
        }
        begun_holds_.clear();
        pending_begun_ = false;
        in_transaction_ = false;
    }
    spooled_.clear();
    relations_.clear();
    last_relation_ = nullptr;
    stream_xid_ = 0;
    // What is here already may come again all the same: it is skipped.
    start_ = std::max(start_, received_);
    return {};
}

// ---------------------------------------------------------------- questions

bool ApplyCore::wants_frames() const {
    if (replay_) return false;
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
    return pending_.empty() && !in_flight_ && at_boundary() ? received_ : durable_;
}

bool ApplyCore::is_idle() const { return pending_.empty() && !in_flight_ && at_boundary(); }

Lsn ApplyCore::wanted() const {
    Lsn highest;
    for (const Table* table : holding_) {
        if (table->copy && table->copy->position > received_) {
            highest = std::max(highest, table->copy->position);
        }
    }
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
    for (const Table* table : holding_) all.emplace_back(table->schema->id, table->held->bytes());
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
