// Tables as a whole: names, versions of their schema, freezing, retiring.

#include "world.h"

namespace walbrook::testing {
namespace {

TableSchemaPtr simple(std::uint32_t oid, const std::string& name) {
    return TableMaker(oid, name).key("id").column("note").make();
}

void hostile_identifiers(World& world) {
    const std::string names[] = {
        "with space",
        "quo\"te",
        "apos'trophe",
        "semi;colon--",
        "select",
        "table",
        "MixedCase",
        "\xC3\xA4\xC3\xB6\xC3\xBC\xE6\xBC\xA2",
        "dot.ted",
        "back\\slash",
        "{}%s$1",
        "_walbrookish",
        "1digit",
        "line\nbreak",
        std::string(63, 'x'),
    };
    std::uint32_t oid = 17000;
    std::vector<TableSchemaPtr> tables;
    for (const std::string& name : names) {
        tables.push_back(TableMaker(oid++, name)
                             .in_schema("s " + name.substr(0, 40))
                             .key(name)
                             .column(name + "2")
                             .make());
    }
    // The longest name with the longest column, and one schema that is a keyword.
    tables.push_back(TableMaker(oid++, "plain").in_schema("user").key("id").column("order").make());
    TestFlush published(world.next_position());
    for (const TableSchemaPtr& table : tables) {
        SCOPED_TRACE(table->display_name());
        const auto refusals = world.destination().refusals({table});
        EXPECT_TRUE(refusals.empty()) << refusals.front();
        published.add(Publish{world.copy(table, {{"1", "a"}, {"2", "b"}})});
    }
    world.expect_applied(published);
    TestFlush flush(world.next_position());
    for (const TableSchemaPtr& table : tables) {
        ChangeRecorder changes(table);
        changes.update({"1", "a"}, {"1", "A"}).remove({"2", "b"}).insert({"3", "c"});
        flush.add(changes.take());
    }
    world.expect_applied(flush);
    const Recovered recovered = world.reopen();
    for (const TableSchemaPtr& table : tables) {
        SCOPED_TRACE(table->display_name());
        world.expect_rows(table, {{"1", "A"}, {"3", "c"}});
        const RecoveredTable* found = find_table(recovered, table);
        ASSERT_NE(found, nullptr);
        ASSERT_NE(found->schema, nullptr);
        EXPECT_EQ(*found->schema, *table);
    }
}

// Columns may differ only in case in Postgres: a destination holds both or says so before.
void names_that_differ_in_case(World& world) {
    const TableSchemaPtr lower = TableMaker(16384, "cased").key("id").column("a").make();
    const TableSchemaPtr upper = TableMaker(16385, "Cased").key("id").column("a").make();
    const TableSchemaPtr columns = TableMaker(16386, "c").key("id").column("ID").make();
    if (!world.capabilities().case_sensitive_names) {
        EXPECT_EQ(world.destination().refusals({lower, upper}).size(), 1U);
        EXPECT_EQ(world.destination().refusals({columns}).size(), 1U);
        EXPECT_TRUE(world.destination().refusals({lower}).empty());
        return;
    }
    world.load(lower, {{"1", "lower"}});
    world.load(upper, {{"1", "upper"}});
    world.load(columns, {{"1", "big"}});
    world.expect_rows(lower, {{"1", "lower"}});
    world.expect_rows(upper, {{"1", "upper"}});
    world.expect_rows(columns, {{"1", "big"}});
}

void added_and_dropped_columns(World& world) {
    TableMaker maker = TableMaker(16384, "t").key("id").column("note").column("old");
    const TableSchemaPtr first = maker.make();
    const TableSchemaPtr second = maker.column("more", {TypeKind::int32}).make();
    const TableSchemaPtr third = maker.drop("old").column("old", {TypeKind::int64}).make();
    world.load(first, {{"1", "a", "x"}, {"2", "b", "y"}});
    ChangeRecorder before(first);
    ChangeRecorder after(second);
    // Old and new rows in one flush, with the change between them.
    world.apply(before.insert({"3", "c", "z"}).take(),
                after.insert({"4", "d", "w", "7"})
                    .update({"1", "a", "x", {}}, {"1", "a", "x", "8"})
                    .take());
    world.expect_rows(
        second,
        {{"1", "a", "x", "8"}, {"2", "b", "y", {}}, {"3", "c", "z", {}}, {"4", "d", "w", "7"}});
    // A column that goes and another that comes under its name are two columns.
    ChangeRecorder last(third);
    world.apply(last.update({"2", "b", {}, {}}, {"2", "b", {}, "9"}).take());
    const std::vector<TextRow> expected = {
        {"1", "a", "8", {}}, {"2", "b", {}, "9"}, {"3", "c", {}, {}}, {"4", "d", "7", {}}};
    world.expect_rows(third, expected);
    const Recovered recovered = world.reopen();
    world.expect_rows(third, expected);
    const RecoveredTable* found = find_table(recovered, third);
    ASSERT_NE(found, nullptr);
    EXPECT_EQ(*found->schema, *third);
}

void renamed_columns(World& world) {
    TableMaker maker = TableMaker(16384, "t").key("id").column("a").column("b");
    const TableSchemaPtr first = maker.make();
    // The two names change places, and the key gets another one.
    const TableSchemaPtr second =
        maker.rename("a", "tmp").rename("b", "a").rename("tmp", "b").rename("id", "key id").make();
    world.load(first, {{"1", "A", "B"}});
    ChangeRecorder changes(second);
    world.apply(
        changes.insert({"2", "AA", "BB"}).update({"1", "A", "B"}, {"1", "A2", "B"}, {2}).take());
    world.expect_rows(second, {{"1", "A2", "B"}, {"2", "AA", "BB"}});
    world.crash();
    world.expect_rows(second, {{"1", "A2", "B"}, {"2", "AA", "BB"}});
}

void wider_types(World& world) {
    TableMaker maker = TableMaker(16384, "t")
                           .key("id")
                           .column("small", {TypeKind::int16})
                           .column("real", {TypeKind::float32});
    const TableSchemaPtr first = maker.make();
    const TableSchemaPtr second =
        maker.retype("small", {TypeKind::int64}).retype("real", {TypeKind::float64}).make();
    world.load(first, {{"1", "-7", "0.5"}});
    ChangeRecorder changes(second);
    TestFlush flush(world.next_position());
    flush.add(changes.insert({"2", "5000000000", "1e+300"}).take());
    const Result<Ack> ack = world.destination().apply(flush, Ack::durable, {});
    if (!ack) {
        // It may ask for a new copy instead; then nothing may have happened.
        EXPECT_EQ(name_of(ack.error().code()), "schema_mismatch") << ack.error().message();
        EXPECT_EQ(ack.error().table_oid(), 16384U);
        world.expect_rows(first, {{"1", "-7", "0.5"}});
        return;
    }
    world.expect_rows(second, {{"1", "-7", "0.5"}, {"2", "5000000000", "1e+300"}});
}

void renamed_table(World& world) {
    const TableSchemaPtr first = simple(16384, "first");
    const TableSchemaPtr second = simple(16384, "second");
    world.load(first, {{"1", "a"}});
    ChangeRecorder changes(second);
    world.apply(changes.insert({"2", "b"}).take());
    world.expect_rows(second, {{"1", "a"}, {"2", "b"}});
    world.expect_no_table(first);
    world.reopen();
    // Another table takes the name that is free now.
    const TableSchemaPtr other = simple(16399, "first");
    world.load(other, {{"9", "z"}});
    world.expect_rows(other, {{"9", "z"}});
    world.expect_rows(second, {{"1", "a"}, {"2", "b"}});
}

void exchanged_table_names(World& world) {
    world.load(simple(16384, "one"), {{"1", "of one"}});
    world.load(simple(16385, "two"), {{"2", "of two"}});
    const TableSchemaPtr one = simple(16384, "two");
    const TableSchemaPtr two = simple(16385, "one");
    ChangeRecorder changes_one(one);
    ChangeRecorder changes_two(two);
    world.apply(changes_one.insert({"10", "x"}).take(), changes_two.insert({"20", "y"}).take());
    world.expect_rows(one, {{"1", "of one"}, {"10", "x"}});
    world.expect_rows(two, {{"2", "of two"}, {"20", "y"}});
}

// The schema may change between the snapshot of a copy and its publication.
void schema_change_of_a_shadow(World& world) {
    TableMaker maker = TableMaker(16384, "t").key("id").column("note");
    const TableSchemaPtr first = maker.make();
    const TableSchemaPtr second = maker.column("more").make();
    const CopyTargetPtr copy = world.copy(first, {{"1", "a"}});
    ChangeRecorder held(second, copy);
    world.apply(held.insert({"2", "b", "m"}).take());
    world.apply(held.update({"1", "a", {}}, {"1", "a", "n"}).take(), Publish{copy});
    world.expect_rows(second, {{"1", "a", "n"}, {"2", "b", "m"}});
    ChangeRecorder changes(second);
    world.apply(changes.remove({"2", "b", "m"}).take());
    const Recovered recovered = world.reopen();
    world.expect_rows(second, {{"1", "a", "n"}});
    const RecoveredTable* found = find_table(recovered, second);
    ASSERT_NE(found, nullptr);
    EXPECT_EQ(*found->schema, *second);
}

void frozen_table(World& world) {
    const TableSchemaPtr schema = simple(16384, "t");
    const TableSchemaPtr other = simple(16385, "other");
    const TableSchemaPtr never = simple(16386, "never");
    world.load(schema, {{"1", "a"}});
    world.load(other, {{"1", "a"}});
    const Lsn frozen_at = world.next_position();
    ChangeRecorder changes(other);
    world.apply(Freeze{schema, TablePhase::errored, frozen_at, "a value does not fit"},
                Freeze{never, TablePhase::errored, {}, "refused"},
                changes.insert({"2", "b"}).take());
    // It stays readable as it was; the others go on.
    world.expect_rows(schema, {{"1", "a"}});
    world.expect_rows(other, {{"1", "a"}, {"2", "b"}});
    const Recovered recovered = world.crash();
    EXPECT_EQ(recovered.position, world.last_position());
    const RecoveredTable* frozen = find_table(recovered, schema);
    ASSERT_NE(frozen, nullptr);
    EXPECT_EQ(frozen->phase, TablePhase::errored);
    EXPECT_EQ(to_string(frozen->position), to_string(frozen_at));
    ASSERT_NE(find_table(recovered, never), nullptr);
    EXPECT_EQ(find_table(recovered, never)->phase, TablePhase::errored);
    ASSERT_NE(find_table(recovered, other), nullptr);
    EXPECT_EQ(find_table(recovered, other)->phase, TablePhase::ready);
    world.expect_rows(schema, {{"1", "a"}});
    // A new copy makes it ready again.
    world.load(schema, {{"5", "e"}}, 2);
    const Recovered again = world.reopen();
    ASSERT_NE(find_table(again, schema), nullptr);
    EXPECT_EQ(find_table(again, schema)->phase, TablePhase::ready);
    world.expect_rows(schema, {{"5", "e"}});
}

void retired_table(World& world) {
    const TableSchemaPtr schema = simple(16384, "t");
    world.load(schema, {{"1", "a"}});
    const CopyTargetPtr copy = world.begin_copy(schema, 2);
    ASSERT_TRUE(world.destination().discard_copy(copy, {}));
    world.apply(Retire{schema->id}, Retire{{4242}});
    world.expect_rows(schema, {{"1", "a"}});
    const Recovered recovered = world.reopen();
    EXPECT_EQ(find_table(recovered, schema), nullptr);
    world.expect_rows(schema, {{"1", "a"}});
    // The name may come back with another table.
    const TableSchemaPtr next = simple(16500, "t");
    world.load(next, {{"2", "b"}});
    world.expect_rows(next, {{"2", "b"}});
}

constexpr CaseEntry kCases[] = {
    {{"hostile_identifiers", "names with quotes, spaces, keywords, unicode, of 63 bytes"},
     hostile_identifiers},
    {{"names_that_differ_in_case", "such names are kept apart, or refused before anything is done"},
     names_that_differ_in_case},
    {{"added_and_dropped_columns", "columns come and go between two changes of a flush"},
     added_and_dropped_columns},
    {{"renamed_columns", "columns keep their values under new names, also when they swap them"},
     renamed_columns},
    {{"wider_types", "a wider type is followed, or a new copy is asked for"}, wider_types},
    {{"renamed_table", "a table keeps its rows under a new name"}, renamed_table},
    {{"exchanged_table_names", "two tables exchange their names in one flush"},
     exchanged_table_names},
    {{"schema_change_of_a_shadow", "a table changes its columns while it is copied"},
     schema_change_of_a_shadow},
    {{"frozen_table", "a table that cannot go on stays readable, with its own position"},
     frozen_table},
    {{"retired_table", "a table that is no longer replicated keeps its data, without a record"},
     retired_table},
};

}  // namespace

std::span<const CaseEntry> table_cases() { return kCases; }

}  // namespace walbrook::testing
