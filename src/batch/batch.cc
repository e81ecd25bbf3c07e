#include "walbrook/batch.h"

#include "base/check.h"

namespace walbrook {

std::string_view name_of(TablePhase phase) {
    switch (phase) {
        case TablePhase::queued: return "queued";
        case TablePhase::copying: return "copying";
        case TablePhase::catching_up: return "catching_up";
        case TablePhase::ready: return "ready";
        case TablePhase::errored: return "errored";
    }
    return "errored";
}

std::optional<TablePhase> parse_table_phase(std::string_view name) {
    for (const TablePhase phase : {TablePhase::queued, TablePhase::copying, TablePhase::catching_up,
                                   TablePhase::ready, TablePhase::errored}) {
        if (name_of(phase) == name) return phase;
    }
    return std::nullopt;
}

RowBatch::RowBatch(TableSchemaPtr schema) : schema_(std::move(schema)) {
    columns_.reserve(schema_->columns.size());
    for (const ColumnSchema& column : schema_->columns) columns_.emplace_back(column.type);
}

std::size_t RowBatch::bytes() const {
    std::size_t sum = 0;
    for (const Column& column : columns_) sum += column.bytes();
    return sum;
}

void RowBatch::clear() {
    for (Column& column : columns_) column.clear();
    rows_without_columns_ = 0;
}

void RowBatch::truncate(std::size_t rows) {
    for (Column& column : columns_) column.truncate(rows);
}

void RowBatch::append_row_from(const RowBatch& other, std::size_t row) {
    WALBROOK_CHECK(other.columns_.size() == columns_.size());
    for (std::size_t i = 0; i < columns_.size(); ++i) {
        columns_[i].append_from(other.columns_[i], row);
    }
    if (columns_.empty()) append_empty_row();
}

void RowBatch::append_null_row() {
    for (Column& column : columns_) column.append_null();
    if (columns_.empty()) append_empty_row();
}

ChangeBatch::ChangeBatch(TableSchemaPtr schema) : new_rows(schema), old_rows(std::move(schema)) {}

std::size_t ChangeBatch::bytes() const {
    std::size_t sum = changes.size() * sizeof(Change) + new_rows.bytes() + old_rows.bytes();
    for (const auto& bitmap : unchanged) sum += bitmap.size() / 8;
    return sum;
}

bool ChangeBatch::is_unchanged(std::size_t column, std::size_t new_row) const {
    return column < unchanged.size() && new_row < unchanged[column].size() &&
           unchanged[column][new_row];
}

void ChangeBatch::set_unchanged(std::size_t column, std::size_t new_row) {
    if (unchanged.empty()) unchanged.resize(new_rows.columns().size());
    std::vector<bool>& bitmap = unchanged[column];
    if (bitmap.size() <= new_row) bitmap.resize(new_row + 1);
    bitmap[new_row] = true;
}

void ChangeBatch::truncate_new_rows(std::size_t rows) {
    new_rows.truncate(rows);
    for (std::vector<bool>& bitmap : unchanged) {
        if (bitmap.size() > rows) bitmap.resize(rows);
    }
}

}  // namespace walbrook
