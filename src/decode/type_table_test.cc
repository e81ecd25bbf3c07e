#include "decode/type_table.h"

#include "decode/decode_testing.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <set>

namespace walbrook {
namespace {

TEST(TypeTable, IsSortedAndNamesEveryOidOnce) {
    std::set<std::uint32_t> oids;
    std::uint32_t last = 0;
    for (const TypeRow& row : type_table()) {
        SCOPED_TRACE(row.name);
        EXPECT_GT(row.oid, last);
        last = row.oid;
        EXPECT_TRUE(oids.insert(row.oid).second);
        EXPECT_TRUE(oids.insert(row.array_oid).second);
        EXPECT_EQ(find_type(row.oid), &row);
        EXPECT_EQ(find_type(row.array_oid), nullptr);
        EXPECT_TRUE(row.kind == TypeKind::text || row.binary != nullptr);
    }
}

TEST(TypeTable, NumericIsDecimalOnlyWhereEveryValueFits) {
    const struct {
        int precision;
        int scale;
        std::string_view type;
    } cases[] = {
        {1, 0, "decimal(1,0)"},   {12, 2, "decimal(12,2)"}, {38, 38, "decimal(38,38)"},
        {38, 0, "decimal(38,0)"}, {39, 0, "text"},          {1000, 1000, "text"},
        {5, -3, "text"},          {3, 5, "text"},
    };
    for (const auto& one : cases) {
        const std::int32_t typmod = numeric_typmod(one.precision, one.scale);
        EXPECT_EQ(to_string(column_of(1700, typmod).type), one.type);
        EXPECT_EQ(to_string(column_of(1231, typmod).type), "list<" + std::string(one.type) + ">");
    }
    EXPECT_EQ(to_string(column_of(1700).type), "text");
}

TEST(TypeTable, WhatIsNotKnownIsText) {
    ColumnSchema column;
    column.base_type_oid = 70'000;
    for (const char type_class : {'b', 'c', 'e', 'r', 'm'}) {
        column.base_type_class = type_class;
        ASSERT_TRUE(resolve_type(column));
        EXPECT_EQ(to_string(column.type), "text");
        // enum_send() sends the label; of the others we know nothing.
        EXPECT_EQ(decoder_for(column, Format::binary) != nullptr, type_class == 'e');
        EXPECT_NE(decoder_for(column, Format::text), nullptr);
    }
    column.base_type_class = 'b';
    column.element_type_oid = 70'001;
    ASSERT_TRUE(resolve_type(column));
    EXPECT_EQ(to_string(column.type), "list<text>");
    EXPECT_EQ(decoder_for(column, Format::binary), nullptr);
}

// pg_type.typelem is set for them although they are no arrays.
TEST(TypeTable, NamesPointsAndVectorsAreNoLists) {
    for (const std::uint32_t oid : {19U, 22U, 30U, 600U, 603U}) {
        ColumnSchema column;
        column.base_type_oid = oid;
        column.element_type_oid = 18;
        ASSERT_TRUE(resolve_type(column));
        EXPECT_EQ(to_string(column.type), "text");
    }
}

TEST(TypeTable, AColumnWithoutATypeIsAnError) {
    ColumnSchema column;
    column.name = "lost";
    const Status status = resolve_type(column);
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code(), ErrorCode::schema_mismatch);
}

// A column that was told to be text takes any type's text, and no binary form of it.
TEST(TypeTable, AnyColumnCanBeText) {
    for (const TypeRow& row : type_table()) {
        SCOPED_TRACE(row.name);
        ColumnSchema column = column_of(row.oid, row.oid == 1700 ? numeric_typmod(5, 2) : -1);
        const bool by_itself = column.type.kind == TypeKind::text;
        EXPECT_EQ(decoder_for(column, Format::binary) != nullptr, row.binary != nullptr);
        column.type = ColumnType{};
        // One byte, because "char" has no more.
        const Decoded out = decode(column, Format::text, "x");
        ASSERT_TRUE(out.status);
        EXPECT_EQ(out.column.bytes_at(0), "x");
        if (!by_itself && row.oid != 1700) {
            EXPECT_EQ(decoder_for(column, Format::binary), nullptr);
        }
    }
}

TEST(TypeTable, TheDocumentIsUpToDate) {
    const std::string wanted = types_markdown();
    std::ifstream file(WALBROOK_SOURCE_DIR "/docs/types.md", std::ios::binary);
    const std::string found((std::istreambuf_iterator<char>(file)), {});
    if (found == wanted) return;
    const std::string path = ::testing::TempDir() + "types.md";
    std::ofstream(path, std::ios::binary) << wanted;
    FAIL() << "docs/types.md differs from the type table: copy " << path << " there";
}

}  // namespace
}  // namespace walbrook
