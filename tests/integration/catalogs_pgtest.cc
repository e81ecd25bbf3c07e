// The kinds of catalog that a lake can have besides a SQLite file.

#include "integration/bank.h"
#include "support/eventually.h"
#include "support/pg_test.h"

namespace walbrook::testing {
namespace {

class Catalogs : public PgTest {};
INSTANTIATE_TEST_SUITE_P(Pg, Catalogs, ::testing::ValuesIn(newest_pg_version()), version_name);

// A database for teams: several readers, the process killed now and then.
TEST_P(Catalogs, APostgresDatabase) {
    Database lake(database().cluster());
    Bank bank = Bank::small(database());
    Replica replica(database());
    replica.use_catalog(catalog_in(lake));
    replica.configure("batch: {max_fill_ms: 50}");
    bank.start(4, 200);
    for (int i = 0; i < 5; ++i) {
        replica.start();
        const int before = replica.snapshots();
        ASSERT_TRUE(eventually([&] { return replica.snapshots() >= before + 3 * (i + 1); }));
        ASSERT_TRUE(replica.is_running());
        replica.kill();
    }
    replica.start();
    bank.expect_nothing_lost(replica);
}

// It locks every reader out while the pipeline runs.
TEST_P(Catalogs, ADuckDbFile) {
    database().exec(
        "create table item(id int primary key, note text);"
        "insert into item select g, 'note ' || g from generate_series(1, 100) g;"
        "create publication shop for table item");
    Replica replica(database());
    replica.use_catalog("duckdb:" + replica.folder() + "/lake/catalog.duckdb");
    EXPECT_EQ(replica.run_until_caught_up().code, 0);
    EXPECT_EQ(replica.difference_of("item"), "");
    database().exec("update item set note = 'new' where id < 10; delete from item where id > 90");
    EXPECT_EQ(replica.run_until_caught_up().code, 0);
    EXPECT_EQ(replica.difference_of("item"), "");
    const Finished refused = run_program(
        walbrook_program(), {.args = {"verify", "--config", replica.folder() + "/walbrook.yaml"}});
    EXPECT_EQ(refused.exit.code, 78);
    EXPECT_NE(refused.output.find("can be opened by one process alone"), std::string::npos)
        << refused.output;
}

}  // namespace
}  // namespace walbrook::testing
