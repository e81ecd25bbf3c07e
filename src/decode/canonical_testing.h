#pragma once

#include "decode/encode_testing.h"
#include "decode/endian.h"

#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

// Where a server really sends several forms of one value, the form that the encoders of
// the tests give. All bytes here have passed a decoder.
namespace walbrook {

// float8recv() stores any NaN and float8send() sends it as it is; x86 makes 0/0 a NaN
// with a sign. They all print as "NaN", so columns hold one of them.
template <class Float, class Bits>
std::string canonical_float(std::string_view bytes) {
    const auto bits = internal::load_big_endian<Bits>(bytes.data());
    const bool is_nan = std::isnan(std::bit_cast<Float>(bits));
    return wire(is_nan ? std::bit_cast<Bits>(std::numeric_limits<Float>::quiet_NaN()) : bits);
}

// The display scale is the column's (apply_typmod), but where the catalog was changed by
// hand old rows keep theirs. The column holds the same number.
inline std::string canonical_decimal(const ColumnType& type, std::string_view bytes) {
    return std::string(bytes.substr(0, 6)) + wire(static_cast<std::uint16_t>(type.scale)) +
           std::string(bytes.substr(8));
}

inline std::string canonical_scalar(const ColumnType& type, std::string_view bytes) {
    switch (type.kind) {
        case TypeKind::float32:
            return canonical_float<float, std::uint32_t>(bytes);
        case TypeKind::float64:
            return canonical_float<double, std::uint64_t>(bytes);
        case TypeKind::decimal:
            return canonical_decimal(type, bytes);
        default:
            return std::string(bytes);
    }
}

// An array may be sent with the flag of a null bitmap and no null, after its last null
// was overwritten; with the oid of a domain; and, if it is empty, with a dimension of
// length 0, as an oidvector that was cast to oid[]. All else stays as it is.
inline std::string canonical_list(const ColumnSchema& schema, std::string_view bytes) {
    constexpr std::uint32_t kFirstGeneratedOid = 10'000;
    constexpr std::uint32_t kNullSize = 0xFFFF'FFFF;
    const auto take_bytes = [&](std::size_t n) {
        const std::string_view taken = bytes.substr(0, n);
        bytes.remove_prefix(n);
        return taken;
    };
    const auto take_u32 = [&] {
        return internal::load_big_endian<std::uint32_t>(take_bytes(4).data());
    };
    const std::uint32_t dimensions = take_u32();
    std::uint32_t flags = take_u32();
    std::uint32_t oid = take_u32();
    if (oid >= kFirstGeneratedOid) oid = schema.element_type_oid;
    const std::uint32_t count = dimensions == 1 ? take_u32() : 0;
    const std::uint32_t lower_bound = dimensions == 1 ? take_u32() : 0;
    bool has_nulls = false;
    std::string inside;
    while (!bytes.empty()) {
        const std::uint32_t size = take_u32();
        inside += wire(size);
        if (size == kNullSize) {
            has_nulls = true;
        } else {
            inside += canonical_scalar(schema.type, take_bytes(size));
        }
    }
    if (count == 0) return wire(std::uint32_t{0}) + wire(flags) + wire(oid) + inside;
    if (!has_nulls) flags = 0;
    return wire(dimensions) + wire(flags) + wire(oid) + wire(count) + wire(lower_bound) + inside;
}

inline std::string canonical_binary(const ColumnSchema& schema, std::string_view bytes) {
    return schema.type.is_list ? canonical_list(schema, bytes)
                               : canonical_scalar(schema.type, bytes);
}

// Before 16 a "char" above 127 is sent as its bare byte, now as "\ooo", which an array
// has in quotes.
inline std::string canonical_char_text(bool is_list, std::string_view text) {
    std::string out;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 128) {
            out += c;
        } else {
            const std::string escaped = fmt::format("{:03o}", byte);
            out += is_list ? R"("\\)" + escaped + '"' : '\\' + escaped;
        }
    }
    return out;
}

inline std::string canonical_text(const ColumnSchema& schema, std::string_view text) {
    const bool is_char =
        (schema.type.is_list ? schema.element_type_oid : schema.base_type_oid) == 18;
    return is_char ? canonical_char_text(schema.type.is_list, text) : std::string(text);
}

// Floats: whether digits are the shortest that mean the value is known only by printing
// it, which costs more than reading it; "1.50" and "1.5" are one value. Decimals: with
// another scale than the column's, as in canonical_decimal().
inline bool has_one_text(const ColumnType& type) {
    return type.kind != TypeKind::float32 && type.kind != TypeKind::float64 &&
           type.kind != TypeKind::decimal;
}

}  // namespace walbrook
