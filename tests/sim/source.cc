#include "sim/source.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

namespace walbrook::sim {
namespace {

constexpr int kHugeChanges = 20'000;  // More than the core takes over in one step.

}  // namespace

Source::Source(Random& random, SourceOptions options)
    : random_(random),
      options_(options),
      open_(options.clients),
      ledger_numbers_(options.clients),
      next_xid_(options.first_xid),
      latest_completed_(options.first_xid - 1) {
    for (std::size_t t = 0; t < kTables; ++t) {
        const bool has_leaves = options_.has_leaves && (t == kItems || t == kBag);
        tables_[t].first = tables_[t].version =
            first_version(t, options_.ledger_identity, has_leaves);
    }
    // What was there before the slot: one transaction.
    begin(0);
    const std::size_t tx = *open_[0];
    txs_[tx].is_large = false;
    for (int i = 0; i < 8; ++i) {
        for (const std::size_t t : {kChecking, kSavings}) {
            insert(tx, t, {std::to_string(i), "1000"});
        }
    }
    for (int i = 0; i < 10; ++i) {
        for (const std::size_t t : {kItems, kBag, kPairs}) {
            insert(tx, t, new_row(t, std::to_string(next_key_++)));
        }
    }
    commit(tx);
    if (txs_[tx].state != Tx::State::ended) end(tx);
}

// ---------------------------------------------------------------- clients

void Source::step() {
    const std::size_t client = random_.below(options_.clients);
    time_us_ += static_cast<std::int64_t>(random_.below(1000));
    if (random_.percent(5)) log({});
    if (random_.percent(3)) flush();
    if (!open_[client]) return begin(client);
    const std::size_t tx = *open_[client];
    if (txs_[tx].state == Tx::State::in_window) {
        if (random_.percent(options_.lingering_percent)) return;
        return end(tx);
    }
    if (txs_[tx].planned > 0 || txs_[tx].owed != 0) return work(tx);
    if (random_.percent(12)) return abort(tx);
    commit(tx);
}

void Source::begin(std::size_t client) {
    open_[client] = txs_.size();
    Tx& tx = txs_.emplace_back();
    tx.client = client;
    tx.is_large = random_.per_mille(options_.large_per_mille);
    tx.is_transfers = !tx.is_large && random_.percent(50);
    tx.planned = static_cast<int>(tx.is_large ? random_.between(15, 80) : random_.between(1, 5));
    if (options_.has_huge && !huge_done_ && txs_.size() > 25) {
        huge_done_ = true;
        fill_huge(txs_.size() - 1);
    }
}

void Source::work(std::size_t index) {
    {
        Tx& tx = txs_[index];
        if (tx.owed == 0 && tx.savepoint && random_.percent(tx.is_large ? 8 : 40)) {
            const Tx::Savepoint savepoint = *tx.savepoint;
            tx.savepoint.reset();
            if (random_.percent(40)) return roll_back_to(index, savepoint);
        }
        if (tx.owed == 0 && !tx.savepoint && random_.percent(tx.is_large ? 15 : 25)) {
            if (tx.xid == 0) {
                tx.xid = take_xid();
                tx.first_record = wal_.size();
            }
            tx.subxids.push_back(take_xid());
            tx.savepoint = {tx.subxids.back(), tx.ops.size(), tx.ledger_rows};
        }
    }
    if (txs_[index].is_transfers) return transfer(index);
    --txs_[index].planned;
    // A large transaction writes many rows at once.
    const std::uint64_t rows = txs_[index].is_large ? random_.between(1, 6) : 1;
    for (std::uint64_t i = 0; i < rows; ++i) fill(index);
}

// Takes from one account, then gives to another and writes the ledger.
void Source::transfer(std::size_t index) {
    Tx& tx = txs_[index];
    const std::size_t table = random_.percent(50) ? kChecking : kSavings;
    if (tx.owed == 0) {
        --tx.planned;
        const auto row = free_row(index, table);
        if (!row) return;
        const auto amount = static_cast<std::int64_t>(random_.between(1, 50));
        Values values = tables_[table].rows.at(*row);
        values[1] = std::to_string(number(values[1]) - amount);
        tx.owed = amount;
        tx.owed_row = *row;
        tx.owed_table = table;
        return update(index, table, *row, std::move(values));
    }
    auto row = free_row(index, table);
    const std::size_t to = row ? table : tx.owed_table;
    if (!row) row = tx.owed_row;
    const std::int64_t amount = std::exchange(tx.owed, 0);
    const std::uint64_t entry = ledger_numbers_[tx.client] + ++tx.ledger_rows;
    const std::size_t client = tx.client;
    Values values = tables_[to].rows.at(*row);
    values[1] = std::to_string(number(values[1]) + amount);
    update(index, to, *row, std::move(values));
    insert(index, kLedger, {std::to_string(client), std::to_string(entry), std::to_string(amount)});
}

void Source::fill(std::size_t index) {
    if (random_.per_mille(options_.truncate_per_mille)) return truncate(index);
    if (random_.per_mille(options_.alter_per_mille)) return alter(index);
    const std::size_t table = random_.between(kItems, kPairs);
    if (!may_write(index, table)) return;
    const std::uint64_t dice = random_.below(100);
    const auto row = dice < 45 ? std::nullopt : free_row(index, table);
    if (!row) {
        const auto key = free_key(index, table);
        if (key) insert(index, table, new_row(table, *key));
        return;
    }
    if (dice < 60) return remove(index, table, *row);
    Values values = tables_[table].rows.at(*row);
    const auto key = key_column(table);
    const std::size_t v = key == 0 ? 1 : 0;
    values[v] = std::to_string(random_.below(key ? 1000 : 4));
    if (dice < 75 && key) {
        const auto next = free_key(index, table);
        if (next) values[*key] = *next;
    }
    if (dice % 2 == 0) values[key ? kBlob : 1] = some_text();
    const std::size_t extras = values.size() - first_extra(table);
    if (extras > 0 && random_.percent(50)) {
        values[first_extra(table) + random_.below(extras)] = std::to_string(random_.below(10));
    }
    update(index, table, *row, std::move(values));
}

// So many changes of a few rows that the core takes several steps to take them over.
void Source::fill_huge(std::size_t index) {
    txs_[index].is_large = true;
    txs_[index].is_transfers = false;
    txs_[index].planned = 1;
    if (!may_write(index, kItems)) return;
    const auto row = free_row(index, kItems);
    if (!row) return;
    for (int i = 0; i < kHugeChanges; ++i) {
        Values values = tables_[kItems].rows.at(*row);
        values[1] = std::to_string(i);
        update(index, kItems, *row, std::move(values));
    }
}

void Source::truncate(std::size_t index) {
    Op op;
    op.kind = OpKind::truncate;
    for (std::size_t t = kItems; t <= kPairs; ++t) {
        if (!may_lock_exclusively(index, t) || !random_.percent(60)) continue;
        Table& table = tables_[t];
        std::uint32_t leaf = 0;
        if (!table.version->leaves.empty() && random_.percent(50)) {
            leaf = some_leaf(random_, *table.version);
        }
        const VersionPtr after = with_file(*table.version, next_version_++, leaf);
        op.steps.push_back(
            {t, table.version, after, std::make_shared<const Rows>(table.rows), leaf});
        erase_rows(table.rows, leaf);
        table.version = after;
        table.was_reshaped = table.was_reshaped || leaf != 0;
        table.exclusive = index;
        txs_[index].touched.insert(t);
    }
    if (op.steps.empty()) return;
    op.table = op.steps.front().table;
    write(index, std::move(op));
}

void Source::alter(std::size_t index) {
    const std::size_t t = random_.between(kItems, kPairs);
    if (!may_lock_exclusively(index, t)) return;
    Table& table = tables_[t];
    auto alter = some_alter(random_, t, *table.version);
    if (!alter) return;
    if (alter->kind == AlterKind::add_leaf) {
        alter->leaf = 20'000 + static_cast<std::uint32_t>(next_version_);
    }
    table.exclusive = index;
    table.was_reshaped = true;
    const VersionPtr after = altered(random_, t, *table.version, *alter, next_version_++);
    Op op;
    op.kind = OpKind::alter;
    op.table = t;
    op.alter = *alter;
    op.steps.push_back({t, table.version, after, std::make_shared<const Rows>(table.rows)});
    table.version = after;
    const auto key = key_column(t);
    for (const auto& [row, values] : table.rows) {
        const bool is_dropped = alter->kind == AlterKind::drop_leaf && leaf_of(row) == alter->leaf;
        if (key && is_dropped) table.keys_dropped.insert(*values[*key]);
    }
    apply(op, t, table.rows);
    write(index, std::move(op));
}

// ---------------------------------------------------------------- ends

void Source::roll_back_to(std::size_t index, const Tx::Savepoint& savepoint) {
    Tx& tx = txs_[index];
    const bool wrote = tx.ops.size() > savepoint.ops;
    while (tx.ops.size() > savepoint.ops) {
        undo(*tx.ops.back());
        tx.ops.pop_back();
    }
    tx.ledger_rows = savepoint.ledger_rows;
    if (!wrote) return;
    WalRecord record;
    record.kind = WalRecord::Kind::subabort;
    record.tx = index;
    record.subxid = savepoint.subxid;
    log(record);
}

void Source::undo(const Op& op) {
    Table& table = tables_[op.table];
    switch (op.kind) {
        case OpKind::insert:
            table.rows.erase(op.row);
            break;
        case OpKind::update:
        case OpKind::remove:
            table.rows[op.row] = op.before;
            break;
        case OpKind::truncate:
        case OpKind::alter:
            for (const Step& step : op.steps) {
                tables_[step.table].rows = *step.rows;
                tables_[step.table].version = step.before;
            }
            break;
    }
}

// The commit record is written first; others see the commit when the transaction has
// left the list of those that run, which may be later.
void Source::commit(std::size_t index) {
    Tx& tx = txs_[index];
    ledger_numbers_[tx.client] += tx.ledger_rows;
    tx.savepoint.reset();
    if (tx.xid == 0) return end(index);
    WalRecord record;
    record.kind = WalRecord::Kind::commit;
    record.tx = index;
    log(record);
    tx.is_committed = true;
    tx.commit_lsn = wal_.back().lsn;
    tx.end_lsn = wal_.back().end;
    tx.commit_time_us = time_us_;
    commits_.push_back(index);
    for (const Op* op : tx.ops) {
        if (op->steps.empty()) committed_[op->table].push_back({index, op});
        for (const Step& step : op->steps) committed_[step.table].push_back({index, op});
    }
    if (!random_.percent(options_.async_percent)) flush();
    tx.state = Tx::State::in_window;
    if (!random_.percent(options_.window_percent)) end(index);
}

void Source::abort(std::size_t index) {
    Tx& tx = txs_[index];
    tx.owed = 0;
    while (!tx.ops.empty()) {
        undo(*tx.ops.back());
        tx.ops.pop_back();
    }
    if (tx.xid != 0) {
        WalRecord record;
        record.kind = WalRecord::Kind::abort;
        record.tx = index;
        log(record);
    }
    end(index);
}

void Source::end(std::size_t index) {
    Tx& tx = txs_[index];
    tx.state = Tx::State::ended;
    tx.ended_at = ++ends_;
    latest_completed_ = std::max(latest_completed_, tx.xid);
    for (const std::uint64_t subxid : tx.subxids) {
        latest_completed_ = std::max(latest_completed_, subxid);
    }
    for (Table& table : tables_) {
        std::erase_if(table.row_locks, [&](const auto& lock) { return lock.second == index; });
        std::erase_if(table.key_locks, [&](const auto& lock) { return lock.second == index; });
        if (table.exclusive == index) table.exclusive.reset();
    }
    open_[tx.client].reset();
}

void Source::end_all() {
    for (std::size_t client = 0; client < options_.clients; ++client) {
        while (open_[client]) {
            const std::size_t tx = *open_[client];
            if (txs_[tx].state == Tx::State::in_window) {
                end(tx);
            } else if (txs_[tx].owed != 0) {
                work(tx);
            } else {
                commit(tx);
            }
        }
    }
    flush();
}

void Source::settle() {
    end_all();
    log({});
    flush();
}

// ---------------------------------------------------------------- servers

void Source::crash() {
    lose_beyond(flushed_);
    recover();
}

void Source::promote(Lsn replayed) {
    const auto last = std::find_if(wal_.begin(), wal_.end(),
                                   [&](const WalRecord& record) { return record.end >= replayed; });
    const Lsn end = last == wal_.end() ? insert_position() : last->end;
    lose_beyond(end);
    history_.push_back({timeline_, end});
    ++timeline_;
    recover();
}

// The checkpoint at its end may tell of transactions that are gone (ReorderBufferAbortOld), or
// nobody does.
void Source::recover() {
    ++incarnation_;
    std::set<std::size_t> gone;
    next_xid_ = options_.first_xid;
    for (const WalRecord& record : wal_) {
        if (record.kind == WalRecord::Kind::other) continue;
        const Tx& tx = txs_[record.tx];
        next_xid_ = std::max(next_xid_, tx.xid + 1);
        if (record.op != nullptr) next_xid_ = std::max(next_xid_, record.op->subxid + 1);
        if (record.kind == WalRecord::Kind::abort || record.kind == WalRecord::Kind::commit) {
            // It names its subtransactions, also those that wrote nothing.
            for (const std::uint64_t subxid : tx.subxids) {
                next_xid_ = std::max(next_xid_, subxid + 1);
            }
            gone.erase(record.tx);
        } else {
            gone.insert(record.tx);
        }
    }
    latest_completed_ = next_xid_ - 1;
    for (const std::size_t tx : gone) {
        if (!random_.percent(50)) continue;
        WalRecord record;
        record.kind = WalRecord::Kind::abort;
        record.tx = tx;
        log(record);
    }
    log({});
    flush();
}

void Source::lose_beyond(Lsn end) {
    while (!wal_.empty() && wal_.back().end > end) wal_.pop_back();
    lsn_ = end.value;
    const auto is_lost = [&](std::size_t index) { return txs_[index].end_lsn > end; };
    for (auto& committed : committed_) {
        std::erase_if(committed, [&](const Logged& logged) { return is_lost(logged.tx); });
    }
    std::erase_if(commits_, [&](std::size_t index) {
        if (!is_lost(index)) return false;
        Tx& tx = txs_[index];
        tx.is_committed = false;
        tx.end_lsn = {};
        ledger_numbers_[tx.client] -= tx.ledger_rows;
        // Who has ended has ended: nothing of it is seen by anybody who looks from now on.
        tx.ops.clear();
        return true;
    });
    for (auto& open : open_) {
        if (!open) continue;
        Tx& tx = txs_[*open];
        tx.owed = 0;
        if (!tx.is_committed) tx.ops.clear();
        const std::size_t index = *open;
        this->end(index);
    }
    for (std::size_t t = 0; t < kTables; ++t) {
        Table& table = tables_[t];
        table.rows.clear();
        for (const Logged& logged : committed_[t]) apply(*logged.op, t, table.rows);
        table.version = version_now(t);
    }
}

// ---------------------------------------------------------------- writing

bool Source::may_write(std::size_t tx, std::size_t table) const {
    return !tables_[table].exclusive || *tables_[table].exclusive == tx;
}

bool Source::may_lock_exclusively(std::size_t tx, std::size_t table) const {
    for (const auto& open : open_) {
        if (open && *open != tx && txs_[*open].touched.contains(table)) return false;
    }
    return may_write(tx, table);
}

std::optional<RowId> Source::free_row(std::size_t tx, std::size_t table) {
    const Table& from = tables_[table];
    if (from.rows.empty() || !may_write(tx, table)) return std::nullopt;
    auto row = from.rows.begin();
    std::advance(row, static_cast<std::ptrdiff_t>(random_.below(from.rows.size())));
    const auto lock = from.row_locks.find(row->first);
    if (lock != from.row_locks.end() && lock->second != tx) return std::nullopt;
    return row->first;
}

// A new key, or one that was used before and is free again.
std::optional<std::string> Source::free_key(std::size_t tx, std::size_t table) {
    const auto column = key_column(table);
    if (!column || random_.percent(60)) return std::to_string(next_key_++);
    std::string key = std::to_string(random_.between(1, next_key_ - 1));
    if (tables_[table].keys_dropped.contains(key)) return std::nullopt;
    const auto lock = tables_[table].key_locks.find(key);
    if (lock != tables_[table].key_locks.end() && lock->second != tx) return std::nullopt;
    for (const auto& [row, values] : tables_[table].rows) {
        if (values[*column] == key) return std::nullopt;
    }
    return key;
}

std::string Source::some_text() {
    const auto letter = static_cast<char>('a' + random_.below(26));
    return std::string(random_.below(40), letter);
}

Values Source::new_row(std::size_t table, const std::string& key) {
    const auto column = key_column(table);
    const TableSchema& schema = *tables_[table].version->schema;
    Values values(schema.columns.size());
    for (std::size_t i = first_extra(table); i < values.size(); ++i) {
        if (random_.percent(80)) values[i] = std::to_string(random_.below(10));
    }
    if (!column) {
        // Few different rows, so that equal ones are common.
        values[0] = std::to_string(random_.below(4));
        if (random_.percent(70))
            values[1] = std::string(1, static_cast<char>('a' + random_.below(3)));
        return values;
    }
    values[*column] = key;
    values[*column == 0 ? 1 : 0] = std::to_string(random_.below(1000));
    if (random_.percent(80)) values[kBlob] = some_text();
    return values;
}

void Source::insert(std::size_t tx, std::size_t table, Values values) {
    Op op;
    op.kind = OpKind::insert;
    op.table = table;
    op.row = row_in(some_leaf(random_, *tables_[table].version), next_row_++);
    op.after = std::move(values);
    tables_[table].rows[op.row] = op.after;
    write(tx, std::move(op));
}

void Source::update(std::size_t tx, std::size_t table, RowId row, Values values) {
    Op op;
    op.kind = OpKind::update;
    op.table = table;
    op.row = row;
    op.before = std::exchange(tables_[table].rows.at(row), values);
    op.after = std::move(values);
    op.blob_unchanged = (table == kItems || table == kPairs) && op.after[kBlob] &&
                        op.before[kBlob] == op.after[kBlob] && random_.percent(50);
    write(tx, std::move(op));
}

void Source::remove(std::size_t tx, std::size_t table, RowId row) {
    Op op;
    op.kind = OpKind::remove;
    op.table = table;
    op.row = row;
    op.before = std::move(tables_[table].rows.at(row));
    tables_[table].rows.erase(row);
    write(tx, std::move(op));
}

void Source::write(std::size_t index, Op op) {
    Tx& tx = txs_[index];
    Table& table = tables_[op.table];
    if (tx.xid == 0) {
        tx.xid = take_xid();
        tx.first_record = wal_.size();
    }
    op.subxid = tx.savepoint ? tx.savepoint->subxid : tx.xid;
    if (op.steps.empty()) {
        op.version = table.version;
        table.row_locks[op.row] = index;
        if (const auto key = key_column(op.table)) {
            if (!op.before.empty()) table.key_locks[*op.before[*key]] = index;
            if (!op.after.empty()) table.key_locks[*op.after[*key]] = index;
        }
    }
    tx.touched.insert(op.table);
    WalRecord record;
    record.kind = WalRecord::Kind::change;
    record.tx = index;
    logged_.push_back(std::move(op));
    record.op = &logged_.back();
    tx.ops.push_back(record.op);
    log(record);
}

// The lowest three of each turn are not for transactions (FirstNormalTransactionId).
std::uint64_t Source::take_xid() {
    while ((next_xid_ & 0xFFFF'FFFF) < 3) ++next_xid_;
    return next_xid_++;
}

void Source::log(WalRecord record) {
    record.lsn = {lsn_};
    lsn_ += 8 * random_.between(3, 20);
    record.end = {lsn_};
    wal_.push_back(record);
}

// ---------------------------------------------------------------- reading

Source::Snapshot Source::take_snapshot() const {
    const std::uint64_t xmax = latest_completed_ + 1;
    std::vector<std::uint64_t> running;
    for (const auto& open : open_) {
        if (open && txs_[*open].xid != 0 && txs_[*open].xid < xmax) {
            running.push_back(txs_[*open].xid);
        }
    }
    std::sort(running.begin(), running.end());
    const std::uint64_t xmin = running.empty() ? xmax : running.front();
    return {fmt::format("{}:{}:{}", xmin, xmax, fmt::join(running, ",")), ends_, insert_position()};
}

void Source::apply(const Op& op, std::size_t table, Rows& rows) {
    switch (op.kind) {
        case OpKind::insert:
        case OpKind::update:
            if (op.table == table) rows[op.row] = op.after;
            break;
        case OpKind::remove:
            if (op.table == table) rows.erase(op.row);
            break;
        case OpKind::alter:
            if (op.table != table) break;
            if (op.alter.kind == AlterKind::drop_leaf) erase_rows(rows, op.alter.leaf);
            for (auto& [row, values] : rows) reshape(op.alter, row, values);
            break;
        case OpKind::truncate:
            for (const Step& step : op.steps) {
                if (step.table == table) erase_rows(rows, step.leaf);
            }
            break;
    }
}

Rows Source::rows_seen_by(const Snapshot& snapshot, std::size_t table) const {
    Rows rows;
    for (const Logged& logged : committed_[table]) {
        const Tx& tx = txs_[logged.tx];
        if (tx.state != Tx::State::ended || tx.ended_at > snapshot.ended) continue;
        apply(*logged.op, table, rows);
    }
    return rows;
}

Rows Source::rows_at(std::size_t table, Lsn position, std::size_t undropped) const {
    Rows rows;
    std::size_t dropped = undropped == 0 ? 0 : leaves_dropped(table, position);
    for (const Logged& logged : committed_[table]) {
        if (txs_[logged.tx].end_lsn > position) break;
        if (undropped > 0 && logged.op->alter.kind == AlterKind::drop_leaf &&
            dropped-- <= undropped) {
            continue;
        }
        apply(*logged.op, table, rows);
    }
    return rows;
}

std::size_t Source::leaves_dropped(std::size_t table, Lsn position) const {
    std::size_t count = 0;
    for (const Logged& logged : committed_[table]) {
        if (txs_[logged.tx].end_lsn > position) break;
        count += logged.op->alter.kind == AlterKind::drop_leaf;
    }
    return count;
}

namespace {

VersionPtr version_after(const Op& op, std::size_t table) {
    for (const Step& step : op.steps) {
        if (step.table == table) return step.after;
    }
    return nullptr;
}

}  // namespace

VersionPtr Source::version_seen_by(const Snapshot& snapshot, std::size_t table) const {
    const std::vector<Logged>& logged = committed_[table];
    for (auto each = logged.rbegin(); each != logged.rend(); ++each) {
        const Tx& tx = txs_[each->tx];
        if (each->op->steps.empty()) continue;
        if (tx.state != Tx::State::ended || tx.ended_at > snapshot.ended) continue;
        if (VersionPtr version = version_after(*each->op, table)) return version;
    }
    return tables_[table].first;
}

VersionPtr Source::version_now(std::size_t table) const {
    return version_seen_by({{}, ends_, {}}, table);
}

VersionPtr Source::version_at(std::size_t table, Lsn position) const {
    const std::vector<Logged>& logged = committed_[table];
    for (auto each = logged.rbegin(); each != logged.rend(); ++each) {
        if (each->op->steps.empty() || txs_[each->tx].end_lsn > position) continue;
        if (VersionPtr version = version_after(*each->op, table)) return version;
    }
    return tables_[table].first;
}

std::vector<std::size_t> Source::writers_of(std::size_t table) const {
    std::vector<std::size_t> writers;
    for (const auto& open : open_) {
        if (open && txs_[*open].touched.contains(table)) writers.push_back(*open);
    }
    return writers;
}

bool Source::is_locked_exclusively(std::size_t table) const {
    return tables_[table].exclusive.has_value();
}

}  // namespace walbrook::sim
