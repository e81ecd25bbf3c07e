#include "destinations/memory/memory_table.h"

#include "base/check.h"
#include "batch/type_change.h"
#include "batch/value_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace walbrook {
namespace {

MemoryTable::Row read_row(const RowBatch& rows, std::size_t row) {
    MemoryTable::Row out;
    out.reserve(rows.columns().size());
    for (std::size_t c = 0; c < rows.columns().size(); ++c) {
        const Column& column = rows.columns()[c];
        if (column.is_null(row)) {
            out.emplace_back();
        } else {
            out.emplace_back(to_text(rows.schema()->columns[c], column, row));
        }
    }
    return out;
}

bool is_row(std::int32_t number, const RowBatch& rows) {
    return number >= 0 && std::cmp_less(number, rows.rows());
}

}  // namespace

MemoryTable::MemoryTable(TableSchemaPtr schema)
    : schema_(std::move(schema)),
      is_full_(schema_->replica_identity == ReplicaIdentity::full),
      key_(schema_->key_columns()) {
    is_keyed_ = !key_.empty();
    if (is_keyed_) return;
    key_.resize(schema_->columns.size());
    std::iota(key_.begin(), key_.end(), std::size_t{0});
}

Error MemoryTable::lost(const char* what) const {
    return Error(ErrorCode::corrupt_state,
                 fmt::format("apply a change to {} in memory: {}", schema_->display_name(), what))
        .with_table(schema_->id.oid);
}

Error MemoryTable::mismatch(const char* what) const {
    return Error(ErrorCode::schema_mismatch,
                 fmt::format("apply a change to {} in memory: {}", schema_->display_name(), what))
        .with_table(schema_->id.oid);
}

std::vector<MemoryTable::Row> MemoryTable::rows() const {
    std::vector<Row> out;
    out.reserve(rows_.size());
    for (const auto& [key, row] : rows_) out.push_back(row);
    return out;
}

// Unambiguous: each value with its length in front, nulls with none.
std::string MemoryTable::key_of(const Row& row) const {
    std::string key;
    for (const std::size_t column : key_) {
        const std::optional<std::string>& value = row[column];
        key += value ? fmt::format("{}:{}", value->size(), *value) : "-";
    }
    return key;
}

void MemoryTable::add_copied(const RowBatch& rows, std::size_t row) {
    Row copied = read_row(rows, row);
    std::string key = key_of(copied);
    rows_.emplace(std::move(key), std::move(copied));
}

Status MemoryTable::check_keys() const {
    if (!is_keyed_) return {};
    for (const auto& [key, row] : rows_) {
        if (rows_.count(key) > 1) return lost("two rows have one key");
    }
    return {};
}

// The row that `old_row` means: the only one under its key, or, where two rows share a
// key for a moment, the one that equals it.
Result<MemoryTable::Rows::iterator> MemoryTable::find(const Row& old_row, bool is_full) {
    const auto [first, last] = rows_.equal_range(key_of(old_row));
    if (first == last) return lost("the row to be changed is not there");
    if (std::next(first) == last || !is_keyed_) return first;
    if (!is_full) return lost("two rows have the key of the row to be changed");
    for (auto row = first; row != last; ++row) {
        if (row->second == old_row) return row;
    }
    return lost("none of the rows under the key equals the row to be changed");
}

// A table that is partly published lacks rows, and has others in the way.
Status MemoryTable::apply_partly(const Row& old, bool has_old, bool old_is_full, Row next,
                                 const std::vector<std::size_t>& unchanged, ChangeKind kind,
                                 UndoLog& undo) {
    auto found = kind == ChangeKind::insert ? rows_.end() : rows_.find(key_of(old));
    bool is_whole = true;
    for (const std::size_t column : unchanged) {
        const bool is_key = is_keyed_ && std::find(key_.begin(), key_.end(), column) != key_.end();
        if (has_old && (old_is_full || is_key)) {
            next[column] = old[column];
        } else if (found != rows_.end()) {
            next[column] = found->second[column];
        } else {
            is_whole = false;
        }
    }
    if (found != rows_.end()) erase(found, undo);
    if (kind == ChangeKind::remove) return {};
    if (is_keyed_) {
        found = rows_.find(key_of(next));
        if (found != rows_.end()) erase(found, undo);
    }
    if (is_whole) add(std::move(next), undo);
    return {};
}

void MemoryTable::add(Row row, UndoLog& undo) {
    const std::string key = key_of(row);
    undo.add([this, key, row] { erase_one(key, row); });
    rows_.emplace(key, std::move(row));
}

void MemoryTable::erase(Rows::iterator row, UndoLog& undo) {
    undo.add([this, key = row->first, old = row->second] { rows_.emplace(key, old); });
    rows_.erase(row);
}

void MemoryTable::erase_one(const std::string& key, const Row& wanted) {
    const auto [first, last] = rows_.equal_range(key);
    for (auto row = first; row != last; ++row) {
        if (row->second != wanted) continue;
        rows_.erase(row);
        return;
    }
    WALBROOK_CHECK(false);
}

void MemoryTable::replace(const RowBatch& keys, const RowBatch& rows, UndoLog& undo) {
    for (std::size_t i = 0; i < keys.rows(); ++i) {
        const std::string key = key_of(read_row(keys, i));
        for (auto found = rows_.find(key); found != rows_.end(); found = rows_.find(key)) {
            erase(found, undo);
        }
    }
    for (std::size_t i = 0; i < rows.rows(); ++i) add(read_row(rows, i), undo);
}

Status MemoryTable::apply(const ChangeBatch& batch, const Change& change, UndoLog& undo) {
    const bool has_new = is_row(change.new_row, batch.new_rows);
    const bool has_old = is_row(change.old_row, batch.old_rows);
    if (change.kind != ChangeKind::remove && !has_new) return mismatch("it has no new row");
    if (change.kind == ChangeKind::remove && !has_old) return mismatch("it has no old row");
    if (change.kind != ChangeKind::insert && !is_keyed_ && (!is_full_ || !change.old_is_full)) {
        return mismatch("without a key an update or delete needs the whole old row");
    }
    Row next;
    std::vector<std::size_t> unchanged;
    if (has_new && change.kind != ChangeKind::remove) {
        const auto new_row = static_cast<std::size_t>(change.new_row);
        next = read_row(batch.new_rows, new_row);
        for (std::size_t c = 0; c < next.size(); ++c) {
            if (batch.is_unchanged(c, new_row)) unchanged.push_back(c);
        }
    }
    if (change.kind == ChangeKind::insert) {
        if (!unchanged.empty()) return mismatch("an insert has unchanged values");
        if (schema_->partly_published) {
            return apply_partly({}, false, false, std::move(next), {}, change.kind, undo);
        }
        if (is_keyed_ && !is_full_ && rows_.contains(key_of(next))) {
            return lost("the row to be inserted is there already");
        }
        add(std::move(next), undo);
        return {};
    }
    const Row old =
        has_old ? read_row(batch.old_rows, static_cast<std::size_t>(change.old_row)) : next;
    if (schema_->partly_published) {
        return apply_partly(old, has_old, change.old_is_full, std::move(next), unchanged,
                            change.kind, undo);
    }
    WALBROOK_TRY(const auto found, find(old, has_old && change.old_is_full));
    for (const std::size_t column : unchanged) next[column] = found->second[column];
    erase(found, undo);
    if (change.kind == ChangeKind::remove) return {};
    if (is_keyed_ && !is_full_ && rows_.contains(key_of(next))) {
        return lost("another row has the new key of the row to be changed");
    }
    add(std::move(next), undo);
    return {};
}

Result<MemoryTable> MemoryTable::with_schema(const TableSchemaPtr& schema,
                                             const SchemaChange* by) const {
    MemoryTable out(schema);
    const auto find_column = [](const TableSchema& table, std::int16_t attnum) {
        const auto& columns = table.columns;
        const auto found = std::find_if(columns.begin(), columns.end(), [&](const auto& column) {
            return column.attnum == attnum;
        });
        return found == columns.end() ? std::optional<std::size_t>()
                                      : static_cast<std::size_t>(found - columns.begin());
    };
    const bool has_values = by != nullptr && by->existing != nullptr;
    const Row existing = has_values ? read_row(*by->existing, 0) : Row(schema->columns.size());
    std::vector<std::optional<std::size_t>> source;
    for (const ColumnSchema& column : schema->columns) {
        const auto& from = source.emplace_back(find_column(*schema_, column.attnum));
        if (from && !keeps_values(schema_->columns[*from].type, column.type)) {
            return out.mismatch("its values have another type now");
        }
        if (!from && (by == nullptr || find_column(*by->from, column.attnum))) {
            return out.mismatch("what its rows hold in a new column is not said");
        }
        if (!from && !column.nullable && !existing[source.size() - 1] && !rows_.empty()) {
            return out.mismatch("its rows would hold null in a new column that is NOT NULL");
        }
    }
    for (const auto& [key, row] : rows_) {
        Row shaped(existing);
        for (std::size_t c = 0; c < shaped.size(); ++c) {
            if (source[c]) shaped[c] = row[*source[c]];
        }
        std::string shaped_key = out.key_of(shaped);
        out.rows_.emplace(std::move(shaped_key), std::move(shaped));
    }
    return out;
}

}  // namespace walbrook
