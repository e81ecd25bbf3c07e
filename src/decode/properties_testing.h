#pragma once

#include "decode/canonical_testing.h"
#include "decode/copy_binary.h"
#include "decode/copy_text.h"
#include "decode/damage_testing.h"
#include "decode/decode_testing.h"
#include "decode/encode_copy_testing.h"
#include "decode/encode_pgoutput_testing.h"
#include "decode/encode_testing.h"
#include "decode/numeric.h"
#include "decode/pgoutput.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

// What holds for any bytes whatever: they are refused, or what was made of them encodes back to the
// same bytes. The unit tests of this folder try damaged samples, tests/fuzz what a fuzzer finds.
namespace walbrook {

inline void expect_sane(const Column& column) {
    if (column.size() == 0 || column.is_null(0)) return;
    if (column.type().is_list) {
        ASSERT_LE(column.offset_at(0), column.offset_at(1));
        ASSERT_LE(static_cast<std::size_t>(column.offset_at(1)), column.element().size());
    } else if (column.type().kind == TypeKind::decimal) {
        internal::int128 limit = 1;
        for (int i = 0; i < column.type().precision; ++i) limit *= 10;
        const auto value = column.fixed_at<internal::int128>(0);
        ASSERT_TRUE(value > -limit && value < limit);
    } else if (column.type().kind == TypeKind::time) {
        ASSERT_LE(column.fixed_at<std::int64_t>(0), 86'400'000'000);
        ASSERT_GE(column.fixed_at<std::int64_t>(0), 0);
    }
}

// An accepted value is exactly what was sent: bytes that encode_binary() or to_text()
// gives back, up to the forms of one value that a server really has.
inline void expect_same_bytes(const ColumnSchema& schema, Format format, const std::string& bytes,
                              const Column& column) {
    const std::string found =
        format == Format::binary ? encode_binary(schema, column, 0) : to_text(schema, column, 0);
    if (found == bytes) return;
    if (format == Format::binary) {
        EXPECT_EQ(to_hex(found), to_hex(canonical_binary(schema, bytes))) << to_hex(bytes);
    } else if (has_one_text(schema.type)) {
        EXPECT_EQ(found, canonical_text(schema, bytes));
    } else {
        const Decoded again = decode(schema, format, found);
        ASSERT_TRUE(again.status) << found << " for " << bytes;
        EXPECT_TRUE(Column::equal(column, 0, again.column, 0)) << found << " for " << bytes;
    }
}

inline bool is_error_of_rows(ErrorCode code) {
    return code == ErrorCode::malformed || code == ErrorCode::schema_mismatch ||
           code == ErrorCode::unsupported_value;
}

// The bytes are exactly one value of the type, or refused as malformed or not held. A value means
// the same in the server's other format.
inline void expect_exact_or_refused(const ColumnSchema& schema, Format format,
                                    const std::string& bytes) {
    const Decoded out = decode(schema, format, bytes);
    if (!out.status.ok()) {
        EXPECT_TRUE(is_error_of_rows(out.status.error().code())) << to_hex(bytes);
        return;
    }
    expect_sane(out.column);
    expect_same_bytes(schema, format, bytes, out.column);
    if (decoder_for(schema, Format::binary) == nullptr) return;
    const bool was_text = format == Format::text;
    // Text is held as it came, whatever the server's type: nobody has read it.
    const TypeKind kind = schema.type.kind;
    if (was_text && (kind == TypeKind::text || kind == TypeKind::json)) return;
    const Decoded other = was_text
                              ? decode(schema, Format::binary, encode_binary(schema, out.column, 0))
                              : decode(schema, Format::text, to_text(schema, out.column, 0));
    ASSERT_TRUE(other.status) << to_hex(bytes) << ": " << other.status.error().message();
    EXPECT_TRUE(Column::equal(out.column, 0, other.column, 0)) << to_hex(bytes);
}

inline constexpr std::size_t kNoBytesLimit = 1'000'000'000;

// Row by row: what a call has used is what its row encodes to. Of the header only the
// signature is fixed: the manual tells readers to overlook flags and an extension that
// they do not know.
inline void expect_binary_encodes_back(const TableSchemaPtr& schema, const std::string& bytes) {
    SCOPED_TRACE(to_hex(bytes));
    BinaryCopyParser parser(schema, decoders_of(*schema, Format::binary), {1, kNoBytesLimit});
    RowBatch batch(schema);
    const std::vector<char> exact(bytes.begin(), bytes.end());
    std::string_view rest(exact.data(), exact.size());
    bool header_expected = true;
    do {
        batch.clear();
        const auto used = parser.consume(rest, batch);
        for (const Column& column : batch.columns()) ASSERT_EQ(column.size(), batch.rows());
        if (!used) {
            EXPECT_TRUE(is_error_of_rows(used.error().code()));
            EXPECT_EQ(batch.rows(), 0U);
            return;
        }
        std::string_view taken = rest.substr(0, *used);
        rest.remove_prefix(*used);
        if (header_expected && !taken.empty()) {
            taken.remove_prefix(internal::load_big_endian<std::uint32_t>(taken.data() + 15) +
                                copy_header().size());
            header_expected = false;
        }
        if (parser.done() && !taken.empty()) {
            ASSERT_TRUE(taken.ends_with(copy_trailer()));
            taken.remove_suffix(copy_trailer().size());
        }
        EXPECT_EQ(to_hex(encode_copy_binary(*schema, batch)),
                  to_hex(canonical_copy_rows(*schema, taken)));
    } while (parser.full());
}

inline void expect_text_encodes_back(const TableSchemaPtr& schema, const std::string& bytes) {
    SCOPED_TRACE(to_hex(bytes));
    TextCopyParser parser(schema, decoders_of(*schema, Format::text), {1, kNoBytesLimit});
    RowBatch batch(schema);
    const std::vector<char> exact(bytes.begin(), bytes.end());
    std::string_view rest(exact.data(), exact.size());
    do {
        batch.clear();
        const auto used = parser.consume(rest, batch);
        for (const Column& column : batch.columns()) ASSERT_EQ(column.size(), batch.rows());
        if (!used) {
            EXPECT_TRUE(is_error_of_rows(used.error().code()));
            EXPECT_EQ(batch.rows(), 0U);
            return;
        }
        std::string found = encode_copy_text(*schema, batch);
        if (parser.done() && *used != 0) found += "\\.\n";
        EXPECT_EQ(to_hex(found), to_hex(canonical_copy_text(rest.substr(0, *used))));
        rest.remove_prefix(*used);
    } while (parser.full());
}

inline FrameView frame_of(const std::string& bytes) {
    return {reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()};
}

// To encode a message walks its rows and columns, which must stay inside the frame.
inline void expect_frame_encodes_back(const std::string& bytes, bool in_stream) {
    const std::vector<std::byte> exact(frame_of(bytes).begin(), frame_of(bytes).end());
    const auto message = parse_pgoutput(exact, in_stream);
    if (message) {
        EXPECT_EQ(to_hex(encode_pgoutput(*message, in_stream)), to_hex(bytes));
    } else {
        EXPECT_EQ(message.error().code(), ErrorCode::malformed) << to_hex(bytes);
    }
}

}  // namespace walbrook
