#pragma once

#include "walbrook/arrow_c.h"
#include "walbrook/column.h"
#include "walbrook/schema.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace walbrook {

// Rows of one version of a table: one column a schema column, all of one length.
class RowBatch {
 public:
    explicit RowBatch(TableSchemaPtr schema);

    const TableSchemaPtr& schema() const { return schema_; }
    std::size_t rows() const {
        return columns_.empty() ? rows_without_columns_ : columns_[0].size();
    }
    std::vector<Column>& columns() { return columns_; }
    const std::vector<Column>& columns() const { return columns_; }
    std::size_t bytes() const;
    void clear();
    // Cuts every column back to `rows`: what a failed row left is gone.
    void truncate(std::size_t rows);
    void append_row_from(const RowBatch& other, std::size_t row);
    void append_null_row();
    // Only for a table without columns, whose rows are just counted.
    void append_empty_row() { ++rows_without_columns_; }

    // Hands out the batch as a struct array of the Arrow C Data Interface. The
    // result refers to this batch's memory: it must be released before the batch
    // is cleared, changed or destroyed. Never fails.
    void export_arrow(ArrowArray* array) const;

 private:
    TableSchemaPtr schema_;
    std::vector<Column> columns_;
    std::size_t rows_without_columns_ = 0;
};

// The Arrow schema (a struct, one child a column) of a table's rows. Owns its memory.
void export_arrow_schema(const TableSchema& schema, ArrowSchema* out);

// A stream of batches of one table version. Pulled by one thread.
class RowReader {
 public:
    virtual ~RowReader() = default;
    virtual const TableSchemaPtr& schema() const = 0;
    // The next batch, valid until the next call; nullptr at the end. After an error
    // or the end every further call returns the same.
    virtual Result<const RowBatch*> next() = 0;
};

// One committed transaction of the source.
struct Transaction {
    Lsn commit_lsn;                   // Start of its commit record.
    Lsn end_lsn;                      // First byte after it: the position once it is applied.
    std::int64_t commit_time_us = 0;  // Since 1970-01-01 UTC.
    std::uint32_t xid = 0;
};

enum class ChangeKind : std::uint8_t { insert, update, remove };

// One row change. Indexes are -1 where there is nothing.
struct Change {
    ChangeKind kind = ChangeKind::insert;
    bool old_is_full = false;       // old_row holds the whole old row, else only its key.
    std::uint32_t transaction = 0;  // Index into ChangeBatch::transactions.
    std::int32_t new_row = -1;      // In ChangeBatch::new_rows: inserts and updates.
    std::int32_t old_row =
        -1;  // In ChangeBatch::old_rows: deletes; updates that changed the key, or under FULL.
    std::uint64_t ordinal = 0;  // Within its transaction, from 1.
};

// One attempt to copy one table into a shadow table.
struct CopyTarget {
    TableSchemaPtr schema;  // As of the copy's snapshot.
    std::uint32_t attempt =
        0;         // Grows with each try; what an earlier attempt left can no longer land.
    Lsn position;  // Insert position when the snapshot was taken.
    // False: its rows are not copied. A table that readers see under its name has others, which
    // nobody would bring again: a destination that would drop it refuses the Publish instead.
    bool has_rows = true;
};
using CopyTargetPtr = std::shared_ptr<const CopyTarget>;

// A part of a copy: written whole or not at all, and possibly more than once.
struct CopyUnit {
    CopyTargetPtr copy;
    std::uint32_t index = 0;
};

// Changes of one table under one schema version, in commit order. Each names a row that is there,
// and an insert none that is; what does not is the sign of a loss, and refused.
//
// Not so where TableSchema::partly_published says that the publication leaves operations out:
//   - a row that comes to a key (an insert, an update of the key) takes the place of whatever is
//     under it;
//   - an update whose row is not there adds the row. If a value of it was not sent (unchanged
//     TOAST) nobody has that: then there is no row, under its old key and under its new one;
//   - a delete of what is not there does nothing. So without a key, where it counts rows.
class ChangeBatch {
 public:
    explicit ChangeBatch(TableSchemaPtr schema);

    const TableSchemaPtr& schema() const { return new_rows.schema(); }
    std::size_t bytes() const;
    // True if the column of that new row is an unchanged TOAST value, which Postgres
    // did not send: the row keeps what it has. The column then holds null there.
    bool is_unchanged(std::size_t column, std::size_t new_row) const;
    void set_unchanged(std::size_t column, std::size_t new_row);
    // Cuts the new rows, and what is said of them, back to so many.
    void truncate_new_rows(std::size_t rows);
    bool has_unchanged() const { return !unchanged.empty(); }

    std::vector<Change> changes;
    std::vector<Transaction> transactions;  // That made them, in the order of their commits.
    RowBatch new_rows;
    RowBatch old_rows;  // Same columns; those that were not sent are null.
    // Per column a bitmap over new_rows; empty where nothing is unchanged.
    std::vector<std::vector<bool>> unchanged;
    // Set while the changes go to a shadow table (catching up); else to the visible one.
    CopyTargetPtr copy;
};

struct Truncate {
    std::vector<TableSchemaPtr> tables;
    bool cascade = false;  // What the statement said; the list is complete already.
    bool restart_identity = false;
    Transaction transaction;
    std::uint64_t ordinal = 0;  // Within its transaction, from 1.
    CopyTargetPtr copy;         // Set when it empties a shadow table.
};

// From here on the table has other columns, another key or another name. In order with the
// changes of the table; comes before the first batch of the new version. What cannot be
// done to the table as it stands (narrower types, say) is refused with
// ErrorCode::schema_mismatch and the table's oid: the table is then copied again.
struct SchemaChange {
    TableSchemaPtr from;  // The version that the destination has; columns go by attnum.
    TableSchemaPtr to;
    // One row of `to`: what the columns that `from` lacks hold in rows that exist already
    // (ADD COLUMN … DEFAULT; pg_attribute.attmissingval); everything else is null in it.
    // nullptr: nothing but nulls.
    std::shared_ptr<const RowBatch> existing;
    // The transaction that it belongs to; commit_lsn 0: it stands between transactions,
    // because no row has come since.
    Transaction transaction;
    std::uint64_t ordinal = 0;  // Of the last change of its transaction before it, or 0.
    CopyTargetPtr copy;         // Set when a shadow table changes.
};

// The shadow table becomes the visible one; an old visible table goes.
struct Publish {
    CopyTargetPtr copy;
    // The version of the visible table that goes, where that was followed until now; nullptr:
    // there is none, or it stood still.
    TableSchemaPtr followed{};
};

// How a table stands in the destination, kept there in the same transaction as data.
enum class TablePhase : std::uint8_t { queued, copying, catching_up, ready, errored };
std::string_view name_of(TablePhase phase);
std::optional<TablePhase> parse_table_phase(std::string_view name);

// The table's visible content stops here: its copy is repeated, or it is errored.
struct Freeze {
    TableSchemaPtr schema;
    TablePhase phase = TablePhase::errored;
    Lsn position;  // The visible table holds everything up to here.
    std::string reason;
};

// The table is no longer replicated: its record goes, its data stays.
struct Retire {
    TableId table;
};

// Rows that were found to differ from the source are put right: whatever stands under these keys
// goes, however many rows that are, and `rows` come. Only for visible tables with a key. What was
// flushed before is meant; what follows in the flush comes after it.
struct Replace {
    TableSchemaPtr schema;
    std::shared_ptr<const RowBatch> keys;  // All columns; those that are not of the key are null.
    std::shared_ptr<const RowBatch> rows;  // No two of one key, and none whose key is not in keys.
};

using FlushItem =
    std::variant<ChangeBatch, Truncate, SchemaChange, Publish, Freeze, Retire, Replace>;

// Whole transactions, to be applied at once. Items of one table are in order; items
// of different tables may be applied in any order, except around a Truncate.
// Read by one thread at a time; may be read again after rewind().
class Flush {
 public:
    virtual ~Flush() = default;
    // Everything up to here is in the destination once this flush is.
    virtual Lsn position() const = 0;
    // Commit time of the newest transaction that becomes visible, microseconds since 1970;
    // 0 if none.
    virtual std::int64_t commit_time_us() const = 0;
    // The next item, valid until the next call; nullptr at the end. Large flushes
    // are read from disk here, so this may fail.
    virtual Result<const FlushItem*> next() = 0;
    virtual void rewind() = 0;
};

}  // namespace walbrook
