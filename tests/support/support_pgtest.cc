#include "support/eventually.h"
#include "support/pg_test.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <signal.h>

namespace walbrook::testing {
namespace {

class Support : public PgTest {};
INSTANTIATE_TEST_SUITE_P(Pg, Support, ::testing::ValuesIn(pg_versions()), version_name);

TEST_P(Support, TheServerHasTheVersionAskedFor) {
    EXPECT_EQ(database().session().major_version(), version());
    EXPECT_EQ(database().value("show wal_level"), "logical");
}

TEST_P(Support, ADatabaseGoesWithItsSlotsAndPreparedTransactions) {
    std::string name;
    {
        Database other(cluster());
        name = other.name();
        other.exec("create table t(id int); create table locked(id int)");
        other.query("select pg_create_logical_replication_slot('left_over', 'pgoutput')");
        other.exec("begin; insert into t values (1); prepare transaction 'forgotten'");
        Connection open = other.session();
        must_exec(open, "begin; lock table locked");
    }
    EXPECT_EQ(database().value("select count(*) from pg_database where datname = '" + name + "'"),
              "0");
    EXPECT_EQ(database().value("select count(*) from pg_prepared_xacts"), "0");
    EXPECT_EQ(database().value("select count(*) from pg_replication_slots"), "0");
}

TEST_P(Support, TableRowsTellNullFromText) {
    database().exec("create table \"T x\"(id int, note text, at timestamptz)");
    database().exec(
        "insert into \"T x\" values (2, null, null), (1, E'a\\tb\\\\', '2020-01-01 00:00+02')");
    EXPECT_EQ(table_rows(database(), {.table = "T x"}),
              (std::vector<std::string>{"1\ta\\tb\\\\\t2019-12-31 22:00:00+00", "2\t\\N\t\\N"}));
    EXPECT_EQ(table_rows(database(), {.table = "T x", .columns = {"id"}, .where = "note is null"}),
              (std::vector<std::string>{"2"}));
}

TEST_P(Support, AKilledServerComesBackWithWhatWasCommitted) {
    PgCluster own({.version = version()});
    Database data(own);
    data.exec("create table t(id int)");
    data.exec("insert into t select generate_series(1, 100)");
    own.kill();
    EXPECT_FALSE(own.is_running());
    own.start();
    EXPECT_EQ(data.value("select count(*) from t"), "100");
    own.crash();
    own.start();
    own.restart();
    EXPECT_EQ(data.value("select count(*) from t"), "100");
    EXPECT_NE(own.log().find("ready to accept connections"), std::string::npos);
}

TEST_P(Support, AStandbyFollows) {
    PgCluster primary({.version = version()});
    const auto standby = PgCluster::standby_of(primary);
    auto on_primary = Connection::open(primary.connection(), {.application_name = "test"},
                                       within(std::chrono::seconds(30)));
    ASSERT_TRUE(on_primary);
    must_exec(*on_primary, "create table public.t as select 1 as id");
    auto on_standby = Connection::open(standby->connection(), {.application_name = "test"},
                                       within(std::chrono::seconds(30)));
    ASSERT_TRUE(on_standby);
    EXPECT_EQ(must_query(*on_standby, "select pg_is_in_recovery()"), (TextRows{{"t"}}));
    EXPECT_TRUE(eventually([&] {
        return must_query(*on_standby, "select to_regclass('public.t')") == TextRows{{"public.t"}};
    }));
}

// Whoever kills a test run must not be left with servers.
TEST(Guard, EndsTheServerOfADeadProcess) {
    const TempDir folder;
    const std::string note = folder.file("note");
    const pid_t child = fork();
    if (child == 0) {
        try {
            PgCluster cluster({.version = pg_versions().back()});
            write_file(folder.file("part"),
                       fmt::format("{} {}", cluster.pid(), cluster.data_folder()));
            std::filesystem::rename(folder.file("part"), note);
            kill(getpid(), SIGKILL);
        } catch (const std::exception&) {
        }
        _exit(1);
    }
    ASSERT_GT(child, 0);
    ASSERT_TRUE(eventually([&] { return std::filesystem::exists(note); }));
    pid_t server = 0;
    std::string data;
    std::ifstream(note) >> server >> data;
    ASSERT_GT(server, 0);
    EXPECT_TRUE(eventually([&] { return !std::filesystem::exists(data); }));
    EXPECT_TRUE(eventually([&] { return kill(server, 0) != 0; }));
}

}  // namespace
}  // namespace walbrook::testing
