#include "walbrook/batch.h"

#include "walbrook/schema.h"

#include <gtest/gtest.h>

namespace walbrook {
namespace {

TableSchemaPtr schema_of(std::vector<ColumnType> types) {
    auto schema = std::make_shared<TableSchema>();
    schema->id = {16384};
    schema->schema = "public";
    schema->name = "t";
    for (std::size_t i = 0; i < types.size(); ++i) {
        ColumnSchema column;
        column.name = "c" + std::to_string(i);
        column.attnum = static_cast<std::int16_t>(i + 1);
        column.type = types[i];
        schema->columns.push_back(column);
    }
    return schema;
}

TEST(RowBatch, TruncateTakesBackWhatAFailedRowLeft) {
    RowBatch batch(schema_of(
        {{TypeKind::int32}, {TypeKind::text}, {TypeKind::boolean}, {TypeKind::int64, true}}));
    auto& columns = batch.columns();
    for (int i = 0; i < 11; ++i) {
        if (i % 3 == 0) {
            batch.append_null_row();
            continue;
        }
        columns[0].append_fixed(std::int32_t{i});
        columns[1].append_bytes(std::string(static_cast<std::size_t>(i), 'x'));
        columns[2].append_bool(i % 2 == 0);
        columns[3].element().append_fixed(std::int64_t{i});
        columns[3].element().append_null();
        columns[3].append_list_end();
    }
    columns[0].append_fixed(std::int32_t{99});
    columns[3].element().append_fixed(std::int64_t{99});
    batch.truncate(11);
    EXPECT_EQ(columns[3].element().size(), 14U);
    for (std::size_t n = 11; n-- > 0;) {
        batch.truncate(n);
        EXPECT_EQ(batch.rows(), n);
        std::size_t nulls = 0;
        for (std::size_t i = 0; i < n; ++i) {
            nulls += i % 3 == 0 ? 1 : 0;
            EXPECT_EQ(columns[0].is_null(i), i % 3 == 0);
            if (i % 3 == 0) continue;
            EXPECT_EQ(columns[0].fixed_at<std::int32_t>(i), static_cast<std::int32_t>(i));
            EXPECT_EQ(columns[1].bytes_at(i).size(), i);
            EXPECT_EQ(columns[2].bool_at(i), i % 2 == 0);
        }
        EXPECT_EQ(columns[0].null_count(), nulls);
    }
    batch.append_null_row();
    EXPECT_TRUE(columns[2].is_null(0));
}

TEST(RowBatch, CopiedRowsAreEqualAndHashEqual) {
    const TableSchemaPtr schema =
        schema_of({{TypeKind::decimal, false, 12, 2}, {TypeKind::json}, {TypeKind::text, true}});
    RowBatch a(schema);
    const std::int64_t number[2] = {-125, -1};
    a.columns()[0].append_fixed_bytes(number, 16);
    a.columns()[1].append_bytes("{}");
    a.columns()[2].element().append_bytes("x");
    a.columns()[2].append_list_end();
    a.append_null_row();
    RowBatch b(schema);
    b.append_row_from(a, 1);
    b.append_row_from(a, 0);
    for (std::size_t i = 0; i < 3; ++i) {
        EXPECT_TRUE(Column::equal(a.columns()[i], 0, b.columns()[i], 1));
        EXPECT_FALSE(Column::equal(a.columns()[i], 0, b.columns()[i], 0));
        EXPECT_EQ(a.columns()[i].hash(0), b.columns()[i].hash(1));
    }
}

TEST(Arrow, ExportsLayoutAndReleasesEverything) {
    const TableSchemaPtr table =
        schema_of({{TypeKind::decimal, false, 12, 2}, {TypeKind::uuid}, {TypeKind::int32, true}});
    ArrowSchema schema;
    export_arrow_schema(*table, &schema);
    EXPECT_STREQ(schema.format, "+s");
    ASSERT_EQ(schema.n_children, 3);
    EXPECT_STREQ(schema.children[0]->format, "d:12,2");
    EXPECT_STREQ(schema.children[1]->format, "w:16");
    EXPECT_NE(schema.children[1]->metadata, nullptr);
    EXPECT_STREQ(schema.children[2]->format, "+l");
    EXPECT_STREQ(schema.children[2]->children[0]->format, "i");

    RowBatch batch(table);
    batch.append_null_row();
    ArrowArray array;
    batch.export_arrow(&array);
    EXPECT_EQ(array.length, 1);
    EXPECT_EQ(array.children[0]->null_count, 1);
    EXPECT_EQ(array.children[2]->n_children, 1);
    array.release(&array);
    EXPECT_EQ(array.release, nullptr);
    schema.release(&schema);
}

TEST(Schema, JsonIsItsOwnInverse) {
    TableSchema given = *schema_of({{TypeKind::decimal, true, 12, 2}});
    given.membership = "rel:1:2";
    given.content = "1;a;p;";
    given.attempt = 3;
    given.attnum_max = 7;
    given.partly_published = given.partial_key = true;
    const auto schema = std::make_shared<const TableSchema>(given);
    const auto back = table_schema_from_json(to_json(*schema));
    ASSERT_TRUE(back) << back.error().message();
    EXPECT_EQ(*back, *schema);
    // Of what makes no other version.
    EXPECT_EQ(back->membership, given.membership);
    EXPECT_EQ(back->content, given.content);
    EXPECT_EQ(back->attempt, given.attempt);
    EXPECT_EQ(back->attnum_max, given.attnum_max);
    EXPECT_TRUE(back->partly_published);
    EXPECT_FALSE(table_schema_from_json("{}"));
    EXPECT_FALSE(table_schema_from_json("["));
}

}  // namespace
}  // namespace walbrook
