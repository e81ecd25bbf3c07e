#include "batch/row_append.h"

#include <fmt/format.h>

#include <utility>

namespace walbrook {

RowDecoders::RowDecoders(const TableSchema& schema, std::vector<std::size_t> sent)
    : places(std::move(sent)) {
    for (const ColumnSchema& column : schema.columns) {
        text.push_back(decoder_for(column, Format::text));
        binary.push_back(decoder_for(column, Format::binary));
        all_binary = all_binary && binary.back() != nullptr;
    }
    if (!places.empty()) return;
    for (std::size_t i = 0; i < schema.columns.size(); ++i) places.push_back(i);
}

namespace {

Error problem(const RowBatch& rows, std::size_t column, ErrorCode code, std::string_view what) {
    const TableSchema& schema = *rows.schema();
    return Error(code, fmt::format("{} column {} of {}", what, schema.columns[column].name,
                                   schema.display_name()));
}

Status append_column(const TupleColumn& in, const RowDecoders& decoders, std::size_t i,
                     bool is_key_only, RowBatch& rows, ChangeBatch* batch) {
    const ColumnSchema& column = rows.schema()->columns[i];
    Column& out = rows.columns()[i];
    switch (in.kind) {
        case 'n':
            // What is null now although the column forbids it: the constraint was
            // dropped behind our back.
            if (!column.nullable && !is_key_only) {
                return problem(rows, i, ErrorCode::schema_mismatch, "null in the NOT NULL");
            }
            out.append_null();
            return {};
        case 'u':
            if (batch == nullptr) {
                return problem(rows, i, ErrorCode::malformed, "an old row lacks a value of");
            }
            batch->set_unchanged(i, out.size());
            out.append_null();
            return {};
        case 't':
            return decoders.text[i](column, in.bytes, out);
        case 'b':
            if (decoders.binary[i] == nullptr) {
                return problem(rows, i, ErrorCode::malformed, "unexpected binary value in");
            }
            return decoders.binary[i](column, in.bytes, out);
        default:
            return problem(rows, i, ErrorCode::malformed, "unknown kind of value in");
    }
}

}  // namespace

Status append_tuple(const TupleView& tuple, const RowDecoders& decoders, bool is_key_only,
                    RowBatch& rows, ChangeBatch* batch) {
    const std::size_t before = rows.rows();
    const std::size_t columns = rows.columns().size();
    if (tuple.size() != columns) {
        return Error(ErrorCode::schema_mismatch,
                     fmt::format("a row of {} has {} columns where {} are known",
                                 rows.schema()->display_name(), tuple.size(), columns));
    }
    TupleView::Iterator each = tuple.columns();
    TupleColumn value;
    for (std::size_t i = 0; each.next(value); ++i) {
        Status status =
            append_column(value, decoders, decoders.places[i], is_key_only, rows, batch);
        if (!status) [[unlikely]] {
            rows.truncate(before);
            // The next row gets this one's place, and must not get its marks.
            if (batch != nullptr) batch->truncate_new_rows(before);
            return status;
        }
    }
    if (columns == 0) rows.append_empty_row();
    return {};
}

}  // namespace walbrook
