// The source's side: what it reads, how much at once, and what it says of tables that change.

#include "support/pg_test.h"
#include "verify/compare.h"
#include "verify/source_side.h"

#include <fmt/format.h>

namespace walbrook::verify {
namespace {

using std::chrono::seconds;
using testing::PgTest;

class ReadSource : public PgTest {
 protected:
    SnapshotHolder take_snapshot() {
        auto holder = SnapshotHolder::open_at_position(
            database().connection(), {.application_name = "test"}, within(seconds(60)),
            fmt::format("walbrook_test_{}_{}", getpid(), ++slots_));
        EXPECT_TRUE(holder) << holder.error().message();
        return *std::move(holder);
    }
    SourceSide side(SnapshotHolder& holder, std::uint64_t rows_per_second_max = 0) {
        return SourceSide(database().connection(), {.application_name = "test"}, holder,
                          {rows_per_second_max});
    }
    // The only table of publication shop, at the snapshot.
    static ComparedTable only_table(SourceSide& side) {
        const auto published = side.published("shop", {});
        EXPECT_TRUE(published) << published.error().message();
        const PublishedTable& table = published->begin()->second;
        const auto schema = side.schema(table, {});
        EXPECT_TRUE(schema) << schema.error().message();
        ComparedTable compared{table.id, table.schema, table.name, schema->columns, {}, {}};
        compared.key = schema->key_columns();
        return compared;
    }
    static std::string rows_of_item(int first, int last) {
        return fmt::format(
            "insert into item select g, repeat('x', 100) from generate_series({}, {}) g;", first,
            last);
    }
    std::uint64_t estimate_of_item(const std::string& filled) {
        database().exec("create table item(id int primary key, note text);" + filled +
                        "create publication shop for table item");
        SnapshotHolder holder = take_snapshot();
        SourceSide source = side(holder);
        const auto estimate = source.estimated_rows(only_table(source), {});
        EXPECT_TRUE(estimate);
        return estimate ? *estimate : 0;
    }
    static std::uint64_t rows_in(const Digest& digest) {
        std::uint64_t rows = 0;
        for (const Group& group : digest) rows += group.rows;
        return rows;
    }

 private:
    int slots_ = 0;
};
INSTANTIATE_TEST_SUITE_P(Pg, ReadSource, ::testing::ValuesIn(testing::newest_pg_version()),
                         testing::version_name);

// A scan that only looks for the rows of some groups reads all rows, and takes its rests for them.
TEST_P(ReadSource, EveryScanCountsWhatItReads) {
    database().exec(
        "create table item(id int primary key, note text) with (fillfactor = 10);"
        "insert into item select g, repeat('x', 100) from generate_series(1, 2000) g;"
        "create publication shop for table item; analyze item");
    SnapshotHolder holder = take_snapshot();
    SourceSide source = side(holder, 1'000'000);
    const ComparedTable table = only_table(source);
    const auto estimate = source.estimated_rows(table, {});
    ASSERT_TRUE(estimate);
    EXPECT_EQ(*estimate, 2000U);
    const auto digest = source.digest(table, 64, {});
    ASSERT_TRUE(digest) << digest.error().message();
    EXPECT_EQ(rows_in(*digest), 2000U);
    EXPECT_EQ(source.rows_read(), 2000U);
    const auto rows = source.rows(table, 64, {0, 1}, {});
    ASSERT_TRUE(rows) << rows.error().message();
    EXPECT_EQ(rows->size(), (*digest)[0].rows + (*digest)[1].rows);
    EXPECT_GE(source.rows_read(), 3900U);
    EXPECT_LE(source.rows_read(), 4000U);
}

// Also those that the publication's filter leaves out. (14 has no filters.)
TEST_P(ReadSource, RowsBehindAFilterAreReadToo) {
    database().exec(
        "create table item(id int primary key, note text);"
        "insert into item select g, repeat('x', 100) from generate_series(1, 2000) g;");
    const bool has_filters = GetParam() >= 15;
    database().exec(has_filters ? "create publication shop for table item where (id <= 10)"
                                : "create publication shop for table item");
    for (const bool is_analyzed : {false, true}) {
        SCOPED_TRACE(is_analyzed);
        if (is_analyzed) database().exec("analyze item");
        SnapshotHolder holder = take_snapshot();
        SourceSide source = side(holder, 1'000'000);
        const ComparedTable table = only_table(source);
        const auto digest = source.digest(table, 4, {});
        ASSERT_TRUE(digest) << digest.error().message();
        EXPECT_EQ(rows_in(*digest), has_filters ? 10U : 2000U);
        EXPECT_GE(source.rows_read(), 2000U);
        EXPECT_LE(source.rows_read(), is_analyzed ? 2100U : 4000U);
        ASSERT_TRUE(source.rows(table, 4, {0}, {}));
        EXPECT_GE(source.rows_read(), 4000U);
    }
}

// Neither the list of tables nor the snapshot is lost for it.
TEST_P(ReadSource, AFilteredTableThatIsLockedIsLeftForLater) {
    if (GetParam() < 15) return;  // Has no row filters.
    database().exec("create table item(id int primary key, note text);" + rows_of_item(1, 100) +
                    "create publication shop for table item where (id <= 10)");
    SnapshotHolder holder = take_snapshot();
    SourceSide source(database().connection(),
                      {.application_name = "test", .lock_timeout = std::chrono::milliseconds(300)},
                      holder, {0});
    Connection other = database().session();
    testing::must_exec(other, "begin; lock table item");
    const ComparedTable table = only_table(source);
    const auto locked = source.digest(table, 4, {});
    ASSERT_FALSE(locked);
    EXPECT_EQ(locked.error().code(), ErrorCode::conflict) << locked.error().message();
    testing::must_exec(other, "rollback");
    const auto digest = source.digest(table, 4, {});
    ASSERT_TRUE(digest) << digest.error().message();
    EXPECT_EQ(rows_in(*digest), 10U);
}

// However little Postgres knows of it: groups of a table should be small.
TEST_P(ReadSource, ATableThatWasNeverAnalysedIsNotTakenForAnEmptyOne) {
    EXPECT_GT(estimate_of_item(rows_of_item(1, 20'000)), 5000U);
}

TEST_P(ReadSource, ATableThatHasGrownSinceIsNotTakenForASmallOne) {
    EXPECT_GT(estimate_of_item(rows_of_item(1, 200) + "analyze item;" + rows_of_item(201, 20'000)),
              15'000U);
}

// Without a key rows may be the same, as many as there are: they take the memory of one.
TEST_P(ReadSource, RowsThatAreTheSameAreOnePrint) {
    database().exec(
        "create table entry(n int, note text);"
        "insert into entry select g / 15000, repeat('x', 500) from generate_series(1, 29999) g;"
        "create publication shop for table entry");
    SnapshotHolder holder = take_snapshot();
    SourceSide source = side(holder);
    const auto rows = source.rows(only_table(source), 1, {0}, {});
    ASSERT_TRUE(rows) << rows.error().message();
    ASSERT_EQ(rows->size(), 2U);
    EXPECT_EQ((*rows)[0].count + (*rows)[1].count, 29'999U);
    EXPECT_EQ((*rows)[0].key_text, std::vector<std::string>{"(0,1)"});
}

TEST_P(ReadSource, WhatBecomesOfTheTableLaterIsNotRead) {
    database().exec(
        "create table item(id int primary key, note text);"
        "insert into item select g, 'x' from generate_series(1, 1000) g;"
        "create publication shop for table item");
    SnapshotHolder holder = take_snapshot();
    SourceSide source = side(holder);
    const ComparedTable table = only_table(source);
    const auto before = source.digest(table, 16, {});
    ASSERT_TRUE(before);
    database().exec("update item set note = 'y'; delete from item where id < 500");
    database().exec("vacuum item");
    const auto after = source.digest(table, 16, {});
    ASSERT_TRUE(after);
    EXPECT_EQ(*after, *before);
    for (const char* change :
         {"alter table item add column more int default 1", "truncate item", "vacuum full item",
          "alter table item rename to other", "drop table other"}) {
        database().exec(change);
        const auto changed = source.digest(table, 16, {});
        ASSERT_FALSE(changed) << change;
        EXPECT_EQ(changed.error().code(), ErrorCode::aborted) << changed.error().message();
    }
}

}  // namespace
}  // namespace walbrook::verify
