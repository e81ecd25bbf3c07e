// Another server takes over: one that continues the log is followed, one that does not is
// refused before it can mix two histories.

#include "integration/replica.h"
#include "support/eventually.h"
#include "support/pg_test.h"
#include "support/tcp_proxy.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <memory>
#include <optional>

namespace walbrook::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

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

// Where a slot follows us to the new server by itself.
class FailoverOfASlot : public Failover {
 protected:
    void start() {
        prepare(database_);
        other_.exec("create table noise(t text)");
        database_.exec("select pg_create_physical_replication_slot('standby', true)");
        standby_->sync_slots_from(primary_);
        // Passes nothing before the new primary is as the test wants it.
        proxy_.emplace(standby_->port()).stall("");
        replica_.connect_with(
            fmt::format("{{url: "
                        "\"postgres://postgres@127.0.0.1:{},127.0.0.1:{}/"
                        "{}?target_session_attrs=read-write\"}}",
                        primary_.port(), proxy_->port(), database_.name()));
        replica_.start();
        ASSERT_TRUE(replica_.catches_up());
        database_.exec("insert into item values (101, 'last of ours')");
        ASSERT_TRUE(replica_.catches_up());
        const std::string is_there = fmt::format(
            "select pg_last_wal_replay_lsn() >= '{}' and exists(select from pg_replication_slots "
            "where slot_name = '{}' and synced and not temporary)",
            to_string(database_.lsn()), replica_.slot());
        ASSERT_TRUE(eventually([&] { return value(*standby_, is_there) == "t"; }));
    }
    // What the standby has not received is only what others wrote: no transaction of ours is
    // missing, however far keepalives have told us of.
    void take_over() {
        write_what_is_lost();
        hand_over();
    }
    void write_what_is_lost() {
        standby_->stop();
        other_.exec("insert into noise select repeat('x', 1000) from generate_series(1, 20000)");
        const Lsn unseen = database_.lsn();
        ASSERT_TRUE(eventually([&] {
            const auto now = replica_.status();
            return now && now->confirmed >= unseen;
        }));
    }
    void hand_over() {
        primary_.kill();
        standby_->start();
        promote(*standby_);
        there_.emplace(session(*standby_, database_.name()));
        must_exec(*there_,
                  "insert into public.item values (102, 'only there'); delete from public.item "
                  "where id = 5");
    }
    void expect_followed() {
        proxy_->resume();
        EXPECT_TRUE(eventually([&] { return is_equal(); }));
        EXPECT_THAT(replica_.log(), HasSubstr("on a new timeline"));
        EXPECT_THAT(replica_.log(), Not(HasSubstr("copied again")));
        EXPECT_EQ(replica_.stop().code, 0);
    }
    bool is_equal() {
        return replica_.is_running() && difference(table_rows(*there_, {.table = "item"}),
                                                   replica_.reader().rows("public", "item"))
                                            .empty();
    }
    PgCluster primary_{{.version = GetParam()}};
    Database database_{primary_};
    Database other_{primary_};
    std::unique_ptr<PgCluster> standby_ = PgCluster::standby_of(primary_);
    std::optional<TcpProxy> proxy_;
    Replica replica_{database_};
    std::optional<Connection> there_;
};
INSTANTIATE_TEST_SUITE_P(Pg, FailoverOfASlot, ::testing::ValuesIn(versions_with_failover_slots()),
                         version_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(FailoverOfASlot);

TEST_P(FailoverOfASlot, AStandbyThatLacksOnlyWhatIsNotOursIsFollowed) {
    start();
    take_over();
    if (HasFatalFailure()) return;
    expect_followed();
    // And the same at a start.
    must_exec(*there_, "update public.item set note = 'again' where id < 10");
    replica_.start();
    EXPECT_TRUE(eventually([&] { return is_equal(); }));
    EXPECT_EQ(replica_.stop().code, 0);
}

// Who starts meanwhile begins at the slot's position, which the destination has not got to.
TEST_P(FailoverOfASlot, AStandbyThatLacksOnlyWhatIsNotOursIsFollowedByWhoHasJustStarted) {
    start();
    write_what_is_lost();
    if (HasFatalFailure()) return;
    EXPECT_EQ(replica_.stop().code, 0);
    replica_.start();
    ASSERT_TRUE(eventually([&] { return replica_.count_in_log("\"streaming\"") == 2; }));
    hand_over();
    if (HasFatalFailure()) return;
    expect_followed();
}

// The old server had confirmed more of its log than the new one has, so its number says nothing:
// rows that were written before the slot was made, or where somebody moved it, are not in it.
TEST_P(FailoverOfASlot, ASlotThatIsMadeOrMovedThereIsNotOurs) {
    start();
    take_over();
    if (HasFatalFailure()) return;
    const std::string why = "somebody else moved it or made it anew";
    must_exec(*there_, fmt::format("select pg_replication_slot_advance('{}', pg_current_wal_lsn())",
                                   replica_.slot()));
    proxy_->resume();
    EXPECT_TRUE(eventually([&] { return !replica_.is_running(); }));
    EXPECT_EQ(replica_.stop().code, 70);
    EXPECT_EQ(replica_.count_in_log(why), 1);
    must_exec(*there_, fmt::format("select pg_drop_replication_slot('{0}'); select "
                                   "pg_create_logical_replication_slot('{0}', 'pgoutput')",
                                   replica_.slot()));
    EXPECT_EQ(replica_.run_until_caught_up().code, 70);
    EXPECT_EQ(replica_.count_in_log(why), 2);
}

// What was promoted by mistake leaves nothing behind: the old server is the one to go on with.
TEST_P(FailoverOfASlot, AServerThatCannotBeUsedIsForgotten) {
    start();
    take_over();
    if (HasFatalFailure()) return;
    must_exec(*there_, fmt::format("select pg_drop_replication_slot('{}')", replica_.slot()));
    proxy_->resume();
    EXPECT_TRUE(eventually([&] { return !replica_.is_running(); }));
    EXPECT_EQ(replica_.stop().code, 70);
    there_.reset();
    standby_->kill();
    primary_.start();
    database_.exec("insert into item values (103, 'here again')");
    EXPECT_EQ(replica_.run_until_caught_up().code, 0);
    EXPECT_EQ(replica_.difference_of("item"), "");
    EXPECT_THAT(replica_.log(), Not(HasSubstr("on a new timeline")));
}

// Another standby, which did not know of the first one's promotion, gave its timeline the same
// number.
TEST_P(FailoverOfASlot, ATimelineOfTheSameNumberIsAnotherWhereItBeganElsewhere) {
    start();
    if (HasFatalFailure()) return;
    const auto second = PgCluster::standby_of(*standby_);
    second->stop();
    other_.exec("insert into noise select repeat('x', 1000) from generate_series(1, 100)");
    ASSERT_TRUE(eventually([&] {
        return value(*standby_, fmt::format("select pg_last_wal_replay_lsn() >= '{}'",
                                            to_string(database_.lsn()))) == "t";
    }));
    primary_.kill();
    promote(*standby_);
    there_.emplace(session(*standby_, database_.name()));
    must_exec(*there_,
              "insert into public.item select g, 'only there' from generate_series(1000, 9000) g");
    proxy_->resume();
    ASSERT_TRUE(eventually([&] { return is_equal(); }));
    EXPECT_EQ(replica_.stop().code, 0);
    there_.reset();
    standby_->kill();

    second->start();
    promote(*second);
    Connection elsewhere = session(*second, database_.name());
    must_exec(elsewhere, fmt::format("select pg_create_logical_replication_slot('{}', 'pgoutput')",
                                     replica_.slot()));
    must_exec(elsewhere,
              "insert into public.item select g, 'elsewhere' from generate_series(1000, 30000) g");
    replica_.connect_with(fmt::format("{{url: \"postgres://postgres@127.0.0.1:{}/{}\"}}",
                                      second->port(), database_.name()));
    EXPECT_EQ(replica_.run_until_caught_up().code, 70);
    EXPECT_THAT(replica_.log(), HasSubstr("its timeline 2 began elsewhere"));
}

}  // namespace
}  // namespace walbrook::testing
