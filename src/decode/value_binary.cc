#include <bit>
#include <limits>

#include "decode/datetime.h"
#include "decode/decoders.h"
#include "decode/endian.h"
#include "decode/numeric.h"

// Values in binary form (the type's send function), into a kind of their own.
namespace walbrook::internal {
namespace {

template <class T>
Status decode_integer(const ColumnSchema& column, std::string_view bytes, Column& out) {
    if (bytes.size() != sizeof(T)) return unfit(Fit::malformed, column);
    out.append_fixed(load_big_endian<T>(bytes.data()));
    return {};
}

// All NaNs become one: their text is the same, so a value must not depend on the
// form in which it came.
template <class T, class Bits>
Status decode_float(const ColumnSchema& column, std::string_view bytes, Column& out) {
    if (bytes.size() != sizeof(T)) return unfit(Fit::malformed, column);
    const T value = std::bit_cast<T>(load_big_endian<Bits>(bytes.data()));
    out.append_fixed(value == value ? value : std::numeric_limits<T>::quiet_NaN());
    return {};
}

// A number whose meaning `convert` checks and shifts.
template <class T>
Status decode_converted(Fit (*convert)(T, T&), const ColumnSchema& column, std::string_view bytes,
                        Column& out) {
    if (bytes.size() != sizeof(T)) return unfit(Fit::malformed, column);
    T value;
    const Fit fit = convert(load_big_endian<T>(bytes.data()), value);
    if (fit != Fit::ok) return unfit(fit, column);
    out.append_fixed(value);
    return {};
}

}  // namespace

Status decode_bool_binary(const ColumnSchema& column, std::string_view bytes, Column& out) {
    if (bytes.size() != 1 || static_cast<unsigned char>(bytes[0]) > 1) {
        return unfit(Fit::malformed, column);
    }
    out.append_bool(bytes[0] == 1);
    return {};
}

Status decode_int2_binary(const ColumnSchema& column, std::string_view bytes, Column& out) {
    return decode_integer<std::int16_t>(column, bytes, out);
}

Status decode_int4_binary(const ColumnSchema& column, std::string_view bytes, Column& out) {
    return decode_integer<std::int32_t>(column, bytes, out);
}

Status decode_int8_binary(const ColumnSchema& column, std::string_view bytes, Column& out) {
    return decode_integer<std::int64_t>(column, bytes, out);
}

Status decode_float4_binary(const ColumnSchema& column, std::string_view bytes, Column& out) {
    return decode_float<float, std::uint32_t>(column, bytes, out);
}

Status decode_float8_binary(const ColumnSchema& column, std::string_view bytes, Column& out) {
    return decode_float<double, std::uint64_t>(column, bytes, out);
}

Status decode_decimal_binary(const ColumnSchema& column, std::string_view bytes, Column& out) {
    int128 value;
    const Fit fit = decimal_from_binary(bytes, column.type.precision, column.type.scale, value);
    if (fit != Fit::ok) return unfit(fit, column);
    out.append_fixed(value);
    return {};
}

Status decode_bytea_binary(const ColumnSchema& column, std::string_view bytes, Column& out) {
    return append_text(column, bytes, out);
}

Status decode_date_binary(const ColumnSchema& column, std::string_view bytes, Column& out) {
    return decode_converted(date_from_postgres, column, bytes, out);
}

Status decode_time_binary(const ColumnSchema& column, std::string_view bytes, Column& out) {
    return decode_converted(time_from_postgres, column, bytes, out);
}

Status decode_timestamp_binary(const ColumnSchema& column, std::string_view bytes, Column& out) {
    return decode_converted(timestamp_from_postgres, column, bytes, out);
}

Status decode_uuid_binary(const ColumnSchema& column, std::string_view bytes, Column& out) {
    if (bytes.size() != 16) return unfit(Fit::malformed, column);
    out.append_fixed_bytes(bytes.data(), bytes.size());
    return {};
}

// A version byte, always 1 so far, and the text (jsonb_send, jsonpath_send).
Status decode_jsonb_binary(const ColumnSchema& column, std::string_view bytes, Column& out) {
    if (!bytes.starts_with('\1')) return unfit(Fit::malformed, column);
    bytes.remove_prefix(1);
    return append_text(column, bytes, out);
}

}  // namespace walbrook::internal
