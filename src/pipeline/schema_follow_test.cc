#include "pipeline/schema_follow.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace walbrook {
namespace {

using ::testing::HasSubstr;

constexpr std::uint32_t kInt4 = 23;
constexpr std::uint32_t kInt8 = 20;
constexpr std::uint32_t kText = 25;

struct At {
    std::int16_t attnum;
    std::string name;
    std::uint32_t type = kInt4;
    bool is_key = false;
};

// A table with its columns by attribute number.
TableSchema table(const std::vector<At>& columns, const std::string& name = "t") {
    TableSchema schema;
    schema.id = {7};
    schema.schema = "public";
    schema.name = name;
    for (const At& at : columns) {
        ColumnSchema column;
        column.attnum = at.attnum;
        column.name = at.name;
        column.type_oid = column.base_type_oid = at.type;
        column.type.kind = at.type == kText   ? TypeKind::text
                           : at.type == kInt8 ? TypeKind::int64
                                              : TypeKind::int32;
        column.in_identity = at.is_key;
        column.key_position = at.is_key ? 1 : 0;
        schema.attnum_max = std::max(schema.attnum_max, at.attnum);
        schema.columns.push_back(std::move(column));
    }
    return schema;
}

SourceTable source(TableSchema schema, std::vector<std::int16_t> dropped = {}) {
    SourceTable now;
    for (const std::int16_t gone : dropped) schema.attnum_max = std::max(schema.attnum_max, gone);
    now.schema = std::make_shared<const TableSchema>(std::move(schema));
    now.dropped = std::move(dropped);
    return now;
}

// What the stream says of such a table: names and types in order, no numbers.
StreamRelation relation(const TableSchema& schema, std::uint32_t oid = 7) {
    StreamRelation message;
    message.oid = oid;
    message.schema = schema.schema;
    message.name = schema.name;
    message.replica_identity = schema.replica_identity;
    for (const ColumnSchema& column : schema.columns) {
        message.columns.push_back(
            {column.name, column.type_oid, column.typmod, column.in_identity});
    }
    return message;
}

std::string text_of(const Followed& next) {
    if (next.kind == Followed::Kind::same) return "same";
    if (next.kind == Followed::Kind::lost) return "lost: " + next.why;
    std::string text = next.schema->name;
    for (const ColumnSchema& column : next.schema->columns) {
        text += " " + std::to_string(column.attnum) + ":" + column.name;
    }
    return text;
}

const At kId{1, "id", kInt4, true};

TEST(SchemaFollow, WhatFitsIsTheSame) {
    const TableSchema t = table({kId, {2, "a"}});
    EXPECT_EQ(text_of(follow_relation(relation(t), t, source(t))), "same");
}

TEST(SchemaFollow, AddedDroppedAndRenamedColumnsAreToldApartByTheirNumbers) {
    const TableSchema known = table({kId, {2, "a"}, {3, "b"}});
    const TableSchema added = table({kId, {2, "a"}, {3, "b"}, {4, "c"}});
    EXPECT_EQ(text_of(follow_relation(relation(added), known, source(added))),
              "t 1:id 2:a 3:b 4:c");
    const TableSchema dropped = table({kId, {3, "b"}});
    EXPECT_EQ(text_of(follow_relation(relation(dropped), known, source(dropped, {2}))),
              "t 1:id 3:b");
    const TableSchema renamed = table({kId, {2, "x"}, {3, "b"}});
    EXPECT_EQ(text_of(follow_relation(relation(renamed), known, source(renamed))),
              "t 1:id 2:x 3:b");
    const TableSchema swapped = table({kId, {2, "b"}, {3, "a"}});
    EXPECT_EQ(text_of(follow_relation(relation(swapped), known, source(swapped))),
              "t 1:id 2:b 3:a");
    const TableSchema moved = table({kId, {2, "a"}, {3, "b"}}, "u");
    EXPECT_EQ(text_of(follow_relation(relation(moved), known, source(moved))), "u 1:id 2:a 3:b");
}

// The catalog is ahead of the stream: what it has by now tells which columns the message means.
TEST(SchemaFollow, TheCatalogMayBeAheadOfTheMessage) {
    const TableSchema known = table({kId, {2, "a"}});
    const TableSchema sent = table({kId, {2, "a"}, {3, "b"}});
    const TableSchema later = table({kId, {2, "z"}, {3, "b"}});
    EXPECT_EQ(text_of(follow_relation(relation(sent), known, source(later))), "t 1:id 2:a 3:b");
    // The rows are of the version before: nothing has happened to them yet.
    EXPECT_EQ(text_of(follow_relation(relation(known), known, source(later))), "same");
}

TEST(SchemaFollow, InDoubtNothingIsGuessed) {
    const TableSchema known = table({kId, {2, "a"}});
    // One went and one came, under its name: as many columns as before.
    const TableSchema reused = table({kId, {3, "a"}});
    EXPECT_THAT(text_of(follow_relation(relation(reused), known, source(reused, {2}))),
                HasSubstr("lost: columns came and went"));
    // One of two that came and of one that went: which?
    const TableSchema now = table({kId, {3, "b"}, {4, "c"}});
    const TableSchema sent = table({kId, {2, "x"}, {3, "y"}});
    EXPECT_THAT(text_of(follow_relation(relation(sent), known, source(now, {2}))),
                HasSubstr("lost: columns came and went"));
    // A column that is gone by now, of which nobody knows what older rows have in it.
    const TableSchema between = table({kId, {2, "a"}, {3, "gone"}});
    EXPECT_THAT(text_of(follow_relation(relation(between), known, source(known, {3}))),
                HasSubstr("lost: "));
    const TableSchema other_type = table({kId, {2, "a", kText}});
    EXPECT_THAT(text_of(follow_relation(relation(other_type), known, source(known))),
                HasSubstr("lost: column a has another type"));
    SourceTable rewritten = source(other_type);
    rewritten.other_rows = "its rows were rewritten";
    EXPECT_EQ(text_of(follow_relation(relation(other_type), known, rewritten)),
              "lost: its rows were rewritten");
    SourceTable unreadable = source(between);
    unreadable.existing_unknown = {3};
    EXPECT_THAT(text_of(follow_relation(relation(between), known, unreadable)),
                HasSubstr("lost: what column gone holds in older rows is not known"));
}

TEST(SchemaFollow, WhatTheTriggersToldSettlesTheDoubt) {
    const TableSchema known = table({kId, {2, "a"}});
    const TableSchema reused = table({kId, {3, "a"}});
    const SourceTable now = source(reused, {2});
    const std::set<std::int16_t> after{1, 3};
    EXPECT_EQ(text_of(follow_relation(relation(reused), known, now, &after)), "t 1:id 3:a");
    const std::set<std::int16_t> before{1, 2};
    EXPECT_EQ(text_of(follow_relation(relation(known), known, now, &before)), "same");
    // Columns that are not published do not count; what cannot be is not believed.
    const std::set<std::int16_t> with_another{1, 3, 9};
    EXPECT_EQ(text_of(follow_relation(relation(reused), known, now, &with_another)), "t 1:id 3:a");
    for (const std::set<std::int16_t>& wrong : {std::set<std::int16_t>{}, {3}, {2, 3}, {1, 2, 3}}) {
        EXPECT_THAT(text_of(follow_relation(relation(reused), known, now, &wrong)),
                    HasSubstr("lost: "));
    }
}

TEST(SchemaFollow, ADroppedTableGoesOnAsLongAsItFits) {
    const TableSchema known = table({kId, {2, "a"}});
    SourceTable gone;
    EXPECT_EQ(text_of(follow_relation(relation(known), known, gone)), "same");
    EXPECT_THAT(text_of(follow_relation(relation(table({kId})), known, gone)), HasSubstr("lost: "));
    EXPECT_EQ(text_of(follow_catalog(known, gone)), "same");
}

TEST(SchemaFollow, OlderRowsGetWhatTheCatalogSaysTheyHave) {
    const TableSchema known = table({kId});
    const TableSchema added = table({kId, {2, "a"}});
    SourceTable now = source(added);
    auto row = std::make_shared<RowBatch>(now.schema);
    row->columns()[0].append_null();
    row->columns()[1].append_fixed<std::int32_t>(5);
    now.existing = row;
    for (const Followed& next :
         {follow_relation(relation(added), known, now), follow_catalog(known, now)}) {
        ASSERT_EQ(text_of(next), "t 1:id 2:a");
        ASSERT_TRUE(next.existing);
        EXPECT_TRUE(next.existing->columns()[0].is_null(0));
        EXPECT_FALSE(next.existing->columns()[1].is_null(0));
    }
}

// A partition has its own replica identity, and its own numbers of columns.
TEST(SchemaFollow, APartitionSpeaksOfItsTable) {
    const TableSchema known = table({kId, {2, "a"}});
    StreamRelation leaf = relation(table({{3, "id", kInt4, true}, {5, "a"}}, "leaf"), 8);
    EXPECT_EQ(difference(leaf, known), "");
    leaf.replica_identity = ReplicaIdentity::index;  // A key is a key.
    EXPECT_EQ(difference(leaf, known), "");
    leaf.replica_identity = ReplicaIdentity::full;
    EXPECT_EQ(difference(leaf, known), "its replica identity changed");
    leaf.replica_identity = ReplicaIdentity::nothing;  // It sends inserts only.
    for (auto& column : leaf.columns) column.in_identity = false;
    EXPECT_EQ(difference(leaf, known), "");
    EXPECT_EQ(text_of(follow_relation(leaf, known, source(known))), "same");
    leaf.columns[1].name = "other";
    EXPECT_THAT(difference(leaf, known), HasSubstr("a partition lacks column a"));
}

TEST(SchemaFollow, APartitionBringsItsTablesNewColumns) {
    const TableSchema known = table({kId});
    const TableSchema added = table({kId, {2, "a"}});
    const StreamRelation leaf = relation(table({{3, "id", kInt4, true}, {4, "a"}}, "leaf"), 8);
    EXPECT_EQ(text_of(follow_relation(leaf, known, source(added))), "t 1:id 2:a");
    StreamRelation silent = leaf;
    for (auto& column : silent.columns) column.in_identity = false;
    const Followed next = follow_relation(silent, known, source(added));
    ASSERT_EQ(text_of(next), "t 1:id 2:a");
    EXPECT_TRUE(next.schema->columns[0].in_identity);
}

// The order of the columns tells which is which, also where names went from one to another.
TEST(SchemaFollow, APartitionsColumnsGoByTheirOrder) {
    const TableSchema known = table({kId, {2, "a"}, {3, "b"}});
    const TableSchema swapped = table({kId, {2, "b"}, {3, "a"}});
    StreamRelation leaf = relation(known, 8);
    EXPECT_EQ(text_of(follow_relation(leaf, known, source(swapped))), "same");
    leaf = relation(swapped, 8);
    EXPECT_EQ(text_of(follow_relation(leaf, known, source(swapped))), "t 1:id 2:b 3:a");
    // Swapped, and swapped back by now.
    EXPECT_THAT(text_of(follow_relation(leaf, known, source(known))), HasSubstr("lost: "));
}

TEST(SchemaFollow, InAnotherOrderNamesTellAslongAsNoColumnChanges) {
    TableSchema known = table({kId, {2, "a"}, {3, "b"}});
    known.content = "1;c1;p;;;";
    const StreamRelation leaf = relation(table({{1, "b"}, {2, "a"}, {3, "id", kInt4, true}}), 8);
    SourceTable now = source(known);
    now.reordered = {8};
    EXPECT_EQ(text_of(follow_relation(leaf, known, now)), "same");
    TableSchema changed = known;
    changed.content = "1;c2;p;;;";
    now = source(changed);
    now.reordered = {8};
    EXPECT_THAT(text_of(follow_relation(leaf, known, now)), HasSubstr("lost: the columns of"));
}

// Of a key (a, b) whose b is not published.
TableSchema partial(TableSchema schema, bool is_partial = true) {
    schema.partial_key = is_partial;
    return schema;
}

// The catalog may have a whole key by now: rows from before that are not told apart by it.
TEST(SchemaFollow, AKeyIsAPartUntilTheStreamIsWhereItIsWhole) {
    const TableSchema whole = table({kId, {2, "v"}});
    TableSchema known = partial(whole);
    // The server takes no update and no delete under a part of a key.
    EXPECT_EQ(text_of(follow_relation(relation(known), known, source(whole))), "t 1:id 2:v");
    known.partly_published = true;
    EXPECT_EQ(text_of(follow_relation(relation(known), known, source(whole))), "same");
    const TableSchema added = table({kId, {2, "v"}, {3, "c"}});
    const Followed next = follow_relation(relation(added), known, source(added));
    ASSERT_EQ(text_of(next), "t 1:id 2:v 3:c");
    EXPECT_TRUE(next.schema->partial_key);
    const Followed then = follow_catalog(*next.schema, source(added));
    ASSERT_EQ(text_of(then), "t 1:id 2:v 3:c");
    EXPECT_FALSE(then.schema->partial_key);
}

// Rows that took each other's place are not to be had from what is there.
TEST(SchemaFollow, RowsThatWereToldApartByAPartOfTheirKeyAreLost) {
    const TableSchema known = table({kId, {2, "v"}});
    const SourceTable now = source(partial(known));
    for (const Followed& next :
         {follow_relation(relation(known), known, now), follow_catalog(known, now)}) {
        EXPECT_EQ(text_of(next), "lost: its rows were told apart by a part of its key");
    }
    TableSchema full = known;
    full.replica_identity = ReplicaIdentity::full;
    EXPECT_THAT(text_of(follow_catalog(full, source(partial(full)))), HasSubstr("lost: "));
    // Without a key they were counted, and so they are under a part of one.
    const TableSchema counted = table({{1, "id"}, {2, "v"}});
    EXPECT_EQ(text_of(follow_catalog(counted, source(partial(known)))), "t 1:id 2:v");
}

}  // namespace
}  // namespace walbrook
