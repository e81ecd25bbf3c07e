#pragma once

#include "walbrook/batch.h"

#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace walbrook {

// What undoes the steps of a transaction, newest first.
class UndoLog {
 public:
    void add(std::function<void()> step) { steps_.push_back(std::move(step)); }
    void commit() { steps_.clear(); }
    void roll_back() {
        for (; !steps_.empty(); steps_.pop_back()) steps_.back()();
    }

 private:
    std::vector<std::function<void()>> steps_;
};

// The rows of one table as text. It applies one change after the other, without any
// folding: so it can serve as oracle for those who do fold.
class MemoryTable {
 public:
    using Row = std::vector<std::optional<std::string>>;

    explicit MemoryTable(TableSchemaPtr schema);

    const TableSchemaPtr& schema() const { return schema_; }
    std::size_t size() const { return rows_.size(); }
    std::vector<Row> rows() const;

    // Adds a row of a copy.
    void add_copied(const RowBatch& rows, std::size_t row);
    // The columns are those of schema(). ErrorCode::corrupt_state, with the table, for a
    // change of a row that is not there or an insert of one that is.
    Status apply(const ChangeBatch& batch, const Change& change, UndoLog& undo);
    // Whatever is under the keys goes, and the rows come.
    void replace(const RowBatch& keys, const RowBatch& rows, UndoLog& undo);
    // Under FULL the key may be deferrable, so two rows may share one until the
    // transaction ends: checks that no key has two.
    Status check_keys() const;
    // The same rows in the shape of another version; columns are told apart by their
    // attribute number. `by` says what new ones hold: null if it does not.
    // ErrorCode::schema_mismatch, with the table, for what cannot be done to rows as they
    // stand, and for new columns without a SchemaChange (nullptr) that knows of them.
    Result<MemoryTable> with_schema(const TableSchemaPtr& schema, const SchemaChange* by) const;

 private:
    using Rows = std::unordered_multimap<std::string, Row>;

    std::string key_of(const Row& row) const;
    Result<Rows::iterator> find(const Row& old_row, bool is_full);
    Status apply_partly(const Row& old, bool has_old, bool old_is_full, Row next,
                        const std::vector<std::size_t>& unchanged, ChangeKind kind, UndoLog& undo);
    void add(Row row, UndoLog& undo);
    void erase(Rows::iterator row, UndoLog& undo);
    void erase_one(const std::string& key, const Row& row);
    Error lost(const char* what) const;
    Error mismatch(const char* what) const;

    TableSchemaPtr schema_;
    bool is_full_;
    bool is_keyed_;
    std::vector<std::size_t> key_;  // All columns where there is no key.
    Rows rows_;                     // By key.
};

}  // namespace walbrook
