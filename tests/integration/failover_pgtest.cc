// Another server takes over: one that continues the log is followed, one that does not is
// refused before it can mix two histories.

#include "integration/replica.h"
#include "support/eventually.h"
#include "support/pg_test.h"
#include "support/tcp_proxy.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

namespace walbrook::testing {
namespace {

using ::testing::HasSubstr;

class Failover : public ::testing::TestWithParam<int> {
 protected:
    static void prepare(Database& database) {
        database.exec(
            "create table item(id int primary key, note text);"
            "insert into item select g, 'note ' || g from generate_series(1, 100) g;"
            "create publication shop for table item");
    }
    static Connection session(PgCluster& server, const std::string& database = "postgres") {
        return *Connection::open(server.connection(database), {.application_name = "test"},
                                 within(std::chrono::seconds(30)));
    }
    static std::string value(PgCluster& server, const std::string& sql) {
        Connection connection = session(server);
        return must_query(connection, sql)[0][0];
    }
    static void promote(PgCluster& server) {
        ASSERT_EQ(value(server, "select pg_promote()"), "t");
        ASSERT_EQ(value(server, "select pg_is_in_recovery()"), "f");
    }
};

INSTANTIATE_TEST_SUITE_P(Pg, Failover, ::testing::ValuesIn(newest_pg_version()),
                         [](const auto& where) { return "Pg" + std::to_string(where.param); });

// The server comes back as a standby and is promoted: same data, a new timeline.
TEST_P(Failover, ATimelineThatContinuesOursIsFollowed) {
    PgCluster server({.version = GetParam()});
    Database database(server);
    prepare(database);
    Replica replica(database);
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    database.exec("insert into item values (101, 'before')");
    ASSERT_TRUE(replica.catches_up());
    const auto again = [&] {
        server.stop();
        write_file(server.data_folder() + "/standby.signal", "");
        server.start();
        promote(server);
    };
    again();
    database.exec("insert into item values (102, 'after'); delete from item where id = 7");
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of("item"), "");
    // And once more while nobody watches: the store knows the old timeline.
    EXPECT_EQ(replica.stop().code, 0);
    again();
    database.exec("update item set note = 'third' where id = 8");
    EXPECT_EQ(replica.run_until_caught_up().code, 0);
    EXPECT_EQ(replica.difference_of("item"), "");
    EXPECT_THAT(replica.log(), HasSubstr("on a new timeline\",\"timeline\":\"2\""));
    EXPECT_THAT(replica.log(), HasSubstr("on a new timeline\",\"timeline\":\"3\""));
}

// The standby had not received all that the lake has: what it writes at the same positions
// is another history, though a slot of our name is there and its log is long enough.
TEST_P(Failover, ATimelineThatLeftOursTooEarlyIsRefused) {
    PgCluster primary({.version = GetParam()});
    Database database(primary);
    prepare(database);
    const auto standby = PgCluster::standby_of(primary);
    Replica replica(database);
    ASSERT_EQ(replica.run_until_caught_up().code, 0);
    ASSERT_TRUE(eventually([&] {
        return parse_lsn(value(*standby, "select pg_last_wal_replay_lsn()")) >= database.lsn();
    }));
    standby->stop();
    database.exec("insert into item select g, 'only here' from generate_series(101, 5000) g");
    ASSERT_EQ(replica.run_until_caught_up().code, 0);
    EXPECT_EQ(replica.difference_of("item"), "");
    primary.stop();
    standby->start();
    promote(*standby);
    Connection there = session(*standby, database.name());
    must_exec(there, "select pg_create_logical_replication_slot('walbrook_" +
                         std::to_string(replica.id()) + "', 'pgoutput')");
    must_exec(there,
              "insert into public.item select g, 'only there' from generate_series(101, 20000) g");
    replica.connect_through(standby->port());
    EXPECT_NE(replica.run_until_caught_up().code, 0);
    EXPECT_THAT(replica.log(), HasSubstr("does not continue the log that was followed"));
    // It stays refused.
    EXPECT_NE(replica.run_until_caught_up().code, 0);
}

// What the standby had not received is only what others wrote: no transaction of ours is missing,
// however far keepalives have told us of.
TEST_P(Failover, AStandbyThatLacksOnlyWhatIsNotOursIsFollowed) {
    PgCluster primary({.version = GetParam()});
    Database database(primary);
    Database other(primary);
    prepare(database);
    other.exec("create table noise(t text)");
    const auto standby = PgCluster::standby_of(primary);
    // Passes nothing before the new primary has a slot of ours.
    TcpProxy proxy(standby->port());
    proxy.stall("");
    Replica replica(database);
    const std::string both = fmt::format(
        "{{url: "
        "\"postgres://postgres@127.0.0.1:{},127.0.0.1:{}/{}?target_session_attrs=read-write\"}}",
        primary.port(), proxy.port(), database.name());
    replica.connect_with(both);
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    database.exec("insert into item values (101, 'last of ours')");
    ASSERT_TRUE(replica.catches_up());
    ASSERT_TRUE(eventually([&] {
        return parse_lsn(value(*standby, "select pg_last_wal_replay_lsn()")) >= database.lsn();
    }));
    standby->stop();
    // More than the new server needs for the slot that is made there.
    other.exec("insert into noise select repeat('x', 1000) from generate_series(1, 20000)");
    const Lsn unseen = database.lsn();
    ASSERT_TRUE(eventually([&] {
        const auto now = replica.status();
        return now && now->confirmed >= unseen;
    }));
    primary.kill();
    standby->start();
    promote(*standby);
    Connection there = session(*standby, database.name());
    must_exec(there, fmt::format("select pg_create_logical_replication_slot('{}', 'pgoutput')",
                                 replica.slot()));
    must_exec(there,
              "insert into public.item values (102, 'only there'); delete from public.item "
              "where id = 5");
    proxy.resume();
    const auto is_equal = [&] {
        return replica.is_running() && difference(table_rows(there, {.table = "item"}),
                                                  replica.reader().rows("public", "item"))
                                           .empty();
    };
    EXPECT_TRUE(eventually(is_equal));
    EXPECT_THAT(replica.log(), HasSubstr("on a new timeline"));
    // And the same at a start.
    EXPECT_EQ(replica.stop().code, 0);
    must_exec(there, "update public.item set note = 'again' where id < 10");
    replica.start();
    EXPECT_TRUE(eventually(is_equal));
    EXPECT_EQ(replica.stop().code, 0);
}

}  // namespace
}  // namespace walbrook::testing
