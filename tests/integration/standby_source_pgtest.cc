// The source is a standby: everything is read there, and nothing at the primary.

#include "integration/bank.h"
#include "support/eventually.h"
#include "support/pg_test.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <thread>

namespace walbrook::testing {
namespace {

using ::testing::HasSubstr;

// Calls pg_log_standby_snapshot() on the primary again and again, as bgwriter would every 15 s
// of a used server: slots and snapshots of a standby wait for it.
class RunningXacts {
 public:
    explicit RunningXacts(const Database& primary)
        : session_(*Connection::open(primary.connection(), {.application_name = "test"},
                                     within(std::chrono::seconds(30)))),
          thread_([this](const std::stop_token& stop) {
              const std::string once = "select pg_log_standby_snapshot(), pg_sleep(0.05)";
              while (!stop.stop_requested() &&
                     session_.exec(within(std::chrono::seconds(60)), once)) {
              }
          }) {}

 private:
    Connection session_;
    std::jthread thread_;
};

class Standby : public ::testing::TestWithParam<int> {
 protected:
    void begin(PgClusterOptions options = {}) {
        options.version = GetParam();
        primary_ = std::make_unique<PgCluster>(options);
        database_ = std::make_unique<Database>(*primary_);
        standby_ = PgCluster::standby_of(*primary_);
        // Its feedback holds for what it reads also while it is away.
        database_->exec("select pg_create_physical_replication_slot('standby', true)");
        standby_->set("primary_slot_name", "standby");
        standby_->set("wal_receiver_status_interval", "1s");
        standby_->reload();
    }
    // Once the standby has all that was written so far.
    void replicate() {
        const Lsn written = database().lsn();
        Connection there = *Connection::open(standby_->connection(), {.application_name = "test"},
                                             within(std::chrono::seconds(30)));
        ASSERT_TRUE(eventually([&] {
            return parse_lsn(must_query(there, "select pg_last_wal_replay_lsn()")[0][0]) >= written;
        }));
        replica_ = std::make_unique<Replica>(*database_);
        replica_->connect_through(standby_->port());
        replica_->configure("batch: {max_fill_ms: 100}");
    }
    Database& database() { return *database_; }
    Replica& replica() { return *replica_; }
    Connection at_standby() {
        return *Connection::open(standby_->connection(database_->name()),
                                 {.application_name = "test"}, within(std::chrono::seconds(30)));
    }
    void promote() {
        Connection session = at_standby();
        ASSERT_EQ(must_query(session, "select pg_promote()")[0][0], "t");
    }

    std::unique_ptr<PgCluster> primary_;
    std::unique_ptr<Database> database_;
    std::unique_ptr<PgCluster> standby_;
    std::unique_ptr<Replica> replica_;
};

constexpr int kSlotsAtStandbys = 16;

class StandbySource : public Standby {};
INSTANTIATE_TEST_SUITE_P(Pg, StandbySource, ::testing::ValuesIn(only_from(kSlotsAtStandbys)),
                         version_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(StandbySource);

class StandbySourceOnce : public Standby {};
INSTANTIATE_TEST_SUITE_P(Pg, StandbySourceOnce,
                         ::testing::ValuesIn(only_from(kSlotsAtStandbys, newest_pg_version())),
                         version_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(StandbySourceOnce);

// Copies, streaming, schema changes, new tables and new copies, while the primary is written to.
TEST_P(StandbySource, IsCopiedAndFollowedUnderLoad) {
    begin();
    Bank bank = Bank::small(database());
    replicate();
    bank.start();
    {
        const RunningXacts records(database());
        replica().start();
        ASSERT_TRUE(replica().catches_up());
        ASSERT_EQ(replica().command({"resync", "public.*"}).code, 0);
        ASSERT_TRUE(replica().catches_up());
        database().exec(
            "alter table pgbench_tellers add column note text default 'old';"
            "update pgbench_tellers set note = 'new' where tid < 5;"
            "create table late(id int primary key, t text);"
            "insert into late select g, 'before' from generate_series(1, 1000) g;"
            "alter publication shop add table late");
        database().exec("update late set t = 'after' where id % 3 = 0");
        ASSERT_TRUE(eventually([&] { return replica().difference_of("late").empty(); }));
        database().exec("alter table late rename column t to u; delete from late where id < 10");
        ASSERT_TRUE(replica().catches_up());
        EXPECT_EQ(replica().difference_of("late"), "");
        // Source and destination at one position of the standby, while the primary is written to.
        const Finished compared = replica().run({"verify"});
        EXPECT_EQ(compared.exit.code, 0) << compared.output;
        bank.stop();
        ASSERT_TRUE(replica().catches_up());
        replica().change_lake("DELETE FROM lake.public.late WHERE id = 10");
        const Finished found = replica().run({"verify", "public.late"});
        EXPECT_EQ(found.exit.code, 1) << found.output;
        EXPECT_THAT(found.output, HasSubstr("id=10 is missing in the destination"));
        EXPECT_EQ(replica().run({"verify", "--repair", "public.late"}).exit.code, 0);
    }
    bank.expect_nothing_lost(replica(), 10);
}

// Whoever is killed in the middle of copies and of the stream, nothing is lost or doubled.
TEST_P(StandbySourceOnce, RestartsOfEitherSideLoseNothing) {
    begin();
    Bank bank = Bank::small(database());
    replicate();
    bank.start();
    const RunningXacts records(database());
    replica().start();
    ASSERT_TRUE(eventually([&] {
        const auto accounts = replica().table("pgbench_accounts");
        return accounts && accounts->phase == TablePhase::copying;
    }));
    replica().kill();
    replica().start();
    ASSERT_TRUE(replica().catches_up());
    replica().kill();
    standby_->crash();
    replica().start();
    standby_->start();
    ASSERT_TRUE(replica().catches_up());
    standby_->crash();
    standby_->start();
    ASSERT_TRUE(replica().catches_up());
    bank.expect_nothing_lost(replica());
}

// The standby becomes the primary under a stream and a copy that go on there, and what was
// known of its timeline is known at the next start.
TEST_P(StandbySource, IsPromotedWhileItIsCopiedAndFollowed) {
    begin();
    database().exec(
        "create table item(id int primary key, note text);"
        "create table large(id int primary key, note text);"
        "insert into item select g, 'note ' || g from generate_series(1, 100) g;"
        "insert into large select g, repeat('x', 200) from generate_series(1, 20000) g;"
        "create publication shop for table item, large");
    replicate();
    replica().configure("copy_max_bytes_per_second: 2000000");
    {
        const RunningXacts records(database());
        replica().start();
        ASSERT_TRUE(replica().is_copying("large", 1));
        ASSERT_TRUE(eventually([&] { return replica().difference_of("item").empty(); }));
    }
    database().exec(
        "update large set note = 'meanwhile' where id % 100 = 0;"
        "insert into item values (101, 'last of the old primary')");
    ASSERT_TRUE(eventually([&] { return replica().difference_of("item").empty(); }));
    primary_->kill();
    promote();
    Connection there = at_standby();
    must_exec(there, "set search_path = public");
    const auto is_equal = [&](const std::string& table) {
        return eventually([&] {
            try {
                return replica().is_running() &&
                       difference(table_rows(there, {.table = table}),
                                  replica().reader().rows("public", table))
                           .empty();
            } catch (const std::exception&) {
                return false;  // Not there yet.
            }
        });
    };
    must_exec(there, "insert into item values (102, 'new'); delete from large where id % 7 = 0");
    EXPECT_TRUE(is_equal("item"));
    EXPECT_TRUE(is_equal("large"));
    ASSERT_TRUE(eventually([&] { return replica().count_in_log("on a new timeline") == 1; }));
    EXPECT_EQ(replica().count_in_log("a copy is repeated"), 0);
    must_exec(there, "update item set note = 'on timeline 2' where id < 50");
    EXPECT_TRUE(is_equal("item"));
    replica().kill();
    replica().start();
    must_exec(there, "delete from item where id < 5; alter table item add column more int");
    must_exec(there, "insert into item values (103, 'wider', 1)");
    EXPECT_TRUE(is_equal("item"));
    ASSERT_EQ(replica().command({"resync", "public.item"}).code, 0);
    must_exec(there, "update item set more = 2");
    EXPECT_TRUE(is_equal("item"));
    EXPECT_EQ(replica().count_in_log("on a new timeline"), 1);
    EXPECT_EQ(replica().stop().code, 0);
}

// The primary falls, another standby is promoted, and ours follows that one: a new timeline, though
// it stays a standby.
TEST_P(StandbySourceOnce, FollowsAnotherPrimary) {
    begin();
    database().exec(
        "create table item(id int primary key, note text);"
        "insert into item select g, 'note ' || g from generate_series(1, 100) g;"
        "create publication shop for table item");
    const auto next = PgCluster::standby_of(*primary_);
    replicate();
    {
        const RunningXacts records(database());
        replica().start();
        ASSERT_TRUE(replica().catches_up());
    }
    database().exec("insert into item values (101, 'last of the old primary')");
    ASSERT_TRUE(replica().catches_up());
    Connection there =
        *Connection::open(next->connection(database().name()), {.application_name = "test"},
                          within(std::chrono::seconds(30)));
    const Lsn written = database().lsn();
    primary_->stop();
    ASSERT_TRUE(eventually([&] {
        return parse_lsn(must_query(there, "select pg_last_wal_replay_lsn()")[0][0]) >= written;
    }));
    ASSERT_EQ(must_query(there, "select pg_promote()")[0][0], "t");
    standby_->set("primary_slot_name", "");
    standby_->set("primary_conninfo",
                  fmt::format("host=127.0.0.1 port={} user=postgres", next->port()));
    standby_->reload();
    must_exec(there, "set search_path = public");
    const auto is_equal = [&] {
        return eventually([&] {
            return replica().is_running() && difference(table_rows(there, {.table = "item"}),
                                                        replica().reader().rows("public", "item"))
                                                 .empty();
        });
    };
    must_exec(there, "insert into item values (102, 'new'); delete from item where id % 7 = 0");
    EXPECT_TRUE(is_equal());
    EXPECT_TRUE(eventually([&] { return replica().count_in_log("on a new timeline") == 1; }));
    must_exec(there, "update item set note = 'on timeline 2' where id < 50");
    EXPECT_TRUE(is_equal());
    replica().kill();
    replica().start();
    must_exec(there, "delete from item where id < 5");
    EXPECT_TRUE(is_equal());
    EXPECT_EQ(replica().count_in_log("on a new timeline"), 1);
    EXPECT_EQ(replica().stop().code, 0);
}

// What the standby replays takes locks that a copy there does not wait for.
TEST_P(StandbySourceOnce, TablesThatChangeWhileTheyAreCopied) {
    begin();
    database().exec(
        "create table item(id int primary key, note text);"
        "insert into item select g, repeat('x', 200) from generate_series(1, 20000) g;"
        "create table gone(id int primary key, note text); insert into gone select * from item;"
        "create publication shop for table item, gone");
    replicate();
    replica().configure("copy_max_bytes_per_second: 2000000");
    const RunningXacts records(database());
    replica().start();
    ASSERT_TRUE(replica().is_copying("item", 1));
    database().exec(
        "alter table item add column more int default 5; update item set more = 6 where id < 100;"
        "delete from item where id > 15000");
    database().exec("vacuum full item");
    ASSERT_TRUE(replica().is_copying("gone", 1));
    database().exec("truncate gone; insert into gone values (1, 'one')");
    ASSERT_TRUE(replica().catches_up());
    EXPECT_EQ(replica().difference_of_tables({"item", "gone"}), "");
    EXPECT_EQ(replica().stop().code, 0);
}

// A transaction that wrote to a table before that was published sends none of it, however late
// it commits: the copy waits for it, though the standby does not know its locks.
TEST_P(StandbySource, ACopyWaitsForWhoWroteBeforeTheTableWasPublished) {
    begin();
    database().exec(
        "create table item(id int primary key); create table late(id int primary key);"
        "create publication shop for table item");
    replicate();
    const RunningXacts records(database());
    replica().start();
    ASSERT_TRUE(replica().catches_up());
    Connection writer = database().session();
    must_exec(writer, "begin; insert into late values (1)");
    Connection prepared = database().session();
    must_exec(prepared, "begin; insert into late values (2); prepare transaction 'second'");
    database().exec("alter publication shop add table late; insert into late values (3)");
    ASSERT_TRUE(eventually([&] {
        const auto late = replica().table("late");
        return late &&
               late->reason.find("a standby makes it once all transactions") != std::string::npos;
    }));
    must_exec(writer, "commit");
    database().exec("commit prepared 'second'");
    ASSERT_TRUE(replica().catches_up());
    EXPECT_EQ(replica().difference_of("late"), "");
    EXPECT_EQ(replica().stop().code, 0);
}

// What would not work is refused at the start, with what to do.
TEST_P(StandbySourceOnce, WhatCannotBeHadThereIsRefused) {
    begin();
    database().exec(
        "create table item(id int primary key); create publication shop for table item");
    replicate();
    replica().set_environment("WALBROOK__PIPELINE__HEARTBEAT_INTERVAL_MS", "1000");
    EXPECT_EQ(replica().run_until_caught_up().code, 78);
    EXPECT_THAT(replica().log(), HasSubstr("heartbeat_interval_ms: the source is a standby"));
    replica().clear_environment();
    replica().set_environment("WALBROOK__PIPELINE__STORE__TYPE", "postgres");
    EXPECT_EQ(replica().run_until_caught_up().code, 78);
    EXPECT_THAT(replica().log(), HasSubstr("let pipeline.store_pg_connection name a primary"));
    replica().clear_environment();
    standby_->set("hot_standby_feedback", "off");
    standby_->reload();
    ASSERT_TRUE(eventually([&] {
        Connection there = at_standby();
        return must_query(there, "show hot_standby_feedback")[0][0] == "off";
    }));
    EXPECT_EQ(replica().run_until_caught_up().code, 78);
    EXPECT_THAT(replica().log(), HasSubstr("set hot_standby_feedback=on there and reload"));
}

// A store in another Postgres holds what a standby cannot.
TEST_P(StandbySourceOnce, WithAStoreInPostgresElsewhere) {
    begin();
    database().exec(
        "create table item(id int primary key); insert into item values (1);"
        "create publication shop for table item");
    replicate();
    Database store(*primary_);
    replica().configure("store: {type: postgres}");
    replica().configure(fmt::format("store_pg_connection: {{url: \"{}\"}}", store.url()));
    const RunningXacts records(database());
    ASSERT_EQ(replica().run_until_caught_up().code, 0);
    database().exec("insert into item values (2)");
    replica().start();
    ASSERT_TRUE(replica().catches_up());
    EXPECT_EQ(replica().difference_of("item"), "");
    // Its slot goes on when nothing that is published is written.
    database().exec("create table nobody(id int); insert into nobody values (1)");
    const Lsn written = database().lsn();
    Connection there = at_standby();
    EXPECT_TRUE(eventually([&] {
        return parse_lsn(must_query(
                   there, "select confirmed_flush_lsn from pg_replication_slots")[0][0]) >= written;
    }));
    EXPECT_EQ(replica().stop().code, 0);
    EXPECT_EQ(store.value("select count(*) from walbrook.tables where phase = 'ready'"), "1");
}

// Before the catalog was looked at again: the next start must not take the server for another.
TEST_P(StandbySourceOnce, APromotionJustBeforeAStopIsKnownToTheNextStart) {
    begin();
    database().exec(
        "create table item(id int primary key); insert into item values (1);"
        "create publication shop for table item");
    replicate();
    {
        const RunningXacts records(database());
        replica().start();
        ASSERT_TRUE(replica().catches_up());
    }
    promote();
    Connection there = at_standby();
    must_exec(there, "set search_path = public; insert into item values (2)");
    ASSERT_TRUE(eventually(
        [&] { return replica().lake().value("select count(*) from lake.public.item") == "2"; }));
    EXPECT_EQ(replica().stop().code, 0);
    must_exec(there, "insert into item values (3)");
    EXPECT_EQ(replica().run_until_caught_up().code, 0) << replica().log();
    EXPECT_EQ(replica().count_in_log("on a new timeline"), 1);
    EXPECT_EQ(replica().reader().value("select count(*) from lake.public.item"), "3");
}

class OldStandbySource : public Standby {};
INSTANTIATE_TEST_SUITE_P(Pg, OldStandbySource, ::testing::ValuesIn(only_before(kSlotsAtStandbys)),
                         version_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(OldStandbySource);

TEST_P(OldStandbySource, IsRefused) {
    begin();
    database().exec(
        "create table item(id int primary key); create publication shop for table item");
    replicate();
    EXPECT_EQ(replica().run_until_caught_up().code, 78);
    EXPECT_THAT(replica().log(), HasSubstr("logical decoding at a standby begins with 16; point "
                                           "pg_connection at the primary"));
}

}  // namespace
}  // namespace walbrook::testing
