#pragma once

#include "walbrook/batch.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace walbrook {

// A flush, seen as a sequence of typed events: for destinations that would rather take
// one change after the other than columns. It costs a copy of the data and a branch a
// value; the columns of batch.h cost neither.
//
//     FlushEvents events(flush);
//     for (;;) {
//         WALBROOK_TRY(const Event* event, events.next());
//         if (event == nullptr) break;
//         if (const auto* insert = std::get_if<InsertEvent>(event)) {
//             WALBROOK_TRY(const std::int64_t id, insert->row.cell(0).get<std::int64_t>());
//             …

// Values whose C++ type says what their number means.
struct Decimal {  // (high << 64 | low) in two's complement, divided by 10 ^ scale.
    std::int64_t high = 0;
    std::uint64_t low = 0;
    std::int8_t scale = 0;
    bool operator==(const Decimal&) const = default;
};
struct Date {  // Days since 1970-01-01; ±INT32_MAX are ±infinity.
    std::int32_t days = 0;
    bool operator==(const Date&) const = default;
};
struct TimeOfDay {  // Since midnight; 24:00:00 is possible.
    std::int64_t us = 0;
    bool operator==(const TimeOfDay&) const = default;
};
struct Timestamp {  // Since 1970-01-01 (UTC where the type has a zone); ±INT64_MAX are ±infinity.
    std::int64_t us = 0;
    bool operator==(const Timestamp&) const = default;
};
struct Uuid {
    std::array<std::uint8_t, 16> bytes{};  // In the order in which they are printed.
    bool operator==(const Uuid&) const = default;
};

// One value of a row. Refers to the row's memory.
class Cell {
 public:
    Cell(const ColumnSchema& schema, const Column& column, std::size_t row, bool unchanged)
        : schema_(&schema), column_(&column), row_(row), unchanged_(unchanged) {}

    const ColumnSchema& schema() const { return *schema_; }
    // Postgres did not send it: the row keeps what it has (a TOAST value of an update).
    bool is_unchanged() const { return unchanged_; }
    bool is_null() const { return !unchanged_ && column_->is_null(row_); }
    bool has_value() const { return !unchanged_ && !column_->is_null(row_); }

    // The value, if it has one and the column is of that kind:
    //   bool · std::int16_t, std::int32_t, std::int64_t, std::uint32_t (wider ones take
    //   what is narrower) · float, double (likewise) · Decimal · Date · TimeOfDay ·
    //   Timestamp · Uuid · std::string_view (text, json and bytes, as they are)
    // and std::string: any kind but bytes, as Postgres prints it.
    // ErrorCode::schema_mismatch otherwise: returned from a destination, it stops this
    // table and no other.
    template <class T>
    Result<T> get() const {
        T value{};
        WALBROOK_RETURN_IF_ERROR(read(value));
        return value;
    }
    // The elements of a list column; those that are null are nullopt.
    template <class T>
    Result<std::vector<std::optional<T>>> get_list() const {
        std::vector<std::optional<T>> values;
        WALBROOK_TRY(const std::size_t size, list_size());
        values.reserve(size);
        for (std::size_t i = 0; i < size; ++i) {
            T value{};
            WALBROOK_TRY(const bool present, read_element(i, value));
            values.push_back(present ? std::optional<T>(std::move(value)) : std::nullopt);
        }
        return values;
    }

 private:
    template <class T>
    Status read(T& into) const;
    template <class T>
    Result<bool> read_element(std::size_t index, T& into) const;
    Result<std::size_t> list_size() const;
    Error mismatch(std::string_view wanted) const;

    const ColumnSchema* schema_;
    const Column* column_;
    std::size_t row_;
    bool unchanged_;
};

// One row. Refers to the batch it is in.
class RowView {
 public:
    // A copied row, as RowReader brings them.
    RowView(const RowBatch& rows, std::size_t row) : rows_(&rows), row_(row) {}
    // A new row of a change, which may have unchanged values.
    RowView(const ChangeBatch& changes, std::size_t new_row)
        : rows_(&changes.new_rows), changes_(&changes), row_(new_row) {}

    const TableSchema& schema() const { return *rows_->schema(); }
    std::size_t size() const { return rows_->columns().size(); }
    // By place, which must be below size(): the order of TableSchema::columns.
    Cell cell(std::size_t column) const;
    // By name; nothing if the table has no such column.
    std::optional<Cell> cell(std::string_view column) const;

 private:
    const RowBatch* rows_;
    const ChangeBatch* changes_ = nullptr;
    std::size_t row_;
};

struct BeginEvent {
    Transaction transaction;
};
struct CommitEvent {
    Transaction transaction;
};
// What every change of a row says besides the row.
struct RowChange {
    TableSchemaPtr table;
    EventKey key;        // Grows from event to event of one table.
    CopyTargetPtr copy;  // Set while the change goes to a shadow table.
};
struct InsertEvent : RowChange {
    RowView row;
};
struct UpdateEvent : RowChange {
    RowView row;
    // The old row, where Postgres sent one: its key columns if the key changed, all of
    // it under REPLICA IDENTITY FULL. What was not sent is null.
    std::optional<RowView> old;
    bool old_is_full = false;
    // Whose key columns say which row it was.
    const RowView& identity() const { return old ? *old : row; }
};
struct DeleteEvent : RowChange {
    RowView old;  // Its key columns, or all of it.
    bool old_is_full = false;
};
struct TruncateEvent {
    std::vector<TableSchemaPtr> tables;
    EventKey key;
    CopyTargetPtr copy;
};
// What stands outside of transactions: batch.h says what is to be done. A SchemaChange
// stands in its transaction if it has one.
using Event = std::variant<BeginEvent, InsertEvent, UpdateEvent, DeleteEvent, TruncateEvent,
                           CommitEvent, SchemaChange, Publish, Freeze, Retire, Replace>;

// Walks a flush in the order of commits: begin, the changes of that transaction in the
// order in which they were made, commit. Publish, Freeze, Retire and Replace stand between
// transactions, after what belongs before them.
//
// Keeps up to about `window_bytes` of the flush in memory. A larger flush comes in
// windows of that size: then the changes of one table are still in order, but a
// transaction may come in parts, each with its begin and commit. The flush as a whole
// is what must be applied at once.
class FlushEvents {
 public:
    static constexpr std::size_t kWindowBytes = 64ULL << 20;
    // After a stop next() soon returns ErrorCode::cancelled, also while a window is being read.
    explicit FlushEvents(Flush& flush, std::size_t window_bytes = kWindowBytes,
                         std::stop_token stop = {});
    ~FlushEvents();
    FlushEvents(const FlushEvents&) = delete;
    FlushEvents& operator=(const FlushEvents&) = delete;

    // The next event, valid until the next call; nullptr at the end.
    Result<const Event*> next();
    // Begins anew.
    void rewind();

 private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace walbrook
