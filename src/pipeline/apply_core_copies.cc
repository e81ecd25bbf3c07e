#include "base/check.h"
#include "pipeline/apply_core.h"
#include "pipeline/apply_core_state.h"
#include "postgres/slots.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

// ApplyCore: copies, news of the catalog, and flushes.
namespace walbrook {
namespace {

// Up to 64 times the configured size: 1 GiB by default, on disk if need be.
constexpr unsigned kSliceDoublingsMax = 6;
// That are remembered of one copy: a few MiB.
constexpr std::size_t kMovesMax = 65'536;

// These changes are in the copy already.
ChangeLog::Skip shown_by(const std::shared_ptr<const CopySnapshots>& snapshot) {
    using Part = ChangeLog::Skip::Part;
    ChangeLog::Skip skip;
    skip.part = [snapshot](const Transaction& transaction) {
        if (snapshot->all_show(transaction)) return Part::everything;
        return snapshot->any_shows(transaction) ? Part::by_key : Part::nothing;
    };
    skip.key = [snapshot](const Transaction& transaction, const RowBatch& rows, std::size_t row) {
        return snapshot->shows(transaction, rows, row);
    };
    return skip;
}

}  // namespace

// ---------------------------------------------------------------- copies

void ApplyCore::verify_again(const Table& table) {
    for (const auto& [oid, relation] : relations_) {
        if (find_by_relation(oid) != &table) continue;
        relation->is_verified = false;
        relation->held_lost.clear();
    }
}

void ApplyCore::on_hold(const input::Hold& hold) {
    WALBROOK_CHECK(at_boundary());
    if (hold.needs_new_stream || waits_for_owners(hold)) {
        waiting_holds_.push_back(hold);
    } else {
        begin_hold(hold);
    }
}

// Other tables that have relations of the copy's table.
std::vector<ApplyCore::Owner> ApplyCore::other_owners(const input::Hold& hold) {
    std::vector<std::uint32_t> relations = hold.partitions;
    relations.push_back(hold.schema->id.oid);
    std::vector<Owner> owners;
    for (const std::uint32_t oid : relations) {
        Table* const owner = find_by_relation(oid);
        if (owner == nullptr || owner->id == hold.schema->id) continue;
        owners.push_back({owner, seen_at(*owner, oid)});
    }
    return owners;
}

// The stream may be behind the look: until it is there the rows may be theirs, and the news of it
// are due then.
bool ApplyCore::waits_for_owners(const input::Hold& hold) {
    if (received_ >= hold.read_at) return false;
    const std::vector<Owner> owners = other_owners(hold);
    return std::any_of(owners.begin(), owners.end(),
                       [](const Owner& owner) { return !owner.table->is_idle(); });
}

void ApplyCore::begin_waiting_holds(bool has_new_stream) {
    std::erase_if(waiting_holds_, [&](const input::Hold& hold) {
        if (hold.needs_new_stream != has_new_stream || received_ < hold.read_at) return false;
        begin_hold(hold);
        return true;
    });
}

void ApplyCore::ask_for_new_stream() {
    if (needs_new_stream_) return;
    bool is_needed = false;
    for (const input::Hold& hold : waiting_holds_) {
        if (!hold.needs_new_stream) continue;
        if (received_ < hold.read_at) return;
        is_needed = true;
    }
    if (!is_needed) return;
    needs_new_stream_ = true;
    out_->emplace_back(action::NeedNewStream{});
}

void ApplyCore::begin_hold(const input::Hold& hold) {
    Table& table = table_at(hold.schema->id);
    WALBROOK_CHECK(!table.held);
    for (const Owner& owner : other_owners(hold)) {
        if (owner.seen <= hold.seen) continue;
        out_->emplace_back(action::CopyLost{table.id, kOtherPartitions});
        return;
    }
    holding_.push_back(&table);
    table.held.emplace(options_.spill);
    table.is_errored = false;
    table.held_begun = false;
    table.held_from = received_;
    table.held_up_to = received_;
    table.held_schema = hold.schema;
    table.held_seen = hold.seen;
    table.copy_number = hold.copy;
    table.held_ahead_until = hold.read_at;
    table.versions.clear();
    table.copy.reset();
    table.unreadable.clear();
    table.unreadable_why.clear();
    table.slices = 0;
    table.range_attnum = hold.range_attnum;
    table.whole.clear();
    table.moves.clear();
    table.moves_too_many = false;
    // The stream may be behind: what has gone by the catalog is the visible table's until the news
    // of that are due.
    if (!table.applies) set_partitions(table, {}, hold.seen);
    table.copied_partitions = hold.partitions;
    table.partitions_seen = std::max(hold.seen, hold.ended);
    take_relation(table, table.id.oid, hold.seen);
    for (const std::uint32_t oid : hold.partitions) take_relation(table, oid, hold.seen);
    verify_again(table);
    out_->emplace_back(action::Holding{table.id, hold.copy});
}

// The version that the shadow table has once all of the held changes are in it: the last one
// that came after the snapshot, or the snapshot's own.
void ApplyCore::on_copy_done(const input::CopyDone& done) {
    Table* table = find(done.copy->schema->id);
    // Stopped meanwhile: whoever copies hears of it from the action that said so.
    if (table == nullptr || !table->held) return;
    WALBROOK_CHECK(done.snapshot.is_complete());
    WALBROOK_CHECK(done.snapshot.attnum() == table->range_attnum);
    // Of a standby that lags behind the stream's, or has come back with less than it had. The
    // stream may end where a page does, and a position where the header of the next one ends.
    if (done.copy->position < before_page_header(table->held_from)) {
        return lose_copy(*table, "its snapshot is older than what was streamed before its hold");
    }
    table->copy = done.copy;
    table->snapshot = std::make_shared<const CopySnapshots>(done.snapshot);
    check_torn(*table);
    if (!table->held) return;
    const auto newest = std::find_if(
        table->versions.rbegin(), table->versions.rend(),
        [&](const Table::Version& v) { return !done.snapshot.all_show(v.transaction); });
    if (newest == table->versions.rend()) {
        table->held_schema = done.copy->schema;
        table->held_seen = done.seen;
        table->held_ahead_until = std::max(table->held_ahead_until, done.copy->position);
    }
    verify_again(*table);
    check_unreadable(*table);
}

void ApplyCore::release_hold(Table& table) {
    std::erase(holding_, &table);
    std::erase_if(undo_, [&](const Undo& undo) { return undo.table == &table && undo.is_held; });
    table.held.reset();
    table.held_schema.reset();
    table.versions.clear();
    table.copy.reset();
    table.snapshot.reset();
    table.whole.clear();
    table.moves.clear();
    table.held_begun = false;
}

void ApplyCore::on_copy_abandoned(TableId id) {
    std::erase_if(waiting_holds_, [&](const auto& hold) { return hold.schema->id == id; });
    Table* table = find(id);
    if (table == nullptr) return;
    if (table->held) release_hold(*table);
    // It may have been forgotten before the hold: its leaves are tables of their own then.
    if (!table->applies) set_partitions(*table, {}, 0);
}

void ApplyCore::lose_copy(Table& table, std::string reason, bool in_one_snapshot) {
    release_hold(table);
    out_->emplace_back(action::CopyLost{table.id, std::move(reason), in_one_snapshot});
}

// Of the present transaction.
void ApplyCore::note_whole(Table& table) const {
    if (table.range_attnum == 0) return;
    if (!table.whole.empty() && table.whole.back().xid == transaction_.xid) return;
    if (table.whole.size() == kMovesMax) {
        table.moves_too_many = true;
    } else {
        table.whole.push_back(transaction_);
    }
}

// The last change of the batch. If only the range of its new key lacks it, the row has to be
// inserted there, and nobody has the values that were not sent: they are in the range of the old
// key, which shows a later row, or none.
void ApplyCore::note_move(Table& table, const ChangeBatch& batch) const {
    const Change& change = batch.changes.back();
    if (!batch.has_unchanged() || change.old_row < 0 || change.new_row < 0) return;
    const auto new_row = static_cast<std::size_t>(change.new_row);
    bool is_whole = true;
    for (std::size_t i = 0; i < batch.new_rows.columns().size(); ++i) {
        is_whole = is_whole && !batch.is_unchanged(i, new_row);
    }
    if (is_whole) return;
    const auto from =
        key_point_of(batch.old_rows, static_cast<std::size_t>(change.old_row), table.range_attnum);
    const auto to = key_point_of(batch.new_rows, new_row, table.range_attnum);
    if (!from || !to) return note_whole(table);
    if (*from == *to) return;
    if (table.moves.size() == kMovesMax) {
        table.moves_too_many = true;
    } else {
        table.moves.push_back({transaction_, *from, *to});
    }
}

// What a copy in ranges cannot be made right for.
void ApplyCore::check_torn(Table& table) {
    if (!table.copy || !table.snapshot->are_in_ranges()) return;
    const CopySnapshots& snapshot = *table.snapshot;
    if (std::any_of(table.whole.begin(), table.whole.end(),
                    [&](const Transaction& t) { return snapshot.is_torn(t); })) {
        return lose_copy(table, "the table changed between the snapshots of its copy");
    }
    const bool is_moved =
        std::any_of(table.moves.begin(), table.moves.end(), [&](const Table::Move& move) {
            return snapshot.shows(move.transaction, move.from) &&
                   !snapshot.shows(move.transaction, move.to);
        });
    if (is_moved || table.moves_too_many) {
        return lose_copy(table,
                         "rows with values that are not sent again came to other keys between "
                         "the snapshots of its copy",
                         true);
    }
    table.whole.clear();
    table.moves.clear();
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

// ---------------------------------------------------------------- news of the catalog

// An answer overtakes news that wait for the end of a transaction, and may come of a later look.
void ApplyCore::on_changed(const input::Changed& changed) {
    const bool is_old = std::any_of(changed_.begin(), changed_.end(), [&](const auto& other) {
        return other.table == changed.table && other.now.seen > changed.now.seen;
    });
    if (is_old) return;
    std::erase_if(changed_, [&](const auto& older) {
        if (older.table != changed.table) return false;
        note_passing_leaves(older, changed);
        return true;
    });
    changed_.push_back(changed);
}

void ApplyCore::note_passing_leaves(const input::Changed& older, const input::Changed& newer) {
    for (const std::uint32_t oid : older.partitions) {
        const auto& left = newer.partitions;
        if (std::find(left.begin(), left.end(), oid) != left.end()) continue;
        const Table* const owner = find_by_relation(oid);
        if (owner != nullptr && owner->id == newer.table) continue;
        passing_leaves_[oid] = {newer.table, newer.position};
    }
}

// Its rows are its table's for a while, which begins with an attachment that copies the table again
// and, as the catalog is now, never was: without them the table is no moment of the source. Also
// where the look that lacks it is still to come: the answer is of a later one.
void ApplyCore::check_passing_leaf(const Relation& relation) {
    const std::uint32_t oid = relation.message.oid;
    const auto stop_without = [&](TableId id) {
        Table* const table = find(id);
        if (table == nullptr || table == relation.table) return;
        if (table->applies) cannot_follow(*table, kOtherPartitions);
        if (table->held) on_held_mismatch(*table, kOtherPartitions);
    };
    for (const input::Changed& news : changed_) {
        const auto& leaves = news.partitions;
        if (std::find(leaves.begin(), leaves.end(), oid) != leaves.end()) stop_without(news.table);
    }
    const auto found = passing_leaves_.find(oid);
    if (found == passing_leaves_.end() || transaction_.commit_lsn >= found->second.until) return;
    stop_without(found->second.table);
}

// The catalog may be ahead of the message. What it says besides is due later, also where no row
// comes to ask again, and whoever looked before told of less.
void ApplyCore::expect_news(const Table& table, const input::Described& answer) {
    const auto is_ahead = [&](const TableSchemaPtr& schema) {
        return schema != nullptr && answer.now.schema != nullptr &&
               !(*schema == *answer.now.schema);
    };
    if (!is_ahead(table.applies ? table.schema : nullptr) &&
        !is_ahead(table.held ? table.held_schema : nullptr)) {
        return;
    }
    on_changed({table.id, answer.now, answer.partitions, answer.position});
}

void ApplyCore::on_forget(const input::Forget& forget) { forget_.push_back(forget); }

// Between transactions.
void ApplyCore::heed_news() {
    std::erase_if(changed_, [&](const input::Changed& news) {
        if (received_ < news.position) return false;
        Table* table = find(news.table);
        if (table == nullptr) return true;
        const bool has_all = set_partitions(*table, news.partitions, news.now.seen);
        if (news.now.seen < table->partitions_seen) {
            for (const std::uint32_t oid : table->copied_partitions) {
                take_relation(*table, oid, table->partitions_seen);
            }
        } else if (!has_all && table->applies) {
            cannot_follow(*table, kOtherPartitions);
        }
        // While it is copied the news stay: the copy may be older.
        if (!table->applies || news.now.seen < table->seen) return !table->held;
        table->seen = news.now.seen;
        Followed next = follow_catalog(*table->schema, of_visible(*table, news.now));
        if (next.kind == Followed::Kind::lost) {
            cannot_follow(*table, next.why);
        } else if (next.kind == Followed::Kind::change) {
            SchemaChange change;
            change.from = table->schema;
            change.to = next.schema;
            change.existing = next.existing;
            pending_.add(std::move(change));
            table->schema = next.schema;
            out_->emplace_back(action::NewVersion{next.schema, received_});
        }
        return !table->held;
    });
    std::erase_if(passing_leaves_,
                  [&](const auto& entry) { return received_ >= entry.second.until; });
    std::erase_if(forget_, [&](const input::Forget& forgotten) {
        if (received_ < forgotten.position) return false;
        if (Table* table = find(forgotten.table)) forget(*table);
        pending_.add(Retire{forgotten.table});
        out_->emplace_back(action::Forgotten{forgotten.table});
        return true;
    });
}

void ApplyCore::forget(Table& table) {
    const TableId id = table.id;
    if (table.held) lose_copy(table, "the table is not published any more");
    std::erase(publishing_, id);
    std::erase(publishing_in_flight_, id);
    std::erase_if(changed_, [&](const auto& news) { return news.table == id; });
    std::erase_if(passing_leaves_, [&](const auto& entry) { return entry.second.table == id; });
    for (const auto& [oid, relation] : relations_) {
        if (relation->table == &table) relation->table = nullptr;
    }
    set_partitions(table, {}, 0);
    tables_.erase(id.oid);
}

void ApplyCore::on_jump(const input::Jump& jump) {
    WALBROOK_CHECK(at_boundary());
    const Error why(ErrorCode::aborted, jump.reason);
    for (const auto& [oid, table] : tables_) stop_table(*table, true, why);
    received_ = std::max(received_, jump.position);
    last_commit_ = received_;  // Nobody can go on from before.
    start_ = std::max(start_, received_);
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
        // What waits for the old visible table goes with it.
        const TableSchemaPtr followed = table->applies ? table->schema : nullptr;
        if (followed) pending_.drop_table(table->id);
        pending_.append(std::move(*table->held), table->copy, shown_by(table->snapshot));
        pending_.add(Publish{table->copy, followed});
        table->replaced = followed;
        table->schema = table->held_schema;
        table->attempt = table->schema->attempt;
        table->seen = table->held_seen;
        out_->emplace_back(action::NewVersion{table->schema, received_});
        release_hold(*table);
        table->applies = true;
        table->publishing = true;
        table->publishing_number = table->copy_number;
        publishing_.push_back(table->id);
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
    in_flight_kind_ = kind;
    last_submit_ = clock_;
    in_flight_oldest_us_ = log.oldest_commit_time_us();
    in_flight_bytes_ = log.memory_bytes();
    submitted_ = position;
    out_->emplace_back(action::SubmitFlush{log.finish(position), kind});
}

void ApplyCore::advance() {
    if (!at_boundary()) return;
    heed_news();
    begin_waiting_holds(false);
    ask_for_new_stream();
    publish_ready_copies();
    add_repairs();
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
    // A failover may take away what keepalives told of behind the last transaction: the
    // destination then still stands where the new server goes on. Without a transaction there is
    // no such position that is new, and only a new one tells whether the flush landed. A copy may
    // show what was not sent, up to where it became ready.
    const bool is_common = kind == FlushKind::common && last_commit_ > submitted_;
    submit(pending_, is_common ? last_commit_ : received_, kind);
}

// At once after a pause; under steady traffic once every max_fill, so that the number
// of snapshots is bounded by time and not by transactions.
bool ApplyCore::is_flush_due() const {
    if (pending_.empty()) return false;
    return pending_.bytes() >= flush_bytes_limit() || !publishing_.empty() ||
           has_all_before_cut() || memory_ == MemoryState::paused ||
           clock_ - last_submit_ >= options_.max_fill;
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
        const bool is_visible_refused = in_flight_kind_ != FlushKind::slice;
        if (is_visible_refused && stopped_in_flight_.contains(id)) {
            // What would have become visible did not, and is not what stands still.
            pending_.drop_freeze(id);
        } else if (is_visible_refused) {
            pending_.set_frozen_at(id, before);
        }
        if (is_visible_refused && (table == nullptr || !table->applies)) {
            // It stopped while the flush was under way, and stands where it stood before that.
            pending_.drop_table(id);
            if (table != nullptr && table->is_errored) {
                const bool was_new = stopped_in_flight_.contains(id) && !table->replaced;
                const Lsn position = was_new ? Lsn{} : before;
                // None: it has left the publication since, and come back.
                const std::uint32_t attempt = table->schema ? table->schema->attempt : 0;
                out_->emplace_back(action::TableStopped{id, false, position, error, attempt});
            }
            continue;
        }
        if (table == nullptr || table->is_idle()) continue;
        // Of a slice only the copy is lost, unless its Publish waits behind it.
        if (in_flight_kind_ == FlushKind::slice && !table->publishing) {
            if (table->held) lose_copy(*table, error.message());
            continue;
        }
        std::erase(publishing_, id);
        const bool was_followed = table->applies;
        // What is wrong with the visible table the copy that is under way puts right.
        const bool is_replaced = was_followed && table->held && !table->publishing;
        pending_.drop_table(id);
        table->applies = false;
        if (table->held) release_hold(*table);
        // What is visible while the copy still waits for its Publish is an older matter.
        const Lsn position = table->publishing ? Lsn{} : before;
        if (in_flight_kind_ == FlushKind::slice && table->replaced) {
            // Its changes have been dropped for the Publish that will not come.
            pending_.add(Freeze{table->replaced, TablePhase::queued, before, error.message()});
        }
        table->publishing = false;
        table->replaced.reset();
        const bool again = is_replaced || (was_followed && options_.copies_again_on_change &&
                                           error.code() == ErrorCode::schema_mismatch);
        out_->emplace_back(
            action::TableStopped{id, again, position, error, table->schema->attempt});
    }
    stopped_in_flight_.clear();
    for (const TableId id : std::exchange(publishing_in_flight_, {})) {
        Table* table = find(id);
        if (table == nullptr) continue;
        table->publishing = false;
        table->replaced.reset();
        out_->emplace_back(action::Published{id, table->publishing_number});
    }
}

Status ApplyCore::on_disconnected() {
    // A streamed transaction whose commit has arrived is complete: it lies in the spool.
    while (replay_ && is_busy()) WALBROOK_RETURN_IF_ERROR(replay_some());
    if (in_transaction_) {
        if (pending_begun_) pending_.drop_transaction();
        for (Table* table : begun_holds_) {
            if (table->held && table->held_begun) table->held->drop_transaction();
            table->held_begun = false;
        }
        begun_holds_.clear();
        pending_begun_ = false;
        in_transaction_ = false;
        undo_versions();
    }
    replay_.reset();
    lose_cut("the connection to the source was lost");
    behind_cut_.clear();
    // What comes again brings its messages again; the rest is asked for without them.
    told_columns_.clear();
    has_news_ = false;
    asked_relation_ = 0;
    parked_.clear();
    if (std::exchange(needs_text_, false)) binary_ = false;
    spooled_.clear();
    relations_.clear();
    last_relation_ = nullptr;
    stream_xid_ = 0;
    // What is here already may come again all the same: it is skipped.
    start_ = std::max(start_, received_);
    needs_new_stream_ = false;
    begin_waiting_holds(true);
    return {};
}

// The new server has written, or will write, other records where keepalives were the last that
// came of the old one. A copy that is not published may have rows that it never had, and so may
// the repairs of a cut that was named while nobody was connected. A Publish that is on its way
// counts: the server has all up to its position.
void ApplyCore::on_timeline_changed() {
    WALBROOK_CHECK(!in_transaction_ && spooled_.empty());
    lose_cut("another server took over");
    received_ = continues_from();
    start_ = received_;
    begin_ = std::min(begin_, received_);
    for (const TableId id : std::vector<TableId>(publishing_)) {
        stop_table(*find(id), true,
                   Error(ErrorCode::aborted, "another server took over before it was published"));
    }
    for (Table* table : std::vector<Table*>(holding_)) {
        lose_copy(*table, "another server took over while it was copied");
    }
}

}  // namespace walbrook
