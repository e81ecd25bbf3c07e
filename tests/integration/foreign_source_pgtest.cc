// The source is not the one that the lake was made from, or not all of it any more: nothing is
// mixed, at the start and while running.

#include "integration/replica.h"
#include "support/eventually.h"
#include "support/pg_test.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <filesystem>

namespace walbrook::testing {
namespace {

using ::testing::HasSubstr;

constexpr int kRefused = 70;

class ForeignSource : public ::testing::TestWithParam<int> {
 protected:
    static void prepare(Database& database) {
        database.exec(
            "create table item(id int primary key, note text);"
            "insert into item select g, 'note ' || g from generate_series(1, 100) g;"
            "create publication shop for table item");
    }
    static std::string url(const Database& database) {
        return fmt::format("{{url: \"{}\"}}", database.url());
    }
    static void expect_refused(Replica& replica, const std::string& text) {
        EXPECT_EQ(replica.run_until_caught_up().code, kRefused);
        EXPECT_THAT(replica.log(), HasSubstr(text));
        EXPECT_EQ(replica.reader().value("select count(*) from lake.public.item"), "100");
    }
};
INSTANTIATE_TEST_SUITE_P(Pg, ForeignSource, ::testing::ValuesIn(newest_pg_version()), version_name);

// A dump of it that was restored on the same server, or on another: the same tables, another log.
TEST_P(ForeignSource, ARestoredDumpIsRefused) {
    Database source(PgCluster::shared(GetParam()));
    prepare(source);
    Replica replica(source);
    ASSERT_EQ(replica.run_until_caught_up().code, 0);

    Database beside(source.cluster());
    prepare(beside);
    beside.exec("insert into item values (101, 'elsewhere')");
    replica.connect_with(url(beside));
    expect_refused(replica, "the store belongs to another source");

    PgCluster other({.version = GetParam()});
    Database there(other);
    prepare(there);
    there.exec("insert into item values (101, 'elsewhere')");
    replica.connect_with(url(there));
    expect_refused(replica, "the store belongs to another source");
    // The lake knows it, too: a new store does not help.
    std::filesystem::remove_all(replica.work_dir());
    expect_refused(replica, "another source");
    EXPECT_EQ(there.value("select count(*) from pg_replication_slots"), "0");

    std::filesystem::remove_all(replica.work_dir());
    replica.connect_with("");
    source.exec("insert into item values (101, 'here')");
    EXPECT_EQ(replica.run_until_caught_up().code, 0);
    EXPECT_EQ(replica.difference_of("item"), "");
}

// The address leads to another server when the stream connects again.
TEST_P(ForeignSource, AnotherServerAtTheSameAddressIsRefusedWhileRunning) {
    PgCluster first({.version = GetParam()});
    PgCluster second({.version = GetParam()});
    Database source(first);
    prepare(source);
    Connection admin = *Connection::open(second.connection(), {.application_name = "test"},
                                         within(std::chrono::seconds(30)));
    must_exec(admin, "create database " + source.name());
    Replica replica(source);
    replica.connect_with(
        fmt::format("{{url: \"postgres://postgres@127.0.0.1:{},127.0.0.1:{}/{}\"}}", first.port(),
                    second.port(), source.name()));
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    first.crash();
    const auto exit = replica.process().wait();
    ASSERT_TRUE(exit.has_value());
    EXPECT_EQ(exit->code, kRefused);
    EXPECT_THAT(replica.log(), HasSubstr("is another database system than at the start"));
    first.start();
    source.exec("insert into item values (101, 'after')");
    EXPECT_EQ(replica.run_until_caught_up().code, 0);
    EXPECT_EQ(replica.difference_of("item"), "");
}

// A backup from before, started as it is: the same system, the same timeline, and a log that ends
// before what the lake has.
TEST_P(ForeignSource, ABackupFromBeforeIsRefused) {
    PgCluster server({.version = GetParam()});
    Database source(server);
    prepare(source);
    const auto backup = PgCluster::standby_of(server);
    backup->stop();
    std::filesystem::remove(backup->data_folder() + "/standby.signal");
    Replica replica(source);
    replica.configure("invalidated_slot_behavior: recreate");
    ASSERT_EQ(replica.run_until_caught_up().code, 0);
    // More than the old server writes until it stands.
    source.exec(
        "create table filler(t text);"
        "insert into filler select repeat('x', 1000) from generate_series(1, 2000)");
    source.exec("update item set note = 'only here' where id = 1");
    ASSERT_EQ(replica.run_until_caught_up().code, 0);
    server.stop();
    backup->start();
    Connection there =
        *Connection::open(backup->connection(source.name()), {.application_name = "test"},
                          within(std::chrono::seconds(30)));
    must_exec(there, fmt::format("select pg_create_logical_replication_slot('{}', 'pgoutput')",
                                 replica.slot()));
    replica.connect_through(backup->port());
    expect_refused(replica, "transactions in the destination are not in this source. Go on with");
    // Nor is all copied again in its place, where it has no slot.
    must_exec(there, fmt::format("select pg_drop_replication_slot('{}')", replica.slot()));
    expect_refused(replica, "transactions in the destination are not in this source. Go on with");
    EXPECT_EQ(replica.reader().value("select note from lake.public.item where id = 1"),
              "only here");
    // Nothing was changed there, and nothing in the lake.
    EXPECT_EQ(must_query(there, "select count(*) from pg_replication_slots")[0][0], "0");
    backup->stop();
    server.start();
    source.exec("insert into item values (101, 'here')");
    replica.connect_through(0);
    EXPECT_EQ(replica.run_until_caught_up().code, 0);
    EXPECT_EQ(replica.difference_of("item"), "");
    EXPECT_EQ(replica.count_in_log("copied again"), 0);
}

}  // namespace
}  // namespace walbrook::testing
