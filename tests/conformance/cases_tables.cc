// Tables as a whole: names, freezing, retiring.

#include "world.h"

namespace walbrook::testing {
namespace {

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
        "tab\tand\rreturn\x01",
        "/",
        "a/b",
        "a%2Fb",  // What others make of the one before.
        "..",
        "-rf *?",
        "`${x}`",
        "e\xCC\x81",  // The same letter for people, in two forms.
        "\xC3\xA9",
        " spaced ",
        "\xF0\x9F\xA6\x86\xE2\x80\xAE",  // A duck, and letters turn around from here.
        "NULL",
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
    const auto in_schema = [](std::uint32_t oid, const std::string& schema,
                              const std::string& name) {
        return TableMaker(oid, name).in_schema(schema).key("id").column("a").make();
    };
    const TableSchemaPtr sales = in_schema(16387, "sales", "sold");
    const TableSchemaPtr shouted = in_schema(16388, "SALES", "bought");
    if (!world.capabilities().case_sensitive_names) {
        EXPECT_EQ(world.destination().refusals({lower, upper}).size(), 1U);
        EXPECT_EQ(world.destination().refusals({columns}).size(), 1U);
        EXPECT_EQ(world.destination().refusals({sales, shouted}).size(), 1U);
        EXPECT_TRUE(world.destination().refusals({lower}).empty());
        return;
    }
    world.load(lower, {{"1", "lower"}});
    world.load(upper, {{"1", "upper"}});
    world.load(columns, {{"1", "big"}});
    world.load(sales, {{"1", "quiet"}});
    world.load(shouted, {{"1", "loud"}});
    world.expect_rows(lower, {{"1", "lower"}});
    world.expect_rows(upper, {{"1", "upper"}});
    world.expect_rows(columns, {{"1", "big"}});
    world.expect_rows(sales, {{"1", "quiet"}});
    world.expect_rows(shouted, {{"1", "loud"}});
}

void frozen_table(World& world) {
    const TableSchemaPtr schema = simple(16384, "t");
    const TableSchemaPtr other = simple(16385, "other");
    const TableSchemaPtr never = simple(16386, "never");
    world.load(schema, {{"1", "a"}});
    world.load(other, {{"1", "a"}});
    const Lsn frozen_at = world.next_position();
    ChangeRecorder changes(other);
    const Recovered recovered = world.apply_and_die(
        Freeze{schema, TablePhase::errored, frozen_at, "a value does not fit"},
        Freeze{never, TablePhase::errored, {}, "refused"}, changes.insert({"2", "b"}).take());
    EXPECT_EQ(recovered.position, world.last_position());
    // It stays readable as it was; the others go on.
    world.expect_rows(schema, {{"1", "a"}});
    world.expect_rows(other, {{"1", "a"}, {"2", "b"}});
    const RecoveredTable* frozen = find_table(recovered, schema);
    ASSERT_NE(frozen, nullptr);
    EXPECT_EQ(frozen->phase, TablePhase::errored);
    EXPECT_EQ(to_string(frozen->position), to_string(frozen_at));
    ASSERT_NE(find_table(recovered, never), nullptr);
    EXPECT_EQ(find_table(recovered, never)->phase, TablePhase::errored);
    ASSERT_NE(find_table(recovered, other), nullptr);
    EXPECT_EQ(find_table(recovered, other)->phase, TablePhase::ready);
    // A new copy makes it ready again.
    world.load(schema, {{"5", "e"}}, 2);
    const Recovered again = world.reopen();
    ASSERT_NE(find_table(again, schema), nullptr);
    EXPECT_EQ(find_table(again, schema)->phase, TablePhase::ready);
    world.expect_rows(schema, {{"5", "e"}});
}

// Rows that were found to differ: changed, missing, and there though nobody knows them.
void replaced_rows(World& world) {
    const TableSchemaPtr schema =
        TableMaker(16384, "t").key("id").key("part").column("note").make();
    const TableSchemaPtr other = simple(16385, "other");
    world.load(schema, {{"1", "10", "wrong"},
                        {"3", "10", "wrong"},
                        {"4", "10", "d"},
                        {"5", "10", "e"},
                        {"5", "20", "f"}});
    world.load(other, {{"1", "a"}});
    const auto rows = [&](const std::vector<TextRow>& list) {
        return std::make_shared<const RowBatch>(make_rows(schema, list));
    };
    ChangeRecorder before(schema);
    before.insert({"6", "10", "wrong"});
    ChangeRecorder after(schema);
    after.update({"2", "10", "b"}, {"2", "10", "B"}).remove({"3", "10", "c"});
    ChangeRecorder of_other(other);
    world.apply(
        before.take(),
        Replace{schema,
                rows({{"1", "10", std::nullopt},
                      {"2", "10", std::nullopt},
                      {"3", "10", std::nullopt},
                      {"4", "10", std::nullopt},
                      {"6", "10", std::nullopt}}),
                rows({{"1", "10", "a"}, {"2", "10", "b"}, {"3", "10", "c"}, {"6", "10", "g"}})},
        after.take(), of_other.insert({"2", "b"}).take());
    world.expect_rows(
        schema,
        {{"1", "10", "a"}, {"2", "10", "B"}, {"5", "10", "e"}, {"5", "20", "f"}, {"6", "10", "g"}});
    world.expect_rows(other, {{"1", "a"}, {"2", "b"}});
    // Nothing but removals, and nothing at all.
    world.apply(
        Replace{schema, rows({{"5", "10", std::nullopt}, {"9", "10", std::nullopt}}), rows({})});
    const Recovered recovered = world.apply_and_die(Replace{schema, rows({}), rows({})});
    EXPECT_EQ(recovered.position, world.last_position());
    world.expect_rows(schema,
                      {{"1", "10", "a"}, {"2", "10", "B"}, {"5", "20", "f"}, {"6", "10", "g"}});
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

constexpr CaseEntry kTableCases[] = {
    {{"hostile_identifiers", "names with quotes, line breaks, paths, unicode, of 63 bytes"},
     hostile_identifiers},
    {{"names_that_differ_in_case", "such names are kept apart, or refused before anything is done"},
     names_that_differ_in_case},
    {{"frozen_table", "a table that cannot go on stays readable, with its own position"},
     frozen_table},
    {{"replaced_rows", "rows that differ from the source are put right under their keys"},
     replaced_rows},
    {{"retired_table", "a table that is no longer replicated keeps its data, without a record"},
     retired_table},
};

}  // namespace

std::span<const CaseEntry> table_cases() { return kTableCases; }

}  // namespace walbrook::testing
