// Other processes read the lake while it is written. They may hold on to what they read
// for as long as they like: what is committed at the source is visible soon all the same.

#include "integration/bank.h"
#include "integration/replica.h"
#include "support/eventually.h"
#include "support/pg_test.h"
#include "support/sanitized.h"

#include <cstdlib>
#include <set>
#include <signal.h>

namespace walbrook::testing {
namespace {

using std::chrono::seconds;

class Readers : public PgTest {};
INSTANTIATE_TEST_SUITE_P(Pg, Readers, ::testing::ValuesIn(newest_pg_version()), version_name);

// How long the readers hold on. Once in a run of all tests is enough.
seconds patience() { return is_sanitized() ? seconds(6) : seconds(120); }

int upkeeps(LakeReader& reader) {
    return std::stoi(
        reader.value("select count(*) from __ducklake_metadata_lake.ducklake_snapshot_changes "
                     "where commit_message = 'maintain'"));
}

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
    // Enough flushes for upkeep to be due several times.
    for (int round = 1; round <= (is_sanitized() ? 30 : 50); ++round) {
        SCOPED_TRACE(round);
        database().exec(
            "insert into log select 'line ' || g from generate_series(1, 90) g;"
            "update item set note = note || 'x' where id <= 90");
        ASSERT_TRUE(replica.catches_up());
        EXPECT_EQ(reader.value("select count(*) from lake.public.log"), std::to_string(round * 90));
        EXPECT_EQ(reader.value("select max(length(note)) from lake.public.item"),
                  std::to_string(round + 1));
    }
    EXPECT_EQ(replica.stop().code, 0);
    EXPECT_GE(upkeeps(reader), is_sanitized() ? 1 : 2);
}

// Whatever a flush or the upkeep is doing while a query runs: the query sees all of a
// transaction or nothing of it.
void expect_whole_transactions(Database& source, Replica& replica) {
    Bank bank(source, 1);
    replica.configure("batch: {max_fill_ms: 20}");
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    bank.start(2, 200);
    LakeReader reader = replica.reader();
    int queries = 0;
    std::set<std::string> balances;
    const bool was_tidied = eventually(
        [&] {
            for (int i = 0; i < 20; ++i, ++queries) {
                const auto sums = reader.query(
                    "select (select sum(abalance) from lake.public.pgbench_accounts), "
                    "(select sum(tbalance) from lake.public.pgbench_tellers), "
                    "(select sum(bbalance) from lake.public.pgbench_branches), "
                    "(select coalesce(sum(delta), 0) from lake.public.pgbench_history)")[0];
                balances.insert(sums[0]);
                EXPECT_EQ(sums, std::vector<std::string>(4, sums[0])) << "query " << queries;
            }
            return queries >= (is_sanitized() ? 80 : 300) &&
                   upkeeps(reader) >= (is_sanitized() ? 4 : 15);
        },
        seconds(600));
    EXPECT_TRUE(was_tidied) << queries << " queries";
    EXPECT_GE(balances.size(), is_sanitized() ? 10U : 50U);
    bank.expect_nothing_lost(replica);
}

TEST_P(Readers, NeverSeeAPartOfATransaction) {
    Replica replica(database());
    expect_whole_transactions(database(), replica);
}

TEST_P(Readers, OfACatalogInPostgresNeverSeeAPartOfATransaction) {
    Database lake(database().cluster());
    Replica replica(database());
    replica.use_catalog(catalog_in(lake));
    expect_whole_transactions(database(), replica);
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
        // Inserts, changes of copied rows and deletes.
        database().exec(
            "insert into item values (" + std::to_string(id + 1) +
            ", 'new'); update item set note = 'changed' where id = " + std::to_string(id - 99999) +
            "; delete from item where id = " + std::to_string(150000 - id));
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
