// Tables change their columns, types, keys and names while they are followed.

#include "world.h"

#include <string>

namespace walbrook::testing {
namespace {

constexpr std::uint32_t kOid = 16384;

void expect_version(const Recovered& recovered, const TableSchemaPtr& schema) {
    const RecoveredTable* found = find_table(recovered, schema);
    ASSERT_NE(found, nullptr);
    ASSERT_NE(found->schema, nullptr);
    EXPECT_EQ(*found->schema, *schema);
}

// A version that differs in what `edit` does.
template <class Edit>
TableSchemaPtr with(const TableSchemaPtr& schema, Edit edit) {
    auto changed = std::make_shared<TableSchema>(*schema);
    edit(*changed);
    return changed;
}

void added_columns_with_values(World& world) {
    TableMaker maker = TableMaker(kOid, "t").key("id").column("note");
    const TableSchemaPtr first = maker.make();
    const TableSchemaPtr second = maker.column("word")
                                      .column("nothing")
                                      .column("number", {TypeKind::int32})
                                      .column("flag", {TypeKind::boolean})
                                      .make();
    // Copied and inserted rows may lie in different places.
    world.load(first, {{"1", "a"}, {"2", "b"}});
    ChangeRecorder before(first);
    world.apply(before.insert({"3", "c"}));
    // No row has come since: the change stands between transactions.
    const Recovered recovered =
        world.apply_and_die(schema_change(first, second, {{}, {}, "it's", {}, "-7", "t"}));
    expect_version(recovered, second);
    const std::vector<TextRow> changed = {{"1", "a", "it's", {}, "-7", "t"},
                                          {"2", "b", "it's", {}, "-7", "t"},
                                          {"3", "c", "it's", {}, "-7", "t"}};
    world.expect_rows(second, changed);
    // New rows say for themselves what they hold; old ones keep what is not sent.
    ChangeRecorder after(second);
    world.apply(after.insert({"4", "d", {}, {}, {}, {}})
                    .update({"1", "a", {}, {}, {}, {}}, {"1", "A", {}, "n", {}, "f"}, {2, 4})
                    .remove({"2", {}, {}, {}, {}, {}})
                    .update({"3", "c", {}, {}, {}, {}}, {"30", {}, {}, {}, "9", {}}, {1, 2}));
    world.expect_rows(second, {{"1", "A", "it's", "n", "-7", "f"},
                               {"30", "c", "it's", {}, "9", {}},
                               {"4", "d", {}, {}, {}, {}}});
}

void added_columns_with_values_without_a_key(World& world) {
    TableMaker maker = TableMaker(kOid, "t").column("a").identity(ReplicaIdentity::full);
    const TableSchemaPtr first = maker.make();
    const TableSchemaPtr second = maker.column("b", {TypeKind::float64}).make();
    world.load(first, {{"x"}, {"x"}, {"y"}});
    ChangeRecorder before(first);
    ChangeRecorder after(second);
    world.apply(before.insert({"z"}).take(), schema_change(first, second, {{}, "-0"}),
                after.remove({"x", "-0"}).update({"z", "-0"}, {"z", "0"}).take());
    world.expect_rows(second, {{"x", "-0"}, {"y", "-0"}, {"z", "0"}});
}

void added_and_dropped_columns(World& world) {
    TableMaker maker = TableMaker(kOid, "t").key("id").column("note").column("old");
    const TableSchemaPtr first = maker.make();
    const TableSchemaPtr second = maker.column("more", {TypeKind::int32}).make();
    const TableSchemaPtr third = maker.drop("old").column("old", {TypeKind::int64}).make();
    world.load(first, {{"1", "a", "x"}, {"2", "b", "y"}});
    ChangeRecorder before(first);
    ChangeRecorder after(second);
    // Old and new rows in one flush, with the change between them.
    world.apply(before.insert({"3", "c", "z"}).take(), schema_change(first, second),
                after.insert({"4", "d", "w", "7"})
                    .update({"1", "a", "x", {}}, {"1", "a", "x", "8"})
                    .take());
    world.expect_rows(
        second,
        {{"1", "a", "x", "8"}, {"2", "b", "y", {}}, {"3", "c", "z", {}}, {"4", "d", "w", "7"}});
    // A column that goes and another that comes under its name are two columns.
    ChangeRecorder last(third);
    world.apply(schema_change(second, third, {{}, {}, {}, "5"}),
                last.update({"2", "b", {}, {}}, {"2", "b", {}, "9"}).take());
    const std::vector<TextRow> expected = {
        {"1", "a", "8", "5"}, {"2", "b", {}, "9"}, {"3", "c", {}, "5"}, {"4", "d", "7", "5"}};
    world.expect_rows(third, expected);
    expect_version(world.reopen(), third);
    world.expect_rows(third, expected);
}

void renamed_columns(World& world) {
    TableMaker maker = TableMaker(kOid, "t").key("id").column("a").column("b");
    const TableSchemaPtr first = maker.make();
    // The two names change places, and the key gets another one.
    const TableSchemaPtr second =
        maker.rename("a", "tmp").rename("b", "a").rename("tmp", "b").rename("id", "key id").make();
    // A name is used anew, and one changes its case alone.
    const TableSchemaPtr third = maker.rename("a", "c").column("a").rename("b", "B").make();
    world.load(first, {{"1", "A", "B"}});
    ChangeRecorder before(first);
    ChangeRecorder changes(second);
    world.apply_and_die(
        before.insert({"0", "x", "y"}).take(), schema_change(first, second),
        changes.insert({"2", "AA", "BB"}).update({"1", "A", "B"}, {"1", "A2", "B"}, {2}).take());
    const std::vector<TextRow> renamed = {{"0", "x", "y"}, {"1", "A2", "B"}, {"2", "AA", "BB"}};
    world.expect_rows(second, renamed);
    ChangeRecorder after(third);
    world.apply(schema_change(second, third, {{}, {}, {}, "new"}),
                after.update({"2", {}, {}, {}}, {"2", "BB", "C", {}}, {1}).take());
    world.expect_rows(third,
                      {{"0", "x", "y", "new"}, {"1", "A2", "B", "new"}, {"2", "AA", "C", {}}});
}

void wider_types(World& world) {
    const struct {
        ColumnType from;
        ColumnType to;
        std::string old_value;
        std::string new_value;
        std::string old_value_after;
    } kTypes[] = {
        {{TypeKind::int16}, {TypeKind::int64}, "-7", "5000000000", "-7"},
        {{TypeKind::int32}, {TypeKind::int64}, "9", "10", "9"},
        {{TypeKind::uint32}, {TypeKind::int64}, "4000000000", "-1", "4000000000"},
        {{TypeKind::float32}, {TypeKind::float64}, "0.1", "1e+300", "0.10000000149011612"},
    };
    std::uint32_t oid = kOid;
    for (const auto& type : kTypes) {
        SCOPED_TRACE(to_string(type.from) + " to " + to_string(type.to));
        ++oid;
        TableMaker maker = TableMaker(oid, "t" + std::to_string(oid)).key("id").column("x");
        const TableSchemaPtr first = maker.retype("x", type.from).make();
        const TableSchemaPtr second = maker.retype("x", type.to).make();
        world.load(first, {{"1", type.old_value}});
        ChangeRecorder before(first);
        ChangeRecorder after(second);
        TestFlush flush(world.next_position());
        flush.add(before.insert({"2", type.old_value}).take())
            .add(schema_change(first, second))
            .add(after.insert({"3", type.new_value}).take());
        if (world.expect_applied_or_refused(flush, oid)) {
            world.expect_rows(
                second,
                {{"1", type.old_value_after}, {"2", type.old_value_after}, {"3", type.new_value}});
        } else {
            world.expect_rows(first, {{"1", type.old_value}});
        }
    }
}

// What old rows hold in an added column is kept in another way than what came with rows.
void a_wider_type_of_an_added_column(World& world) {
    for (const bool is_at_once : {true, false}) {
        SCOPED_TRACE(is_at_once);
        const std::uint32_t oid = kOid + (is_at_once ? 1 : 0);
        TableMaker maker = TableMaker(oid, "t" + std::to_string(oid)).key("id").column("a");
        const TableSchemaPtr v1 = maker.make();
        const TableSchemaPtr v2 = maker.column("n", {TypeKind::int32}).make();
        const TableSchemaPtr v3 = maker.retype("n", {TypeKind::int64}).rename("n", "m").make();
        world.load(v1, {{"1", "x"}, {"2", "y"}});
        const SchemaChange added = schema_change(v1, v2, {{}, {}, "7"});
        if (!is_at_once) world.apply(added);
        TestFlush flush(world.next_position());
        if (is_at_once) flush.add(added);
        // The value that is not sent is read while the transaction runs.
        ChangeRecorder after(v3);
        flush.add(schema_change(v2, v3))
            .add(after.update({"1", "x", {}}, {"1", "X", {}}, {2}).take());
        if (world.expect_applied_or_refused(flush, oid)) {
            world.expect_rows(v3, {{"1", "X", "7"}, {"2", "y", "7"}});
        } else if (is_at_once) {
            world.expect_rows(v1, {{"1", "x"}, {"2", "y"}});
        } else {
            world.expect_rows(v2, {{"1", "x", "7"}, {"2", "y", "7"}});
        }
    }
}

// What readers do not see need not be done, but must not be taken for more than it is.
void nullability_comments_and_keys(World& world) {
    const TableSchemaPtr first = TableMaker(kOid, "t").key("id").key("part").column("note").make();
    world.load(first, {{"1", "1", "a"}, {"2", "1", "b"}});
    const TableSchemaPtr loosened = with(first, [](TableSchema& t) {
        t.comment = "of a table's";
        t.columns[1].comment = "of a column's";
        t.columns[1].key_position = 0;
        t.columns[1].in_identity = false;
        t.columns[1].nullable = true;
    });
    ChangeRecorder changes(loosened);
    world.apply(schema_change(first, loosened),
                changes.update({"1", "1", "a"}, {"1", {}, "A"}).insert({"3", {}, {}}).take());
    world.expect_rows(loosened, {{"1", {}, "A"}, {"2", "1", "b"}, {"3", {}, {}}});
    const TableSchemaPtr tightened = with(loosened, [](TableSchema& t) {
        t.comment = "";
        t.columns[1].comment = "";
        t.columns[2].nullable = false;
        t.columns.push_back(t.columns[1]);
        t.columns.back().name = "added";
        t.columns.back().attnum = 4;
        t.columns.back().nullable = false;
    });
    ChangeRecorder tight(tightened);
    world.apply(changes.remove({"3", {}, {}}).take(),
                schema_change(loosened, tightened, {{}, {}, {}, "0"}),
                tight.insert({"4", "1", "d", "4"}).take());
    // And loose again: the added column, and the one that became tight.
    const TableSchemaPtr loose = with(tightened, [](TableSchema& t) {
        t.columns[2].nullable = true;
        t.columns[3].nullable = true;
    });
    ChangeRecorder last(loose);
    world.apply(schema_change(tightened, loose), last.insert({"5", {}, {}, {}}).take());
    world.expect_rows(
        loose,
        {{"1", {}, "A", "0"}, {"2", "1", "b", "0"}, {"4", "1", "d", "4"}, {"5", {}, {}, {}}});
    expect_version(world.reopen(), loose);
}

// Postgres adds a NOT NULL column without a value to a table with rows only when it writes all
// of them anew.
void a_column_that_is_never_null(World& world) {
    const TableSchemaPtr first = simple(kOid, "t");
    const TableSchemaPtr second = with(first, [](TableSchema& t) {
        t.columns.push_back(t.columns[1]);
        t.columns.back().name = "added";
        t.columns.back().attnum = 3;
        t.columns.back().nullable = false;
    });
    world.load(first, {{"1", "a"}});
    TestFlush flush(world.next_position());
    flush.add(schema_change(first, second));
    world.expect_refused(flush, ErrorCode::schema_mismatch, kOid);
    world.expect_rows(first, {{"1", "a"}});
    // Where there are no rows, none is wrong.
    ChangeRecorder before(first);
    ChangeRecorder after(second);
    world.apply(before.remove({"1", "a"}).take(), schema_change(first, second),
                after.insert({"2", "b", "c"}).take());
    world.expect_rows(second, {{"2", "b", "c"}});
}

void many_changes_in_one_flush(World& world) {
    TableMaker maker = TableMaker(kOid, "t").key("id").column("a").column("long");
    const TableSchemaPtr v1 = maker.make();
    const TableSchemaPtr v2 = maker.column("b").make();
    const TableSchemaPtr v3 = maker.rename("a", "c").drop("b").column("a").make();
    const TableSchemaPtr v4 = maker.named("u").rename("c", "d").column("e").make();
    const TableSchemaPtr other = simple(16385, "other");
    world.load(v1, {{"1", "a1", "l1"}, {"2", "a2", "l2"}, {"9", "a9", "l9"}});
    world.load(other, {{"1", "x"}});
    ChangeRecorder c1(v1);
    ChangeRecorder c2(v2);
    ChangeRecorder c3(v3);
    ChangeRecorder c4(v4);
    ChangeRecorder others(other);
    world.apply(c1.insert({"3", "a3", "l3"}).remove({"9", {}, {}}).take(),
                schema_change(v1, v2, {{}, {}, {}, "b"}),
                c2.update({"1", {}, {}, {}}, {"1", "A1", {}, "B1"}, {2})
                    .insert({"4", "a4", "l4", {}})
                    .take(),
                others.insert({"2", "y"}).take(), schema_change(v2, v3, {{}, {}, {}, "new"}),
                c3.update({"3", {}, {}, {}}, {"33", {}, {}, "A3"}, {1, 2})
                    .update({"4", {}, {}, {}}, {"4", "c4", {}, {}}, {2, 3})
                    .remove({"2", {}, {}, {}})
                    .take(),
                schema_change(v3, v4, {{}, {}, {}, {}, "e"}),
                c4.insert({"5", "d5", "l5", "a5", "e5"})
                    .update({"1", {}, {}, {}, {}}, {"1", {}, "L1", {}, {}}, {1, 3, 4})
                    .take());
    const std::vector<TextRow> expected = {{"1", "A1", "L1", "new", "e"},
                                           {"33", "a3", "l3", "A3", "e"},
                                           {"4", "c4", "l4", "new", "e"},
                                           {"5", "d5", "l5", "a5", "e5"}};
    // A name may lag behind by one flush.
    expect_version(world.apply_and_die(), v4);
    world.expect_rows(v4, expected);
    world.expect_no_table(v1);
    world.expect_rows(other, {{"1", "x"}, {"2", "y"}});
}

void changes_around_a_truncate(World& world) {
    TableMaker maker = TableMaker(kOid, "t").key("id").column("a");
    const TableSchemaPtr v1 = maker.make();
    const TableSchemaPtr v2 = maker.column("b").make();
    const TableSchemaPtr v3 = maker.drop("a").column("c").make();
    world.load(v1, {{"1", "a"}});
    ChangeRecorder c1(v1);
    ChangeRecorder c2(v2);
    ChangeRecorder c3(v3);
    Truncate emptied;
    emptied.tables = {v2};
    world.apply(c1.insert({"2", "b"}).take(), schema_change(v1, v2, {{}, {}, "x"}),
                c2.insert({"3", "c", "y"}).take(), emptied,
                schema_change(v2, v3, {{}, {}, "never"}), c3.insert({"4", "b4", "c4"}).take());
    world.expect_rows(v3, {{"4", "b4", "c4"}});
    emptied.tables = {v3};
    ChangeRecorder after(v3);
    world.apply(emptied, after.insert({"5", "b5", {}}).take());
    world.expect_rows(v3, {{"5", "b5", {}}});
}

// The rows that an empty table gets first may be kept in another way than later ones.
void a_column_after_the_first_rows(World& world) {
    for (const bool is_truncated : {false, true}) {
        SCOPED_TRACE(is_truncated);
        const std::uint32_t oid = kOid + (is_truncated ? 1 : 0);
        TableMaker maker = TableMaker(oid, "t" + std::to_string(oid)).key("id").column("a");
        const TableSchemaPtr v1 = maker.make();
        const TableSchemaPtr v2 = maker.column("b", {TypeKind::int32}).make();
        std::vector<TextRow> before;
        if (is_truncated) before.push_back({"0", "old"});
        world.load(v1, before);
        TestFlush flush(world.next_position());
        Truncate emptied;
        emptied.tables = {v1};
        if (is_truncated) flush.add(emptied);
        ChangeRecorder c1(v1);
        ChangeRecorder c2(v2);
        flush.add(c1.insert({"1", "a"}).insert({"2", "b"}).take())
            .add(schema_change(v1, v2, {{}, {}, "5"}))
            .add(c2.insert({"3", "c", "10"}).take());
        if (!world.expect_applied_or_refused(flush, oid)) {
            world.expect_rows(v1, before);
            world.load(v2, {{"1", "a", "5"}, {"2", "b", "5"}, {"3", "c", "10"}}, 2);
        }
        world.expect_rows(v2, {{"1", "a", "5"}, {"2", "b", "5"}, {"3", "c", "10"}});
        ChangeRecorder last(v2);
        world.apply(last.update({"1", {}, {}}, {"1", "A", {}}, {2}).take());
        world.expect_rows(v2, {{"1", "A", "5"}, {"2", "b", "5"}, {"3", "c", "10"}});
    }
}

void a_change_that_comes_twice(World& world) {
    TableMaker maker = TableMaker(kOid, "t").key("id").column("a");
    const TableSchemaPtr first = maker.make();
    const TableSchemaPtr second = maker.column("b").make();
    world.load(first, {{"1", "x"}, {"2", "y"}});
    ChangeRecorder changes(second);
    const SchemaChange change = schema_change(first, second, {{}, {}, "old"});
    world.apply(change, changes.update({"1", {}, {}}, {"1", "x", {}}).take());
    world.expect_rows(second, {{"1", "x", {}}, {"2", "y", "old"}});
    // The table has that version: what rows hold now stays.
    world.apply(change, changes.insert({"3", "z", "c"}).take(), change);
    world.reopen();
    world.apply(change);
    world.expect_rows(second, {{"1", "x", {}}, {"2", "y", "old"}, {"3", "z", "c"}});
    expect_version(world.reopen(), second);
}

void a_refused_change_leaves_the_table(World& world) {
    TableMaker maker = TableMaker(kOid, "t").key("id").column("a").column("b");
    const TableSchemaPtr first = maker.make();
    const TableSchemaPtr second = maker.rename("a", "c").column("d").make();
    const TableSchemaPtr narrow = maker.retype("b", {TypeKind::int32}).make();
    const TableSchemaPtr other = simple(16385, "other");
    world.load(first, {{"1", "x", "2"}});
    world.load(other, {{"1", "x"}});
    ChangeRecorder before(first);
    ChangeRecorder between(second);
    ChangeRecorder after(narrow);
    ChangeRecorder others(other);
    TestFlush flush(world.next_position());
    flush.add(others.insert({"2", "y"}).take())
        .add(before.insert({"2", "y", "3"}).take())
        .add(schema_change(first, second, {{}, {}, {}, "d"}))
        .add(between.insert({"3", "z", "4", {}}).take())
        .add(schema_change(second, narrow))
        .add(after.insert({"4", "w", "5", {}}).take());
    world.expect_refused(flush, ErrorCode::schema_mismatch, kOid);
    world.expect_rows(first, {{"1", "x", "2"}});
    world.expect_rows(other, {{"1", "x"}});
    // The others go on without it, and it goes on with a new copy.
    world.apply(Freeze{first, TablePhase::errored, world.last_position(), "refused"},
                others.insert({"2", "y"}).take());
    world.expect_rows(first, {{"1", "x", "2"}});
    world.expect_rows(other, {{"1", "x"}, {"2", "y"}});
    world.load(narrow, {{"4", "w", "5", {}}}, 2);
    world.expect_rows(narrow, {{"4", "w", "5", {}}});
    expect_version(world.reopen(), narrow);
}

// Rows of a version with columns of which nothing was said: what old rows hold in them is
// not known, and must not be taken for null.
void columns_that_nobody_announced(World& world) {
    TableMaker maker = TableMaker(kOid, "t").key("id").column("a");
    const TableSchemaPtr first = maker.make();
    const TableSchemaPtr second = maker.column("b").make();
    const TableSchemaPtr third = maker.column("c").make();
    world.load(first, {{"1", "x"}});
    ChangeRecorder changes(second);
    TestFlush rows(world.next_position());
    rows.add(changes.insert({"2", "y", "z"}).take());
    world.expect_refused(rows, ErrorCode::schema_mismatch, kOid);
    TestFlush gap(world.next_position());
    gap.add(schema_change(second, third, {{}, {}, {}, "c"}));
    world.expect_refused(gap, ErrorCode::schema_mismatch, kOid);
    world.expect_rows(first, {{"1", "x"}});
}

// The schema may change between the snapshot of a copy and its publication.
void schema_change_of_a_shadow(World& world) {
    TableMaker maker = TableMaker(kOid, "t").key("id").column("note");
    const TableSchemaPtr first = maker.make();
    const TableSchemaPtr second = maker.column("more").make();
    const TableSchemaPtr third = maker.named("u").rename("note", "text").column("last").make();
    world.load(first, {{"0", "old"}});
    const CopyTargetPtr copy = world.copy(first, {{"1", "a"}, {"3", "c"}}, 2);
    // The visible table has the change too, in a flush of its own.
    ChangeRecorder visible(second);
    ChangeRecorder held(first, copy);
    ChangeRecorder more(second, copy);
    world.apply(held.insert({"2", "b"}).take(), schema_change(first, second, {{}, {}, "m"}, copy),
                more.update({"2", {}, {}}, {"2", {}, "n"}, {1}).take());
    world.expect_rows(first, {{"0", "old"}});
    world.apply(schema_change(first, second, {{}, {}, "m"}),
                visible.insert({"7", "new", {}}).take());
    world.expect_rows(second, {{"0", "old", "m"}, {"7", "new", {}}});
    ChangeRecorder last(third, copy);
    world.apply(schema_change(second, third, {{}, {}, {}, "l"}, copy),
                last.insert({"4", "d", {}, {}}).take());
    world.apply(last.update({"1", {}, {}, {}}, {"1", "A", {}, "L"}, {2}).take(), Publish{copy});
    const std::vector<TextRow> expected = {
        {"1", "A", "m", "L"}, {"2", "b", "n", "l"}, {"3", "c", "m", "l"}, {"4", "d", {}, {}}};
    world.expect_rows(third, expected);
    world.expect_no_table(first);
    ChangeRecorder changes(third);
    world.apply(changes.remove({"2", {}, {}, {}}).take());
    expect_version(world.reopen(), third);
    world.expect_rows(third, {expected[0], expected[2], expected[3]});
}

// All in one flush; it may be refused then, for the copy to be made again.
void schema_change_of_a_shadow_that_is_published(World& world) {
    TableMaker maker = TableMaker(kOid, "t").key("id").column("note");
    const TableSchemaPtr first = maker.make();
    const TableSchemaPtr second = maker.column("more").make();
    const TableSchemaPtr third = maker.rename("note", "text").column("last").make();
    const CopyTargetPtr copy = world.copy(first, {{"1", "a"}});
    ChangeRecorder held(second, copy);
    ChangeRecorder changes(third);
    TestFlush flush(world.next_position());
    flush.add(schema_change(first, second, {{}, {}, "m"}, copy))
        .add(held.insert({"2", "b", {}}).take())
        .add(Publish{copy})
        .add(schema_change(second, third, {{}, {}, {}, "l"}))
        .add(changes.insert({"3", "c", {}, {}}).take());
    const std::vector<TextRow> expected = {
        {"1", "a", "m", "l"}, {"2", "b", {}, "l"}, {"3", "c", {}, {}}};
    if (!world.expect_applied_or_refused(flush, kOid)) {
        world.expect_no_table(third);
        world.load(third, expected, 2);
    }
    world.expect_rows(third, expected);
    expect_version(world.reopen(), third);
}

void a_change_right_after_the_publication(World& world) {
    TableMaker maker = TableMaker(kOid, "t").key("id").column("note");
    const TableSchemaPtr first = maker.make();
    const TableSchemaPtr second = maker.named("u").column("more").make();
    world.load(first, {{"0", "old"}});
    const CopyTargetPtr copy = world.copy(first, {{"1", "a"}}, 2);
    ChangeRecorder held(first, copy);
    ChangeRecorder changes(second);
    world.apply(held.insert({"2", "b"}).take(), Publish{copy},
                schema_change(first, second, {{}, {}, "m"}),
                changes.insert({"3", "c", {}}).remove({"2", {}, {}}).take());
    world.expect_rows(second, {{"1", "a", "m"}, {"3", "c", {}}});
    world.expect_no_table(first);
    expect_version(world.reopen(), second);
}

void renamed_table(World& world) {
    const TableSchemaPtr first = simple(kOid, "first");
    const TableSchemaPtr second = simple(kOid, "second");
    const TableSchemaPtr third = simple(kOid, "Second");
    world.load(first, {{"1", "a"}});
    ChangeRecorder before(first);
    ChangeRecorder changes(second);
    world.apply(before.insert({"0", "z"}).take(), schema_change(first, second),
                changes.insert({"2", "b"}).remove({"0", {}}).take());
    world.expect_rows(second, {{"1", "a"}, {"2", "b"}});
    world.expect_no_table(first);
    world.reopen();
    // Another table takes the name that is free now.
    const TableSchemaPtr other = simple(16399, "first");
    world.load(other, {{"9", "z"}});
    world.expect_rows(other, {{"9", "z"}});
    world.expect_rows(second, {{"1", "a"}, {"2", "b"}});
    // Only the case changes, and no row comes.
    world.apply(schema_change(second, third));
    world.expect_rows(third, {{"1", "a"}, {"2", "b"}});
    expect_version(world.reopen(), third);
}

void exchanged_table_names(World& world) {
    const TableSchemaPtr old_one = simple(16384, "one");
    const TableSchemaPtr old_two = simple(16385, "two");
    world.load(old_one, {{"1", "of one"}});
    world.load(old_two, {{"2", "of two"}});
    const TableSchemaPtr one = simple(16384, "two");
    const TableSchemaPtr two = simple(16385, "one");
    ChangeRecorder changes_one(one);
    ChangeRecorder changes_two(two);
    world.apply(schema_change(old_one, one), changes_one.insert({"10", "x"}).take(),
                schema_change(old_two, two), changes_two.insert({"20", "y"}).take());
    world.expect_rows(one, {{"1", "of one"}, {"10", "x"}});
    world.expect_rows(two, {{"2", "of two"}, {"20", "y"}});
    // And back, with no rows between.
    world.apply(schema_change(two, old_two), schema_change(one, old_one));
    world.expect_rows(old_one, {{"1", "of one"}, {"10", "x"}});
    world.expect_rows(old_two, {{"2", "of two"}, {"20", "y"}});
}

// What a table was called goes to another one, whose columns change as well.
void exchanged_table_names_with_columns(World& world) {
    const TableSchemaPtr old_one = simple(16384, "one");
    const TableSchemaPtr old_two = simple(16385, "two");
    world.load(old_one, {{"1", "of one"}});
    world.load(old_two, {{"2", "of two"}});
    const auto renamed = [](const TableSchemaPtr& schema, const std::string& column) {
        return with(schema, [&](TableSchema& t) { t.columns[1].name = column; });
    };
    const TableSchemaPtr one = renamed(old_one, "n1");
    const TableSchemaPtr two = renamed(old_two, "n2");
    const TableSchemaPtr new_one = with(one, [](TableSchema& t) { t.name = "two"; });
    const TableSchemaPtr new_two = with(two, [](TableSchema& t) { t.name = "one"; });
    ChangeRecorder changes_one(new_one);
    ChangeRecorder changes_two(new_two);
    // Columns first: that is the order that some destinations cannot follow at once.
    world.apply(schema_change(old_one, one), schema_change(old_two, two),
                schema_change(one, new_one), changes_one.insert({"10", "x"}).take(),
                schema_change(two, new_two), changes_two.insert({"20", "y"}).take());
    TestFlush nothing(world.next_position());
    world.expect_applied(nothing);
    world.expect_rows(new_one, {{"1", "of one"}, {"10", "x"}});
    world.expect_rows(new_two, {{"2", "of two"}, {"20", "y"}});
    const Recovered recovered = world.reopen();
    expect_version(recovered, new_one);
    expect_version(recovered, new_two);
}

void moved_to_another_schema(World& world) {
    const TableSchemaPtr first = simple(kOid, "t");
    const TableSchemaPtr moved = with(first, [](TableSchema& t) { t.schema = "elsewhere"; });
    const TableSchemaPtr other = simple(16385, "other");
    world.load(first, {{"1", "a"}});
    world.load(other, {{"1", "x"}});
    ChangeRecorder changes(moved);
    ChangeRecorder others(other);
    TestFlush flush(world.next_position());
    flush.add(others.insert({"2", "y"}).take())
        .add(schema_change(first, moved))
        .add(changes.insert({"2", "b"}).take());
    if (!world.expect_applied_or_refused(flush, kOid)) {
        world.expect_rows(first, {{"1", "a"}});
        world.expect_rows(other, {{"1", "x"}});
        world.apply(others.insert({"2", "y"}).take(),
                    Freeze{first, TablePhase::errored, world.last_position(), "moved"});
        world.load(moved, {{"1", "a"}, {"2", "b"}}, 2);
    }
    world.expect_rows(moved, {{"1", "a"}, {"2", "b"}});
    world.expect_no_table(first);
    world.expect_rows(other, {{"1", "x"}, {"2", "y"}});
    expect_version(world.reopen(), moved);
    ChangeRecorder after(moved);
    world.apply(after.remove({"1", {}}).take());
    world.expect_rows(moved, {{"2", "b"}});
}

constexpr CaseEntry kSchemaCases[] = {
    {{"added_columns_with_values", "rows that exist hold the default of a column that is added"},
     added_columns_with_values},
    {{"added_columns_with_values_without_a_key", "such rows are found by all that they hold"},
     added_columns_with_values_without_a_key},
    {{"added_and_dropped_columns", "columns come and go between two changes of a flush"},
     added_and_dropped_columns},
    {{"renamed_columns", "columns keep their values under new names, also when they swap them"},
     renamed_columns},
    {{"wider_types", "a wider type is followed, or a new copy is asked for"}, wider_types},
    {{"a_wider_type_of_an_added_column", "values that old rows got with a column survive its type"},
     a_wider_type_of_an_added_column},
    {{"nullability_comments_and_keys", "what only Postgres enforces makes no rows fail"},
     nullability_comments_and_keys},
    {{"a_column_that_is_never_null", "rows that exist are not given nulls that Postgres forbids"},
     a_column_that_is_never_null},
    {{"many_changes_in_one_flush", "one flush may change a table again and again"},
     many_changes_in_one_flush},
    {{"changes_around_a_truncate", "a table changes before and after it is emptied in one flush"},
     changes_around_a_truncate},
    {{"a_column_after_the_first_rows", "an empty table gets rows, a column and rows in one flush"},
     a_column_after_the_first_rows},
    {{"a_change_that_comes_twice", "a table that has the version already stays as it is"},
     a_change_that_comes_twice},
    {{"a_refused_change_leaves_the_table", "what cannot be followed changes nothing in any table"},
     a_refused_change_leaves_the_table},
    {{"columns_that_nobody_announced", "unknown values of existing rows are not taken for null"},
     columns_that_nobody_announced},
    {{"schema_change_of_a_shadow", "a table changes its columns while it is copied"},
     schema_change_of_a_shadow},
    {{"schema_change_of_a_shadow_that_is_published", "also in the flush that makes it visible"},
     schema_change_of_a_shadow_that_is_published},
    {{"a_change_right_after_the_publication", "a table changes in the flush that made it visible"},
     a_change_right_after_the_publication},
    {{"renamed_table", "a table keeps its rows under a new name"}, renamed_table},
    {{"exchanged_table_names", "two tables exchange their names in one flush"},
     exchanged_table_names},
    {{"exchanged_table_names_with_columns", "also when their columns changed just before"},
     exchanged_table_names_with_columns},
    {{"moved_to_another_schema", "a table that moves is followed, or replaced by a new copy"},
     moved_to_another_schema},
};

}  // namespace

std::span<const CaseEntry> schema_cases() { return kSchemaCases; }

}  // namespace walbrook::testing
