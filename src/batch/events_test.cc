#include "walbrook/events.h"

#include "walbrook/testing/rows.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace walbrook {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using walbrook::testing::ChangeRecorder;
using walbrook::testing::TableMaker;
using walbrook::testing::TestFlush;

// An event in one word, with the first cell of its rows.
struct Describe {
    static std::string cell(const RowView& row, std::size_t column) {
        const Cell c = row.cell(column);
        if (c.is_unchanged()) return "~";
        return c.is_null()                        ? "null"
               : c.get<std::string>().has_value() ? *c.get<std::string>()
                                                  : "?";
    }
    static std::string row(const RowView& row) {
        std::string out;
        for (std::size_t i = 0; i < row.size(); ++i) out += (i == 0 ? "" : ",") + cell(row, i);
        return "(" + out + ")";
    }
    std::string operator()(const BeginEvent& e) const {
        return fmt::format("begin {}", e.transaction.xid);
    }
    std::string operator()(const CommitEvent& e) const {
        return fmt::format("commit {}", e.transaction.xid);
    }
    std::string operator()(const InsertEvent& e) const {
        return e.table->name + " insert " + row(e.row);
    }
    std::string operator()(const UpdateEvent& e) const {
        return e.table->name + " update " + row(e.identity()) + " " + row(e.row);
    }
    std::string operator()(const DeleteEvent& e) const {
        return e.table->name + (e.old_is_full ? " delete full " : " delete ") + row(e.old);
    }
    std::string operator()(const TruncateEvent& e) const {
        return fmt::format("truncate {} tables", e.tables.size());
    }
    std::string operator()(const Publish& e) const { return "publish " + e.copy->schema->name; }
    std::string operator()(const Freeze& e) const { return "freeze " + e.schema->name; }
    std::string operator()(const SchemaChange& e) const {
        return fmt::format("{} becomes {}", e.from->name, e.to->name);
    }
    std::string operator()(const Replace& e) const { return "replace in " + e.schema->name; }
    std::string operator()(const Retire& e) const { return fmt::format("retire {}", e.table.oid); }
};

std::vector<std::string> walk(Flush& flush, std::size_t window = 1 << 20) {
    std::vector<std::string> seen;
    FlushEvents events(flush, window);
    for (;;) {
        const auto event = events.next();
        if (!event) {
            seen.push_back("error " + event.error().message());
            return seen;
        }
        if (*event == nullptr) return seen;
        seen.push_back(std::visit(Describe(), **event));
    }
}

TableSchemaPtr table(std::uint32_t oid, const std::string& name) {
    return TableMaker(oid, name).key("id").column("note").make();
}

// Table a: transaction 1 has ordinals 1 and 2, transaction 2 has 1. Table b: one each.
ChangeBatch changes(const TableSchemaPtr& schema, std::initializer_list<std::pair<int, int>> keys) {
    ChangeRecorder recorder(schema);
    for (const auto& [transaction, ordinal] : keys) {
        const auto number = static_cast<std::uint32_t>(transaction);
        recorder.transaction({{number * 100ULL}, {number * 100ULL + 10}, transaction, number});
        recorder.insert({std::to_string(transaction * 10 + ordinal), "x"});
        recorder.batch().changes.back().ordinal = static_cast<std::uint64_t>(ordinal);
    }
    return recorder.take();
}

TEST(FlushEvents, MergesTablesInTheOrderOfCommits) {
    TestFlush flush({300});
    flush.add(changes(table(1, "a"), {{1, 1}, {1, 3}, {2, 2}}));
    flush.add(changes(table(2, "b"), {{1, 2}, {2, 1}}));
    const std::vector<std::string> expected = {
        "begin 1", "a insert (11,x)", "b insert (12,x)", "a insert (13,x)", "commit 1",
        "begin 2", "b insert (21,x)", "a insert (22,x)", "commit 2"};
    EXPECT_EQ(walk(flush), expected);
    FlushEvents events(flush);
    flush.rewind();
    ASSERT_TRUE(events.next());
    events.rewind();
    EXPECT_TRUE(std::holds_alternative<BeginEvent>(**events.next()));
}

TEST(FlushEvents, ASmallWindowKeepsTheOrderOfEachTable) {
    TestFlush flush({300});
    flush.add(changes(table(1, "a"), {{1, 1}}));
    flush.add(changes(table(2, "b"), {{1, 2}}));
    flush.add(changes(table(1, "a"), {{1, 3}, {2, 1}}));
    EXPECT_THAT(walk(flush, 1),
                ElementsAre("begin 1", "a insert (11,x)", "commit 1", "begin 1", "b insert (12,x)",
                            "commit 1", "begin 1", "a insert (13,x)", "commit 1", "begin 2",
                            "a insert (21,x)", "commit 2"));
}

TEST(FlushEvents, TellsEveryKindOfChange) {
    const auto key = table(1, "k");
    const auto full = TableMaker(2, "f").column("v").identity(ReplicaIdentity::full).make();
    TestFlush flush(Lsn{10});
    flush.add(ChangeRecorder(key)
                  .insert({"1", std::nullopt})
                  .update({"1", "a"}, {"1", "b"})
                  .update({"1", "b"}, {"2", "c"}, {1})
                  .remove({"2", "c"})
                  .take());
    flush.add(Truncate{{key, full}, false, false, {}, 5, nullptr});
    ChangeBatch last = ChangeRecorder(full).remove({"x"}).take();
    last.changes[0].ordinal = 6;
    flush.add(std::move(last));
    EXPECT_THAT(walk(flush), ElementsAre("begin 700", "k insert (1,null)", "k update (1,b) (1,b)",
                                         "k update (1,null) (2,~)", "k delete (2,null)",
                                         "truncate 2 tables", "f delete full (x)", "commit 700"));
}

TEST(FlushEvents, WhatStandsOutsideOfTransactionsKeepsItsPlace) {
    const auto schema = table(1, "a");
    const auto copy = std::make_shared<const CopyTarget>(CopyTarget{schema, 1, Lsn{5}});
    TestFlush flush(Lsn{10});
    flush.add(ChangeRecorder(schema, copy).insert({"1", "x"}).take());
    flush.add(Publish{copy});
    ChangeBatch later = ChangeRecorder(schema).insert({"2", "y"}).take();
    later.changes[0].ordinal = 2;
    flush.add(std::move(later));
    flush.add(Freeze{schema, TablePhase::errored, Lsn{10}, "why"});
    flush.add(Retire{TableId{7}});
    EXPECT_THAT(walk(flush),
                ElementsAre("begin 700", "a insert (1,x)", "commit 700", "publish a", "begin 700",
                            "a insert (2,y)", "commit 700", "freeze a", "retire 7"));
}

SchemaChange becomes(const TableSchemaPtr& from, const TableSchemaPtr& to, int transaction = 0,
                     int ordinal = 0) {
    SchemaChange change;
    change.from = from;
    change.to = to;
    const auto number = static_cast<std::uint32_t>(transaction);
    if (number != 0) change.transaction = {{number * 100ULL}, {number * 100ULL + 10}, 0, number};
    change.ordinal = static_cast<std::uint64_t>(ordinal);
    return change;
}

// Between the last row of the old version and the first of the new one, whatever the windows.
TEST(FlushEvents, ASchemaChangeStandsInItsTransaction) {
    const auto a = table(1, "a");
    const auto a2 = table(1, "a2");
    const auto a3 = table(1, "a3");
    TestFlush flush({400});
    flush.add(changes(a, {{1, 1}, {2, 1}}));
    flush.add(becomes(a, a2, 2, 2));
    flush.add(changes(a2, {{2, 3}}));
    flush.add(changes(table(2, "b"), {{1, 2}, {2, 2}, {3, 1}}));
    // Before the first row of its transaction, and in one without any.
    flush.add(becomes(a2, a3, 3, 0));
    flush.add(becomes(a3, a, 4, 0));
    const std::vector<std::string> whole = {
        "begin 1",         "a insert (11,x)", "b insert (12,x)", "commit 1",         "begin 2",
        "a insert (21,x)", "a becomes a2",    "b insert (22,x)", "a2 insert (23,x)", "commit 2",
        "begin 3",         "a2 becomes a3",   "b insert (31,x)", "commit 3",         "begin 4",
        "a3 becomes a",    "commit 4"};
    EXPECT_EQ(walk(flush), whole);
    flush.rewind();
    std::vector<std::string> of_a;
    for (std::string& each : walk(flush, 1)) {
        if (each.starts_with("a")) of_a.push_back(std::move(each));
    }
    EXPECT_THAT(of_a, ElementsAre("a insert (11,x)", "a insert (21,x)", "a becomes a2",
                                  "a2 insert (23,x)", "a2 becomes a3", "a3 becomes a"));
}

TEST(FlushEvents, ASchemaChangeBetweenTransactionsKeepsItsPlace) {
    const auto a = table(1, "a");
    const auto a2 = table(1, "a2");
    TestFlush flush({400});
    flush.add(becomes(a2, a));
    flush.add(changes(a, {{1, 1}}));
    flush.add(becomes(a, a2));
    flush.add(changes(a2, {{2, 1}}));
    const std::vector<std::string> expected = {
        "a2 becomes a", "begin 1", "a insert (11,x)",  "commit 1",
        "a becomes a2", "begin 2", "a2 insert (21,x)", "commit 2"};
    EXPECT_EQ(walk(flush), expected);
    FlushEvents events(flush);
    flush.rewind();
    ASSERT_TRUE(events.next());
    ASSERT_TRUE(events.next());
    events.rewind();
    const auto first = events.next();
    ASSERT_TRUE(first);
    EXPECT_TRUE(std::holds_alternative<SchemaChange>(**first));
}

// The same change for the visible table and for its copy: each before the rows of its own.
TEST(FlushEvents, ASchemaChangeOfACopySaysSo) {
    const auto a = table(1, "a");
    const auto a2 = table(1, "a2");
    const auto copy = std::make_shared<const CopyTarget>(CopyTarget{a, 1, Lsn{5}});
    TestFlush flush({400});
    flush.add(becomes(a, a2, 1, 1));
    SchemaChange of_copy = becomes(a, a2, 1, 1);
    of_copy.copy = copy;
    of_copy.existing = std::make_shared<const RowBatch>(a2);
    flush.add(of_copy);
    FlushEvents events(flush);
    std::vector<CopyTargetPtr> copies;
    for (;;) {
        const auto event = events.next();
        ASSERT_TRUE(event);
        if (*event == nullptr) break;
        const auto* change = std::get_if<SchemaChange>(*event);
        if (change == nullptr) continue;
        copies.push_back(change->copy);
        EXPECT_EQ(change->existing != nullptr, change->copy != nullptr);
    }
    EXPECT_THAT(copies, ElementsAre(nullptr, copy));
}

TEST(FlushEvents, AnEmptyFlushHasNoEventsAndAnErrorComesThrough) {
    TestFlush flush(Lsn{10});
    EXPECT_THAT(walk(flush), ElementsAre());
    flush.fail_at_end(Error(ErrorCode::unavailable, "disk"));
    EXPECT_THAT(walk(flush), ElementsAre("error disk"));
}

TEST(Cell, ReadsEveryKindAndWidens) {
    const auto schema = TableMaker(1, "t")
                            .column("b", {TypeKind::boolean})
                            .column("i2", {TypeKind::int16})
                            .column("i4", {TypeKind::int32})
                            .column("i8", {TypeKind::int64})
                            .column("u4", {TypeKind::uint32})
                            .column("f4", {TypeKind::float32})
                            .column("f8", {TypeKind::float64})
                            .column("d", {TypeKind::decimal, false, 10, 2})
                            .column("t", {TypeKind::text})
                            .column("date", {TypeKind::date})
                            .column("time", {TypeKind::time})
                            .column("ts", {TypeKind::timestamptz})
                            .column("uuid", {TypeKind::uuid})
                            .column("list", {TypeKind::int32, true})
                            .make();
    RowBatch rows(schema);
    auto& c = rows.columns();
    c[0].append_bool(true);
    c[1].append_fixed(std::int16_t{-2});
    c[2].append_fixed(std::int32_t{-4});
    c[3].append_fixed(std::int64_t{-8});
    c[4].append_fixed(std::uint32_t{4'000'000'000});
    c[5].append_fixed(1.5F);
    c[6].append_fixed(2.5);
    const std::int64_t minus_123[2] = {-123, -1};
    c[7].append_fixed_bytes(minus_123, 16);
    c[8].append_bytes("größe");
    c[9].append_fixed(std::int32_t{19'000});
    c[10].append_fixed(std::int64_t{86'400'000'000});
    c[11].append_fixed(std::int64_t{1});
    const Uuid uuid{{1, 2, 3}};
    c[12].append_fixed_bytes(uuid.bytes.data(), 16);
    c[13].element().append_fixed(std::int32_t{7});
    c[13].element().append_null();
    c[13].append_list_end();
    const RowView row(rows, 0);
    EXPECT_EQ(*row.cell(0).get<bool>(), true);
    EXPECT_EQ(*row.cell(1).get<std::int16_t>(), -2);
    EXPECT_EQ(*row.cell(1).get<std::int64_t>(), -2);
    EXPECT_EQ(*row.cell(2).get<std::int32_t>(), -4);
    EXPECT_EQ(*row.cell(3).get<std::int64_t>(), -8);
    EXPECT_EQ(*row.cell(4).get<std::int64_t>(), 4'000'000'000);
    EXPECT_EQ(*row.cell(5).get<double>(), 1.5);
    EXPECT_EQ(*row.cell(6).get<double>(), 2.5);
    EXPECT_EQ(*row.cell(7).get<Decimal>(), (Decimal{-1, static_cast<std::uint64_t>(-123), 2}));
    EXPECT_EQ(*row.cell("t")->get<std::string_view>(), "größe");
    EXPECT_EQ(*row.cell(9).get<Date>(), Date{19'000});
    EXPECT_EQ(*row.cell(10).get<TimeOfDay>(), TimeOfDay{86'400'000'000});
    EXPECT_EQ(*row.cell(11).get<Timestamp>(), Timestamp{1});
    EXPECT_EQ(*row.cell(12).get<Uuid>(), uuid);
    EXPECT_EQ(*row.cell(13).get_list<std::int64_t>(),
              (std::vector<std::optional<std::int64_t>>{7, std::nullopt}));
    EXPECT_EQ(*row.cell(7).get<std::string>(), "-1.23");
    EXPECT_EQ(*row.cell(13).get<std::string>(), "{7,NULL}");
    EXPECT_FALSE(row.cell("nothing").has_value());
}

TEST(Cell, SaysWhatItIsInsteadOfGuessing) {
    const auto schema = TableMaker(1, "t").key("id").column("note").make();
    TestFlush flush(Lsn{10});
    flush.add(ChangeRecorder(schema)
                  .update({"1", "a"}, {"1", "a"}, {1})
                  .insert({"2", std::nullopt})
                  .take());
    FlushEvents events(flush);
    ASSERT_TRUE(events.next());
    const auto& update = std::get<UpdateEvent>(**events.next());
    const auto wrong = update.row.cell(0).get<bool>();
    ASSERT_FALSE(wrong);
    EXPECT_EQ(wrong.error().code(), ErrorCode::schema_mismatch);
    EXPECT_EQ(wrong.error().message(), "read column id as bool: it is int64");
    EXPECT_FALSE(update.row.cell(0).get<std::int32_t>()) << "narrowing could lose digits";
    EXPECT_FALSE(update.row.cell(0).get_list<std::int64_t>());
    EXPECT_TRUE(update.row.cell(1).is_unchanged());
    EXPECT_FALSE(update.row.cell(1).is_null());
    EXPECT_THAT(update.row.cell(1).get<std::string>().error().message(),
                HasSubstr("it is unchanged"));
    const auto& insert = std::get<InsertEvent>(**events.next());
    EXPECT_TRUE(insert.row.cell(1).is_null());
    EXPECT_THAT(insert.row.cell(1).get<std::string_view>().error().message(),
                HasSubstr("it is null"));
}

}  // namespace
}  // namespace walbrook
