#pragma once

#include <bit>
#include <cstdint>
#include <limits>
#include <string_view>

#include "decode/datetime.h"
#include "decode/decoders.h"
#include "decode/endian.h"
#include "decode/numeric.h"
#include "decode/value.h"

namespace walbrook::internal {

// A column's decoder for the row loop. The types that fill most tables are decoded
// inline; whatever is not a plain good value of theirs takes the decoder itself,
// which alone knows all cases and all errors.
class CellDecoder {
 public:
    explicit CellDecoder(DecodeValue decode) : decode_(decode), shortcut_(shortcut_of(decode)) {}

    // The value was appended; else ask append().
    [[nodiscard]] bool append_fast(const ColumnSchema& column, std::string_view bytes,
                                   Column& out) const;
    Status append(const ColumnSchema& column, std::string_view bytes, Column& out) const {
        return decode_(column, bytes, out);
    }

 private:
    enum class Shortcut : std::uint8_t {
        none,
        boolean,
        bytes2,
        bytes4,
        bytes8,
        float8,
        date,
        timestamp,
        text,
        jsonb,
        uuid,
        decimal
    };
    static Shortcut shortcut_of(DecodeValue decode);

    template <class T>
    static bool append_integer(std::string_view bytes, Column& out) {
        if (bytes.size() != sizeof(T)) return false;
        out.append_fixed(load_big_endian<T>(bytes.data()));
        return true;
    }
    static bool append_all(std::string_view bytes, Column& out) {
        if (!has_room(out, bytes.size())) return false;
        out.append_bytes(bytes);
        return true;
    }

    DecodeValue decode_;
    Shortcut shortcut_;
};

inline CellDecoder::Shortcut CellDecoder::shortcut_of(DecodeValue decode) {
    if (decode == decode_bool_binary) return Shortcut::boolean;
    if (decode == decode_int2_binary) return Shortcut::bytes2;
    if (decode == decode_int4_binary) return Shortcut::bytes4;
    if (decode == decode_int8_binary) return Shortcut::bytes8;
    if (decode == decode_float8_binary) return Shortcut::float8;
    if (decode == decode_date_binary) return Shortcut::date;
    if (decode == decode_timestamp_binary) return Shortcut::timestamp;
    if (decode == decode_verbatim || decode == decode_bytea_binary) return Shortcut::text;
    if (decode == decode_jsonb_binary) return Shortcut::jsonb;
    if (decode == decode_uuid_binary) return Shortcut::uuid;
    if (decode == decode_decimal_binary) return Shortcut::decimal;
    return Shortcut::none;
}

inline bool CellDecoder::append_fast(const ColumnSchema& column, std::string_view bytes,
                                     Column& out) const {
    switch (shortcut_) {
        case Shortcut::none: return false;
        case Shortcut::boolean:
            if (bytes.size() != 1 || static_cast<unsigned char>(bytes[0]) > 1) return false;
            out.append_bool(bytes[0] == 1);
            return true;
        case Shortcut::bytes2: return append_integer<std::int16_t>(bytes, out);
        case Shortcut::bytes4: return append_integer<std::int32_t>(bytes, out);
        case Shortcut::bytes8: return append_integer<std::int64_t>(bytes, out);
        case Shortcut::float8: {
            if (bytes.size() != sizeof(double)) return false;
            const auto value = std::bit_cast<double>(load_big_endian<std::uint64_t>(bytes.data()));
            if (value != value) return false;
            out.append_fixed(value);
            return true;
        }
        case Shortcut::date: {
            std::int32_t days;
            if (bytes.size() != sizeof days ||
                date_from_postgres(load_big_endian<std::int32_t>(bytes.data()), days) != Fit::ok) {
                return false;
            }
            out.append_fixed(days);
            return true;
        }
        case Shortcut::timestamp: {
            std::int64_t micros;
            if (bytes.size() != sizeof micros ||
                timestamp_from_postgres(load_big_endian<std::int64_t>(bytes.data()), micros) !=
                    Fit::ok) {
                return false;
            }
            out.append_fixed(micros);
            return true;
        }
        case Shortcut::text: return append_all(bytes, out);
        case Shortcut::jsonb: return bytes.starts_with('\1') && append_all(bytes.substr(1), out);
        case Shortcut::uuid:
            if (bytes.size() != 16) return false;
            out.append_fixed_bytes(bytes.data(), 16);
            return true;
        case Shortcut::decimal: {
            int128 value;
            if (decimal_from_binary(bytes, column.type.precision, column.type.scale, value) !=
                Fit::ok) {
                return false;
            }
            out.append_fixed(value);
            return true;
        }
    }
    return false;
}

}  // namespace walbrook::internal
