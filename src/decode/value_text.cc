#include "decode/datetime.h"
#include "decode/decoders.h"
#include "decode/numeric.h"
#include "decode/scratch.h"

#include <array>
#include <charconv>
#include <limits>
#include <type_traits>

// Values in text form: what the type's output function prints, nothing else. A form
// that Postgres only accepts as input ("yes", "1e3", " 7") is malformed here.
namespace walbrook::internal {
namespace {

// The whole text is one number: from_chars takes no plus sign and no spaces.
template <class T>
Status decode_number(const ColumnSchema& column, std::string_view text, Column& out) {
    T value;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc() || stop != end) return unfit(Fit::malformed, column);
    // Nor has an integer zeros in front, or a minus sign before a lone zero.
    if constexpr (std::is_integral_v<T>) {
        const char* first = text.data() + (value < 0 ? 1 : 0);
        if ((value == 0 || *first == '0') && text.size() != 1) [[unlikely]]
            return unfit(Fit::malformed, column);
    }
    out.append_fixed(value);
    return {};
}

template <class T>
Status decode_float(const ColumnSchema& column, std::string_view text, Column& out) {
    constexpr T infinity = std::numeric_limits<T>::infinity();
    if (text == "NaN") {
        out.append_fixed(std::numeric_limits<T>::quiet_NaN());
        return {};
    }
    if (text == "Infinity" || text == "-Infinity") {
        out.append_fixed(text[0] == '-' ? -infinity : infinity);
        return {};
    }
    // from_chars also knows "inf" and "nan", which Postgres does not print.
    const std::size_t first = text.starts_with('-') ? 1 : 0;
    if (first == text.size() || text[first] < '0' || text[first] > '9') {
        return unfit(Fit::malformed, column);
    }
    return decode_number<T>(column, text, out);
}

// The value of each hexadecimal digit, 255 for all other bytes: Postgres prints bytea
// and uuid in small letters.
constexpr auto kHexDigits = [] {
    std::array<std::uint8_t, 256> values{};
    values.fill(255);
    for (std::uint8_t i = 0; i < 10; ++i) values['0' + i] = i;
    for (std::uint8_t i = 0; i < 6; ++i) values['a' + i] = static_cast<std::uint8_t>(10 + i);
    return values;
}();

// Two hexadecimal digits, or a number above 255.
unsigned hex_byte(const char* at) {
    const unsigned high = kHexDigits[static_cast<unsigned char>(at[0])];
    const unsigned low = kHexDigits[static_cast<unsigned char>(at[1])];
    return high << 4 | low | (low & 16) << 4;
}

// "\200" to "\377".
bool is_escaped_byte(std::string_view text) {
    const auto is_octal = [](char c) { return c >= '0' && c <= '7'; };
    return text.size() == 4 && text[0] == '\\' && (text[1] == '2' || text[1] == '3') &&
           is_octal(text[2]) && is_octal(text[3]);
}

template <class T>
Status append_if_fit(Fit fit, T value, const ColumnSchema& column, Column& out) {
    if (fit != Fit::ok) return unfit(fit, column);
    out.append_fixed(value);
    return {};
}

}  // namespace

Status decode_verbatim(const ColumnSchema& column, std::string_view text, Column& out) {
    return append_text(column, text, out);
}

// The one-byte type "char". From 16 on charout() prints bytes above 127 as "\ooo";
// before, it sends the bare byte, which is not UTF-8: give it the newer form.
Status decode_char_text(const ColumnSchema& column, std::string_view text, Column& out) {
    if (text.size() == 1 && static_cast<unsigned char>(text[0]) > 127) {
        return decode_char_binary(column, text, out);
    }
    if (text.size() > 1 && !is_escaped_byte(text)) return unfit(Fit::malformed, column);
    return append_text(column, text, out);
}

Status decode_bool_text(const ColumnSchema& column, std::string_view text, Column& out) {
    if (text != "t" && text != "f") return unfit(Fit::malformed, column);
    out.append_bool(text == "t");
    return {};
}

Status decode_int2_text(const ColumnSchema& column, std::string_view text, Column& out) {
    return decode_number<std::int16_t>(column, text, out);
}

Status decode_int4_text(const ColumnSchema& column, std::string_view text, Column& out) {
    return decode_number<std::int32_t>(column, text, out);
}

Status decode_int8_text(const ColumnSchema& column, std::string_view text, Column& out) {
    return decode_number<std::int64_t>(column, text, out);
}

Status decode_oid_text(const ColumnSchema& column, std::string_view text, Column& out) {
    return decode_number<std::uint32_t>(column, text, out);
}

Status decode_float4_text(const ColumnSchema& column, std::string_view text, Column& out) {
    return decode_float<float>(column, text, out);
}

Status decode_float8_text(const ColumnSchema& column, std::string_view text, Column& out) {
    return decode_float<double>(column, text, out);
}

Status decode_decimal_text(const ColumnSchema& column, std::string_view text, Column& out) {
    int128 value = 0;
    const Fit fit = decimal_from_text(text, column.type.precision, column.type.scale, value);
    return append_if_fit(fit, value, column, out);
}

// bytea_output hex: "\x" and two digits a byte.
Status decode_bytea_text(const ColumnSchema& column, std::string_view text, Column& out) {
    if (!text.starts_with("\\x") || text.size() % 2 != 0) return unfit(Fit::malformed, column);
    text.remove_prefix(2);
    const std::size_t size = text.size() / 2;
    Scratch scratch;
    char* const bytes = scratch.room(size);
    for (std::size_t i = 0; i < size; ++i) {
        const unsigned byte = hex_byte(text.data() + 2 * i);
        if (byte > 255) return unfit(Fit::malformed, column);
        bytes[i] = static_cast<char>(byte);
    }
    return append_text(column, {bytes, size}, out);
}

Status decode_date_text(const ColumnSchema& column, std::string_view text, Column& out) {
    std::int32_t days = 0;
    const Fit fit = parse_date(text, days);
    return append_if_fit(fit, days, column, out);
}

Status decode_time_text(const ColumnSchema& column, std::string_view text, Column& out) {
    std::int64_t micros = 0;
    const Fit fit = parse_time(text, micros);
    return append_if_fit(fit, micros, column, out);
}

Status decode_timestamp_text(const ColumnSchema& column, std::string_view text, Column& out) {
    std::int64_t micros = 0;
    const Fit fit = parse_timestamp(text, false, micros);
    return append_if_fit(fit, micros, column, out);
}

Status decode_timestamptz_text(const ColumnSchema& column, std::string_view text, Column& out) {
    std::int64_t micros = 0;
    const Fit fit = parse_timestamp(text, true, micros);
    return append_if_fit(fit, micros, column, out);
}

// "123e4567-e89b-12d3-a456-426614174000".
Status decode_uuid_text(const ColumnSchema& column, std::string_view text, Column& out) {
    constexpr std::size_t text_size = 36;
    if (text.size() != text_size) return unfit(Fit::malformed, column);
    char bytes[16];
    std::size_t at = 0;
    for (char& out_byte : bytes) {
        if (at == 8 || at == 13 || at == 18 || at == 23) {
            if (text[at++] != '-') return unfit(Fit::malformed, column);
        }
        const unsigned byte = hex_byte(text.data() + at);
        if (byte > 255) return unfit(Fit::malformed, column);
        out_byte = static_cast<char>(byte);
        at += 2;
    }
    out.append_fixed_bytes(bytes, sizeof bytes);
    return {};
}

}  // namespace walbrook::internal
