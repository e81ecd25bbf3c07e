// Other processes read the lake while it is written. They may hold on to what they read
// for as long as they like: what is committed at the source is visible soon all the same.

#include <signal.h>

#include <cstdlib>

#include "integration/replica.h"
#include "support/eventually.h"
#include "support/pg_test.h"

namespace walbrook::testing {
namespace {

using std::chrono::seconds;

class Readers : public PgTest {};
INSTANTIATE_TEST_SUITE_P(Pg, Readers, ::testing::ValuesIn(newest_pg_version()), version_name);

// How long the readers hold on: two minutes where there is time for it.
seconds patience() { return std::getenv("WALBROOK_TEST_SOAK") ? seconds(120) : seconds(6); }

// Upkeep moves rows from the catalog to files behind the back of a session that has read
// the catalog before.
TEST_P(Readers, OneThatStaysAttachedSeesEveryFlush) {
    database().exec(
        "create table item(id int primary key, note text);"
        "create table log(line text);"
        "insert into item select g, 'x' from generate_series(1, 1000) g;"
        "create publication shop for table item, log");
    Replica replica(database());
    replica.configure("batch: {max_fill_ms: 20}");
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    LakeReader reader = replica.reader();
    // DuckLake reads inlined rows in a transaction of their own: a query that runs while they
    // move may fail, and must be right when it is asked again (docs/design/ducklake.md).
    const auto seen = [&](const std::string& sql) {
        for (const bool is_last : {false, true}) {
            try {
                return reader.value(sql);
            } catch (const std::exception& problem) {
                if (is_last) return std::string(problem.what());
            }
        }
        return std::string();
    };
    // Flushes without a pause between them, enough for upkeep to be due several times.
    for (int round = 1; round <= 50; ++round) {
        SCOPED_TRACE(round);
        database().exec(
            "insert into log select 'line ' || g from generate_series(1, 90) g;"
            "update item set note = note || 'x' where id <= 90");
        ASSERT_TRUE(replica.catches_up());
        EXPECT_EQ(seen("select count(*) from lake.public.log"), std::to_string(round * 90));
        EXPECT_EQ(seen("select max(length(note)) from lake.public.item"),
                  std::to_string(round + 1));
    }
    EXPECT_EQ(replica.stop().code, 0);
    EXPECT_GE(std::stoi(reader.value(
                  "select count(*) from __ducklake_metadata_lake.ducklake_snapshot_changes where "
                  "changes_made like '%inline_flush%'")),
              2);
}

TEST_P(Readers, ATransactionACursorAndALongQueryStopNoFlush) {
    database().exec(
        "create table item(id int primary key, note text);"
        "insert into item select g, repeat('x', 100) from generate_series(1, 100000) g;"
        "create publication shop for table item");
    Replica replica(database());
    replica.configure("batch: {max_fill_ms: 50}");
    replica.start();
    ASSERT_TRUE(replica.catches_up());

    TempDir folder("readers");
    ChildProcess holder(LAKE_HOLDER, {.args = {replica.catalog(), "public.item"},
                                      .output_file = folder.file("output")});
    ASSERT_TRUE(eventually([&] {
        return !holder.is_running() || holder.output().find("holding") != std::string::npos;
    }));
    ASSERT_TRUE(holder.is_running()) << holder.output();

    const auto until = std::chrono::steady_clock::now() + patience();
    int id = 100000;
    for (; std::chrono::steady_clock::now() < until || id < 100010; ++id) {
        // Inserts, changes of copied rows and deletes: inlined rows and delete files.
        database().exec("insert into item values (" + std::to_string(id + 1) +
                        ", 'new'); update item set note = 'changed' where id = " +
                        std::to_string(id - 99999) + "; delete from item where id = " +
                        std::to_string(150000 - id));
        ASSERT_TRUE(replica.catches_up(seconds(20))) << "after row " << id + 1;
        LakeReader fresh = replica.reader();
        ASSERT_EQ(fresh.value("select max(id) from lake.public.item"), std::to_string(id + 1));
    }
    ASSERT_TRUE(holder.is_running()) << holder.output();
    holder.signal(SIGTERM);
    const auto end = holder.wait();
    ASSERT_TRUE(end.has_value());
    EXPECT_EQ(end->code, 0) << holder.output();
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of("item"), "");
    EXPECT_EQ(replica.stop().code, 0);
}

}  // namespace
}  // namespace walbrook::testing
