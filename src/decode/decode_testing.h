#pragma once

#include "decode/type_table.h"
#include "decode/value.h"
#include "decode/value_samples.h"
#include "walbrook/column.h"
#include "walbrook/schema.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

// What the tests of this folder share.
namespace walbrook {

// "0a 0b0c" to bytes; spaces are skipped.
inline std::string hex(std::string_view digits) {
    std::string bytes;
    int high = -1;
    for (const char c : digits) {
        if (c == ' ' || c == '\n') continue;
        const int value = c <= '9' ? c - '0' : c - 'a' + 10;
        if (high < 0) {
            high = value;
        } else {
            bytes.push_back(static_cast<char>(high * 16 + value));
            high = -1;
        }
    }
    return bytes;
}

// A column of a built-in type, resolved.
inline ColumnSchema column_of(std::uint32_t oid, std::int32_t typmod = -1) {
    ColumnSchema column;
    column.name = "c";
    column.type_name = "some type";
    column.type_oid = oid;
    column.base_type_oid = oid;
    column.base_typmod = typmod;
    EXPECT_TRUE(resolve_type(column));
    return column;
}

inline ColumnSchema column_for(const ValueSample& sample) {
    ColumnSchema column;
    column.name = "c";
    column.type_name = sample.type_name;
    column.type_oid = sample.base_type_oid;
    column.base_type_oid = sample.base_type_oid;
    column.base_typmod = sample.typmod;
    column.element_type_oid = sample.element_type_oid;
    column.element_delimiter = sample.delimiter;
    column.base_type_class = sample.type_class;
    EXPECT_TRUE(resolve_type(column));
    return column;
}

constexpr std::int32_t numeric_typmod(int precision, int scale) {
    return (precision << 16 | (scale & 0x7FF)) + 4;
}

// A column that holds one value, or the error.
struct Decoded {
    explicit Decoded(const ColumnSchema& schema) : column(schema.type) {}
    Column column;
    Status status;
};

inline Decoded decode(const ColumnSchema& schema, Format format, std::string_view bytes) {
    Decoded out(schema);
    const DecodeValue decoder = decoder_for(schema, format);
    EXPECT_NE(decoder, nullptr);
    // A copy of the exact size, so that the sanitizer sees a step over its end.
    const std::vector<char> exact(bytes.begin(), bytes.end());
    out.status = decoder(schema, {exact.data(), exact.size()}, out.column);
    EXPECT_EQ(out.column.size(), out.status.ok() ? 1U : 0U);
    return out;
}

inline TableSchemaPtr table_of(std::vector<ColumnSchema> columns) {
    auto schema = std::make_shared<TableSchema>();
    schema->id = {16384};
    schema->schema = "public";
    schema->name = "t";
    std::int16_t attnum = 0;
    for (ColumnSchema& column : columns) {
        column.attnum = ++attnum;
        column.name = "c" + std::to_string(attnum);
    }
    schema->columns = std::move(columns);
    return schema;
}

inline std::vector<DecodeValue> decoders_of(const TableSchema& schema, Format format) {
    std::vector<DecodeValue> decoders;
    for (const ColumnSchema& column : schema.columns) {
        decoders.push_back(decoder_for(column, format));
    }
    return decoders;
}

}  // namespace walbrook
