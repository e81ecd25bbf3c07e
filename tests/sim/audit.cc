#include "sim/process.h"

#include <algorithm>
#include <map>
#include <utility>

// World: what must be true after each step.
namespace walbrook::sim {
namespace {

std::string print(const std::vector<MemoryDestination::Row>& rows) {
    std::string out;
    for (const auto& row : rows) {
        out += "\n   ";
        for (const auto& value : row) out += " " + value.value_or("NULL");
    }
    return out;
}

}  // namespace

std::vector<MemoryDestination::Row> World::lake_rows(std::size_t table) const {
    const TableSchemaPtr& schema = view_.tables[table].schema;
    return schema ? process_->lake->rows(*schema) : std::vector<MemoryDestination::Row>();
}

// All tables that are ready stand at the position of the lake, the others where their
// record says.
void World::check_lake() {
    // What came from a server that is gone is told apart when the process connects.
    if (lost_from_) return;
    while (next_commit_ < source_->commits().size()) {
        const Tx& tx = source_->txs()[source_->commits()[next_commit_]];
        if (tx.end_lsn > view_.position) break;
        if (tx.commit_lsn >= last_cut_at_ && tx.end_lsn <= last_cut_) {
            throw Violation("a transaction behind a cut is said to be before it");
        }
        for (const Op* op : tx.ops) {
            for (std::size_t t = 0; t < kTables; ++t) Source::apply(*op, t, rows_[t]);
        }
        ++next_commit_;
    }
    if (!process_) return;
    for (std::size_t t = 0; t < kTables; ++t) {
        const LakeTable& table = view_.tables[t];
        if (!table.is_visible) continue;
        if (table.phase == TablePhase::ready) {
            is_foreign_[t] = false;
            check_table(t, rows_[t], *source_->version_at(t, view_.position), view_.position);
        } else if (!is_foreign_[t]) {
            check_table(t, source_->rows_at(t, table.frozen_at),
                        *source_->version_at(t, table.frozen_at), table.frozen_at);
        }
    }
    check_bank();
}

// Columns that the lake has not been told of are not compared, nor those whose rows the source has
// rewritten for another type: a new copy brings them.
void World::check_table(std::size_t table, const Rows& rows, const Version& version, Lsn position,
                        bool is_whole) {
    std::vector<std::pair<std::size_t, std::size_t>> shared;  // Of the source, of the lake.
    const TableSchemaPtr& schema = view_.tables[table].schema;
    for (std::size_t l = 0; l < schema->columns.size(); ++l) {
        const ColumnSchema& there = schema->columns[l];
        for (std::size_t s = 0; s < version.schema->columns.size(); ++s) {
            const ColumnSchema& here = version.schema->columns[s];
            if (here.attnum == there.attnum && here.type_oid == there.type_oid) {
                shared.emplace_back(s, l);
            }
        }
    }
    const auto compared = [&](const Rows& all) {
        std::vector<MemoryDestination::Row> out;
        for (const auto& [row, values] : all) {
            auto& compared_row = out.emplace_back();
            for (const auto& [s, l] : shared) compared_row.push_back(values[s]);
        }
        std::sort(out.begin(), out.end());
        return out;
    };
    const std::vector<MemoryDestination::Row> source = compared(rows);
    std::vector<MemoryDestination::Row> lake;
    for (MemoryDestination::Row& row : lake_rows(table)) {
        auto& out = lake.emplace_back();
        for (const auto& [s, l] : shared) out.push_back(std::move(row[l]));
    }
    std::sort(lake.begin(), lake.end());
    if (source == lake) return;
    // Nothing is sent of partitions that were dropped: they stay until a look at the catalog.
    const std::size_t dropped = is_whole ? 0 : source_->leaves_dropped(table, position);
    for (std::size_t undropped = 1; undropped <= dropped; ++undropped) {
        if (compared(source_->rows_at(table, position, undropped)) == lake) return;
    }
    throw Violation(fmt::format("table {} differs at {}: the source has{}\nthe lake has{}", table,
                                to_string(position), print(source), print(lake)));
}

// At the end nothing is left to be told of.
void World::check_whole(std::size_t table) {
    const TableSchema& lake = *view_.tables[table].schema;
    const VersionPtr version = source_->version_now(table);
    const TableSchema& source = *version->schema;
    const std::uint32_t attempt = process_->tables.get(id_of(table)).attempt;
    const bool is_same =
        lake.name == source.name && lake.attempt == attempt &&
        std::equal(lake.columns.begin(), lake.columns.end(), source.columns.begin(),
                   source.columns.end(), [](const ColumnSchema& a, const ColumnSchema& b) {
                       return a.attnum == b.attnum && a.name == b.name &&
                              a.type_oid == b.type_oid && a.typmod == b.typmod;
                   });
    if (!is_same) {
        throw Violation(fmt::format("the lake has table {} as {}\nthe source as {}", table,
                                    to_json(lake), to_json(source)));
    }
    const Lsn end = source_->insert_position();
    check_table(table, source_->rows_at(table, end), *version, end, true);
}

// The lake has now what the source had at the cut.
void World::check_cut(Lsn position) {
    const Lsn cut = std::exchange(cut_at_, std::nullopt).value();
    if (position < cut) throw Violation("a cut was reached before it");
    for (std::size_t t = 0; t < kTables; ++t) {
        if (view_.tables[t].phase == TablePhase::ready) {
            check_table(t, source_->rows_at(t, cut), *source_->version_at(t, cut), cut);
        }
    }
    last_cut_at_ = cut;
    last_cut_ = position;
}

// Said once more in the words of a user, without the model of the rows.
void World::check_bank() {
    for (const std::size_t t : {kChecking, kSavings, kLedger}) {
        if (view_.tables[t].phase != TablePhase::ready) return;
    }
    std::int64_t sum = 0;
    for (const std::size_t t : {kChecking, kSavings}) {
        for (const auto& row : lake_rows(t)) sum += number(row[1]);
    }
    if (sum != kBankTotal) throw Violation(fmt::format("the bank holds {}", sum));
    std::map<std::int64_t, std::vector<std::int64_t>> entries;
    for (const auto& row : lake_rows(kLedger)) entries[number(row[0])].push_back(number(row[1]));
    for (auto& [client, numbers] : entries) {
        std::sort(numbers.begin(), numbers.end());
        for (std::size_t i = 0; i < numbers.size(); ++i) {
            if (numbers[i] == static_cast<std::int64_t>(i) + 1) continue;
            throw Violation(fmt::format("the ledger of client {} has {} as its entry {}", client,
                                        numbers[i], i + 1));
        }
    }
}

// After a crash now, the stream would go on from here: nothing that a visible table
// lacks may lie before.
void World::check_confirmed() {
    if (lost_from_) return;
    const auto& commits = source_->commits();
    for (std::size_t i = next_commit_; i < commits.size(); ++i) {
        const Tx& tx = source_->txs()[commits[i]];
        if (tx.commit_lsn >= slot_.confirmed) break;
        for (const Op* op : tx.ops) {
            if (op->kind == OpKind::alter) continue;
            std::vector<std::size_t> tables;
            for (const Step& step : op->steps) tables.push_back(step.table);
            if (tables.empty()) tables.push_back(op->table);
            for (const std::size_t t : tables) {
                if (view_.tables[t].phase != TablePhase::ready) continue;
                throw Violation(
                    fmt::format("{} is confirmed, but the lake stands at {} and table {} lacks {}",
                                to_string(slot_.confirmed), to_string(view_.position), t,
                                to_string(tx.end_lsn)));
            }
        }
    }
}

Lsn World::has() const {
    Lsn end = view_.position;
    if (process_ == nullptr) return end;
    end = std::max(end, process_->last_transaction);
    if (process_->flush) end = std::max(end, process_->flush->position());
    for (const auto& waiting : process_->flushes) end = std::max(end, waiting.flush->position());
    return end;
}

// What the destination or the process has is not in this server, or the product says so.
void World::refuse(const std::string& why) {
    trace("refused: {}", why);
    ++coverage_.failovers_refused;
    const auto known = store_.load_lineage();
    bool is_behind = false;
    for (const TimelineSwitch& each : source_->history()) {
        is_behind = is_behind || (each.timeline >= (*known)->timeline && has() > each.switch_point);
    }
    if (!is_behind) throw Violation("a server is refused that has everything: " + why);
    begin_anew();
}

void World::check_positions() {
    Process& process = *process_;
    if (process.core->received() < process.received || process.core->durable() < process.durable) {
        throw Violation("a position went back");
    }
    if (process.core->durable() > std::max(view_.position, process.durable)) {
        throw Violation("the core calls durable what the lake does not have");
    }
    process.received = process.core->received();
    process.durable = process.core->durable();
}

// No table stands still but for what was done to it, and none waits for the operator that was not
// tried again as often as it is to be.
void World::check_state(const TableState& next, bool is_heard) {
    Excuses& excuses = excuses_[Source::table_of(next.table.oid)];
    if (auto unheard = std::exchange(excuses.unheard, std::nullopt)) {
        excuses.seen = std::move(unheard->seen);
        excuses.refusals += unheard->refusals;
        excuses.unreadable += unheard->unreadable;
        excuses.failures = unheard->failures;
    }
    const Excuses known = excuses;
    check_change(std::exchange(excuses.seen, next), next);
    if (is_heard) return;
    excuses.unheard = {known.seen, known.refusals - excuses.refusals,
                       known.unreadable - excuses.unreadable, known.failures};
}

void World::check_change(const TableState& before, const TableState& next) {
    Excuses& excuses = excuses_[Source::table_of(next.table.oid)];
    if (next.paused && !excuses.is_paused) {
        throw Violation(fmt::format("table {} is paused, and nobody did that", next.name));
    }
    if (before.phase == TablePhase::catching_up && next.phase == TablePhase::ready) {
        excuses.failures = 0;
    }
    const bool is_asked_for = excuses.is_asked_for && before.phase != TablePhase::queued;
    if (is_asked_for) excuses.failures = 0;
    if (before.phase != TablePhase::errored) {
        if (next.phase == TablePhase::errored) check_errored(next);
        return;
    }
    if (next.phase == TablePhase::queued) {
        const bool is_planned = before.next_retry_unix_ms != 0 && !is_asked_for;
        coverage_.tried_again += is_planned && before.next_retry_unix_ms <= now_ms_ + 1;
    } else if (next.phase == TablePhase::errored) {
        const bool is_same =
            next.reason == before.reason && next.next_retry_unix_ms == before.next_retry_unix_ms;
        if (!is_same) check_errored(next);
    }
}

void World::check_errored(const TableState& next) {
    const std::size_t t = Source::table_of(next.table.oid);
    ++coverage_.errored;
    ++excuses_[t].failures;
    const bool waits = waits_by_policy(t, next.reason);
    if (!waits && !excuse(t, next.reason)) {
        throw Violation(fmt::format("table {} ({}) is errored, and nothing was done to it: {}", t,
                                    next.name, next.reason));
    }
    if (next.next_retry_unix_ms != 0) return;
    ++coverage_.left_to_operator;
    if (!waits && excuses_[t].failures <= kRetriesMax) {
        throw Violation(fmt::format("table {} ({}) is errored for good after {} failures: {}", t,
                                    next.name, excuses_[t].failures, next.reason));
    }
}

// What was done once is a reason once.
bool World::excuse(std::size_t table, const std::string& reason) {
    Excuses& excuses = excuses_[table];
    const auto take = [&](std::uint64_t& count, const std::string& begin) {
        const bool is_that = reason.starts_with(begin) && count > 0;
        count -= is_that;
        return is_that;
    };
    const std::string refusal = fmt::format("{}{} ", kRefusal, table);
    return take(excuses.refusals, refusal) || take(excuses.unreadable, "read changes of ");
}

// He has paused it himself, or no other attempt is planned: check_errored() has seen that it may be
// so. All else comes right by itself.
bool World::waits_for_operator(std::size_t table) const {
    const TableState state = process_->tables.get(id_of(table));
    const bool is_errored = state.phase == TablePhase::errored;
    return state.paused || (is_errored && state.next_retry_unix_ms == 0);
}

// schema_change_policy: stop
bool World::waits_by_policy(std::size_t table, const std::string& reason) const {
    const std::string code = fmt::format("({})", name_of(ErrorCode::schema_mismatch));
    return !core_options_.copies_again_on_change && source_->was_reshaped(table) &&
           reason.ends_with(code);
}

bool World::is_settled() const {
    const Process& process = *process_;
    for (std::size_t t = 0; t < kTables; ++t) {
        if (process.tables.get(id_of(t)).phase != TablePhase::ready) return false;
        if (process.copier.is_open(t) || view_.tables[t].phase != TablePhase::ready) return false;
        // A copy that is older than a rewrite is made again once a look at the catalog finds it.
        const std::string content = content_of(*source_->version_now(t));
        if (process.tables.contents(id_of(t)).visible != content) return false;
    }
    const ApplyCore& core = *process.core;
    return walsender_ && core.is_idle() && process.inbox.empty() && process.waiting.empty() &&
           !walsender_->has_more() && core.wanted() <= core.received() &&
           core.received() == source_->insert_position() &&
           slot_.confirmed == source_->insert_position();
}

}  // namespace walbrook::sim
