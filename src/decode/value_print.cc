#include <charconv>

#include "decode/datetime.h"
#include "decode/decoders.h"
#include "decode/endian.h"
#include "decode/network.h"
#include "decode/numeric.h"
#include "decode/scratch.h"

// Values in binary form whose kind is text: each is printed as the type's output
// function prints it, so that it does not matter in which form a value came.
namespace walbrook::internal {
namespace {

std::string_view between(const char* from, const char* to) {
    return {from, static_cast<std::size_t>(to - from)};
}

template <class T>
Status decode_unsigned(const ColumnSchema& column, std::string_view bytes, Column& out) {
    if (bytes.size() != sizeof(T)) return unfit(Fit::malformed, column);
    char text[24];
    const auto printed = std::to_chars(text, text + sizeof text, load_big_endian<T>(bytes.data()));
    return append_text(column, between(text, printed.ptr), out);
}

Status decode_address(bool is_cidr, const ColumnSchema& column, std::string_view bytes,
                      Column& out) {
    char text[kInetTextMax];
    const char* end = print_inet(bytes, is_cidr, text);
    if (end == nullptr) return unfit(Fit::malformed, column);
    return append_text(column, between(text, end), out);
}

Status decode_mac(std::size_t width, const ColumnSchema& column, std::string_view bytes,
                  Column& out) {
    if (bytes.size() != width) return unfit(Fit::malformed, column);
    char text[24];
    return append_text(column, between(text, print_macaddr(bytes, text)), out);
}

}  // namespace

// charout(): nothing for a zero byte, "\ooo" above 127.
Status decode_char_binary(const ColumnSchema& column, std::string_view bytes, Column& out) {
    if (bytes.size() != 1) return unfit(Fit::malformed, column);
    const auto byte = static_cast<unsigned char>(bytes[0]);
    if (byte == 0) return append_text(column, {}, out);
    if (byte < 128) return append_text(column, bytes, out);
    const char text[] = {'\\', static_cast<char>('0' + (byte >> 6)),
                         static_cast<char>('0' + (byte >> 3 & 7)),
                         static_cast<char>('0' + (byte & 7))};
    return append_text(column, {text, sizeof text}, out);
}

Status decode_numeric_as_text(const ColumnSchema& column, std::string_view bytes, Column& out) {
    NumericView value;
    if (!read_numeric(bytes, value)) return unfit(Fit::malformed, column);
    Scratch scratch;
    char* const text = scratch.room(numeric_text_size_max(value));
    return append_text(column, between(text, print_numeric(value, text)), out);
}

// Eight bytes of time and four of zone (timetz_send).
Status decode_timetz_binary(const ColumnSchema& column, std::string_view bytes, Column& out) {
    constexpr std::int32_t kZoneLimit = 16 * 3600;  // TZDISP_LIMIT
    if (bytes.size() != 12) return unfit(Fit::malformed, column);
    std::int64_t micros;
    const Fit fit = time_from_postgres(load_big_endian<std::int64_t>(bytes.data()), micros);
    const auto zone = load_big_endian<std::int32_t>(bytes.data() + 8);
    if (fit != Fit::ok || zone <= -kZoneLimit || zone >= kZoneLimit) {
        return unfit(Fit::malformed, column);
    }
    char text[kTimetzTextMax];
    return append_text(column, between(text, print_timetz(micros, zone, text)), out);
}

// Microseconds, days and months (interval_send).
Status decode_interval_binary(const ColumnSchema& column, std::string_view bytes, Column& out) {
    if (bytes.size() != 16) return unfit(Fit::malformed, column);
    char text[kIntervalTextMax];
    const char* end = print_interval(load_big_endian<std::int64_t>(bytes.data()),
                                     load_big_endian<std::int32_t>(bytes.data() + 8),
                                     load_big_endian<std::int32_t>(bytes.data() + 12), text);
    return append_text(column, between(text, end), out);
}

// The number of bits, then the bits from the left, the last byte filled with zeros
// (varbit_send; bit_send is the same).
Status decode_bit_binary(const ColumnSchema& column, std::string_view bytes, Column& out) {
    if (bytes.size() < 4) return unfit(Fit::malformed, column);
    const auto bits = load_big_endian<std::uint32_t>(bytes.data());
    bytes.remove_prefix(4);
    if ((std::uint64_t{bits} + 7) / 8 != bytes.size()) return unfit(Fit::malformed, column);
    const auto bit_at = [&](std::size_t i) {
        return static_cast<unsigned char>(bytes[i >> 3]) >> (7 - (i & 7)) & 1;
    };
    for (std::size_t i = bits; i < bytes.size() * 8; ++i) {
        if (bit_at(i) != 0) return unfit(Fit::malformed, column);
    }
    Scratch scratch;
    char* const text = scratch.room(bits);
    for (std::size_t i = 0; i < bits; ++i) text[i] = static_cast<char>('0' + bit_at(i));
    return append_text(column, {text, bits}, out);
}

Status decode_inet_binary(const ColumnSchema& column, std::string_view bytes, Column& out) {
    return decode_address(false, column, bytes, out);
}

Status decode_cidr_binary(const ColumnSchema& column, std::string_view bytes, Column& out) {
    return decode_address(true, column, bytes, out);
}

Status decode_macaddr_binary(const ColumnSchema& column, std::string_view bytes, Column& out) {
    return decode_mac(6, column, bytes, out);
}

Status decode_macaddr8_binary(const ColumnSchema& column, std::string_view bytes, Column& out) {
    return decode_mac(8, column, bytes, out);
}

// "16/B374D848", without leading zeros up to Postgres 18 (LSN_FORMAT_ARGS).
Status decode_pg_lsn_binary(const ColumnSchema& column, std::string_view bytes, Column& out) {
    if (bytes.size() != 8) return unfit(Fit::malformed, column);
    char text[24];
    char* end = text;
    for (const std::size_t half : {std::size_t{0}, std::size_t{4}}) {
        if (half != 0) *end++ = '/';
        char* const start = end;
        const auto value = load_big_endian<std::uint32_t>(bytes.data() + half);
        end = std::to_chars(end, end + 8, value, 16).ptr;
        for (char* c = start; c != end; ++c) {
            if (*c >= 'a') *c = static_cast<char>(*c - 'a' + 'A');
        }
    }
    return append_text(column, between(text, end), out);
}

Status decode_xid_binary(const ColumnSchema& column, std::string_view bytes, Column& out) {
    return decode_unsigned<std::uint32_t>(column, bytes, out);
}

Status decode_xid8_binary(const ColumnSchema& column, std::string_view bytes, Column& out) {
    return decode_unsigned<std::uint64_t>(column, bytes, out);
}

// "(block,offset)" (tidsend, tidout).
Status decode_tid_binary(const ColumnSchema& column, std::string_view bytes, Column& out) {
    if (bytes.size() != 6) return unfit(Fit::malformed, column);
    char text[32];
    char* end = text;
    *end++ = '(';
    end = std::to_chars(end, end + 10, load_big_endian<std::uint32_t>(bytes.data())).ptr;
    *end++ = ',';
    end = std::to_chars(end, end + 5, load_big_endian<std::uint16_t>(bytes.data() + 4)).ptr;
    *end++ = ')';
    return append_text(column, between(text, end), out);
}

}  // namespace walbrook::internal
