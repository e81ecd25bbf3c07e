// What a role's settings and rights, and a server's time-outs, do to a running pipeline.

#include "integration/bank.h"
#include "support/eventually.h"
#include "support/pg_test.h"
#include "support/tcp_proxy.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

namespace walbrook::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// With a role of its own that may replicate and read, and nothing else.
class SourceLife : public PgTest {
 protected:
    void SetUp() override {
        PgTest::SetUp();
        role_ = "role_" + database().name();
        database().exec(fmt::format("create role {} login replication", role_));
    }
    void TearDown() override {
        try {
            database().exec(fmt::format("drop owned by {0}; drop role {0}", role_));
        } catch (const std::exception& problem) {
            ADD_FAILURE() << problem.what();
        }
        PgTest::TearDown();
    }
    const std::string& role() const { return role_; }
    // Publishes tables that the role may read.
    void publish(const std::string& tables) { publish(tables, tables); }
    void publish(const std::string& with_filters, const std::string& tables) {
        database().exec(
            fmt::format("create publication shop for table {}; grant select on {} to "
                        "{}",
                        with_filters, tables, role_));
    }
    void set_for_role(const std::string& name, const std::string& value) {
        database().exec(fmt::format("alter role {} set {} = '{}'", role_, name, value));
    }
    void end_stream(const Replica& replica) {
        database().exec(
            fmt::format("select pg_terminate_backend(active_pid) from "
                        "pg_replication_slots where slot_name = '{}' and active",
                        replica.slot()));
    }
    static void expect_exit(Replica& replica, int code) {
        const auto exit = replica.process().wait();
        ASSERT_TRUE(exit.has_value());
        EXPECT_EQ(exit->code, code);
    }

 private:
    std::string role_;
};
INSTANTIATE_TEST_SUITE_P(Pg, SourceLife, ::testing::ValuesIn(pg_versions()), version_name);

class SourceLifeOnce : public SourceLife {};
INSTANTIATE_TEST_SUITE_P(Pg, SourceLifeOnce, ::testing::ValuesIn(newest_pg_version()),
                         version_name);

// Copies, the snapshot's holder, the lease and the stream all last longer than the role's
// time-outs allow others.
TEST_P(SourceLife, TimeOutsOfTheRoleEndNothing) {
    database().exec(
        "create table item(id int primary key, note text);"
        "insert into item select g, repeat('x', 200) from generate_series(1, 10000) g");
    publish("item");
    for (const char* name : {"statement_timeout", "lock_timeout",
                             "idle_in_transaction_session_timeout", "idle_session_timeout"}) {
        set_for_role(name, "300ms");
    }
    if (version() >= 17) set_for_role("transaction_timeout", "400ms");
    TcpProxy slow(cluster().port());
    slow.slow_down(":copy", 1'000'000);
    Replica replica(database());
    replica.connect_as(role());
    replica.connect_through(slow.port());
    replica.configure("heartbeat_interval_ms: 1000");
    replica.start();
    ASSERT_TRUE(replica.is_copying("item", 1));
    database().exec("update item set note = 'meanwhile' where id % 100 = 0");
    ASSERT_TRUE(replica.catches_up());
    // The same sessions, a good while later.
    ASSERT_TRUE(eventually([&] {
        return database().value(fmt::format(
                   "select min(clock_timestamp() - backend_start) > '2s' from pg_stat_activity "
                   "where application_name in ('walbrook:{0}:stream', 'walbrook:{0}:lease')",
                   replica.id())) == "t";
    }));
    database().exec("delete from item where id % 7 = 0");
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of("item"), "");
    EXPECT_EQ(replica.stop().code, 0);
    EXPECT_THAT(replica.log(), Not(HasSubstr("\"level\":\"warn\"")));
    EXPECT_THAT(replica.log(), Not(HasSubstr("timeout")));
}

// Whatever role and database say about how values look.
TEST_P(SourceLife, OutputSettingsOfRoleAndDatabaseChangeNoValue) {
    database().exec(
        "create type pair as (at timestamptz, d interval);"
        "create table item(id int primary key, b bytea, d date, t timestamp, z timestamptz, i "
        "interval, f4 real, f8 double precision, m money, n numeric, s text, x xml, p pair, r "
        "tstzrange, a timestamptz[], bs bytea[], f8s float8[], e text collate \"C\");"
        "insert into item select g, '\\x00ff5c27'::bytea, '2026-02-01', '2026-02-01 03:04:05.678',"
        " '2026-02-01 03:04:05.678+05:30', '1 year 2 mons -3 days 04:05:06.7', 0.1::real * g,"
        " 1/3.0::float8, '1234.56', 12345678901234567890.123456789, 'Zürich ε', '<a>é</a>',"
        " row('2026-02-01 00:00+00', '1 day')::pair, '[2026-01-01 00:00+00, 2026-02-01 00:00+00)',"
        " array['2026-02-01 00:00+00'::timestamptz], array['\\x5c'::bytea], array[0.1, 1e300, "
        "'nan']::float8[], 'é' from generate_series(1, 5) g");
    publish("item");
    const std::pair<const char*, const char*> settings[] = {
        {"bytea_output", "escape"},
        {"datestyle", "German, DMY"},
        {"intervalstyle", "iso_8601"},
        {"extra_float_digits", "-15"},
        {"timezone", "Asia/Kolkata"},
        {"search_path", "nowhere"},
        {"client_encoding", "LATIN1"},
        {"xmlbinary", "hex"},
        {"default_transaction_isolation", "serializable"},
        {"default_transaction_read_only", "on"},
    };
    for (const auto& [name, value] : settings) {
        set_for_role(name, value);
        database().exec(
            fmt::format("alter database {} set {} = '{}'", database().name(), name,
                        std::string(name) == "default_transaction_read_only" ? "off" : value));
    }
    Replica replica(database());
    replica.connect_as(role());
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    database().exec(
        "insert into item select id + 100, b, d, t, z, i, f4, f8, m, n, s, x, p, r, a, bs, f8s, e "
        "from item; update item set f8 = f8 / 7, b = b || b where id = 3; delete from item where "
        "id = 5");
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of("item"), "");
    EXPECT_EQ(replica.stop().code, 0);
}

// A copy that a policy filters would be wrong in silence.
TEST_P(SourceLifeOnce, RowLevelSecurityErrorsThatTableAlone) {
    database().exec(
        "create table open(id int primary key); insert into open values (1);"
        "create table secret(id int primary key); insert into secret select generate_series(1, 9);"
        "alter table secret enable row level security;"
        "create policy few on secret using (id < 3)");
    publish("open, secret");
    Replica replica(database());
    replica.connect_as(role());
    replica.configure("table_error_retry_delay_ms: 200");
    replica.configure("table_error_retry_max_attempts: 1000");
    replica.start();
    ASSERT_TRUE(replica.shows_problem("row-level security"));
    ASSERT_TRUE(eventually([&] {
        const auto secret = replica.table("secret");
        return secret && secret->phase == TablePhase::errored &&
               secret->remedy.find("bypassrls") != std::string::npos;
    }));
    database().exec("insert into open values (2); insert into secret values (10)");
    ASSERT_TRUE(eventually([&] { return replica.difference_of("open").empty(); }));
    EXPECT_FALSE(replica.reader().has_table("public", "secret"));
    database().exec(fmt::format("alter role {} bypassrls", role()));
    ASSERT_TRUE(eventually([&] {
        const auto secret = replica.table("secret");
        return secret && secret->phase == TablePhase::ready;
    }));
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of_tables({"open", "secret"}), "");
    EXPECT_EQ(replica.stop().code, 0);
}

TEST_P(SourceLifeOnce, ATableThatMayNotBeReadAnyMoreIsErroredAlone) {
    database().exec(
        "create table one(id int primary key, note text); create table two(id int primary key, "
        "note "
        "text); insert into one select g, repeat('x', 200) from generate_series(1, 15000) g;"
        "insert into two select * from one");
    publish("one, two");
    Replica replica(database());
    replica.connect_as(role());
    // In ranges of a MiB, the next of which is refused.
    replica.configure("copy_max_bytes_per_second: 1500000");
    replica.configure("max_copy_connections_per_table: 1");
    replica.configure("table_error_retry_delay_ms: 200");
    replica.configure("table_error_retry_max_attempts: 1000");
    replica.start();
    ASSERT_TRUE(replica.is_copying("two", 1));
    database().exec(fmt::format("revoke select on two from {}", role()));
    ASSERT_TRUE(replica.shows_problem("permission denied for table two"));
    ASSERT_TRUE(eventually([&] {
        const auto two = replica.table("two");
        const auto one = replica.table("one");
        return two && one && one->phase == TablePhase::ready &&
               two->remedy.find("grant the role SELECT") != std::string::npos;
    }));
    database().exec(
        "update one set note = 'after' where id % 10 = 0; delete from two where id < 5");
    ASSERT_TRUE(eventually([&] { return replica.difference_of("one").empty(); }));
    database().exec(fmt::format("grant select on two to {}", role()));
    ASSERT_TRUE(eventually([&] {
        const auto two = replica.table("two");
        return two && two->phase == TablePhase::ready;
    }));
    // What is streamed needs no SELECT.
    database().exec(fmt::format("revoke select on two from {}", role()));
    database().exec("update two set note = 'later' where id % 10 = 0");
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of_tables({"one", "two"}), "");
    EXPECT_EQ(replica.stop().code, 0);
}

// Sessions that stand go on; when the stream must connect again, the pipeline stops and says
// what is missing.
TEST_P(SourceLife, RightsOfTheRoleThatAreRevoked) {
    database().exec("create table item(id int primary key); insert into item values (1)");
    publish("item");
    Replica replica(database());
    replica.connect_as(role());
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    ASSERT_TRUE(replica.watches_catalog());
    database().exec(fmt::format("alter role {} noreplication", role()));
    database().exec("insert into item values (2)");
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of("item"), "");
    database().exec("insert into item values (3)");
    end_stream(replica);
    expect_exit(replica, 77);
    EXPECT_THAT(replica.log(), HasSubstr(fmt::format("alter role \\\"{}\\\" replication", role())));

    database().exec(fmt::format("alter role {} replication", role()));
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    ASSERT_TRUE(replica.watches_catalog());
    database().exec(fmt::format("revoke connect on database {} from public", database().name()));
    database().exec("insert into item values (4)");
    ASSERT_TRUE(replica.catches_up());
    database().exec("insert into item values (5)");
    end_stream(replica);
    expect_exit(replica, 77);
    EXPECT_THAT(replica.log(), HasSubstr(fmt::format("grant connect on database \\\"{}\\\" to "
                                                     "\\\"{}\\\"",
                                                     database().name(), role())));

    database().exec(fmt::format("grant connect on database {} to public", database().name()));
    EXPECT_EQ(replica.run_until_caught_up().code, 0);
    EXPECT_EQ(replica.difference_of("item"), "");
}

// Decoding goes by the catalog of the row's time: connecting again, or a better publication, would
// meet the same row for ever.
TEST_P(SourceLifeOnce, ARowThatThePublicationsFilterFailsForEndsWithItsRemedy) {
    if (version() < 15) return;  // Has no row filters.
    database().exec(
        "create table item(id int primary key); create table other(id int primary key);"
        "insert into item values (5)");
    publish("item where (10 / id > 1), other", "item, other");
    Replica replica(database());
    replica.connect_as(role());
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    database().exec("insert into item values (0); insert into other values (1)");
    expect_exit(replica, 78);
    EXPECT_THAT(replica.log(), HasSubstr("division by zero"));
    EXPECT_THAT(replica.log(), HasSubstr("row filter"));
    EXPECT_THAT(replica.log(), Not(HasSubstr("1 GB")));
    EXPECT_THAT(replica.log(), HasSubstr("invalidated_slot_behavior: recreate"));
    database().exec(
        fmt::format("alter publication shop set table item where (id <> 0), other;"
                    "select pg_drop_replication_slot('{}')",
                    replica.slot()));
    replica.configure("invalidated_slot_behavior: recreate");
    EXPECT_EQ(replica.run_until_caught_up().code, 0);
    EXPECT_EQ(replica.difference_of("other"), "");
    EXPECT_EQ(replica.reader().value("select string_agg(id, ',') from lake.public.item"), "5");
}

// 18 leaves out what it has no publication for.
class LostPublication : public SourceLife {};
INSTANTIATE_TEST_SUITE_P(Pg, LostPublication, ::testing::ValuesIn(only_before(18)), version_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(LostPublication);

// A server that takes each connection and then gives nothing is not asked twice a second for ever.
TEST_P(LostPublication, EndsEachStreamAtItsBeginWhichIsTriedMoreAndMoreRarely) {
    database().exec("create table item(id int primary key); insert into item values (1)");
    publish("item");
    Replica replica(database());
    replica.connect_as(role());
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    database().exec("drop publication shop; insert into item values (2)");
    const auto tries = [&] { return replica.count_in_log("the replication stream broke"); };
    ASSERT_TRUE(eventually([&] { return tries() > 0; }));
    const std::string began = database().value("select clock_timestamp()");
    const auto since = [&] {
        return std::stod(database().value(fmt::format(
            "select extract(epoch from clock_timestamp() - '{}'::timestamptz)", began)));
    };
    ASSERT_TRUE(eventually([&] { return since() > 8; }));
    // Counted first: however late that is.
    const int tried = tries();
    EXPECT_LE(tried, 8 + since() / 4);
    // Once it is there again nobody waits for the end of a pause.
    publish("item");
    ASSERT_TRUE(eventually([&] { return replica.difference_of("item").empty(); }));
    EXPECT_EQ(replica.stop().code, 0);
}

// Without synchronous_commit a publication may be seen before the server has flushed it. A stream
// that is to begin there must wait, and is not refused as one of another server's log.
TEST_P(LostPublication, IsGoneOnWithWhereTheServerHasFlushed) {
    PgCluster own({.version = version()});
    own.set("wal_writer_delay", "5s");
    own.reload();
    Database source(own);
    source.exec(
        "create table item(id int primary key); insert into item values (1);"
        "create publication shop for table item");
    Replica replica(source);
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    source.exec("drop publication shop; insert into item values (2)");
    ASSERT_TRUE(
        eventually([&] { return replica.count_in_log("the replication stream broke") > 0; }));
    source.exec(
        "set synchronous_commit = off; create publication shop for table item;"
        "insert into item values (3)");
    EXPECT_TRUE(eventually([&] { return replica.difference_of("item").empty(); })) << replica.log();
    EXPECT_EQ(replica.stop().code, 0) << replica.log();
}

class Passwords : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Pg, Passwords, ::testing::ValuesIn(newest_pg_version()), version_name);

// What stands goes on; a copy waits and says why; the stream's next connection stops the
// pipeline, whose next start reads the new password.
TEST_P(Passwords, AreChangedWhileRunning) {
    PgCluster own({.version = GetParam(), .hba = {"host all w 127.0.0.1/32 scram-sha-256"}});
    Database source(own);
    source.exec(
        "create role w login replication password 'first-secret';"
        "create table item(id int primary key); insert into item values (1);"
        "create table other(id int primary key); insert into other values (1);"
        "create publication shop for table item, other; grant select on item to w");
    Replica replica(source);
    const auto with_password = [&](const std::string& password) {
        replica.connect_with(
            fmt::format("{{host: 127.0.0.1, port: {}, name: {}, username: w, password: {}}}",
                        own.port(), source.name(), password));
    };
    with_password("first-secret");
    replica.configure("table_error_retry_delay_ms: 200");
    replica.configure("table_error_retry_max_attempts: 1000");
    replica.start();
    ASSERT_TRUE(replica.shows_problem("permission denied for table other"));
    ASSERT_TRUE(replica.watches_catalog());
    source.exec("alter role w password 'second-secret'; grant select on other to w");
    ASSERT_TRUE(eventually([&] {
        const auto other = replica.table("other");
        return other && other->reason.find("password authentication failed") != std::string::npos;
    }));
    source.exec("insert into item values (2)");
    ASSERT_TRUE(eventually([&] { return replica.difference_of("item").empty(); }));
    source.exec("insert into item values (3)");
    source.exec("select pg_terminate_backend(active_pid) from pg_replication_slots where active");
    const auto exit = replica.process().wait();
    ASSERT_TRUE(exit.has_value());
    EXPECT_EQ(exit->code, 77);
    EXPECT_THAT(replica.log(), HasSubstr("if the password was changed"));
    EXPECT_THAT(replica.log(), Not(HasSubstr("first-secret")));
    with_password("second-secret");
    EXPECT_EQ(replica.run_until_caught_up().code, 0);
    EXPECT_EQ(replica.difference_of_tables({"item", "other"}), "");
}

class ShortPatience : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Pg, ShortPatience, ::testing::ValuesIn(newest_pg_version()), version_name);

// The catalog hangs in the middle of a flush, for longer than wal_sender_timeout, and so much
// comes that reading pauses: the server hears of us all the same.
TEST_P(ShortPatience, AFlushMayTakeLongerThanTheServerWaits) {
    PgCluster own({.version = GetParam(), .settings = {{"wal_sender_timeout", "1500ms"}}});
    Database source(own);
    Database catalog(PgCluster::shared(GetParam()));
    TcpProxy proxy(catalog.cluster().port());
    source.exec(
        "create table item(id int primary key, note text);"
        "insert into item values (0, ''); create publication shop for table item");
    Replica replica(source);
    replica.use_catalog(fmt::format("postgres:host=127.0.0.1 port={} user=postgres dbname={}",
                                    proxy.port(), catalog.name()));
    replica.configure("batch: {max_bytes: 65536}");
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    const std::string sender = source.value("select pid from pg_stat_replication");
    proxy.stall("");
    for (int i = 0; i < 10; ++i) {
        source.exec(
            fmt::format("insert into item select {} * 1000 + g, repeat('x', 2000) from "
                        "generate_series(1, 1000) g",
                        i));
    }
    const std::string began = source.value("select clock_timestamp()");
    ASSERT_TRUE(eventually([&] {
        return source.value(fmt::format("select clock_timestamp() - '{}'::timestamptz > '5s'",
                                        began)) == "t";
    }));
    EXPECT_EQ(source.value("select pid from pg_stat_replication"), sender);
    proxy.resume();
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of("item"), "");
    EXPECT_EQ(source.value("select pid from pg_stat_replication"), sender);
    EXPECT_EQ(replica.stop().code, 0);
}

}  // namespace
}  // namespace walbrook::testing
