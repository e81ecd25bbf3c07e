#include "batch/key_point.h"

#include "decode/value.h"

#include <cstdint>
#include <cstring>

namespace walbrook {
namespace {

constexpr std::uint32_t kInt8 = 20;
constexpr std::uint32_t kInt2 = 21;
constexpr std::uint32_t kInt4 = 23;
constexpr std::uint32_t kUuid = 2950;

// Big endian, the negative ones before the others.
KeyPoint of_integer(std::int64_t value) {
    const std::uint64_t ordered = static_cast<std::uint64_t>(value) ^ (std::uint64_t{1} << 63);
    KeyPoint point;
    for (std::size_t i = 0; i < 8; ++i) {
        point.bytes[i] = static_cast<unsigned char>(ordered >> (8 * (7 - i)) & 0xFF);
    }
    return point;
}

}  // namespace

bool has_key_points(const ColumnSchema& column) {
    if (column.type.is_list || column.base_type_class != 'b') return false;
    switch (column.base_type_oid) {
        case kInt2:
            return column.type.kind == TypeKind::int16;
        case kInt4:
            return column.type.kind == TypeKind::int32;
        case kInt8:
            return column.type.kind == TypeKind::int64;
        case kUuid:
            return column.type.kind == TypeKind::uuid;
        default:
            return false;
    }
}

std::optional<KeyPoint> key_point(const Column& values, std::size_t row) {
    if (values.is_null(row)) return std::nullopt;
    switch (values.type().kind) {
        case TypeKind::int16:
            return of_integer(values.fixed_at<std::int16_t>(row));
        case TypeKind::int32:
            return of_integer(values.fixed_at<std::int32_t>(row));
        case TypeKind::int64:
            return of_integer(values.fixed_at<std::int64_t>(row));
        case TypeKind::uuid:
            return KeyPoint{values.fixed_at<std::array<unsigned char, 16>>(row)};
        default:
            return std::nullopt;
    }
}

Result<KeyPoint> parse_key_point(const ColumnSchema& column, std::string_view text) {
    Column values(column.type);
    WALBROOK_RETURN_IF_ERROR(decoder_for(column, Format::text)(column, text, values));
    const auto point = key_point(values, 0);
    if (!point) return Error(ErrorCode::internal, "column " + column.name + " has no key points");
    return *point;
}

}  // namespace walbrook
