#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>

#include "decode/fit.h"
#include "decode/value.h"

// The decoders that decoder_for() chooses from. None of them looks at the column's
// base type: the element decoders of an array get the array's own schema.
namespace walbrook::internal {

// The error of one value.
Error unfit(Fit fit, const ColumnSchema& column);
// The column holds 2 GiB already, which is where 32-bit offsets end.
Error column_full(const ColumnSchema& column);

inline bool has_room(const Column& out, std::size_t bytes) {
    constexpr std::size_t bytes_max = std::numeric_limits<std::int32_t>::max();
    return bytes <= bytes_max && out.values().size() <= bytes_max - bytes;
}

inline Status append_text(const ColumnSchema& column, std::string_view value, Column& out) {
    if (!has_room(out, value.size())) [[unlikely]]
        return column_full(column);
    out.append_bytes(value);
    return {};
}

// --- Text form.
Status decode_verbatim(const ColumnSchema&, std::string_view, Column&);  // text, json
Status decode_char_text(const ColumnSchema&, std::string_view, Column&);
Status decode_bool_text(const ColumnSchema&, std::string_view, Column&);
Status decode_int2_text(const ColumnSchema&, std::string_view, Column&);
Status decode_int4_text(const ColumnSchema&, std::string_view, Column&);
Status decode_int8_text(const ColumnSchema&, std::string_view, Column&);
Status decode_oid_text(const ColumnSchema&, std::string_view, Column&);
Status decode_float4_text(const ColumnSchema&, std::string_view, Column&);
Status decode_float8_text(const ColumnSchema&, std::string_view, Column&);
Status decode_decimal_text(const ColumnSchema&, std::string_view, Column&);
Status decode_bytea_text(const ColumnSchema&, std::string_view, Column&);
Status decode_date_text(const ColumnSchema&, std::string_view, Column&);
Status decode_time_text(const ColumnSchema&, std::string_view, Column&);
Status decode_timestamp_text(const ColumnSchema&, std::string_view, Column&);
Status decode_timestamptz_text(const ColumnSchema&, std::string_view, Column&);
Status decode_uuid_text(const ColumnSchema&, std::string_view, Column&);
Status decode_array_text(const ColumnSchema&, std::string_view, Column&);

// --- Binary form, into a kind of its own.
Status decode_bool_binary(const ColumnSchema&, std::string_view, Column&);
Status decode_int2_binary(const ColumnSchema&, std::string_view, Column&);
Status decode_int4_binary(const ColumnSchema&, std::string_view, Column&);  // also oid
Status decode_int8_binary(const ColumnSchema&, std::string_view, Column&);
Status decode_float4_binary(const ColumnSchema&, std::string_view, Column&);
Status decode_float8_binary(const ColumnSchema&, std::string_view, Column&);
Status decode_decimal_binary(const ColumnSchema&, std::string_view, Column&);
Status decode_bytea_binary(const ColumnSchema&, std::string_view, Column&);
Status decode_date_binary(const ColumnSchema&, std::string_view, Column&);
Status decode_time_binary(const ColumnSchema&, std::string_view, Column&);
Status decode_timestamp_binary(const ColumnSchema&, std::string_view, Column&);  // also tz
Status decode_uuid_binary(const ColumnSchema&, std::string_view, Column&);
Status decode_jsonb_binary(const ColumnSchema&, std::string_view, Column&);  // also jsonpath
Status decode_array_binary(const ColumnSchema&, std::string_view, Column&);

// --- Binary form, printed as Postgres prints it.
Status decode_char_binary(const ColumnSchema&, std::string_view, Column&);
Status decode_numeric_as_text(const ColumnSchema&, std::string_view, Column&);
Status decode_timetz_binary(const ColumnSchema&, std::string_view, Column&);
Status decode_interval_binary(const ColumnSchema&, std::string_view, Column&);
Status decode_bit_binary(const ColumnSchema&, std::string_view, Column&);  // also varbit
Status decode_inet_binary(const ColumnSchema&, std::string_view, Column&);
Status decode_cidr_binary(const ColumnSchema&, std::string_view, Column&);
Status decode_macaddr_binary(const ColumnSchema&, std::string_view, Column&);
Status decode_macaddr8_binary(const ColumnSchema&, std::string_view, Column&);
Status decode_pg_lsn_binary(const ColumnSchema&, std::string_view, Column&);
Status decode_xid_binary(const ColumnSchema&, std::string_view, Column&);  // also cid
Status decode_xid8_binary(const ColumnSchema&, std::string_view, Column&);
Status decode_tid_binary(const ColumnSchema&, std::string_view, Column&);

// The decoder of one value of a type, also as an element, into the given kind. Text
// always has one, binary only where it is exact (nullptr).
DecodeValue text_decoder(std::uint32_t type_oid, TypeKind kind);
DecodeValue binary_decoder(std::uint32_t type_oid, TypeKind kind);

}  // namespace walbrook::internal
