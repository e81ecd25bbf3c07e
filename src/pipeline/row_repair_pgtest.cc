// Rows that `walbrook verify --repair` asks for, as of a snapshot; and what is refused.

#include "decode/type_table.h"
#include "pipeline/row_repair.h"
#include "postgres/snapshot.h"
#include "support/eventually.h"
#include "support/pg_test.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <sys/resource.h>
#include <thread>

namespace walbrook {
namespace {

using std::chrono::seconds;
using ::testing::HasSubstr;
using testing::PgTest;

class ReadRepair : public PgTest {
 protected:
    void publish(const std::string& sql, const std::string& tables = "for all tables") {
        database().exec(sql + ";create publication shop " + tables);
        config_.id = 7;
        config_.publication_name = "shop";
        config_.pg_connection = database().connection();
        hold_snapshot();
        table_ = TableId{database().oid("item")};
    }
    void hold_snapshot() {
        holder_.reset();
        auto holder = SnapshotHolder::open_at_position(
            database().connection(), {.application_name = "test"}, within(seconds(60)),
            fmt::format("walbrook_test_repair_{}", getpid()));
        ASSERT_TRUE(holder) << holder.error().message();
        holder_.emplace(*std::move(holder));
    }
    Result<ReadRepairs> read(std::vector<std::vector<std::string>> keys) {
        return read_repairs(config_, holder_->name(), {{table_, std::move(keys)}},
                            std::chrono::minutes(1), {});
    }
    std::string refusal(std::vector<std::vector<std::string>> keys) {
        const auto read_now = read(std::move(keys));
        if (!read_now) return "error: " + read_now.error().message();
        return read_now->refused.empty() ? "" : read_now->refused[0].second;
    }

    TableId table_;
    PipelineConfig config_;
    std::optional<SnapshotHolder> holder_;
};
INSTANTIATE_TEST_SUITE_P(Pg, ReadRepair, ::testing::ValuesIn(testing::pg_versions()),
                         testing::version_name);

TEST_P(ReadRepair, RowsAreThoseOfTheSnapshot) {
    publish(
        "create table item(id int, place text, note text, primary key (id, place));"
        "insert into item values (1, E'it''s\\n\"', 'one'), (2, 'b', null), (3, 'c', 'three')");
    database().exec("update item set note = 'later'; delete from item where id = 2");
    const auto repairs = read({{"1", "it's\n\""}, {"2", "b"}, {"9", "nobody"}});
    ASSERT_TRUE(repairs) << repairs.error().message();
    ASSERT_EQ(repairs->repairs.size(), 1U);
    EXPECT_EQ(repairs->repairs[0].keys->rows(), 3U);
    EXPECT_EQ(repairs->repairs[0].rows->rows(), 2U);
}

TEST_P(ReadRepair, RowsThatTheFilterLeavesOutAreNone) {
    if (version() < 15) return;  // Has no row filters.
    publish(
        "create table item(id int primary key, note text);"
        "create table other(id int primary key); insert into item values (1, 'one'), (5, 'five')",
        "for table item where (id < 3), other");
    const auto repairs = read({{"1"}, {"5"}});
    ASSERT_TRUE(repairs) << repairs.error().message();
    ASSERT_EQ(repairs->repairs.size(), 1U);
    EXPECT_EQ(repairs->repairs[0].keys->rows(), 2U);
    EXPECT_EQ(repairs->repairs[0].rows->rows(), 1U);
    // Where the filter cannot be read for the moment it is that table's trouble alone.
    Connection holder = database().session();
    testing::must_exec(holder, "begin; lock table item");
    const TableId other{database().oid("other")};
    const auto both = read_repairs(config_, holder_->name(), {{table_, {{"1"}}}, {other, {{"1"}}}},
                                   std::chrono::minutes(1), {});
    ASSERT_TRUE(both) << both.error().message();
    EXPECT_EQ(both->refused.size(), 1U);
    EXPECT_EQ(both->repairs.size(), 1U);
}

TEST_P(ReadRepair, RefusesWhatItCannotTellForSure) {
    publish(
        "create table item(id int primary key, note text);"
        "insert into item values (1, 'one')");
    EXPECT_EQ(refusal({{"1"}}), "");
    EXPECT_NE(refusal({{"1", "2"}}), "");  // Another key.
    EXPECT_NE(refusal({{"one"}}), "");     // No number,
    EXPECT_NE(refusal({{" 1"}}), "");      // or not as Postgres prints it.
    EXPECT_NE(refusal({{"1'; drop"}}), "");
    EXPECT_EQ(refusal({}), "");
    table_.oid += 1;
    EXPECT_EQ(refusal({{"1"}}), "it is not published any more");
}

TEST_P(ReadRepair, RefusesATableThatIsLockedOrHasChanged) {
    publish("create table item(id int primary key, note text); insert into item values (1, 'one')");
    Connection other = database().session();
    testing::must_exec(other, "begin; lock table item");
    EXPECT_THAT(refusal({{"1"}}), HasSubstr("is locked by somebody else"));
    testing::must_exec(other, "rollback");
    EXPECT_EQ(refusal({{"1"}}), "");
    // For a moment it may be locked.
    testing::must_exec(other, "begin; lock table item");
    {
        const std::jthread ends([&] {
            EXPECT_TRUE(testing::eventually([&] {
                return database().value(
                           "select count(*) from pg_stat_activity where "
                           "application_name = 'walbrook:7:repair'") == "3";
            }));
            testing::must_exec(other, "rollback");
        });
        EXPECT_EQ(refusal({{"1"}}), "");
    }
    database().exec("alter table item add column more int");
    EXPECT_THAT(refusal({{"1"}}), HasSubstr("altered, rewritten or truncated"));
}

TEST_P(ReadRepair, RefusesMoreThanFitsIntoMemory) {
    publish(
        "create table item(id int primary key, note text);"
        "insert into item select g, repeat('x', 8 << 20) from generate_series(1, 9) g;"
        "create table few(id int primary key); insert into few values (1)");
    EXPECT_EQ(refusal({{"1"}, {"2"}, {"3"}}), "");
    EXPECT_THAT(refusal({{"1"}, {"2"}, {"3"}, {"4"}, {"5"}, {"6"}, {"7"}, {"8"}, {"9"}}),
                HasSubstr("the rows that differ have more than 64 MiB"));
    // The others have as much room as if it had not been asked for.
    const TableId few{database().oid("few")};
    const auto both = read_repairs(
        config_, holder_->name(),
        {{table_, {{"1"}, {"2"}, {"3"}, {"4"}, {"5"}, {"6"}, {"7"}, {"8"}, {"9"}}}, {few, {{"1"}}}},
        std::chrono::minutes(1), {});
    ASSERT_TRUE(both) << both.error().message();
    EXPECT_EQ(both->refused.size(), 1U);
    EXPECT_EQ(both->repairs.size(), 1U);
}

// The stream stands still meanwhile: however many tables there are, and however slow they are.
TEST_P(ReadRepair, RefusesWhatTakesTooLong) {
    publish(
        "create table item(id int primary key); insert into item values (1);"
        "create table other(id int primary key); insert into other values (1)");
    std::vector<std::vector<std::string>> many;
    for (int i = 1; i <= 600'000; ++i) many.push_back({std::to_string(i)});
    const auto read_now =
        read_repairs(config_, holder_->name(),
                     {{table_, std::move(many)}, {TableId{database().oid("other")}, {{"1"}}}},
                     std::chrono::milliseconds(2'000), {});
    ASSERT_TRUE(read_now) << read_now.error().message();
    ASSERT_EQ(read_now->refused.size(), 2U);
    for (const auto& [table, why] : read_now->refused) {
        EXPECT_THAT(why, HasSubstr("could not be read in the time"));
    }
}

// They would all be in memory before they could be counted.
TEST_P(ReadRepair, AsksHowLargeTheRowsAreFirst) {
    publish(
        "create table item(id int primary key, note text);"
        "insert into item select g, repeat('x', 8 << 20) from generate_series(1, 24) g");
    std::vector<std::vector<std::string>> keys;
    for (int i = 1; i <= 24; ++i) keys.push_back({std::to_string(i)});
    const auto peak_kib = [] {
        rusage usage{};
        getrusage(RUSAGE_SELF, &usage);
        return usage.ru_maxrss;
    };
    const auto before = peak_kib();
    EXPECT_THAT(refusal(keys), HasSubstr("the rows that differ have more than 64 MiB"));
    EXPECT_LT(peak_kib() - before, 100 << 10);
}

// Postgres lets a publication leave a column of the key out, as long as there are inserts alone: it
// is none then.
TEST_P(ReadRepair, RefusesAKeyOfWhichAColumnIsNotPublished) {
    if (version() < 15) return;  // It has no column lists.
    publish(
        "create table item(a int, b int, note text, primary key (a, b));"
        "insert into item values (7, 1, 'x'), (7, 2, 'y'), (8, 1, 'z')");
    database().exec("drop publication shop; create publication shop for table item (a, note)");
    hold_snapshot();
    EXPECT_EQ(refusal({{"8"}}), "its rows have no key");
}

TEST_P(ReadRepair, RefusesATableWithoutAKey) {
    publish("create table item(id int); alter table item replica identity full");
    EXPECT_EQ(refusal({{"1"}}), "its rows have no key");
}

}  // namespace
}  // namespace walbrook
