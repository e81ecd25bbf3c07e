#include "sim/source.h"

#include "base/check.h"
#include "decode/type_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <utility>

namespace walbrook::sim {
namespace {

constexpr std::uint32_t kInt8 = 20;
constexpr std::uint32_t kText = 25;
constexpr std::size_t kBlob = 2;      // Where items and pairs keep their large value.
constexpr int kHugeChanges = 20'000;  // More than the core takes over in one step.

ColumnSchema make_column(std::string name, std::uint32_t type, std::size_t number, bool is_key) {
    ColumnSchema column;
    column.name = std::move(name);
    column.attnum = static_cast<std::int16_t>(number);
    column.type_oid = column.base_type_oid = type;
    column.type_name = type == kInt8 ? "bigint" : "text";
    column.nullable = !is_key;
    column.in_identity = is_key;
    WALBROOK_CHECK(resolve_type(column).ok());
    return column;
}

TableSchema make_schema(std::size_t table, ReplicaIdentity ledger_identity) {
    struct Shape {
        const char* name;
        ReplicaIdentity identity;
        std::vector<std::pair<const char*, std::uint32_t>> columns;
    };
    using enum ReplicaIdentity;
    static const std::array<Shape, kTables> shapes{{
        {"checking", default_key, {{"id", kInt8}, {"balance", kInt8}}},
        {"savings", default_key, {{"id", kInt8}, {"balance", kInt8}}},
        {"ledger", default_key, {{"client", kInt8}, {"n", kInt8}, {"amount", kInt8}}},
        {"items", default_key, {{"id", kInt8}, {"v", kInt8}, {"blob", kText}}},
        {"bag", full, {{"a", kInt8}, {"b", kText}}},
        {"pairs", index, {{"v", kInt8}, {"code", kInt8}, {"blob", kText}}},
    }};
    TableSchema schema;
    schema.id = {static_cast<std::uint32_t>(16'384 + table)};
    schema.schema = "public";
    schema.name = shapes[table].name;
    schema.replica_identity = table == kLedger ? ledger_identity : shapes[table].identity;
    const auto key = key_column(table);
    for (const auto& [name, type] : shapes[table].columns) {
        const std::size_t i = schema.columns.size();
        schema.columns.push_back(make_column(name, type, i + 1, key == i));
        if (schema.replica_identity == default_key && key == i) {
            schema.columns.back().key_position = 1;
        }
        if (schema.replica_identity == full) schema.columns.back().in_identity = true;
    }
    return schema;
}

std::int64_t number(const std::optional<std::string>& text) {
    std::int64_t value = 0;
    std::from_chars(text->data(), text->data() + text->size(), value);
    return value;
}

}  // namespace

std::optional<std::size_t> key_column(std::size_t table) {
    switch (table) {
        case kLedger:
        case kBag:
            return std::nullopt;
        case kPairs:
            return 1;
        default:
            return 0;
    }
}

Source::Source(Random& random, SourceOptions options)
    : random_(random),
      options_(options),
      open_(options.clients),
      ledger_numbers_(options.clients),
      next_xid_(options.first_xid),
      latest_completed_(options.first_xid - 1) {
    for (std::size_t t = 0; t < kTables; ++t) {
        tables_[t].schemas.push_back(
            std::make_shared<const TableSchema>(make_schema(t, options_.ledger_identity)));
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
    if (!open_[client]) return begin(client);
    const std::size_t tx = *open_[client];
    if (txs_[tx].state == Tx::State::in_window) return end(tx);
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
    if (random_.per_mille(options_.alter_per_mille) && txs_.size() > 1) {
        alter(txs_.size() - 1);
    } else if (options_.has_huge && !huge_done_ && txs_.size() > 25) {
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
        op.tables.push_back(t);
        op.versions.push_back(tables_[t].version);
        op.truncated.push_back(std::exchange(tables_[t].rows, {}));
        tables_[t].exclusive = index;
        txs_[index].touched.insert(t);
    }
    if (op.tables.empty()) return;
    op.table = op.tables.front();
    op.version = tables_[op.table].version;
    write(index, std::move(op));
}

// ADD COLUMN, the whole transaction.
void Source::alter(std::size_t index) {
    const std::size_t table = random_.percent(50) ? kItems : kPairs;
    if (tables_[table].version == 3 || !may_lock_exclusively(index, table)) return;
    txs_[index].planned = 0;
    Table& target = tables_[table];
    target.exclusive = index;
    TableSchema schema = *target.schemas[target.version];
    const std::size_t n = schema.columns.size() + 1;
    schema.columns.push_back(make_column(fmt::format("extra{}", n), kInt8, n, false));
    target.schemas.resize(target.version + 1);
    target.schemas.push_back(std::make_shared<const TableSchema>(std::move(schema)));
    ++target.version;
    for (auto& [row, values] : target.rows) values.emplace_back();
    Op op;
    op.kind = OpKind::alter;
    op.table = table;
    op.version = target.version;
    write(index, std::move(op));
}

// ---------------------------------------------------------------- ends

void Source::roll_back_to(std::size_t index, const Tx::Savepoint& savepoint) {
    Tx& tx = txs_[index];
    const bool wrote = tx.ops.size() > savepoint.ops;
    while (tx.ops.size() > savepoint.ops) {
        undo(tx.ops.back());
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
            for (std::size_t i = 0; i < op.tables.size(); ++i) {
                tables_[op.tables[i]].rows = op.truncated[i];
            }
            break;
        case OpKind::alter:
            --table.version;
            for (auto& [row, values] : table.rows) values.pop_back();
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
    tx.state = Tx::State::in_window;
    if (!random_.percent(options_.window_percent)) end(index);
}

void Source::abort(std::size_t index) {
    Tx& tx = txs_[index];
    tx.owed = 0;
    while (!tx.ops.empty()) {
        undo(tx.ops.back());
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

void Source::settle() {
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
    begin(0);
    const std::size_t tx = *open_[0];
    if (tables_[kItems].exclusive != tx && tables_[kPairs].exclusive != tx) {
        for (const std::size_t t : {kItems, kPairs}) {
            insert(tx, t, new_row(t, std::to_string(next_key_++)));
        }
        commit(tx);
        if (txs_[tx].state != Tx::State::ended) end(tx);
        return;
    }
    // It happened to begin with an ALTER.
    abort(tx);
    settle();
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
    Values values(tables_[table].schemas[tables_[table].version]->columns.size());
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
    for (std::size_t i = kBlob + 1; i < values.size(); ++i) {
        values[i] = std::to_string(random_.below(10));
    }
    return values;
}

void Source::insert(std::size_t tx, std::size_t table, Values values) {
    Op op;
    op.kind = OpKind::insert;
    op.table = table;
    op.row = next_row_++;
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
    if (op.kind != OpKind::truncate && op.kind != OpKind::alter) {
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
    record.op = logged_.size();
    logged_.push_back(op);
    tx.ops.push_back(std::move(op));
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
    if (op.kind == OpKind::truncate) {
        if (std::find(op.tables.begin(), op.tables.end(), table) != op.tables.end()) rows.clear();
        return;
    }
    if (op.table != table) return;
    switch (op.kind) {
        case OpKind::insert:
        case OpKind::update:
            rows[op.row] = op.after;
            break;
        case OpKind::remove:
            rows.erase(op.row);
            break;
        case OpKind::alter:
            for (auto& [row, values] : rows) values.emplace_back();
            break;
        case OpKind::truncate:
            break;
    }
}

Rows Source::rows_seen_by(const Snapshot& snapshot, std::size_t table) const {
    Rows rows;
    for (const std::size_t index : commits_) {
        const Tx& tx = txs_[index];
        if (tx.state != Tx::State::ended || tx.ended_at > snapshot.ended) continue;
        for (const Op& op : tx.ops) apply(op, table, rows);
    }
    return rows;
}

namespace {

std::size_t count(const std::vector<Tx>& txs, std::uint64_t ended, std::size_t table, OpKind kind) {
    std::size_t n = 0;
    for (const Tx& tx : txs) {
        if (!tx.is_committed || tx.state != Tx::State::ended || tx.ended_at > ended) continue;
        for (const Op& op : tx.ops) {
            if (op.kind != kind) continue;
            if (kind == OpKind::truncate) {
                n +=
                    static_cast<std::size_t>(std::count(op.tables.begin(), op.tables.end(), table));
            } else if (op.table == table) {
                ++n;
            }
        }
    }
    return n;
}

}  // namespace

std::size_t Source::filenode_seen_by(const Snapshot& snapshot, std::size_t table) const {
    return count(txs_, snapshot.ended, table, OpKind::truncate);
}

std::size_t Source::filenode_now(std::size_t table) const {
    return count(txs_, ends_, table, OpKind::truncate);
}

TableSchemaPtr Source::schema_seen_by(const Snapshot& snapshot, std::size_t table) const {
    return schema(table, count(txs_, snapshot.ended, table, OpKind::alter));
}

TableSchemaPtr Source::schema_now(std::size_t table) const {
    return schema(table, count(txs_, ends_, table, OpKind::alter));
}

TableSchemaPtr Source::schema(std::size_t table, std::size_t version) const {
    return tables_[table].schemas.at(version);
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
