#include "destinations/duckdb_engine/vectors.h"

#include <duckdb.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

namespace walbrook::duckdb_engine {

namespace {

// What DuckDB has in memory for a text: 4 bytes of length, then either the text itself
// in 12 bytes, zeros behind it, or its first 4 bytes and a pointer (duckdb.h,
// duckdb_string_t).
__extension__ using Wide = unsigned __int128;

constexpr std::size_t kInlineBytesMax = 12;
static_assert(sizeof(duckdb_string_t) == 16);

std::uint64_t big_endian_64(const std::byte* from) {
    std::uint64_t value;
    std::memcpy(&value, from, sizeof value);
    return std::endian::native == std::endian::little ? __builtin_bswap64(value) : value;
}

void fill_bool(bool* to, const Column& column, std::size_t from, std::size_t rows) {
    for (std::size_t i = 0; i < rows; ++i) to[i] = column.bool_at(from + i);
}

void fill_text(duckdb_string_t* to, const Column& column, std::size_t from, std::size_t rows) {
    const char* const bytes = reinterpret_cast<const char*>(column.values().data());
    const char* const end = bytes + column.values().size();
    std::int32_t start = column.offset_at(from);
    for (std::size_t i = 0; i < rows; ++i) {
        const std::int32_t stop = column.offset_at(from + i + 1);
        const auto size = static_cast<std::uint32_t>(stop - start);
        const char* const text = bytes + start;
        start = stop;
        unsigned char value[16];
        std::memcpy(value, &size, 4);
        if (size > kInlineBytesMax) {
            std::memcpy(value + 4, text, 4);
            std::memcpy(value + 8, &text, sizeof text);
        } else if (end - text >= 12) {
            // A fixed-size load and a mask are several times faster than a copy of
            // `size` bytes, and short texts are what most columns hold.
            Wide word = 0;
            std::memcpy(&word, text, 12);
            word &= (static_cast<Wide>(1) << (size * 8)) - 1;
            std::memcpy(value + 4, &word, 12);
        } else {
            std::memset(value + 4, 0, kInlineBytesMax);
            if (size != 0) std::memcpy(value + 4, text, size);
        }
        std::memcpy(to + i, value, sizeof value);
    }
}

void fill_uuid(duckdb_hugeint* to, const Column& column, std::size_t from, std::size_t rows) {
    const std::byte* value = column.values().data() + from * 16;
    for (std::size_t i = 0; i < rows; ++i, value += 16) {
        // DuckDB flips the top bit so that uuids sort as signed numbers.
        to[i].upper = static_cast<std::int64_t>(big_endian_64(value) ^ (1ULL << 63));
        to[i].lower = big_endian_64(value + 8);
    }
}

// DuckDB keeps a decimal in the smallest integer that holds its precision.
template <class T>
void fill_narrow_decimal(T* to, const Column& column, std::size_t from, std::size_t rows) {
    const std::byte* value = column.values().data() + from * 16;
    for (std::size_t i = 0; i < rows; ++i, value += 16) std::memcpy(to + i, value, sizeof(T));
}

void fill_decimal(void* to, const Column& column, std::size_t from, std::size_t rows) {
    const int precision = column.type().precision;
    if (precision <= 4) {
        fill_narrow_decimal(static_cast<std::int16_t*>(to), column, from, rows);
    } else if (precision <= 9) {
        fill_narrow_decimal(static_cast<std::int32_t*>(to), column, from, rows);
    } else if (precision <= 18) {
        fill_narrow_decimal(static_cast<std::int64_t*>(to), column, from, rows);
    } else if (rows != 0) {
        std::memcpy(to, column.values().data() + from * 16, rows * 16);
    }
}

void fill_validity(duckdb_vector vector, const Column& column, std::size_t from,
                   std::size_t rows) {
    const std::byte* const bits = column.validity();
    if (bits == nullptr || rows == 0) return;
    duckdb_vector_ensure_validity_writable(vector);
    std::uint64_t* const to = duckdb_vector_get_validity(vector);
    if (from % 8 == 0) {
        auto* bytes = reinterpret_cast<std::byte*>(to);
        std::memcpy(bytes, bits + from / 8, (rows + 7) / 8);
        return;
    }
    for (std::size_t i = 0; i < rows; ++i) {
        const std::uint64_t bit = 1ULL << (i % 64);
        if (column.is_null(from + i)) {
            to[i / 64] &= ~bit;
        } else {
            to[i / 64] |= bit;
        }
    }
}

void fill_values(duckdb_vector vector, const Column& column, std::size_t from, std::size_t rows) {
    void* const to = duckdb_vector_get_data(vector);
    switch (column.type().kind) {
        case TypeKind::boolean: return fill_bool(static_cast<bool*>(to), column, from, rows);
        case TypeKind::decimal: return fill_decimal(to, column, from, rows);
        case TypeKind::text:
        case TypeKind::bytes:
        case TypeKind::json:
            return fill_text(static_cast<duckdb_string_t*>(to), column, from, rows);
        case TypeKind::uuid: return fill_uuid(static_cast<duckdb_hugeint*>(to), column, from, rows);
        case TypeKind::int16:
        case TypeKind::int32:
        case TypeKind::int64:
        case TypeKind::uint32:
        case TypeKind::float32:
        case TypeKind::float64:
        // Infinite dates and timestamps are the same extreme numbers in DuckDB
        // (duckdb/common/types/date.hpp, timestamp.hpp).
        case TypeKind::date:
        case TypeKind::time:
        case TypeKind::timestamp:
        case TypeKind::timestamptz: {
            const std::size_t width = value_width(column.type().kind);
            if (rows != 0) std::memcpy(to, column.values().data() + from * width, rows * width);
            return;
        }
        case TypeKind::list: return;
    }
}

void fill_list(duckdb_vector vector, const Column& column, std::size_t from, std::size_t rows) {
    const std::int32_t first = column.offset_at(from);
    const auto elements = static_cast<std::size_t>(column.offset_at(from + rows) - first);
    duckdb_list_vector_reserve(vector, elements);
    duckdb_list_vector_set_size(vector, elements);
    auto* const to = static_cast<duckdb_list_entry*>(duckdb_vector_get_data(vector));
    std::int32_t start = first;
    for (std::size_t i = 0; i < rows; ++i) {
        const std::int32_t stop = column.offset_at(from + i + 1);
        to[i].offset = static_cast<std::uint64_t>(start - first);
        to[i].length = static_cast<std::uint64_t>(stop - start);
        start = stop;
    }
    fill_vector(duckdb_list_vector_get_child(vector), column.element(),
                static_cast<std::size_t>(first), elements);
}

duckdb_type type_of(TypeKind kind) {
    switch (kind) {
        case TypeKind::boolean: return DUCKDB_TYPE_BOOLEAN;
        case TypeKind::int16: return DUCKDB_TYPE_SMALLINT;
        case TypeKind::int32: return DUCKDB_TYPE_INTEGER;
        case TypeKind::int64: return DUCKDB_TYPE_BIGINT;
        case TypeKind::uint32: return DUCKDB_TYPE_UINTEGER;
        case TypeKind::float32: return DUCKDB_TYPE_FLOAT;
        case TypeKind::float64: return DUCKDB_TYPE_DOUBLE;
        case TypeKind::bytes: return DUCKDB_TYPE_BLOB;
        case TypeKind::date: return DUCKDB_TYPE_DATE;
        case TypeKind::time: return DUCKDB_TYPE_TIME;
        case TypeKind::timestamp: return DUCKDB_TYPE_TIMESTAMP;
        case TypeKind::timestamptz: return DUCKDB_TYPE_TIMESTAMP_TZ;
        case TypeKind::uuid: return DUCKDB_TYPE_UUID;
        case TypeKind::text:
        case TypeKind::json:
        case TypeKind::decimal:
        case TypeKind::list: break;
    }
    return DUCKDB_TYPE_VARCHAR;
}

}  // namespace

void* make_logical_type(const ColumnType& type) {
    if (type.is_list) {
        ColumnType element = type;
        element.is_list = false;
        auto child = static_cast<duckdb_logical_type>(make_logical_type(element));
        duckdb_logical_type list = duckdb_create_list_type(child);
        duckdb_destroy_logical_type(&child);
        return list;
    }
    if (type.kind == TypeKind::decimal) {
        return duckdb_create_decimal_type(type.precision, static_cast<std::uint8_t>(type.scale));
    }
    duckdb_logical_type result = duckdb_create_logical_type(type_of(type.kind));
    // JSON is text with this alias (duckdb/common/types.hpp, LogicalType::JSON).
    if (type.kind == TypeKind::json) duckdb_logical_type_set_alias(result, "JSON");
    return result;
}

void fill_vector(void* vector, const Column& column, std::size_t from, std::size_t rows) {
    auto target = static_cast<duckdb_vector>(vector);
    if (column.type().is_list) {
        fill_list(target, column, from, rows);
    } else {
        fill_values(target, column, from, rows);
    }
    fill_validity(target, column, from, rows);
}

}  // namespace walbrook::duckdb_engine
