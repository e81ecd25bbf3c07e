#pragma once

#include "decode/canonical_testing.h"
#include "decode/encode_testing.h"
#include "decode/endian.h"
#include "walbrook/batch.h"
#include "walbrook/schema.h"

#include <cstdint>
#include <string>
#include <string_view>

// Rows back into what COPY … TO STDOUT sends for them.
namespace walbrook {

inline std::string copy_header() { return hex("5047434f50590aff0d0a00 00000000 00000000"); }
inline std::string copy_trailer() { return wire(std::int16_t{-1}); }

// Without header and trailer, as canonical_copy_rows() gives them.
inline std::string encode_copy_binary(const TableSchema& schema, const RowBatch& batch) {
    std::string out;
    for (std::size_t row = 0; row < batch.rows(); ++row) {
        out += wire(static_cast<std::uint16_t>(schema.columns.size()));
        for (std::size_t i = 0; i < schema.columns.size(); ++i) {
            const Column& column = batch.columns()[i];
            if (column.is_null(row)) {
                out += wire(std::int32_t{-1});
                continue;
            }
            const std::string field = encode_binary(schema.columns[i], column, row);
            out += wire(static_cast<std::uint32_t>(field.size())) + field;
        }
    }
    return out;
}

// Whole rows that the parser has accepted, each value in its canonical form.
inline std::string canonical_copy_rows(const TableSchema& schema, std::string_view bytes) {
    std::string out;
    const auto take_bytes = [&](std::size_t n) {
        const std::string_view taken = bytes.substr(0, n);
        bytes.remove_prefix(n);
        return taken;
    };
    while (!bytes.empty()) {
        out += take_bytes(sizeof(std::int16_t));
        for (const ColumnSchema& column : schema.columns) {
            const std::string_view size_bytes = take_bytes(sizeof(std::int32_t));
            const auto size = internal::load_big_endian<std::int32_t>(size_bytes.data());
            if (size < 0) {
                out += size_bytes;
                continue;
            }
            const std::string field =
                canonical_binary(column, take_bytes(static_cast<std::size_t>(size)));
            out += wire(static_cast<std::uint32_t>(field.size())) + field;
        }
    }
    return out;
}

// CopyAttributeOutText().
inline void append_escaped(std::string& out, std::string_view field) {
    constexpr std::string_view kEscaped = "\\\b\f\n\r\t\v";
    constexpr std::string_view kLetters = "\\bfnrtv";
    for (const char c : field) {
        const std::size_t at = kEscaped.find(c);
        if (at == std::string_view::npos) {
            out += c;
        } else {
            out += '\\';
            out += kLetters[at];
        }
    }
}

inline std::string encode_copy_text(const TableSchema& schema, const RowBatch& batch) {
    std::string out;
    for (std::size_t row = 0; row < batch.rows(); ++row) {
        for (std::size_t i = 0; i < schema.columns.size(); ++i) {
            if (i != 0) out += '\t';
            const Column& column = batch.columns()[i];
            if (column.is_null(row)) {
                out += "\\N";
            } else {
                append_escaped(out, to_text(schema.columns[i], column, row));
            }
        }
        out += '\n';
    }
    return out;
}

// The server escapes these three, and the parser takes them bare too: to search each
// line for them would cost more than to search it for its end.
inline std::string canonical_copy_text(std::string_view lines) {
    std::string out;
    for (const char c : lines) {
        if (c == '\b' || c == '\f' || c == '\v') {
            append_escaped(out, {&c, 1});
        } else {
            out += c;
        }
    }
    return out;
}

}  // namespace walbrook
