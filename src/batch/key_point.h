#pragma once

#include "walbrook/column.h"
#include "walbrook/result.h"

#include <array>
#include <compare>
#include <optional>
#include <string_view>

namespace walbrook {

// A value of a key as bytes that compare as Postgres orders the values.
struct KeyPoint {
    std::array<unsigned char, 16> bytes{};
    auto operator<=>(const KeyPoint&) const = default;
};

// Whether the column's values have such bytes: their order depends on nothing but them. (That of
// text depends on a collation, whose versions differ between machines.)
bool has_key_points(const ColumnSchema& column);
// Of a column that has them; nothing for null.
std::optional<KeyPoint> key_point(const Column& values, std::size_t row);
// Of a value as Postgres prints it.
Result<KeyPoint> parse_key_point(const ColumnSchema& column, std::string_view text);

}  // namespace walbrook
