#include "batch/net_change_columns.h"

#include "base/check.h"

#include <array>

namespace walbrook {
namespace {

// `row_at(i)` is the row of the i-th value, negative for a null.
template <class RowAt, class Append>
void append_each(Column& to, const Column& from, std::size_t count, RowAt row_at, Append append) {
    for (std::size_t i = 0; i < count; ++i) {
        const std::int64_t row = row_at(i);
        if (row < 0 || from.is_null(static_cast<std::size_t>(row))) {
            to.append_null();
        } else {
            append(static_cast<std::size_t>(row));
        }
    }
}

template <class T, class RowAt>
void append_fixed(Column& to, const Column& from, std::size_t count, RowAt row_at) {
    append_each(to, from, count, row_at,
                [&](std::size_t row) { to.append_fixed(from.fixed_at<T>(row)); });
}

template <class RowAt>
void append_values(Column& to, const Column& from, std::size_t count, RowAt row_at) {
    using Wide = std::array<std::uint64_t, 2>;
    WALBROOK_CHECK(to.type() == from.type());
    if (from.type().is_list) {
        return append_each(to, from, count, row_at,
                           [&](std::size_t row) { to.append_from(from, row); });
    }
    switch (value_width(from.type().kind)) {
        case 2:
            return append_fixed<std::uint16_t>(to, from, count, row_at);
        case 4:
            return append_fixed<std::uint32_t>(to, from, count, row_at);
        case 8:
            return append_fixed<std::uint64_t>(to, from, count, row_at);
        case 16:
            return append_fixed<Wide>(to, from, count, row_at);
        default:
            break;
    }
    if (from.type().kind == TypeKind::boolean) {
        return append_each(to, from, count, row_at,
                           [&](std::size_t row) { to.append_bool(from.bool_at(row)); });
    }
    append_each(to, from, count, row_at,
                [&](std::size_t row) { to.append_bytes(from.bytes_at(row)); });
}

}  // namespace

void append_range(Column& to, const Column& from, std::size_t first, std::size_t count) {
    append_values(to, from, count,
                  [first](std::size_t i) { return static_cast<std::int64_t>(first + i); });
}

void append_rows(Column& to, const Column& from, std::span<const std::int32_t> rows) {
    append_values(to, from, rows.size(), [rows](std::size_t i) { return std::int64_t{rows[i]}; });
}

void append_nulls(Column& to, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) to.append_null();
}

}  // namespace walbrook
