#include "destinations/ducklake/ducklake_fixture.h"
#include "support/temp_dir.h"

#include <gmock/gmock.h>

#include <map>
#include <random>
#include <thread>

namespace walbrook::testing {
namespace {

class DuckLake : public LakeTest {};

TEST_F(DuckLake, CopiesAndPublishes) {
    EXPECT_EQ(open().position, Lsn{});
    const TableSchemaPtr schema = TableMaker{}.make();
    const CopyTargetPtr target = copy(schema, {{"1", "a", "x"}, {"2", "b", std::nullopt}});
    EXPECT_EQ(rows("SELECT table_name FROM duckdb_tables() WHERE table_name = 't'"), "");
    expect_ok(apply(100, list_of(Publish{target})));
    EXPECT_EQ(table("public.t"), "1|a|x; 2|b|NULL");
    const Recovered recovered = reopen();
    EXPECT_EQ(recovered.position, Lsn{100});
    ASSERT_EQ(recovered.tables.size(), 1U);
    EXPECT_EQ(recovered.tables[0].phase, TablePhase::ready);
    EXPECT_EQ(*recovered.tables[0].schema, *schema);
    EXPECT_EQ(table("public.t"), "1|a|x; 2|b|NULL");
}

TEST_F(DuckLake, AppliesInserts) {
    open();
    const TableSchemaPtr schema = TableMaker{}.make();
    given(schema, {{"1", "a", "x"}});
    expect_ok(apply(200, list_of(inserts(schema, {{"2", "b", "y"}, {"3", std::nullopt, "z"}}))));
    EXPECT_EQ(table("public.t"), "1|a|x; 2|b|y; 3|NULL|z");
    auto position = lake_->read_position({});
    ASSERT_TRUE(position);
    EXPECT_EQ(*position, Lsn{200});
    EXPECT_EQ(reopen().position, Lsn{200});
}

TEST_F(DuckLake, AppliesEveryChange) {
    open();
    const TableSchemaPtr schema = TableMaker{}.make();
    given(schema, {{"1", "a", "x"}, {"2", "b", "y"}, {"3", "c", "z"}, {"4", "d", "w"}});
    ChangeBatch batch(schema);
    add_update(batch, {"1", "a2", "x2"});
    add_update(batch, {"2", "b2", "\x01"});  // Unchanged TOAST.
    add_update(batch, {"30", "c2", "\x01"}, Row{"3", std::nullopt, std::nullopt});  // New key.
    add_delete(batch, {"4", std::nullopt, std::nullopt});
    expect_ok(apply(200, list_of(std::move(batch))));
    EXPECT_EQ(table("public.t"), "1|a2|x2; 2|b2|y; 30|c2|z");

    ChangeBatch swap(schema);  // Keys change places through a third.
    add_update(swap, {"99", "a2", "x2"}, Row{"1", std::nullopt, std::nullopt});
    add_update(swap, {"1", "b2", "y"}, Row{"2", std::nullopt, std::nullopt});
    add_update(swap, {"2", "a2", "x2"}, Row{"99", std::nullopt, std::nullopt});
    expect_ok(apply(300, list_of(std::move(swap))));
    EXPECT_EQ(table("public.t"), "1|b2|y; 2|a2|x2; 30|c2|z");
}

TEST_F(DuckLake, AWrongNumberOfRowsIsFound) {
    open();
    const TableSchemaPtr schema = TableMaker{}.make();
    given(schema, {{"1", "a", "x"}});
    for (const bool is_partial : {false, true}) {
        ChangeBatch batch(schema);
        add_update(batch, {"5", "b", is_partial ? "\x01" : "q"});
        const Status status =
            apply(200, list_of(inserts(schema, {{"7", "n", "n"}}), std::move(batch)));
        ASSERT_FALSE(status);
        EXPECT_EQ(status.error().code(), ErrorCode::corrupt_state);
        EXPECT_EQ(status.error().table_oid(), 16384U);
        EXPECT_NE(status.error().message().find("public.t"), std::string::npos);
    }
    // All or nothing, and the next flush works.
    EXPECT_EQ(table("public.t"), "1|a|x");
    expect_ok(apply(200, list_of(inserts(schema, {{"7", "n", "n"}}))));
    EXPECT_EQ(table("public.t"), "1|a|x; 7|n|n");
}

TEST_F(DuckLake, ADoubledRowIsFound) {
    open();
    const TableSchemaPtr schema = TableMaker{}.make();
    given(schema, {{"1", "a", "x"}, {"1", "a", "x"}});
    ChangeBatch batch(schema);
    add_delete(batch, {"1", std::nullopt, std::nullopt});
    const Status status = apply(200, list_of(std::move(batch)));
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code(), ErrorCode::corrupt_state);
}

// DuckDB's Parquet writer makes one of both where it uses a dictionary.
TEST_F(DuckLake, MinusZerosStayMinusZeros) {
    open();
    TableMaker maker;
    maker.columns = {{"id", TypeKind::int64}, {"f", TypeKind::float64}, {"g", TypeKind::float32}};
    const TableSchemaPtr schema = maker.make();
    const auto rows_of = [](int first, int count) {
        std::vector<Row> made;
        for (int i = first; i < first + count; ++i) {
            const std::string zero = i % 2 == 0 ? "0" : "-0.0";
            made.push_back({std::to_string(i), zero, zero});
        }
        return made;
    };
    const std::string counts =
        "SELECT count(*), sum(signbit(f)::int), sum(signbit(g)::int) FROM lake.public.t";
    TableMaker later;
    later.oid = maker.oid + 1;
    later.name = "u";
    const TableSchemaPtr other = later.make();
    given(other, {{"0", "a", "x"}});
    given(schema, rows_of(0, 1000));
    EXPECT_EQ(rows(counts), "1000|500|500");
    expect_ok(apply(200, list_of(inserts(schema, rows_of(1000, 1000)))));
    EXPECT_EQ(rows(counts), "2000|1000|1000");
    expect_ok(apply(300, list_of(inserts(schema, rows_of(2000, 10)))));
    EXPECT_EQ(rows(counts), "2010|1005|1005");
    // A flush that fails takes its own files along.
    const std::size_t before = files();
    ChangeBatch missing(other);
    add_delete(missing, {"1", std::nullopt, std::nullopt});
    EXPECT_FALSE(apply(310, list_of(inserts(schema, rows_of(2010, 10)), std::move(missing))));
    EXPECT_EQ(files(), before);
    // Values that an update leaves as they are come from the lake.
    ChangeBatch partial(schema);
    for (int i = 0; i < 200; ++i) add_update(partial, {std::to_string(i), "\x01", "-0.0"});
    expect_ok(apply(320, list_of(std::move(partial))));
    EXPECT_EQ(rows(counts), "2010|1005|1105");
    // The upkeep merges no files that hold some: flushes of a size that makes it due.
    for (int i = 0; i < 40; ++i) {
        const auto position = static_cast<std::uint64_t>(400 + i);
        expect_ok(apply(position, list_of(inserts(schema, rows_of(3000 + i * 200, 200)))));
        expect_ok(lake_->maintain({}));
    }
    EXPECT_EQ(rows(counts), "10010|5005|5105");
}

// In one transaction, with a file that DuckLake did not write itself.
TEST_F(DuckLake, TruncatedTwiceInOneFlush) {
    open();
    TableMaker maker;
    maker.columns = {{"id", TypeKind::int64}, {"f", TypeKind::float64}};
    const TableSchemaPtr schema = maker.make();
    given(schema, {{"1", "1.5"}});
    Truncate truncate;
    truncate.tables = {schema};
    expect_ok(apply(200, list_of(truncate, inserts(schema, {{"2", "-0.0"}}), truncate,
                                 inserts(schema, {{"3", "-0.0"}, {"4", "0"}}))));
    EXPECT_EQ(table("public.t"), "3|-0.0; 4|0.0");
    expect_ok(apply(300, list_of(truncate, inserts(schema, {{"5", "-0.0"}}))));
    EXPECT_EQ(table("public.t"), "5|-0.0");
}

TEST_F(DuckLake, TablesWithoutAKeyAreMultisets) {
    open();
    TableMaker maker;
    maker.has_key = false;
    maker.identity = ReplicaIdentity::full;
    maker.columns = {{"a", TypeKind::int64}, {"b", TypeKind::text}, {"f", TypeKind::float64}};
    const TableSchemaPtr schema = maker.make();
    given(schema, {{"1", "x", "0"},
                   {"1", "x", "0"},
                   {"1", "x", "0"},
                   {"1", "x", "-0.0"},
                   {"2", std::nullopt, "nan"},
                   {"3", "y", std::nullopt}});
    ChangeBatch batch(schema);
    add_delete(batch, {"1", "x", "0"});
    add_delete(batch, {"1", "x", "0"});
    add_delete(batch, {"2", std::nullopt, "nan"});
    add_update(batch, {"4", "z", "1"}, Row{"3", "y", std::nullopt});
    expect_ok(apply(200, list_of(std::move(batch))));
    EXPECT_EQ(table("public.t"), "1|x|-0.0; 1|x|0.0; 4|z|1.0");
    ChangeBatch minus(schema);
    add_delete(minus, {"1", "x", "-0.0"});
    expect_ok(apply(300, list_of(std::move(minus))));
    EXPECT_EQ(table("public.t"), "1|x|0.0; 4|z|1.0");
    ChangeBatch missing(schema);
    add_delete(missing, {"1", "x", "0"});
    add_delete(missing, {"1", "x", "0"});
    EXPECT_EQ(apply(400, list_of(std::move(missing))).error().code(), ErrorCode::corrupt_state);
}

TEST_F(DuckLake, TruncatesWithinAFlush) {
    open();
    const TableSchemaPtr schema = TableMaker{}.make();
    given(schema, {{"1", "a", "x"}, {"2", "b", "y"}});
    Truncate truncate;
    truncate.tables = {schema};
    expect_ok(apply(200, list_of(inserts(schema, {{"3", "c", "z"}}), truncate,
                                 inserts(schema, {{"4", "d", "w"}}))));
    EXPECT_EQ(table("public.t"), "4|d|w");
    EXPECT_EQ(reopen().tables.size(), 1U);
    ChangeBatch batch(schema);
    add_update(batch, {"4", "d2", "w"});
    expect_ok(apply(300, list_of(std::move(batch))));
    expect_ok(apply(400, list_of(truncate, truncate, inserts(schema, {{"5", "e", "v"}}))));
    EXPECT_EQ(table("public.t"), "5|e|v");
}

TEST_F(DuckLake, HeldChangesGoToTheShadowTable) {
    open();
    const TableSchemaPtr schema = TableMaker{}.make();
    given(schema, {{"1", "old", "x"}});
    const CopyTargetPtr second = copy(schema, {{"1", "new", "x"}}, 2);
    ChangeBatch held(schema);
    held.copy = second;
    add_update(held, {"1", "newer", "x"});
    ChangeBatch visible(schema);
    add_update(visible, {"1", "older", "x"});
    expect_ok(apply(200, list_of(std::move(held), std::move(visible))));
    EXPECT_EQ(table("public.t"), "1|older|x");
    // A slice that does not move the position is written all the same.
    expect_ok(apply(200, list_of(inserts(schema, {{"2", "b", "y"}}, second))));
    expect_ok(apply(300, list_of(inserts(schema, {{"3", "c", "z"}}, second), Publish{second})));
    EXPECT_EQ(table("public.t"), "1|newer|x; 2|b|y; 3|c|z");
    expect_ok(apply(400, list_of(inserts(schema, {{"4", "d", "w"}}))));
    EXPECT_EQ(table("public.t"), "1|newer|x; 2|b|y; 3|c|z; 4|d|w");
    EXPECT_EQ(reopen().tables.size(), 1U);
}

TEST_F(DuckLake, FreezesAndRetires) {
    open();
    const TableSchemaPtr schema = TableMaker{}.make();
    given(schema, {{"1", "a", "x"}});
    expect_ok(apply(200, list_of(inserts(schema, {{"2", "b", "y"}}),
                                 Freeze{schema, TablePhase::errored, Lsn{150}, "it's broken"})));
    EXPECT_EQ(rows("SELECT oid, phase, position, reason FROM lake._walbrook.tables"),
              "16384|errored|0/96|it's broken");
    Recovered recovered = reopen();
    ASSERT_EQ(recovered.tables.size(), 1U);
    EXPECT_EQ(recovered.tables[0].phase, TablePhase::errored);
    EXPECT_EQ(recovered.tables[0].position, Lsn{150});
    expect_ok(apply(300, list_of(Retire{{16384}})));
    EXPECT_TRUE(reopen().tables.empty());
    EXPECT_EQ(table("public.t"), "1|a|x; 2|b|y");
    // The next owner of the name replaces what stayed.
    TableMaker other;
    other.oid = 20000;
    expect_ok(apply(400, list_of(Publish{copy(other.make(), {{"9", "n", "n"}})})));
    EXPECT_EQ(table("public.t"), "9|n|n");
}

TEST_F(DuckLake, EmptyFlushesMakeNoSnapshotUnlessThePositionMoves) {
    open();
    const TableSchemaPtr schema = TableMaker{}.make();
    given(schema, {{"1", "a", "x"}});
    const std::string before = rows("SELECT max(snapshot_id) FROM lake.snapshots()");
    expect_ok(apply(100, {}));
    EXPECT_EQ(rows("SELECT max(snapshot_id) FROM lake.snapshots()"), before);
    ChangeBatch nothing(schema);
    ChangeBatch cancels_out(schema);
    append_row(cancels_out.new_rows, {"5", "e", "v"});
    Change change;
    change.new_row = 0;
    change.ordinal = 1;
    cancels_out.changes.push_back(change);
    add_delete(cancels_out, {"5", std::nullopt, std::nullopt});
    expect_ok(apply(250, list_of(std::move(nothing), std::move(cancels_out))));
    EXPECT_EQ(reopen().position, Lsn{250});
    EXPECT_EQ(table("public.t"), "1|a|x");
}

// Rows of which a publication of some operations never told are deleted or changed: nothing is
// found, and DuckLake makes no snapshot of its own accord.
TEST_F(DuckLake, ThePositionOfAFlushThatFindsNothing) {
    open();
    auto keyed = std::make_shared<TableSchema>(*TableMaker{}.make());
    keyed->partly_published = true;
    TableMaker full{.oid = 16385, .name = "f", .identity = ReplicaIdentity::full, .has_key = false};
    auto keyless = std::make_shared<TableSchema>(*full.make());
    keyless->partly_published = true;
    given(keyed, {{"1", "a", "x"}});
    given(keyless, {{"1", "a", "x"}});
    ChangeBatch unknown_key(keyed);
    add_delete(unknown_key, {"100", std::nullopt, std::nullopt});
    expect_ok(apply(200, list_of(std::move(unknown_key))));
    EXPECT_EQ(reopen().position, Lsn{200});
    ChangeBatch partial(keyed);
    add_update(partial, {"100", "b", "\x01"});
    expect_ok(apply(300, list_of(std::move(partial))));
    EXPECT_EQ(reopen().position, Lsn{300});
    ChangeBatch unknown_row(keyless);
    add_delete(unknown_row, {"100", "q", "q"});
    expect_ok(apply(400, list_of(std::move(unknown_row))));
    EXPECT_EQ(reopen().position, Lsn{400});
    EXPECT_EQ(table("public.t"), "1|a|x");
    EXPECT_EQ(table("public.f"), "1|a|x");
}

// More than a transaction folds at once, and all of it comes to nothing: DuckLake makes no
// snapshot of its own accord.
TEST_F(DuckLake, ThePositionOfAFlushThatCancelsOut) {
    open();
    const TableSchemaPtr schema = TableMaker{}.make();
    given(schema, {{"0", "a", "x"}});
    const Row large{"1", std::string(33 << 20, 'x'), "y"};
    const auto gone = [&] {
        ChangeBatch batch(schema);
        add_delete(batch, {"1", std::nullopt, std::nullopt});
        return batch;
    };
    expect_ok(
        apply(300, list_of(inserts(schema, {large}), gone(), inserts(schema, {large}), gone())));
    EXPECT_EQ(rows("SELECT count(*) FROM public.t"), "1");
    EXPECT_EQ(reopen().position, Lsn{300});
}

// What a catalog does not know in its data_path is swept at a start, so that is for one lake.
TEST_F(DuckLake, AnotherLakesFilesAreNotTouched) {
    open();
    given(TableMaker{}.make(), {{"0", "a", "x"}});
    const auto open_other = [&](const std::string& catalog, const std::string& data) {
        const auto other = make_ducklake_destination({folder_ / catalog, folder_ / data});
        const auto recovered = other->open(who(), {});
        EXPECT_TRUE(other->close());
        return recovered ? std::string() : recovered.error().message();
    };
    EXPECT_THAT(open_other("other.sqlite", "data"),
                ::testing::HasSubstr("belongs to another lake"));
    // Of folders one in the other each has its own.
    EXPECT_EQ(open_other("above.sqlite", "."), "");
    EXPECT_EQ(open_other("above.sqlite", "."), "");
    EXPECT_EQ(rows("SELECT count(*) FROM public.t"), "1");
    EXPECT_EQ(reopen().position, Lsn{100});
    EXPECT_EQ(rows("SELECT count(*) FROM public.t"), "1");
}

// As a process leaves it that is killed, or loses its power, when it has just made the file.
TEST_F(DuckLake, AnEmptyFileOfTheLakesIdIsNobodys) {
    const std::string path = folder_ / "data/walbrook-lake-id";
    std::filesystem::create_directory(folder_ / "data");
    write_file(path, "");
    open();
    ASSERT_FALSE(HasFailure());
    given(TableMaker{}.make(), {{"0", "a", "x"}});
    const std::string id = read_file(path);
    EXPECT_EQ(id.size(), 37U);
    write_file(path, "");
    EXPECT_EQ(reopen().position, Lsn{100});
    EXPECT_EQ(read_file(path), id);
    EXPECT_EQ(reopen().position, Lsn{100});
}

TEST_F(DuckLake, FollowsSchemaChangesInPlace) {
    open();
    TableMaker maker;
    maker.columns = {{"id", TypeKind::int64},
                     {"a", TypeKind::text},
                     {"b", TypeKind::text},
                     {"n", TypeKind::int32}};
    const TableSchemaPtr first = maker.make();
    given(first, {{"1", "a1", "b1", "1"}});

    auto second = std::make_shared<TableSchema>(*first);
    std::swap(second->columns[1].name, second->columns[2].name);
    second->columns[3].type = {TypeKind::int64};
    second->columns[3].nullable = true;
    ColumnSchema added = second->columns[1];
    added.name = "c";
    added.attnum = 5;
    added.comment = "it's new";
    second->columns.push_back(added);
    second->comment = "a table";
    // Old and new rows in one flush.
    expect_ok(
        apply(200, list_of(inserts(first, {{"2", "a2", "b2", "2"}}), schema_change(first, second),
                           inserts(second, {{"3", "b3", "a3", "3000000000", "c3"}}))));
    EXPECT_EQ(table("public.t"), "1|a1|b1|1|NULL; 2|a2|b2|2|NULL; 3|b3|a3|3000000000|c3");
    EXPECT_EQ(rows("SELECT string_agg(column_name, ' ') FROM duckdb_columns() WHERE table_name = "
                   "'t'"),
              "id b a n c");

    // Columns and name at once: the name of the column that goes is taken anew.
    auto third = std::make_shared<TableSchema>(*second);
    third->name = "T2";
    third->columns.erase(third->columns.begin() + 1);
    third->columns.back().name = "b";
    expect_ok(apply(300, list_of(inserts(third, {{"4", "a4", "4", "c4"}}))));
    EXPECT_EQ(table("public.t2"), "1|b1|1|NULL; 2|b2|2|NULL; 3|a3|3000000000|c3; 4|a4|4|c4");

    // A rename after columns changed in the same flush waits for the next one.
    auto fourth = std::make_shared<TableSchema>(*third);
    fourth->columns.back().name = "d";
    auto fifth = std::make_shared<TableSchema>(*fourth);
    fifth->name = "t5";
    expect_ok(apply(400, list_of(inserts(fourth, {{"5", "a5", "5", "d5"}}),
                                 inserts(fifth, {{"6", "a6", "6", "d6"}}))));
    EXPECT_EQ(rows("SELECT count(d) FROM public.t2"), "4");
    EXPECT_EQ(*reopen().tables[0].schema, *fifth);
    expect_ok(apply(500, list_of(inserts(fifth, {{"7", "a7", "7", "d7"}}))));
    EXPECT_EQ(rows("SELECT count(d) FROM public.t5"), "5");

    auto narrowed = std::make_shared<TableSchema>(*fifth);
    narrowed->columns[2].type = {TypeKind::int16};
    const Status status = apply(600, list_of(inserts(narrowed, {{"8", "a8", "8", "d8"}})));
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code(), ErrorCode::schema_mismatch);
    EXPECT_EQ(status.error().table_oid(), 16384U);
}

TEST_F(DuckLake, TablesSwapTheirNames) {
    open();
    TableMaker one;
    one.oid = 1;
    one.name = "a";
    TableMaker two;
    two.oid = 2;
    two.name = "b";
    given(one.make(), {{"1", "one", "x"}});
    given(two.make(), {{"2", "two", "x"}});
    std::swap(one.name, two.name);
    expect_ok(apply(200, list_of(inserts(one.make(), {{"11", "one", "y"}}))));
    EXPECT_EQ(table("public.b"), "1|one|x; 11|one|y");
    expect_ok(apply(300, list_of(inserts(two.make(), {{"22", "two", "y"}}))));
    EXPECT_EQ(table("public.a"), "2|two|x; 22|two|y");
    EXPECT_EQ(table("public.b"), "1|one|x; 11|one|y");
    EXPECT_EQ(reopen().tables.size(), 2U);
}

// Random changes against a map, in flushes of all sizes, with restarts between.
TEST_F(DuckLake, EqualsAModelUnderRandomChanges) {
    open();
    const TableSchemaPtr schema = TableMaker{}.make();
    std::map<int, Row> model;
    std::vector<Row> first;
    for (int id = 0; id < 500; ++id) {
        first.push_back({std::to_string(id), "n", std::string(20, 'x')});
        model[id] = first.back();
    }
    given(schema, first);
    std::mt19937 random(4711);
    for (int round = 0; round < 12; ++round) {
        ChangeBatch batch(schema);
        const int size = round % 3 == 0 ? 400 : 1 + static_cast<int>(random() % 60);
        for (int i = 0; i < size; ++i) {
            const int id = static_cast<int>(random() % 1000);
            const std::string key = std::to_string(id);
            const auto found = model.find(id);
            if (found == model.end()) {
                const Row row{key, "ins" + std::to_string(random() % 100), std::nullopt};
                append_row(batch.new_rows, row);
                Change change;
                change.new_row = static_cast<std::int32_t>(batch.new_rows.rows()) - 1;
                change.ordinal = batch.changes.size() + 1;
                batch.changes.push_back(change);
                model[id] = row;
            } else if (random() % 3 == 0) {
                add_delete(batch, {key, std::nullopt, std::nullopt});
                model.erase(found);
            } else {
                const bool is_partial = random() % 2 == 0;
                Row row{key, "upd" + std::to_string(random() % 100), "note"};
                Row sent = row;
                if (is_partial) sent[2] = "\x01";
                if (is_partial) row[2] = found->second[2];
                const int new_id = static_cast<int>(random() % 1000);
                if (random() % 4 == 0 && !model.contains(new_id)) {
                    row[0] = sent[0] = std::to_string(new_id);
                    add_update(batch, sent, Row{key, std::nullopt, std::nullopt});
                    model.erase(found);
                    model[new_id] = row;
                } else {
                    add_update(batch, sent);
                    found->second = row;
                }
            }
        }
        expect_ok(apply(200 + static_cast<std::uint64_t>(round), list_of(std::move(batch))));
        expect_ok(lake_->maintain({}));
        if (round % 5 == 4) reopen();
    }
    std::string expected;
    for (const auto& [id, row] : model) {
        expected += fmt::format("{}|{}|{}\n", *row[0], *row[1], row[2].value_or("NULL"));
    }
    // One cell, so that a failure prints one line of difference and not a page.
    const std::string found = rows(
        "SELECT string_agg(id || '|' || name || '|' || coalesce(note, 'NULL') || chr(10), '' "
        "ORDER BY id) FROM public.t");
    EXPECT_TRUE(found == expected);
}

}  // namespace
}  // namespace walbrook::testing
