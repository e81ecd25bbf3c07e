// What a store gives back: records, positions, schema versions, scopes.

#include "store_world.h"

namespace walbrook::testing {
namespace {

void begins_empty(StoreWorld& world) {
    EXPECT_EQ(*world.store().load_lineage(), std::nullopt);
    world.expect_tables({});
    world.expect_positions({});
    EXPECT_EQ(*world.store().get_schema({1}, Lsn{100}), nullptr);
    EXPECT_TRUE(world.store().remove_table({1}));
    EXPECT_TRUE(world.store().prune_schemas({1}, Lsn{1}));
    EXPECT_TRUE(world.store().save_tables({}));
    EXPECT_TRUE(world.store().clear());
}

void gives_back_what_it_took(StoreWorld& world) {
    const Lineage lineage{"7012345678901234567", 4'000'000'000U, 4'294'967'295U, "walbrook_1",
                          Lsn{0x10'0000'0001ULL}};
    EXPECT_TRUE(world.store().save_lineage({"other", 1, 2, "x"}, kLsnMax));
    EXPECT_TRUE(world.store().save_lineage(lineage, kLsnMax));
    EXPECT_EQ(*world.store().load_lineage(), lineage);
    const std::vector<TableState> tables = {full_table_state(7), full_table_state(4'294'967'295U)};
    world.save(tables);
    world.expect_tables(tables);
    const TableSchema version = stored_schema(7, "t");
    EXPECT_TRUE(world.store().put_schema(version, Lsn{5}));
    const auto found = world.store().get_schema({7}, Lsn{5});
    ASSERT_TRUE(found && *found);
    EXPECT_EQ(**found, version);
}

void every_phase(StoreWorld& world) {
    for (const TablePhase phase : {TablePhase::queued, TablePhase::copying, TablePhase::catching_up,
                                   TablePhase::ready, TablePhase::errored}) {
        world.save({table_state(1, phase)});
        world.expect_tables({table_state(1, phase)});
    }
}

// Every byte that a Postgres name or an error may have, and what is long.
void text_of_any_bytes(StoreWorld& world) {
    std::string ascii;
    for (char c = 1; c < 127; ++c) ascii += c;
    ascii += '\x7f';
    const std::string texts[] = {ascii,        "",
                                 " ",          "''",
                                 "\"\"",       "\\",
                                 "\\\\0",      "$1 $$ :x ?1 %s {}",
                                 "NULL",       "\r\n\t\v",
                                 "it's; --",   "zażółć 漢字 🦆 e\u0301 \u200d \uffff",
                                 "\U0010ffff", std::string(1'000'000, '\'')};
    std::vector<TableState> tables;
    std::uint32_t oid = 1;
    for (const std::string& text : texts) {
        TableState state = table_state(oid, TablePhase::errored);
        state.schema = state.name = state.reason = text;
        state.remedy = state.membership = state.content = text;
        tables.push_back(state);
        TableSchema schema = stored_schema(oid++, text);
        schema.schema = schema.comment = schema.columns[0].name = text;
        EXPECT_TRUE(world.store().put_schema(schema, Lsn{1}));
        const auto found = world.store().get_schema(schema.id, Lsn{1});
        ASSERT_TRUE(found && *found) << "of version " << schema.id.oid;
        EXPECT_TRUE(**found == schema) << "version " << schema.id.oid << " is another one";
    }
    world.save(tables);
    world.expect_tables(tables);
}

// Names of an SQL_ASCII database may be no text at all. They are for people: they may come back
// as something else, but must not keep the tables from being stored.
void bytes_that_are_no_text(StoreWorld& world) {
    TableState odd = table_state(2, TablePhase::ready);
    odd.name = "caf\xe9";
    odd.reason = std::string("\xff\xfe\0\x80 cut \xc3", 10);
    const TableState other = table_state(3, TablePhase::ready);
    world.save({table_state(1, TablePhase::ready), odd, other});
    const auto found = world.store().load_tables();
    ASSERT_TRUE(found) << found.error().message();
    ASSERT_EQ(found->size(), 3U);
    EXPECT_EQ((*found)[1].phase, TablePhase::ready);
    EXPECT_EQ((*found)[1].name.substr(0, 3), "caf");
    EXPECT_TRUE((*found)[2] == other);
    EXPECT_TRUE(world.store().put_schema(stored_schema(2, "caf\xe9"), Lsn{1}));
    EXPECT_EQ(world.version_at(2, 1).substr(0, 3), "caf");
}

void saving_some_tables_leaves_the_others(StoreWorld& world) {
    world.save({table_state(1, TablePhase::ready), table_state(2, TablePhase::ready),
                table_state(3, TablePhase::ready)});
    world.save({table_state(3, TablePhase::queued), table_state(1, TablePhase::errored)});
    world.expect_tables({table_state(1, TablePhase::errored), table_state(2, TablePhase::ready),
                         table_state(3, TablePhase::queued)});
}

// A pipeline of thousands of tables stores them in one call.
void many_tables(StoreWorld& world) {
    std::vector<TableState> tables;
    for (std::uint32_t oid = 1; oid <= 3000; ++oid) {
        tables.push_back(table_state(oid, TablePhase::queued));
    }
    world.save(tables);
    world.expect_tables(tables);
}

void positions_only_move_forward(StoreWorld& world) {
    const auto advance = [&](std::uint64_t durable, std::uint64_t bound) {
        return *world.store().advance({Lsn{durable}, Lsn{bound}});
    };
    EXPECT_EQ(advance(10, 20), (StoredPositions{Lsn{10}, Lsn{20}}));
    EXPECT_EQ(advance(15, 5), (StoredPositions{Lsn{15}, Lsn{20}}));
    EXPECT_EQ(advance(0, 30), (StoredPositions{Lsn{15}, Lsn{30}}));
    world.expect_positions({Lsn{15}, Lsn{30}});
    // Beyond the first 4 GiB of WAL, and in the order of numbers, not of digits.
    EXPECT_EQ(advance(0x9'0000'0000ULL, 0x9'FFFF'FFFFULL),
              (StoredPositions{Lsn{0x9'0000'0000ULL}, Lsn{0x9'FFFF'FFFFULL}}));
    const StoredPositions far{Lsn{0x10'0000'0001ULL}, Lsn{0xFFFF'FFFF'FFFF'FFFFULL}};
    EXPECT_EQ(advance(far.durable.value, far.confirm_bound.value), far);
    EXPECT_EQ(advance(1, 1), far);
    EXPECT_EQ(advance(far.durable.value, far.confirm_bound.value), far);  // The same again.
}

void another_timeline_moves_positions_back(StoreWorld& world) {
    const auto save = [&](std::uint32_t timeline, Lsn shared_until) {
        const Lineage lineage{"id", timeline, 1, "s"};
        EXPECT_TRUE(world.store().save_lineage(lineage, shared_until));
        EXPECT_EQ(*world.store().load_lineage(), lineage);
    };
    save(1, Lsn{1});  // There are no positions yet.
    world.expect_positions({});
    EXPECT_TRUE(world.store().advance({Lsn{0x9'0000'0000ULL}, Lsn{0x10'0000'0000ULL}}));
    save(1, kLsnMax);
    world.expect_positions({Lsn{0x9'0000'0000ULL}, Lsn{0x10'0000'0000ULL}});
    save(2, Lsn{0x9'0000'0001ULL});
    world.expect_positions({Lsn{0x9'0000'0000ULL}, Lsn{0x9'0000'0001ULL}});
    save(3, Lsn{0xA'0000'0000ULL});
    world.expect_positions({Lsn{0x9'0000'0000ULL}, Lsn{0x9'0000'0001ULL}});
    EXPECT_EQ(*world.store().advance({Lsn{0}, Lsn{0x9'0000'0002ULL}}),
              (StoredPositions{Lsn{0x9'0000'0000ULL}, Lsn{0x9'0000'0002ULL}}));
    // A source that was put back to an earlier moment, and the destination with it.
    save(4, Lsn{0x8'0000'0000ULL});
    world.expect_positions({Lsn{0x8'0000'0000ULL}, Lsn{0x8'0000'0000ULL}});
    EXPECT_EQ(*world.store().advance({Lsn{0x8'0000'0001ULL}, Lsn{0}}),
              (StoredPositions{Lsn{0x8'0000'0001ULL}, Lsn{0x8'0000'0000ULL}}));
}

void a_schema_at_or_before_a_position(StoreWorld& world) {
    EXPECT_TRUE(world.store().put_schema(stored_schema(1, "first"), Lsn{0}));
    EXPECT_TRUE(world.store().put_schema(stored_schema(1, "second"), Lsn{0x2'0000'0000ULL}));
    EXPECT_TRUE(world.store().put_schema(stored_schema(1, "third"), Lsn{0x10'0000'0000ULL}));
    EXPECT_TRUE(world.store().put_schema(stored_schema(2, "other"), Lsn{50}));
    EXPECT_EQ(world.version_at(1, 0), "first");
    EXPECT_EQ(world.version_at(1, 0x1'FFFF'FFFFULL), "first");
    EXPECT_EQ(world.version_at(1, 0x2'0000'0000ULL), "second");
    EXPECT_EQ(world.version_at(1, 0xF'FFFF'FFFFULL), "second");
    EXPECT_EQ(world.version_at(1, 0x10'0000'0000ULL), "third");
    EXPECT_EQ(world.version_at(1, 0xFFFF'FFFF'FFFF'FFFFULL), "third");
    EXPECT_EQ(world.version_at(2, 49), "");
    EXPECT_EQ(world.version_at(2, 50), "other");
    EXPECT_EQ(world.version_at(3, 50), "");
    EXPECT_TRUE(world.store().put_schema(stored_schema(1, "second again"), Lsn{0x2'0000'0000ULL}));
    EXPECT_EQ(world.version_at(1, 0x2'0000'0001ULL), "second again");
}

void pruning_keeps_what_can_be_asked_for(StoreWorld& world) {
    for (const std::uint64_t from : {10, 20, 30, 40}) {
        for (const std::uint32_t oid : {1U, 2U}) {
            EXPECT_TRUE(
                world.store().put_schema(stored_schema(oid, std::to_string(from)), Lsn{from}));
        }
    }
    EXPECT_TRUE(world.store().prune_schemas({1}, Lsn{9}));
    EXPECT_EQ(world.version_at(1, 10), "10");
    EXPECT_TRUE(world.store().prune_schemas({1}, Lsn{29}));
    EXPECT_EQ(world.version_at(1, 19), "");
    EXPECT_EQ(world.version_at(1, 29), "20");  // In force at 29, so it must stay.
    EXPECT_EQ(world.version_at(1, 40), "40");
    EXPECT_TRUE(world.store().prune_schemas({1}, Lsn{30}));
    EXPECT_EQ(world.version_at(1, 29), "");
    EXPECT_EQ(world.version_at(1, 30), "30");
    EXPECT_TRUE(world.store().prune_schemas({1}, Lsn{1000}));
    EXPECT_EQ(world.version_at(1, 1000), "40");
    EXPECT_EQ(world.version_at(2, 10), "10");
}

void a_removed_table_takes_its_schemas_along(StoreWorld& world) {
    world.save({table_state(1, TablePhase::ready), table_state(2, TablePhase::ready)});
    EXPECT_TRUE(world.store().put_schema(stored_schema(1, "t"), Lsn{1}));
    EXPECT_TRUE(world.store().put_schema(stored_schema(2, "u"), Lsn{1}));
    EXPECT_TRUE(world.store().remove_table({1}));
    world.expect_tables({table_state(2, TablePhase::ready)});
    EXPECT_EQ(world.version_at(1, 10), "");
    EXPECT_EQ(world.version_at(2, 10), "u");
}

void clear_forgets_everything_of_the_scope(StoreWorld& world) {
    world.save({full_table_state(1)});
    EXPECT_TRUE(world.store().put_schema(stored_schema(1, "t"), Lsn{1}));
    EXPECT_TRUE(world.store().save_lineage({"id", 1, 1, "s"}, kLsnMax));
    EXPECT_TRUE(world.store().advance({Lsn{9}, Lsn{9}}));
    EXPECT_TRUE(world.store().clear());
    EXPECT_EQ(*world.store().load_lineage(), std::nullopt);
    world.expect_tables({});
    EXPECT_EQ(world.version_at(1, 5), "");
    // A new life may begin at an earlier position.
    EXPECT_EQ(*world.store().advance({Lsn{3}, Lsn{3}}), (StoredPositions{Lsn{3}, Lsn{3}}));
}

// Two pipelines, or two destinations of one, may share a place.
void scopes_do_not_see_each_other(StoreWorld& world) {
    const StoreScope scopes[] = {
        {0xFFFF'FFFF'FFFF'FFFFULL, "lake"}, {1, "other 'lake'"}, {1, "Lake"}};
    std::vector<std::unique_ptr<Store>> others;
    for (const StoreScope& scope : scopes) {
        others.push_back(world.opened(scope));
        Store& other = *others.back();
        EXPECT_TRUE(other.save_tables(std::vector<TableState>{full_table_state(1)}));
        EXPECT_TRUE(other.put_schema(stored_schema(1, "theirs"), Lsn{1}));
        EXPECT_TRUE(other.save_lineage({"theirs", 1, 1, "s"}, kLsnMax));
        EXPECT_TRUE(other.advance({Lsn{9}, Lsn{9}}));
    }
    world.expect_tables({});
    EXPECT_EQ(*world.store().load_lineage(), std::nullopt);
    world.expect_positions({});
    EXPECT_EQ(world.version_at(1, 5), "");
    EXPECT_TRUE(world.store().put_schema(stored_schema(1, "ours"), Lsn{1}));
    EXPECT_TRUE(world.store().prune_schemas({1}, Lsn{100}));
    EXPECT_TRUE(world.store().remove_table({1}));
    EXPECT_TRUE(world.store().clear());
    const auto expect_theirs = [](Store& other) {
        EXPECT_EQ(*other.load_tables(), std::vector<TableState>{full_table_state(1)});
        const auto version = other.get_schema({1}, Lsn{1});
        ASSERT_TRUE(version && *version);
        EXPECT_EQ((*version)->name, "theirs");
        const auto lineage = other.load_lineage();
        ASSERT_TRUE(lineage && *lineage);
        EXPECT_EQ((*lineage)->system_identifier, "theirs");
        EXPECT_EQ(*other.load_positions(), (StoredPositions{Lsn{9}, Lsn{9}}));
    };
    for (const auto& other : others) expect_theirs(*other);
    // What one of them wrote is not lost by what another one wrote later.
    if (!world.harness().keeps_records()) return;
    others.clear();
    for (const StoreScope& scope : scopes) expect_theirs(*world.opened(scope));
}

constexpr StoreCaseEntry kStoreRecordCases[] = {
    {{"begins_empty", "a new place has no records, and whatever is removed there is no error"},
     begins_empty},
    {{"gives_back_what_it_took", "every field of every record, with its extremes"},
     gives_back_what_it_took},
    {{"every_phase", "each phase of a table"}, every_phase},
    {{"text_of_any_bytes",
      "names and reasons with quotes, control characters, unicode, a megabyte"},
     text_of_any_bytes},
    {{"bytes_that_are_no_text", "names that are not UTF-8 keep nothing from being stored"},
     bytes_that_are_no_text},
    {{"saving_some_tables_leaves_the_others", "a save changes the tables that it names"},
     saving_some_tables_leaves_the_others},
    {{"many_tables", "thousands of tables in one call, given back in the order of their oids"},
     many_tables},
    {{"positions_only_move_forward", "each position by itself, in the order of numbers"},
     positions_only_move_forward},
    {{"another_timeline_moves_positions_back",
      "what the new log has not was neither flushed nor confirmed of it"},
     another_timeline_moves_positions_back},
    {{"a_schema_at_or_before_a_position", "the version in force; the same position replaces"},
     a_schema_at_or_before_a_position},
    {{"pruning_keeps_what_can_be_asked_for", "the version in force at the position stays"},
     pruning_keeps_what_can_be_asked_for},
    {{"a_removed_table_takes_its_schemas_along", "a removed table leaves nothing, others stay"},
     a_removed_table_takes_its_schemas_along},
    {{"clear_forgets_everything_of_the_scope", "after it the positions begin anew"},
     clear_forgets_everything_of_the_scope},
    {{"scopes_do_not_see_each_other", "several pipelines and destinations share a place"},
     scopes_do_not_see_each_other},
};

}  // namespace

std::span<const StoreCaseEntry> store_record_cases() { return kStoreRecordCases; }

}  // namespace walbrook::testing
