#pragma once

// Tables, rows and flushes made by hand, for the tests of those who write destinations.
// Everything here is a value in memory; nothing needs a server or a thread.

#include "walbrook/batch.h"
#include "walbrook/schema.h"

#include <charconv>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace walbrook::testing {

// A row as Postgres prints it, one entry a column; nothing is NULL.
using TextRow = std::vector<std::optional<std::string>>;

// Makes a TableSchema: TableMaker(16384, "t").key("id", TypeKind::int64).column(…).make().
// The schema is "public" and the replica identity the default until told otherwise.
class TableMaker {
 public:
    TableMaker(std::uint32_t oid, std::string name) {
        table_.id = {oid};
        table_.schema = "public";
        table_.name = std::move(name);
    }
    TableMaker& in_schema(std::string schema) {
        table_.schema = std::move(schema);
        return *this;
    }
    TableMaker& named(std::string name) {
        table_.name = std::move(name);
        return *this;
    }
    TableMaker& identity(ReplicaIdentity identity) {
        table_.replica_identity = identity;
        return *this;
    }
    // The publication leaves operations out.
    TableMaker& partly_published() {
        table_.partly_published = true;
        return *this;
    }
    // The next column of the primary key.
    TableMaker& key(std::string name, ColumnType type = {TypeKind::int64}) {
        column(std::move(name), type);
        table_.columns.back().key_position = ++keys_;
        table_.columns.back().nullable = false;
        return *this;
    }
    TableMaker& column(std::string name, ColumnType type = {TypeKind::text}) {
        ColumnSchema column;
        column.name = std::move(name);
        column.attnum = ++attnum_;
        column.type = type;
        column.type_name = to_string(type);
        table_.columns.push_back(std::move(column));
        return *this;
    }
    // The column that was added last belongs to the index that is the replica identity.
    TableMaker& of_identity_index() {
        table_.replica_identity = ReplicaIdentity::index;
        table_.columns.back().in_identity = true;
        table_.columns.back().nullable = false;
        return *this;
    }
    TableMaker& drop(const std::string& name) {
        std::erase_if(table_.columns, [&](const ColumnSchema& c) { return c.name == name; });
        return *this;
    }
    TableMaker& rename(const std::string& from, const std::string& to) {
        at(from).name = to;
        return *this;
    }
    TableMaker& retype(const std::string& name, ColumnType type) {
        at(name).type = type;
        at(name).type_name = to_string(type);
        return *this;
    }
    TableSchemaPtr make() const {
        auto table = std::make_shared<TableSchema>(table_);
        for (ColumnSchema& column : table->columns) {
            if (table->replica_identity == ReplicaIdentity::full) column.in_identity = true;
            if (table->replica_identity == ReplicaIdentity::default_key) {
                column.in_identity = column.key_position > 0;
            }
        }
        return table;
    }

 private:
    ColumnSchema& at(const std::string& name) {
        for (ColumnSchema& column : table_.columns) {
            if (column.name == name) return column;
        }
        throw std::invalid_argument("no column " + name);
    }

    TableSchema table_;
    std::int16_t attnum_ = 0;
    int keys_ = 0;
};

template <class T>
T parse_number(const std::string& text) {
    T value{};
    const auto end = std::from_chars(text.data(), text.data() + text.size(), value);
    if (end.ec != std::errc() || end.ptr != text.data() + text.size()) {
        throw std::invalid_argument("not a number: " + text);
    }
    return value;
}

// Appends a value given as text: NULL, booleans ("t", "f"), integers, floats, text, json,
// and bytes as they are. What else there is must be appended as what the column holds.
inline void append_text(Column& column, const std::optional<std::string>& text) {
    if (!text) return column.append_null();
    if (column.type().is_list) throw std::invalid_argument("lists have no text here");
    switch (column.type().kind) {
        case TypeKind::boolean:
            return column.append_bool(*text == "t");
        case TypeKind::int16:
            return column.append_fixed(parse_number<std::int16_t>(*text));
        case TypeKind::int32:
            return column.append_fixed(parse_number<std::int32_t>(*text));
        case TypeKind::int64:
            return column.append_fixed(parse_number<std::int64_t>(*text));
        case TypeKind::uint32:
            return column.append_fixed(parse_number<std::uint32_t>(*text));
        case TypeKind::float32:
            return column.append_fixed(parse_number<float>(*text));
        case TypeKind::float64:
            return column.append_fixed(parse_number<double>(*text));
        case TypeKind::text:
        case TypeKind::json:
        case TypeKind::bytes:
            return column.append_bytes(*text);
        case TypeKind::decimal:
        case TypeKind::date:
        case TypeKind::time:
        case TypeKind::timestamp:
        case TypeKind::timestamptz:
        case TypeKind::uuid:
        case TypeKind::list:
            break;
    }
    throw std::invalid_argument("no text form here for " + to_string(column.type()));
}

inline void append_text_row(RowBatch& batch, const TextRow& row) {
    if (row.size() != batch.columns().size()) throw std::invalid_argument("a row of other columns");
    for (std::size_t i = 0; i < row.size(); ++i) append_text(batch.columns()[i], row[i]);
}

inline RowBatch make_rows(const TableSchemaPtr& schema, const std::vector<TextRow>& rows) {
    RowBatch batch(schema);
    for (const TextRow& row : rows) append_text_row(batch, row);
    return batch;
}

// Writes changes into a ChangeBatch in the way the source does: which part of the old
// row comes along is decided by the table's replica identity.
class ChangeRecorder {
 public:
    explicit ChangeRecorder(const TableSchemaPtr& schema, CopyTargetPtr copy = nullptr)
        : schema_(schema), key_(schema->key_columns()), copy_(std::move(copy)), batch_(schema) {
        batch_.copy = copy_;
    }

    ChangeRecorder& insert(const TextRow& row) {
        return add({.kind = ChangeKind::insert, .new_row = append(batch_.new_rows, row)});
    }
    // The source's row becomes `to`. Values of the columns in `unchanged` are not sent.
    ChangeRecorder& update(const TextRow& from, const TextRow& to,
                           const std::set<std::size_t>& unchanged = {}) {
        TextRow sent = to;
        for (const std::size_t column : unchanged) sent[column].reset();
        Change change{.kind = ChangeKind::update, .new_row = append(batch_.new_rows, sent)};
        bool is_key_unsent = false;
        for (const std::size_t column : unchanged) {
            batch_.set_unchanged(column, static_cast<std::size_t>(change.new_row));
            for (const std::size_t key : key_) is_key_unsent = is_key_unsent || key == column;
        }
        if (is_full() || is_key_unsent || key_of(from) != key_of(to)) add_old(change, from);
        return add(change);
    }
    ChangeRecorder& remove(const TextRow& row) {
        Change change{.kind = ChangeKind::remove};
        add_old(change, row);
        return add(change);
    }
    // The row with only its key columns.
    TextRow key_of(const TextRow& row) const {
        TextRow key(row.size());
        for (const std::size_t column : key_) key[column] = row[column];
        return key;
    }
    // Changes that follow belong to this transaction.
    ChangeRecorder& transaction(const Transaction& transaction) {
        transaction_ = transaction;
        ordinal_ = 0;
        return *this;
    }
    // For what the calls above cannot express: rows go into batch(), then comes the change.
    ChangeBatch& batch() { return batch_; }
    ChangeRecorder& add(Change change) {
        if (batch_.transactions.empty() || batch_.transactions.back().xid != transaction_.xid) {
            batch_.transactions.push_back(transaction_);
        }
        change.transaction = static_cast<std::uint32_t>(batch_.transactions.size() - 1);
        change.ordinal = ++ordinal_;
        batch_.changes.push_back(change);
        return *this;
    }
    // Begins anew.
    ChangeBatch take() {
        ChangeBatch fresh(schema_);
        fresh.copy = copy_;
        return std::exchange(batch_, std::move(fresh));
    }

 private:
    bool is_full() const { return schema_->replica_identity == ReplicaIdentity::full; }
    static std::int32_t append(RowBatch& batch, const TextRow& row) {
        append_text_row(batch, row);
        return static_cast<std::int32_t>(batch.rows() - 1);
    }
    void add_old(Change& change, const TextRow& row) {
        change.old_is_full = is_full();
        change.old_row = append(batch_.old_rows, is_full() ? row : key_of(row));
    }

    TableSchemaPtr schema_;
    std::vector<std::size_t> key_;
    CopyTargetPtr copy_;
    ChangeBatch batch_;
    Transaction transaction_;  // None: that of the flush.
    std::uint64_t ordinal_ = 0;
};

// A flush of what was added. What was recorded without a transaction is of one that
// ended at the flush's position.
class TestFlush final : public Flush {
 public:
    explicit TestFlush(Lsn position) : position_(position) {}
    template <class Item>
    TestFlush& add(Item item) {
        if constexpr (std::is_same_v<Item, ChangeBatch>) {
            stamp(item);
        } else if constexpr (std::is_same_v<Item, Truncate>) {
            if (item.transaction.xid == 0) item.ordinal = ++ordinal_;
            stamp(item.transaction);
        }
        items_.emplace_back(std::in_place_type<Item>, std::move(item));
        return *this;
    }
    // Reading beyond the items gives this error instead of the end, once; after rewind()
    // the flush is whole.
    TestFlush& fail_at_end(Error error) {
        failure_ = std::move(error);
        return *this;
    }
    std::vector<FlushItem>& items() { return items_; }

    Lsn position() const override { return position_; }
    std::int64_t commit_time_us() const override { return 1'700'000'000'000'000; }
    Result<const FlushItem*> next() override {
        if (next_ < items_.size()) return &items_[next_++];
        if (failure_) return *failure_;
        return nullptr;
    }
    void rewind() override {
        next_ = 0;
        failure_.reset();
    }

 private:
    // The ordinals of one transaction grow through all of its items.
    void stamp(ChangeBatch& batch) {
        for (Change& change : batch.changes) {
            if (change.transaction >= batch.transactions.size()) continue;
            if (batch.transactions[change.transaction].xid == 0) change.ordinal = ++ordinal_;
        }
        for (Transaction& transaction : batch.transactions) stamp(transaction);
    }
    void stamp(Transaction& transaction) const {
        if (transaction.xid != 0) return;
        transaction = {.commit_lsn = {position_.value == 0 ? 0 : position_.value - 1},
                       .end_lsn = position_,
                       .commit_time_us = 1'700'000'000'000'000,
                       .xid = 700};
    }

    Lsn position_;
    std::vector<FlushItem> items_;
    std::optional<Error> failure_;
    std::size_t next_ = 0;
    std::uint64_t ordinal_ = 0;  // Of the last change without a transaction of its own.
};

// Batches of copied rows, one after the other.
class TestReader final : public RowReader {
 public:
    explicit TestReader(TableSchemaPtr schema) : schema_(std::move(schema)) {}
    TestReader& add(RowBatch batch) {
        batches_.push_back(std::move(batch));
        return *this;
    }
    // Comes after the batches, and from then on.
    TestReader& fail_at_end(Error error) {
        failure_ = std::move(error);
        return *this;
    }

    const TableSchemaPtr& schema() const override { return schema_; }
    Result<const RowBatch*> next() override {
        if (next_ < batches_.size()) return &batches_[next_++];
        if (failure_) return *failure_;
        return nullptr;
    }

 private:
    TableSchemaPtr schema_;
    std::vector<RowBatch> batches_;
    std::optional<Error> failure_;
    std::size_t next_ = 0;
};

}  // namespace walbrook::testing
