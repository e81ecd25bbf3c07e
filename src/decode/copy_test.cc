#include "decode/copy_binary.h"
#include "decode/copy_text.h"
#include "decode/damage_testing.h"
#include "decode/decode_testing.h"
#include "decode/properties_testing.h"
#include "walbrook/batch.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace walbrook {
namespace {

constexpr CopyLimits kNoLimits{1'000'000, 1'000'000'000};
constexpr std::string_view kHeader = "5047434f50590aff0d0a00 00000000 00000000";

// int, text, numeric(12,2), int[]: (1,'a',1.50,{7}), (NULL,'',NULL,{}), (3,NULL,-2,{1,NULL}).
constexpr std::string_view kRows =
    "0004 00000004 00000001 00000001 61 0000000c 0002 0000 0000 0002 0001 1388"
    "     0000001c 00000001 00000000 00000017 00000001 00000001 00000004 00000007 "
    "0004 ffffffff 00000000 ffffffff 0000000c 00000000 00000000 00000017 "
    "0004 00000004 00000003 ffffffff 0000000a 0001 0000 4000 0002 0002"
    "     00000020 00000001 00000001 00000017 00000002 00000001 00000004 00000001 ffffffff ";
constexpr std::string_view kTrailer = "ffff";
constexpr std::string_view kText = "1\ta\t1.50\t{7}\n\\N\t\t\\N\t{}\n3\t\\N\t-2.00\t{1,NULL}\n";

TableSchemaPtr mixed_table() {
    return table_of(
        {column_of(23), column_of(25), column_of(1700, numeric_typmod(12, 2)), column_of(1007)});
}

BinaryCopyParser binary_parser(const TableSchemaPtr& schema, CopyLimits limits = kNoLimits) {
    return {schema, decoders_of(*schema, Format::binary), limits};
}

TextCopyParser text_parser(const TableSchemaPtr& schema, CopyLimits limits = kNoLimits) {
    return {schema, decoders_of(*schema, Format::text), limits};
}

std::string binary_copy() { return hex(kHeader) + hex(kRows) + hex(kTrailer); }

// Feeds pieces of `piece` bytes and keeps what was not used, as the source does.
template <class Parser>
Status feed(Parser& parser, std::string_view bytes, std::size_t piece, RowBatch& out) {
    std::string kept;
    while (!bytes.empty()) {
        kept += bytes.substr(0, piece);
        bytes.remove_prefix(std::min(piece, bytes.size()));
        // An own allocation, so that the sanitizer sees its end.
        const std::vector<char> exact(kept.begin(), kept.end());
        WALBROOK_TRY(const std::size_t used, parser.consume({exact.data(), exact.size()}, out));
        EXPECT_FALSE(parser.full());
        kept.erase(0, used);
    }
    EXPECT_EQ(kept, "");
    return {};
}

void expect_three_rows(const RowBatch& batch) {
    ASSERT_EQ(batch.rows(), 3U);
    const auto& columns = batch.columns();
    for (const Column& column : columns) ASSERT_EQ(column.size(), 3U);
    EXPECT_EQ(columns[0].fixed_at<std::int32_t>(0), 1);
    EXPECT_TRUE(columns[0].is_null(1));
    EXPECT_EQ(columns[1].bytes_at(0), "a");
    EXPECT_EQ(columns[1].bytes_at(1), "");
    EXPECT_FALSE(columns[1].is_null(1));
    EXPECT_TRUE(columns[1].is_null(2));
    EXPECT_EQ(columns[2].fixed_at<std::int64_t>(0), 150);
    EXPECT_EQ(columns[3].offset_at(1), 1);
    EXPECT_EQ(columns[3].offset_at(2), 1);
    EXPECT_EQ(columns[3].offset_at(3), 3);
    EXPECT_TRUE(columns[3].element().is_null(2));
}

TEST(BinaryCopy, ReadsPiecesOfEverySize) {
    const TableSchemaPtr schema = mixed_table();
    const std::string bytes = binary_copy();
    for (std::size_t piece = 1; piece <= bytes.size(); ++piece) {
        SCOPED_TRACE(piece);
        BinaryCopyParser parser = binary_parser(schema);
        RowBatch batch(schema);
        ASSERT_TRUE(feed(parser, bytes, piece, batch));
        EXPECT_TRUE(parser.done());
        expect_three_rows(batch);
    }
}

TEST(BinaryCopy, EqualsTextCopy) {
    const TableSchemaPtr schema = mixed_table();
    BinaryCopyParser binary = binary_parser(schema);
    TextCopyParser text = text_parser(schema);
    RowBatch from_binary(schema);
    RowBatch from_text(schema);
    ASSERT_TRUE(feed(binary, binary_copy(), 1000, from_binary));
    ASSERT_TRUE(feed(text, kText, 1000, from_text));
    for (std::size_t i = 0; i < schema->columns.size(); ++i) {
        for (std::size_t row = 0; row < 3; ++row) {
            EXPECT_TRUE(Column::equal(from_binary.columns()[i], row, from_text.columns()[i], row));
        }
    }
}

// Nothing is ever read that a later byte could still take back.
TEST(BinaryCopy, TruncationsAreNotDone) {
    const TableSchemaPtr schema = mixed_table();
    const std::string bytes = binary_copy();
    for (std::size_t n = 0; n < bytes.size(); ++n) {
        SCOPED_TRACE(n);
        BinaryCopyParser parser = binary_parser(schema);
        RowBatch batch(schema);
        const std::vector<char> exact(bytes.begin(),
                                      bytes.begin() + static_cast<std::ptrdiff_t>(n));
        const auto used = parser.consume({exact.data(), exact.size()}, batch);
        ASSERT_TRUE(used);
        EXPECT_LE(*used, n);
        EXPECT_FALSE(parser.done());
        for (const Column& column : batch.columns()) EXPECT_EQ(column.size(), batch.rows());
    }
}

TEST(BinaryCopy, DamagedRowsAreRefusedOrEncodeBackToTheSame) {
    const TableSchemaPtr schema = mixed_table();
    for_each_damage(binary_copy(), 3000, [&](const std::string& damaged) {
        expect_binary_encodes_back(schema, damaged);
    });
}

// The row loop decodes the common types itself (cell_decoder.h).
TEST(BinaryCopy, DamagedRowsOfEveryTypeAreRefusedOrEncodeBackToTheSame) {
    for (const ValueSample& sample : kValueSamples) {
        const ColumnSchema column = column_for(sample);
        if (decoder_for(column, Format::binary) == nullptr) continue;
        SCOPED_TRACE(fmt::format("{} {}", sample.type_name, sample.text));
        const TableSchemaPtr schema = table_of({column});
        const std::string field = hex(sample.binary);
        const std::string row =
            wire(std::uint16_t{1}) + wire(static_cast<std::uint32_t>(field.size())) + field;
        for_each_damage(row, 200, [&](const std::string& damaged) {
            expect_binary_encodes_back(schema, copy_header() + damaged);
        });
    }
}

TEST(BinaryCopy, ABadRowLeavesTheRowsBefore) {
    const TableSchemaPtr schema = table_of({column_of(23), column_of(16)});
    BinaryCopyParser parser = binary_parser(schema);
    RowBatch batch(schema);
    const auto used = parser.consume(hex(kHeader) + hex("0002 00000004 00000001 00000001 01"
                                                        "0002 00000004 00000002 00000001 02"),
                                     batch);
    ASSERT_FALSE(used);
    EXPECT_EQ(used.error().code(), ErrorCode::malformed);
    EXPECT_EQ(batch.columns()[0].size(), 1U);
    EXPECT_EQ(batch.columns()[1].size(), 1U);
}

TEST(BinaryCopy, RefusesWhatIsNotACopyOfThisTable) {
    const TableSchemaPtr schema = table_of({column_of(23)});
    const struct {
        std::string bytes;
        ErrorCode code;
    } cases[] = {
        {"PGCOPY\n\377\r\r", ErrorCode::malformed},
        {hex("5047434f50590aff0d0a00 00010000 00000000"), ErrorCode::malformed},  // With oids.
        {hex("5047434f50590aff0d0a00 00000000 ffffffff"), ErrorCode::malformed},
        {hex(kHeader) + hex("0002 00000004 00000001 ffffffff"), ErrorCode::schema_mismatch},
        {hex(kHeader) + hex("fffe"), ErrorCode::schema_mismatch},
        {hex(kHeader) + hex("0001 fffffffe"), ErrorCode::malformed},
        {hex(kHeader) + hex("ffff 00"), ErrorCode::malformed},
    };
    for (const auto& one : cases) {
        BinaryCopyParser parser = binary_parser(schema);
        RowBatch batch(schema);
        const auto used = parser.consume(one.bytes, batch);
        ASSERT_FALSE(used);
        EXPECT_EQ(used.error().code(), one.code);
    }
    // The extension of a header is skipped.
    BinaryCopyParser parser = binary_parser(schema);
    RowBatch batch(schema);
    ASSERT_TRUE(parser.consume(hex("5047434f50590aff0d0a00 0000ffff 00000002 abcd"
                                   "0001 00000004 00000001 ffff"),
                               batch));
    EXPECT_TRUE(parser.done());
    EXPECT_EQ(batch.rows(), 1U);
}

// Feeds everything at once and takes the batch away each time it is full.
template <class Parser>
std::vector<std::size_t> drain(Parser& parser, std::string_view bytes, RowBatch& batch) {
    std::vector<std::size_t> sizes;
    for (;;) {
        const auto used = parser.consume(bytes, batch);
        EXPECT_TRUE(used);
        if (!used) return sizes;
        bytes.remove_prefix(*used);
        if (batch.rows() != 0) sizes.push_back(batch.rows());
        batch.clear();
        if (!parser.full()) return sizes;
    }
}

TEST(Copies, StopAtTheirLimits) {
    const TableSchemaPtr schema = mixed_table();
    const std::vector<std::size_t> by_two = {2, 1};
    RowBatch batch(schema);
    BinaryCopyParser binary = binary_parser(schema, {2, 1'000'000});
    EXPECT_EQ(drain(binary, binary_copy(), batch), by_two);
    EXPECT_TRUE(binary.done());
    TextCopyParser text = text_parser(schema, {2, 1'000'000});
    EXPECT_EQ(drain(text, kText, batch), by_two);
    // A row that is larger than the budget is a batch of its own.
    const std::vector<std::size_t> by_one = {1, 1, 1};
    BinaryCopyParser small_binary = binary_parser(schema, {100, 1});
    EXPECT_EQ(drain(small_binary, binary_copy(), batch), by_one);
    TextCopyParser small_text = text_parser(schema, {100, 1});
    EXPECT_EQ(drain(small_text, kText, batch), by_one);
}

TEST(Copies, OfTablesWithoutColumnsCountRows) {
    const TableSchemaPtr schema = table_of({});
    RowBatch batch(schema);
    BinaryCopyParser binary = binary_parser(schema);
    ASSERT_TRUE(binary.consume(hex(kHeader) + hex("0000 0000 0000 ffff"), batch));
    EXPECT_TRUE(binary.done());
    EXPECT_EQ(batch.rows(), 3U);
    TextCopyParser text = text_parser(schema);
    ASSERT_TRUE(text.consume("\n\n", batch));
    EXPECT_EQ(batch.rows(), 5U);
}

TEST(TextCopy, ReadsPiecesOfEverySize) {
    const TableSchemaPtr schema = mixed_table();
    for (std::size_t piece = 1; piece <= kText.size(); ++piece) {
        SCOPED_TRACE(piece);
        TextCopyParser parser = text_parser(schema);
        RowBatch batch(schema);
        ASSERT_TRUE(feed(parser, kText, piece, batch));
        expect_three_rows(batch);
    }
}

TEST(TextCopy, DamagedRowsAreRefusedOrEncodeBackToTheSame) {
    // A numeric without a size is text, so that its scale is kept.
    const TableSchemaPtr numbers =
        table_of({column_of(23), column_of(25), column_of(1700), column_of(1007)});
    for_each_damage(std::string(kText) + "\\.\n", 3000, [&](const std::string& damaged) {
        expect_text_encodes_back(numbers, damaged);
    });
    const TableSchemaPtr escapes = table_of({column_of(25), column_of(17), column_of(1009)});
    constexpr std::string_view kEscapedText =
        "a\\tb\\\\N\\n\t\\\\xde0a\t{\"a b\",\"x\\\\\\\\y\",NULL}\n"
        "\\N\t\\N\t\\N\n"
        "\\b\\f\\r\\v\t\\\\x\t{\"\\t\"}\n";
    for_each_damage(std::string(kEscapedText), 3000, [&](const std::string& damaged) {
        expect_text_encodes_back(escapes, damaged);
    });
}

TEST(TextCopy, UndoesTheServersEscapesOnly) {
    const TableSchemaPtr schema = table_of({column_of(25)});
    const struct {
        std::string_view line;
        std::string_view value;
    } good[] = {
        {"", ""},
        {"a b", "a b"},
        {"\\\\N", "\\N"},
        {"\\b\\f\\n\\r\\t\\v\\\\", "\b\f\n\r\t\v\\"},
        {"x\\\\\\\\y", "x\\\\y"},
        {"\\\\.", "\\."},
        {".", "."},
    };
    for (const auto& one : good) {
        SCOPED_TRACE(one.line);
        TextCopyParser parser = text_parser(schema);
        RowBatch batch(schema);
        ASSERT_TRUE(parser.consume(std::string(one.line) + "\n", batch));
        ASSERT_EQ(batch.rows(), 1U);
        EXPECT_FALSE(batch.columns()[0].is_null(0));
        EXPECT_EQ(batch.columns()[0].bytes_at(0), one.value);
    }
    for (const std::string_view line : {"\\x41", "\\101", "a\\", "\\N\\N", "a\r", "\\q"}) {
        SCOPED_TRACE(line);
        TextCopyParser parser = text_parser(schema);
        RowBatch batch(schema);
        const auto used = parser.consume(std::string(line) + "\n", batch);
        ASSERT_FALSE(used);
        EXPECT_EQ(used.error().code(), ErrorCode::malformed);
        EXPECT_EQ(batch.rows(), 0U);
    }
}

TEST(TextCopy, RowsWithOtherFieldsAreRefused) {
    const TableSchemaPtr schema = table_of({column_of(23), column_of(25)});
    for (const std::string_view line : {"", "1", "1\ta\tb", "1\ta\t"}) {
        SCOPED_TRACE(line);
        TextCopyParser parser = text_parser(schema);
        RowBatch batch(schema);
        const auto used = parser.consume(std::string(line) + "\n", batch);
        ASSERT_FALSE(used);
        EXPECT_EQ(batch.columns()[0].size(), 0U);
        EXPECT_EQ(batch.columns()[1].size(), 0U);
    }
}

TEST(TextCopy, EndsAtTheEndLine) {
    const TableSchemaPtr schema = table_of({column_of(23)});
    TextCopyParser parser = text_parser(schema);
    RowBatch batch(schema);
    ASSERT_TRUE(parser.consume("1\n\\.\n", batch));
    EXPECT_TRUE(parser.done());
    EXPECT_EQ(batch.rows(), 1U);
    EXPECT_FALSE(parser.consume("2\n", batch));
}

}  // namespace
}  // namespace walbrook
