// What is DuckLake's own about schema changes; what every destination does is in
// tests/conformance/cases_schema.cc.

#include "destinations/ducklake/ducklake_fixture.h"

#include <gmock/gmock.h>

#include <limits>
#include <set>
#include <thread>

namespace walbrook::testing {
namespace {

using ::testing::HasSubstr;

class DuckLakeSchema : public LakeTest {
 protected:
    // The version with one more column.
    static TableSchemaPtr with_column(const TableSchemaPtr& schema, const std::string& name,
                                      ColumnType type) {
        auto wider = std::make_shared<TableSchema>(*schema);
        ColumnSchema column;
        column.name = name;
        column.attnum = static_cast<std::int16_t>(wider->columns.back().attnum + 1);
        column.type = type;
        wider->columns.push_back(std::move(column));
        return wider;
    }
    static TableSchemaPtr named(const TableSchemaPtr& schema, const std::string& name) {
        auto other = std::make_shared<TableSchema>(*schema);
        other->name = name;
        return other;
    }
    std::string newest_snapshot() { return rows("SELECT max(snapshot_id) FROM lake.snapshots()"); }
    void expect_refused(const Status& status, std::uint32_t oid, const std::string& why) {
        ASSERT_FALSE(status);
        EXPECT_EQ(name_of(status.error().code()), "schema_mismatch");
        EXPECT_EQ(status.error().table_oid(), oid);
        EXPECT_THAT(status.error().message(), HasSubstr(why));
    }
    const TableSchemaPtr schema_ = TableMaker{}.make();
};

TEST_F(DuckLakeSchema, OldSnapshotsKeepTheirColumns) {
    open();
    given(schema_, {{"1", "a", "x"}});
    const std::string first = newest_snapshot();
    auto second = std::make_shared<TableSchema>(*schema_);
    second->columns.erase(second->columns.begin() + 1);
    second->columns[1].name = "renamed";
    const TableSchemaPtr third = with_column(second, "added", {TypeKind::int32});
    expect_ok(apply(
        200, list_of(schema_change(schema_, second), schema_change(second, third, {{}, {}, "7"}),
                     inserts(third, {{"2", "y", "8"}}))));
    const std::string then = newest_snapshot();
    expect_ok(apply(300, list_of(schema_change(third, named(second, "t2")))));
    EXPECT_EQ(table("public.t2"), "1|x; 2|y");
    EXPECT_EQ(rows("SELECT * FROM public.t AT (VERSION => " + first + ")"), "1|a|x");
    EXPECT_EQ(rows("SELECT * FROM public.t AT (VERSION => " + then + ")"), "1|x|7; 2|y|8");
    EXPECT_EQ(rows("SELECT id, renamed FROM public.t AT (VERSION => " + then + ") WHERE added = 7"),
              "1|x");
}

// Files that lack the column are written again with what their rows hold in it.
TEST_F(DuckLakeSchema, UpkeepWritesWhatOldRowsHold) {
    open();
    given(schema_, {{"1", "a", "x"}});
    for (std::uint64_t i = 2; i <= 10; ++i) {
        expect_ok(apply(100 + i, list_of(inserts(schema_, {{std::to_string(i), "a", "x"}}))));
    }
    const std::string before = newest_snapshot();
    const TableSchemaPtr floats = with_column(schema_, "f", {TypeKind::float64});
    const TableSchemaPtr texts = with_column(floats, "s", {TypeKind::text});
    expect_ok(apply(200, list_of(schema_change(schema_, texts, {{}, {}, {}, "-0.0", "NULL"}))));
    for (std::uint64_t i = 11; i <= 20; ++i) {
        expect_ok(
            apply(200 + i, list_of(inserts(texts, {{std::to_string(i), "a", "x", "1.5", {}}}))));
    }
    const std::string kAll =
        "SELECT f, s, s IS NULL, signbit(f), count(*) FROM public.t GROUP BY ALL";
    const std::string expected = "-0.0|NULL|false|true|10; 1.5|NULL|true|false|10";
    EXPECT_EQ(rows(kAll), expected);
    const auto live_files = [&] {
        return rows("SELECT count(*) FROM ducklake_list_files('lake', 't', schema => 'public')");
    };
    EXPECT_EQ(live_files(), "20");
    for (int i = 0; i < 10; ++i) expect_ok(lake_->maintain({}));
    EXPECT_NE(live_files(), "20");
    EXPECT_EQ(rows(kAll), expected);
    EXPECT_EQ(rows("SELECT count(*) FROM public.t WHERE s = 'NULL'"), "10");
    EXPECT_EQ(rows("SELECT count(*), min(name) FROM public.t AT (VERSION => " + before + ")"),
              "10|a");
}

// Each version has one column more and one less, in which all rows hold the version's number.
TEST_F(DuckLakeSchema, ReadersSeeOneVersionOrTheNext) {
#ifdef __SANITIZE_ADDRESS__
    constexpr std::uint64_t kVersions = 20;
#else
    constexpr std::uint64_t kVersions = 60;
#endif
    open();
    TableMaker maker;
    maker.columns = {{"id", TypeKind::int64}, {"c0", TypeKind::text}};
    TableSchemaPtr present = maker.make();
    given(present, {{"1", "0"}, {"2", "0"}});
    std::atomic<bool> is_over = false;
    std::size_t asked = 0;
    std::set<std::string> wrong;
    std::thread reader([&] {
        while (!is_over) {
            ++asked;
            const std::string seen = table("public.t");
            const std::size_t mark = seen.find('|');
            const std::string number = seen.substr(mark + 1, seen.find(';') - mark - 1);
            if (seen != fmt::format("1|{0}; 2|{0}", number)) wrong.insert(seen);
        }
    });
    for (std::uint64_t i = 1; i <= kVersions; ++i) {
        const TableSchemaPtr wider = with_column(present, fmt::format("c{}", i), {TypeKind::text});
        auto next = std::make_shared<TableSchema>(*wider);
        next->columns.erase(next->columns.begin() + 1);
        const std::string number = std::to_string(i);
        // Half of the time the rows are written, too.
        std::vector<FlushItem> items =
            list_of(schema_change(present, wider, {{}, {}, number}), schema_change(wider, next));
        if (i % 2 == 0) {
            ChangeBatch batch(next);
            add_update(batch, {"1", number});
            items.emplace_back(std::move(batch));
        }
        expect_ok(apply(200 + i, std::move(items)));
        present = next;
    }
    is_over = true;
    reader.join();
    EXPECT_GT(asked, 5U);
    EXPECT_TRUE(wrong.empty()) << *wrong.begin();
    EXPECT_EQ(table("public.t"), fmt::format("1|{0}; 2|{0}", kVersions));
}

// What DuckLake cannot keep as a default is copied again; what it can is not.
TEST_F(DuckLakeSchema, OnlyValuesThatReadersCannotGetAreRefused) {
    open();
    given(schema_, {{"1", "a", "x"}});
    TableSchemaPtr present = schema_;
    std::uint64_t position = 200;
    const auto follow = [&](ColumnType type, const std::function<void(Column&)>& append) {
        const TableSchemaPtr next =
            with_column(present, fmt::format("c{}", present->columns.size()), type);
        SchemaChange change = schema_change(present, next);
        auto existing = std::make_shared<RowBatch>(next);
        existing->append_null_row();
        existing->columns().back().truncate(0);
        append(existing->columns().back());
        change.existing = existing;
        Status status = apply(++position, list_of(std::move(change)));
        if (status) present = next;
        return status;
    };
    const auto text = [](const std::string& value) {
        return [value](Column& column) { column.append_bytes(value); };
    };
    expect_refused(follow({TypeKind::int32, true}, [](Column& c) { c.append_list_end(); }), 16384,
                   "cannot hold");
    // Postgres takes half of a surrogate pair in json, DuckDB does not.
    expect_refused(follow({TypeKind::json}, text("\"\\ud800\"")), 16384, "cannot hold");
    // ICU prints the end of its range as another time.
    const auto last_but_one = [](Column& column) {
        column.append_fixed(std::numeric_limits<std::int64_t>::max() - 1);
    };
    expect_refused(follow({TypeKind::timestamptz}, last_but_one), 16384, "cannot hold");
    expect_ok(follow({TypeKind::json}, text("{\"a\" : 1, \"a\":2}")));
    expect_ok(follow({TypeKind::bytes}, text(std::string("\0\xff'", 3))));
    expect_ok(follow({TypeKind::text}, text("' || 1; --\\\n\"")));
    expect_ok(follow({TypeKind::float64}, [](Column& c) { c.append_fixed(-0.0); }));
    expect_ok(follow({TypeKind::boolean}, [](Column& c) { c.append_bool(true); }));
    // A list without a value is not one that cannot be held.
    expect_ok(follow({TypeKind::text, true}, [](Column& c) { c.append_null(); }));
    EXPECT_EQ(table("public.t"),
              "1|a|x|{\"a\" : 1, \"a\":2}|\\x00\\xFF\\x27|' || 1; --\\\n\"|-0.0|true|NULL");
}

TEST_F(DuckLakeSchema, ANameOfAnotherCaseDoesNotPushATableAside) {
    open();
    given(schema_, {{"1", "of t", "x"}});
    TableMaker maker;
    maker.oid = 16385;
    maker.name = "u";
    const TableSchemaPtr other = maker.make();
    expect_ok(apply(110, list_of(Publish{copy(other, {{"1", "of u", "x"}})})));
    expect_refused(apply(200, list_of(schema_change(other, named(other, "T")))), 16385,
                   "differs only in case");
    EXPECT_EQ(table("public.t"), "1|of t|x");
    EXPECT_EQ(table("public.u"), "1|of u|x");
    // Nor does a copy under such a name.
    expect_refused(apply(200, list_of(Publish{copy(named(other, "T"), {}, 2)})), 16385,
                   "differs only in case");
    EXPECT_EQ(table("public.t"), "1|of t|x");
    // Once the other has gone from the name it is free.
    expect_ok(apply(300, list_of(schema_change(schema_, named(schema_, "s")),
                                 schema_change(other, named(other, "T")))));
    EXPECT_EQ(table("public.s"), "1|of t|x");
    EXPECT_EQ(table("public.t"), "1|of u|x");
}

TEST_F(DuckLakeSchema, ANameThatHadToWaitComesWithTheUpkeep) {
    open();
    given(schema_, {{"1", "a", "x"}});
    const TableSchemaPtr wider = with_column(schema_, "more", {TypeKind::text});
    const TableSchemaPtr renamed = named(wider, "u");
    expect_ok(apply(200, list_of(schema_change(schema_, wider, {{}, {}, {}, "m"}),
                                 schema_change(wider, renamed))));
    EXPECT_EQ(table("public.t"), "1|a|x|m");
    expect_ok(lake_->maintain({}));
    EXPECT_EQ(table("public.u"), "1|a|x|m");
    EXPECT_EQ(reopen().position, Lsn{200});
    EXPECT_EQ(table("public.u"), "1|a|x|m");
}

TEST_F(DuckLakeSchema, ARenamedTableTakesTheNameOfARetiredOne) {
    open();
    given(schema_, {{"1", "old", "x"}});
    TableMaker maker;
    maker.oid = 16385;
    maker.name = "u";
    const TableSchemaPtr other = maker.make();
    expect_ok(apply(110, list_of(Publish{copy(other, {{"2", "new", "x"}})})));
    expect_ok(apply(200, list_of(Retire{schema_->id})));
    EXPECT_EQ(table("public.t"), "1|old|x");
    expect_ok(apply(300, list_of(schema_change(other, named(other, "t")))));
    EXPECT_EQ(table("public.t"), "2|new|x");
}

// DuckLake keeps the bounds of a file as the text of the float, and the double of 0.2f lies
// beyond "0.2": a filter would leave the file out.
TEST_F(DuckLakeSchema, AFloatDoesNotBecomeADoubleInPlace) {
    open();
    TableMaker maker;
    maker.columns = {{"id", TypeKind::int64}, {"f", TypeKind::float32}};
    const TableSchemaPtr first = maker.make();
    given(first, {{"1", "0.2"}});
    maker.columns[1].second = TypeKind::float64;
    expect_refused(apply(200, list_of(schema_change(first, maker.make()))), 16384, "goes from");
    EXPECT_EQ(rows("SELECT id FROM public.t WHERE f = 0.2::FLOAT"), "1");
}

TEST_F(DuckLakeSchema, FiltersFindRowsOfEveryVersion) {
    open();
    TableMaker maker;
    maker.columns = {{"id", TypeKind::int64}, {"n", TypeKind::int16}};
    const TableSchemaPtr first = maker.make();
    given(first, {{"1", "9"}});
    maker.columns[1].second = TypeKind::int64;
    const TableSchemaPtr second = maker.make();
    const TableSchemaPtr third = with_column(second, "d", {TypeKind::int32});
    expect_ok(apply(200, list_of(inserts(first, {{"2", "-5"}}), schema_change(first, second),
                                 inserts(second, {{"3", "5000000000"}}),
                                 schema_change(second, third, {{}, {}, "7"}),
                                 inserts(third, {{"4", "10", "1"}}))));
    expect_ok(apply(300, list_of(inserts(third, {{"5", "11", {}}}))));
    for (const auto& [n, id] :
         {std::pair("9", "1"), {"-5", "2"}, {"5000000000", "3"}, {"10", "4"}, {"11", "5"}}) {
        EXPECT_EQ(rows(fmt::format("SELECT id FROM public.t WHERE n = {}", n)), id);
    }
    EXPECT_EQ(rows("SELECT id FROM public.t WHERE d = 7"), "1; 2; 3");
    EXPECT_EQ(rows("SELECT id FROM public.t WHERE d < 7"), "4");
    EXPECT_EQ(rows("SELECT id FROM public.t WHERE d IS NULL"), "5");
    EXPECT_EQ(rows("SELECT min(n), max(n), min(d), max(d), count(d) FROM public.t"),
              "-5|5000000000|1|7|4");
}

}  // namespace
}  // namespace walbrook::testing
