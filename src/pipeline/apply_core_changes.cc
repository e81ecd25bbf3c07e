#include "base/check.h"
#include "base/narrow.h"
#include "pipeline/apply_core.h"
#include "pipeline/apply_core_state.h"
#include "pipeline/ddl_messages.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

// ApplyCore: relations, the versions of tables that they bring, and changes of rows.
namespace walbrook {
namespace {

// What one change costs beside its values.
constexpr std::size_t kChangeOverhead = sizeof(Change);
// Transactions that are remembered while a table is copied: 32 MiB.
constexpr std::size_t kUnreadableMax = 1'000'000;

// Where each column of the relation stands in the schema, which it fits.
std::vector<std::size_t> places_of(const StreamRelation& relation, const TableSchema& schema) {
    std::vector<std::size_t> places;
    for (const StreamRelation::Column& sent : relation.columns) {
        for (std::size_t i = 0; i < schema.columns.size(); ++i) {
            if (schema.columns[i].name == sent.name) places.push_back(i);
        }
    }
    return places;
}

}  // namespace

// ---------------------------------------------------------------- relations

void ApplyCore::on_relation(const RelationMessage& message) {
    auto& slot = relations_[message.oid];
    slot = std::make_unique<Relation>(message);
    last_relation_ = nullptr;
}

// Of other applications, most of them.
void ApplyCore::on_logical_message(const LogicalMessage& message) {
    if (!in_transaction_ || skipping_ || !message.transactional ||
        message.prefix != kDdlMessagePrefix) {
        return;
    }
    auto told = parse_ddl_message(message.content);
    if (!told) return;
    has_news_ = true;
    for (auto& [oid, columns] : told->columns) {
        if (find({oid}) != nullptr) told_columns_[oid] = std::move(columns);
    }
}

// Comes at the first change of a relation, and when its table has another version.
void ApplyCore::bind(Relation& relation) {
    relation.table = find_by_relation(relation.message.oid);
    if (relation.table == nullptr) return;
    const auto bind_to = [&](Relation::Binding& binding, const TableSchemaPtr& schema) {
        if (binding.schema == schema) return;
        binding = {schema, std::nullopt, {}};
        if (schema == nullptr) return;
        binding.mismatch = difference(relation.message, *schema);
        if (!binding.mismatch.empty()) return;
        const bool is_partition = relation.message.oid != schema->id.oid;
        binding.decoders.emplace(*schema, is_partition ? places_of(relation.message, *schema)
                                                       : std::vector<std::size_t>());
    };
    const Table& table = *relation.table;
    bind_to(relation.visible, table.applies ? table.schema : nullptr);
    bind_to(relation.held, table.held ? table.held_schema : nullptr);
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
    return relation;
}

// The catalog is asked before the first change after each relation message: names and types
// do not tell a column from one that was dropped and added again.
void ApplyCore::ask_catalog(Relation& relation) {
    asked_relation_ = relation.message.oid;
    parked_.assign(present_frame_.begin(), present_frame_.end());
    out_->emplace_back(action::Describe{++last_request_, relation.message.oid, transaction_.xid});
}

Status ApplyCore::on_described(const input::Described& answer) {
    // Of a question that a broken connection made moot.
    if (asked_relation_ == 0 || answer.request != last_request_) return {};
    Relation& relation = *relations_.at(std::exchange(asked_relation_, 0));
    const std::uint32_t oid = relation.message.oid;
    if (answer.table && answer.table->oid != oid && find_by_relation(oid) == nullptr) {
        // A partition that was made meanwhile.
        if (Table* table = find(*answer.table)) take_relation(*table, oid, answer.now.seen);
    }
    relation.is_verified = true;
    relation.table = find_by_relation(oid);
    check_passing_leaf(relation);
    const bool is_anothers =
        relation.table != nullptr && answer.table && *answer.table != relation.table->id;
    if (is_anothers) {
        // Whether that was before this change nobody can say: it may be the other one's, which
        // lacks the rows of before.
        if (relation.table->applies) cannot_follow(*relation.table, kOtherPartitions);
        if (relation.table->held) relation.held_lost = kOtherPartitions;
        if (Table* const other = find(*answer.table); other != nullptr && other->applies) {
            const std::string why = of_visible(*other, answer.now).other_rows;
            if (!why.empty()) cannot_follow(*other, why);
        }
    } else if (relation.table != nullptr) {
        // Good for one version: the next may come without a message.
        const auto told = told_columns_.extract(relation.table->id.oid);
        const std::set<std::int16_t>* const columns = told ? &told.mapped() : nullptr;
        if (relation.table->applies) verify_visible(relation, answer.now, columns);
        if (relation.table->held) verify_held(relation, answer.now, columns);
        expect_news(*relation.table, answer);
    }
    const std::vector<std::byte> message = std::exchange(parked_, {});
    present_frame_ = message;
    WALBROOK_TRY(const PgoutputMessage parsed, parse_pgoutput(message, present_streamed_));
    return on_message(parsed, message.size());
}

// A copy is visible here before the store, against which the catalog was looked at, knows.
SourceTable ApplyCore::of_visible(const Table& table, const SourceTable& now) {
    SourceTable visible = now;
    if (now.attempt_in_copy != 0 && now.attempt_in_copy == table.schema->attempt) {
        visible.other_rows = now.other_rows_in_copy;
    } else if (now.attempt_visible != table.attempt) {
        // Another copy was asked for while this one was published: the store never hears of it.
        visible.other_rows = "its rows are of a copy that was not compared";
    }
    return visible;
}

void ApplyCore::verify_visible(Relation& relation, const SourceTable& now,
                               const std::set<std::int16_t>* told) {
    Table& table = *relation.table;
    Followed next = follow_relation(relation.message, *table.schema, of_visible(table, now), told);
    switch (next.kind) {
        case Followed::Kind::same:
            break;
        case Followed::Kind::lost:
            cannot_follow(table, next.why);
            return;
        case Followed::Kind::change: {
            begin_pending();
            SchemaChange change{table.schema, next.schema, next.existing,
                                transaction_, ordinal_,    nullptr};
            pending_.add(std::move(change));
            undo_.push_back({&table, false, table.schema, table.seen});
            table.schema = next.schema;
            out_->emplace_back(action::NewVersion{next.schema, transaction_.commit_lsn});
            break;
        }
    }
    table.seen = std::max(table.seen, now.seen);
}

void ApplyCore::verify_held(Relation& relation, const SourceTable& now,
                            const std::set<std::int16_t>* told) {
    Table& table = *relation.table;
    relation.held_lost.clear();
    // Ours may be the newer version then: rows that do not fit are in the snapshot.
    if (transaction_.commit_lsn < table.held_ahead_until) return;
    SourceTable of_copy = now;
    of_copy.other_rows = now.other_rows_in_copy;
    Followed next = follow_relation(relation.message, *table.held_schema, of_copy, told);
    switch (next.kind) {
        case Followed::Kind::same:
            break;
        case Followed::Kind::lost:
            relation.held_lost = next.why;
            return;
        case Followed::Kind::change: {
            if (!begin_held(table)) return;  // It is in the log already, with its version.
            SchemaChange change{table.held_schema, next.schema, next.existing,
                                transaction_,      ordinal_,    nullptr};
            table.held->add(std::move(change));
            undo_.push_back({&table, true, table.held_schema, table.held_seen});
            table.held_schema = next.schema;
            table.versions.push_back({transaction_, next.schema, now.seen});
            note_whole(table);
            check_torn(table);
            if (!table.held) return;
            break;
        }
    }
    table.held_seen = std::max(table.held_seen, now.seen);
}

// The transaction will come again, and its versions with it.
void ApplyCore::undo_versions() {
    for (auto undo = undo_.rbegin(); undo != undo_.rend(); ++undo) {
        Table& table = *undo->table;
        if (!undo->is_held) {
            table.schema = undo->schema;
            table.seen = undo->seen;
        } else if (table.held) {
            table.held_schema = undo->schema;
            table.held_seen = undo->seen;
            table.versions.pop_back();
        }
    }
    undo_.clear();
}

// ---------------------------------------------------------------- changes

Status ApplyCore::on_change(const RowChange& change) {
    if (!in_transaction_) return Error(ErrorCode::malformed, "a row came outside a transaction");
    if (skipping_) {
        ++ordinal_;
        ++changes_;
        return {};
    }
    WALBROOK_TRY(Relation * relation, relation_of(change.relation));
    Table* table = relation->table;
    if (!relation->is_verified) [[unlikely]] {
        table = relation->table = find_by_relation(change.relation);
        if (table == nullptr || !table->is_idle()) {
            ask_catalog(*relation);
            return {};
        }
    }
    ++ordinal_;
    ++changes_;
    if (table == nullptr || table->is_idle()) return {};
    if ((table->applies && relation->visible.schema != table->schema) ||
        (table->held && relation->held.schema != table->held_schema)) [[unlikely]] {
        bind(*relation);
    }
    for (const Relation::Binding* binding : {&relation->visible, &relation->held}) {
        if (binary_ && binding->decoders && !binding->decoders->all_binary) [[unlikely]] {
            if (binding == &relation->visible ? !table->applies : !table->held) continue;
            needs_text_ = true;
            out_->emplace_back(action::NeedText{});
            return {};
        }
    }
    if (table->applies) {
        if (!relation->visible.mismatch.empty()) {
            cannot_follow(*table, relation->visible.mismatch);
        } else {
            begin_pending();
            Status status = append_change(pending_, relation->visible.schema,
                                          *relation->visible.decoders, change, nullptr);
            if (!status) [[unlikely]] {
                if (status.error().code() == ErrorCode::schema_mismatch) {
                    cannot_follow(*table, status.error().message());
                } else if (status.error().code() == ErrorCode::unsupported_value ||
                           status.error().code() == ErrorCode::malformed) {
                    on_refused_change(*table, std::move(status).error());
                } else {
                    return status;  // Disk full and the like: not about one table.
                }
            }
        }
    }
    if (!table->held) return {};
    const std::string& lost =
        relation->held_lost.empty() ? relation->held.mismatch : relation->held_lost;
    if (!lost.empty()) {
        on_held_mismatch(*table, lost);
        return {};
    }
    if (!begin_held(*table)) return {};
    Status status =
        append_change(*table->held, relation->held.schema, *relation->held.decoders, change, table);
    if (status) [[likely]] {
        if (!table->moves.empty() || table->moves_too_many) check_torn(*table);
        return {};
    }
    if (status.error().code() == ErrorCode::schema_mismatch) {
        on_held_mismatch(*table, status.error().message());
    } else if (status.error().code() == ErrorCode::unsupported_value ||
               status.error().code() == ErrorCode::malformed) {
        on_refused_change(*table, std::move(status).error());
    } else {
        return status;
    }
    return {};
}

void ApplyCore::on_refused_change(Table& table, Error error) {
    const std::string name = (table.applies ? table.schema : table.held_schema)->display_name();
    stop_table(table, false, std::move(error).with_context("read changes of " + name));
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

Status ApplyCore::append_change(ChangeLog& log, const TableSchemaPtr& schema,
                                const RowDecoders& decoders, const RowChange& in, Table* held_by) {
    ChangeBatch& batch = log.open_batch(schema);
    Change change;
    change.kind = in.kind;
    change.ordinal = ordinal_;
    change.transaction = narrow<std::uint32_t>(batch.transactions.size() - 1);
    const std::size_t old_before = batch.old_rows.rows();
    if (in.old_row != nullptr) {
        change.old_row = static_cast<std::int32_t>(old_before);
        change.old_is_full = in.old_is_full;
        WALBROOK_RETURN_IF_ERROR(
            append_tuple(*in.old_row, decoders, !in.old_is_full, batch.old_rows, nullptr));
    }
    if (in.new_row != nullptr) {
        change.new_row = static_cast<std::int32_t>(batch.new_rows.rows());
        ChangeBatch* partial = in.kind == ChangeKind::update ? &batch : nullptr;
        Status status = append_tuple(*in.new_row, decoders, false, batch.new_rows, partial);
        if (!status) {
            batch.old_rows.truncate(old_before);
            return status;
        }
    }
    batch.changes.push_back(change);
    if (held_by != nullptr && held_by->range_attnum != 0) note_move(*held_by, batch);
    WALBROOK_RETURN_IF_ERROR(log.add_bytes(schema->id, in.bytes + kChangeOverhead));
    return count_growth(in.bytes + kChangeOverhead);
}

// Whether all that the table has is truncated: itself, or each of its partitions.
bool ApplyCore::is_whole(const Table& table, const TruncateMessage& message) const {
    const auto is_named = [&](std::uint32_t oid) {
        for (std::size_t i = 0; i < message.relations.size(); ++i) {
            if (message.relations[i] == oid) return true;
        }
        return false;
    };
    return is_named(table.id.oid) ||
           std::all_of(table.partitions.begin(), table.partitions.end(), is_named);
}

Status ApplyCore::on_truncate(const TruncateMessage& message) {
    if (!in_transaction_) return Error(ErrorCode::malformed, "a truncate outside a transaction");
    ++ordinal_;
    if (skipping_) return {};
    Truncate visible;
    visible.cascade = message.cascade;
    visible.restart_identity = message.restart_identity;
    visible.ordinal = ordinal_;
    std::set<Table*> seen;
    for (std::size_t i = 0; i < message.relations.size(); ++i) {
        Table* table = find_by_relation(message.relations[i]);
        if (table == nullptr || table->is_idle() || !seen.insert(table).second) continue;
        if (!is_whole(*table, message)) {
            // Which rows of the table were in it is not known here.
            const std::string why = "a partition of it was truncated";
            if (table->applies) cannot_follow(*table, why);
            if (table->held) on_held_mismatch(*table, why);
            continue;
        }
        if (table->applies) visible.tables.push_back(table->schema);
        if (table->held && begin_held(*table)) {
            Truncate held = visible;
            held.tables = {table->held_schema};
            table->held->add(std::move(held));
            note_whole(*table);
            check_torn(*table);
        }
    }
    if (visible.tables.empty()) return {};
    begin_pending();
    pending_.add(std::move(visible));
    return {};
}

// ---------------------------------------------------------------- tables that stop

// Rows do not fit what is known of a table that is being copied. Perhaps the stream is only
// behind: these rows may be in the snapshot.
void ApplyCore::on_held_mismatch(Table& table, const std::string& why) {
    if (table.unreadable.empty() || table.unreadable.back().xid != transaction_.xid) {
        if (table.unreadable.size() == kUnreadableMax) {
            return lose_copy(table, "the table changed before it was copied: " + why);
        }
        table.unreadable.push_back(transaction_);
        table.unreadable_why = why;
    }
    if (table.copy) check_unreadable(table);
}

void ApplyCore::check_unreadable(Table& table) {
    for (const Transaction& transaction : table.unreadable) {
        if (table.snapshot->all_show(transaction)) continue;
        lose_copy(table, "the table changed while it was copied: " + table.unreadable_why);
        return;
    }
    table.unreadable.clear();
}

// What the visible table has up to the last whole transaction is applied. Returns up to where
// that goes, 0 if its copy was not visible yet.
Lsn ApplyCore::stop_visible(Table& table, TablePhase phase, const std::string& reason) {
    // Whoever waits for its Publish hears of the stop instead, and must not hear of
    // the Publish when the next copy is under way.
    const bool was_to_be_published = std::erase(publishing_, table.id) != 0;
    if (std::erase(publishing_in_flight_, table.id) != 0) stopped_in_flight_.insert(table.id);
    table.publishing = false;
    if (pending_begun_) pending_.drop_from_transaction(table.id);
    // The version that the transaction brought went with it.
    for (const Undo& undo : undo_) {
        if (undo.table != &table || undo.is_held) continue;
        table.schema = undo.schema;
        table.seen = undo.seen;
        break;
    }
    std::erase_if(undo_, [&](const Undo& undo) { return undo.table == &table && !undo.is_held; });
    table.applies = false;
    if (!was_to_be_published) {
        pending_.add(Freeze{table.schema, phase, received_, reason});
        return received_;
    }
    // Nobody waits for that copy any more, and a slice of it that is under way may be refused: it
    // does not become visible. What it was to replace got nothing since the last flush.
    pending_.drop_table(table.id);
    const TableSchemaPtr replaced = std::exchange(table.replaced, nullptr);
    if (!replaced) return Lsn{};
    pending_.add(Freeze{replaced, phase, submitted_, reason});
    return submitted_;
}

void ApplyCore::stop_table(Table& table, bool copy_again, Error error) {
    if (table.is_idle()) return;
    const TablePhase phase = copy_again ? TablePhase::queued : TablePhase::errored;
    const std::uint32_t attempt = (table.held ? table.held_schema : table.schema)->attempt;
    const Lsn position = table.applies ? stop_visible(table, phase, error.message()) : received_;
    if (table.held) release_hold(table);
    table.is_errored = !copy_again;
    out_->emplace_back(
        action::TableStopped{table.id, copy_again, position, std::move(error), attempt});
}

// Only a new copy tells what the visible table should have. One that is under way will.
void ApplyCore::cannot_follow(Table& table, const std::string& why) {
    Error error(ErrorCode::schema_mismatch, fmt::format("changes of {} cannot be followed: {}",
                                                        table.schema->display_name(), why));
    if (table.held) {
        stop_visible(table, TablePhase::queued, error.message());
    } else {
        stop_table(table, options_.copies_again_on_change, std::move(error));
    }
}

}  // namespace walbrook
