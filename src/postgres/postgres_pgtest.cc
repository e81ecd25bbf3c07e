#include "postgres/catalog.h"
#include "postgres/connection.h"
#include "postgres/slots.h"
#include "postgres/snapshot.h"
#include "postgres/writers.h"
#include "support/eventually.h"
#include "support/pg_test.h"
#include "support/value_of.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <libpq-fe.h>

#include <future>
#include <map>
#include <memory>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>

namespace walbrook {
namespace {

using testing::eventually;
using testing::must_exec;
using testing::must_query;
using testing::pg_versions;
using testing::PgTest;
using testing::soon;
using testing::TextRows;
using testing::value_of;
using testing::version_name;

// ---- Sessions -------------------------------------------------------------

class Sessions : public PgTest {
 protected:
    Connection open(bool replication = false,
                    std::chrono::milliseconds lock_timeout = std::chrono::seconds(30)) {
        return value_of(Connection::open(database().connection(),
                                         {.application_name = application_name(7, "test"),
                                          .replication = replication,
                                          .lock_timeout = lock_timeout},
                                         soon()));
    }
};
INSTANTIATE_TEST_SUITE_P(Pg, Sessions, ::testing::ValuesIn(pg_versions()), version_name);

// Whatever role and database say, our sessions print and wait in the same way.
TEST_P(Sessions, PinTheirSettings) {
    for (const char* hostile :
         {"datestyle = 'German'", "intervalstyle = 'iso_8601'", "timezone = 'Asia/Tokyo'",
          "extra_float_digits = 0", "bytea_output = 'escape'", "xmlbinary = 'hex'",
          "search_path = 'elsewhere'", "row_security = on", "enable_tidscan = off",
          "statement_timeout = 60000", "idle_in_transaction_session_timeout = 60000",
          "idle_session_timeout = 60000", "lock_timeout = 1", "client_encoding = 'LATIN1'"}) {
        database().exec("alter database " + database().name() + " set " + hostile);
    }
    if (version() >= 17) {
        database().exec("alter database " + database().name() + " set transaction_timeout = 60000");
    }
    for (const bool replication : {false, true}) {
        SCOPED_TRACE(replication);
        Connection session = open(replication);
        std::map<std::string, std::string> expected = {
            {"datestyle", "ISO, DMY"},     {"intervalstyle", "postgres"},
            {"timezone", "UTC"},           {"extra_float_digits", "3"},
            {"bytea_output", "hex"},       {"xmlbinary", "base64"},
            {"row_security", "off"},       {"enable_tidscan", "on"},
            {"statement_timeout", "0"},    {"idle_in_transaction_session_timeout", "0"},
            {"idle_session_timeout", "0"}, {"lock_timeout", "30s"},
            {"client_encoding", "UTF8"},   {"application_name", "walbrook:7:test"}};
        if (version() >= 17) expected["transaction_timeout"] = "0";
        for (const auto& [name, value] : expected) {
            if (name == "datestyle") {
                EXPECT_EQ(must_query(session, "show datestyle")[0][0].substr(0, 3), "ISO");
            } else {
                EXPECT_EQ(must_query(session, "show " + name), (TextRows{{value}})) << name;
            }
        }
        EXPECT_EQ(must_query(session, "select current_setting('search_path') in ('', '\"\"')"),
                  (TextRows{{"t"}}));
        EXPECT_EQ(session.major_version(), version());
    }
}

TEST_P(Sessions, QueriesTakeParametersAndGiveNulls) {
    Connection session = open();
    const Rows rows = value_of(session.query(soon(), "select $1::int8 + 1, $2::text, $3::bool, $4",
                                             std::int64_t{41}, std::nullopt, true, "it's \\"));
    Fields fields(rows, 0);
    EXPECT_EQ(fields.i64(), 42);
    EXPECT_FALSE(fields.optional_text());
    EXPECT_TRUE(fields.boolean());
    EXPECT_EQ(fields.text(), "it's \\");
    EXPECT_TRUE(fields.finish("read"));
    Fields wrong(rows, 0);
    EXPECT_EQ(wrong.lsn(), Lsn{});
    EXPECT_EQ(wrong.finish("read").error().code(), ErrorCode::internal);
    must_exec(session, "create table public.t(id int); insert into public.t values (1), (2)");
    EXPECT_EQ(value_of(session.query(soon(), "update public.t set id = 3")).affected(), 2U);
}

TEST_P(Sessions, ErrorsKeepTheirSqlstateAndNotTheRow) {
    Connection session = open();
    must_exec(session,
              "create table public.t(id int primary key); insert into public.t values (17)");
    const Status duplicate = session.exec(soon(), "insert into public.t values (17)");
    ASSERT_FALSE(duplicate);
    EXPECT_EQ(duplicate.error().sqlstate(), "23505");
    EXPECT_EQ(duplicate.error().message().find("17"), std::string::npos);
    // Those of class 22 have the value in the message itself.
    const auto message = [&](const std::string& sql) {
        return session.exec(soon(), sql).error().message();
    };
    EXPECT_EQ(message("select 'se\"cret'::int"), "invalid input syntax for type integer");
    EXPECT_EQ(message("select '12345678901'::int"),
              "value \"...\" is out of range for type integer");
    EXPECT_EQ(message("select to_date('secret', 'YYYY')"), "invalid value \"...\"");
    EXPECT_EQ(message("select 1 / 0"), "division by zero");
    EXPECT_EQ(message("set lock_timeout = 'x'"),
              "invalid value for parameter \"lock_timeout\": \"x\"");
    EXPECT_EQ(session.exec(soon(), "select * from public.gone").error().code(),
              ErrorCode::schema_mismatch);
    EXPECT_TRUE(session.exec(soon(), "select 1"));
}

TEST_P(Sessions, ADeadlineCancelsTheStatementAndKeepsTheSession) {
    Connection session = open();
    const std::uint32_t pid = session.backend_pid();
    const auto late = session.query(within(std::chrono::milliseconds(50)), "select pg_sleep(600)");
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code(), ErrorCode::timed_out);
    EXPECT_EQ(must_query(session, "select pg_backend_pid()"), (TextRows{{std::to_string(pid)}}));
}

TEST_P(Sessions, AStopEndsAWaitingStatement) {
    Connection session = open();
    std::stop_source stop;
    auto answer = std::async(std::launch::async, [&] {
        return session.exec(within(std::chrono::seconds(600), stop.get_token()),
                            "select pg_sleep(600)");
    });
    EXPECT_TRUE(eventually([&] {
        return database().value(
                   "select count(*) from pg_stat_activity where state = 'active'"
                   " and application_name = 'walbrook:7:test'") == "1";
    }));
    stop.request_stop();
    const Status stopped = answer.get();
    ASSERT_FALSE(stopped);
    EXPECT_EQ(stopped.error().code(), ErrorCode::cancelled);
    EXPECT_TRUE(session.exec(soon(), "select 1"));
}

TEST_P(Sessions, ATerminatedSessionSaysSoAndStaysClosed) {
    Connection session = open();
    database().exec("select pg_terminate_backend(" + std::to_string(session.backend_pid()) + ")");
    EXPECT_TRUE(eventually([&] { return !session.exec(soon(), "select 1"); }));
    EXPECT_FALSE(session.is_open());
    EXPECT_EQ(session.exec(soon(), "select 1").error().code(), ErrorCode::unavailable);
}

TEST_P(Sessions, RefusedOnesTellWhy) {
    PgConnectionConfig config = database().connection();
    config.name = "no_such_database";
    auto refused = Connection::open(config, {.application_name = "a"}, soon());
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::config);
    EXPECT_EQ(refused.error().sqlstate(), "3D000");
    config = database().connection();
    config.username = "no_such_role";
    refused = Connection::open(config, {.application_name = "a"}, soon());
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::permission);
}

TEST_P(Sessions, CopyDataIsReadFromTheHandle) {
    Connection session = open();
    ASSERT_TRUE(session.start_copy(soon(), "copy (select 1) to stdout"));
    // The readers of src/source do it this way; here a failed COPY is enough.
    EXPECT_FALSE(session.start_copy(soon(), "copy (select 2) to stdout"));
    Connection other = open();
    const Status none = other.start_copy(soon(), "select 1");
    ASSERT_FALSE(none);
    Connection third = open();
    EXPECT_FALSE(third.query(soon(), "copy (select 1) to stdout"));
    EXPECT_FALSE(third.is_open());
}

// How soon a peer that is gone is noticed.
TEST_P(Sessions, KeepTheirSocketAliveAsConfigured) {
    PgConnectionConfig config = database().connection();
    config.keepalive = {.idle_secs = 7, .interval_secs = 3, .retries = 4};
    const Connection session = value_of(
        Connection::open(config, {.application_name = application_name(7, "test")}, soon()));
    const auto setting = [&](int level, int name) {
        int value = -1;
        socklen_t size = sizeof value;
        EXPECT_EQ(getsockopt(PQsocket(session.handle()), level, name, &value, &size), 0);
        return value;
    };
    EXPECT_NE(setting(SOL_SOCKET, SO_KEEPALIVE), 0);
    EXPECT_EQ(setting(IPPROTO_TCP, TCP_KEEPIDLE), 7);
    EXPECT_EQ(setting(IPPROTO_TCP, TCP_KEEPINTVL), 3);
    EXPECT_EQ(setting(IPPROTO_TCP, TCP_KEEPCNT), 4);
}

// ---- Tls and passwords, on a server of their own ---------------------------

TEST(Tls, ChecksTheCertificateThatIsGivenAsText) {
    testing::PgCluster cluster({.version = pg_versions().back(),
                                .hba = {"hostssl all secured 127.0.0.1/32 scram-sha-256",
                                        "host all secured 127.0.0.1/32 reject"},
                                .ssl = true});
    auto admin =
        value_of(Connection::open(cluster.connection(), {.application_name = "a"}, soon()));
    must_exec(admin, "create role secured login password 'hunter2/#'");
    PgConnectionConfig config = cluster.connection();
    config.username = "secured";
    config.password = "hunter2/#";
    config.tls.mode = "verify-full";
    config.tls.trusted_root_certs = testing::read_file(cluster.certificate());
    for (const bool replication : {false, true}) {
        if (replication) must_exec(admin, "alter role secured replication");
        auto session =
            Connection::open(config, {.application_name = "a", .replication = replication}, soon());
        ASSERT_TRUE(session) << session.error().message();
        EXPECT_EQ(must_query(*session,
                             "select ssl from pg_catalog.pg_stat_ssl where pid = "
                             "pg_catalog.pg_backend_pid()"),
                  (TextRows{{"t"}}));
    }
    config.password = "wrong-secret";
    auto refused = Connection::open(config, {.application_name = "a"}, soon());
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::permission);
    EXPECT_EQ(refused.error().sqlstate(), "28P01");
    EXPECT_EQ(refused.error().message().find("wrong-secret"), std::string::npos);
    config.password = "hunter2/#";
    config.tls.mode = "disable";
    EXPECT_EQ(Connection::open(config, {.application_name = "a"}, soon()).error().code(),
              ErrorCode::permission);
    // A foreign root: the handshake must fail.
    const testing::PgCluster foreign({.version = pg_versions().front(), .ssl = true});
    config.tls.mode = "verify-full";
    config.tls.trusted_root_certs = testing::read_file(foreign.certificate());
    EXPECT_FALSE(Connection::open(config, {.application_name = "a"}, soon()));
}

// A frozen machine acknowledges what it is sent and never answers; a stop must still end.
TEST(FrozenServer, DoesNotFreezeUs) {
    testing::PgCluster cluster({.version = pg_versions().back()});
    auto session =
        value_of(Connection::open(cluster.connection(), {.application_name = "a"}, soon()));
    const auto backend = static_cast<pid_t>(session.backend_pid());
    ASSERT_EQ(kill(backend, SIGSTOP), 0);
    ASSERT_EQ(kill(cluster.pid(), SIGSTOP), 0);
    const Status late = session.exec(within(std::chrono::milliseconds(10)), "select 1");
    ASSERT_EQ(kill(cluster.pid(), SIGCONT), 0);
    ASSERT_EQ(kill(backend, SIGCONT), 0);
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code(), ErrorCode::timed_out);
    EXPECT_FALSE(session.is_open());
    EXPECT_EQ(session.exec(soon(), "select 1").error().code(), ErrorCode::unavailable);
}

// ---- Slots ----------------------------------------------------------------

class Slots : public Sessions {};
INSTANTIATE_TEST_SUITE_P(Pg, Slots, ::testing::ValuesIn(pg_versions()), version_name);

TEST_P(Slots, ArePermanentAndDroppedOnce) {
    Connection replication = open(/*replication=*/true);
    Connection session = open();
    EXPECT_EQ(value_of(read_slot(session, soon(), "walbrook_7")), std::nullopt);
    const Lsn point = value_of(create_permanent_slot(replication, soon(), "walbrook_7"));
    const auto slot = value_of(read_slot(session, soon(), "walbrook_7"));
    ASSERT_TRUE(slot);
    EXPECT_EQ(slot->confirmed_flush, point);
    EXPECT_EQ(slot->plugin, "pgoutput");
    EXPECT_EQ(slot->database, database().name());
    EXPECT_FALSE(slot->temporary);
    EXPECT_FALSE(slot->active);
    EXPECT_FALSE(slot->is_lost());
    EXPECT_GT(slot->restart_lsn, Lsn{});
    const auto again = create_permanent_slot(replication, soon(), "walbrook_7");
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code(), ErrorCode::conflict);
    EXPECT_EQ(again.error().sqlstate(), "42710");
    EXPECT_TRUE(drop_slot(session, soon(), "walbrook_7"));
    EXPECT_TRUE(drop_slot(session, soon(), "walbrook_7"));
    EXPECT_EQ(value_of(read_slot(session, soon(), "walbrook_7")), std::nullopt);
}

// A transaction with an xid anywhere in the cluster holds slot creation up: it is
// bounded, leaves no slot behind, and can be named.
TEST_P(Slots, CreationBehindAPreparedTransactionIsBounded) {
    database().exec(
        "create table t(id int); begin; insert into t values (1);"
        " prepare transaction 'forgotten'");
    Connection replication = open(/*replication=*/true, std::chrono::milliseconds(200));
    const auto blocked = create_permanent_slot(replication, soon(), "walbrook_7");
    ASSERT_FALSE(blocked);
    EXPECT_EQ(blocked.error().sqlstate(), "55P03");
    EXPECT_EQ(blocked.error().code(), ErrorCode::conflict);
    Connection session = open();
    EXPECT_EQ(value_of(read_slot(session, soon(), "walbrook_7")), std::nullopt);
    const auto holders = value_of(read_xid_holders(session, soon()));
    ASSERT_EQ(holders.size(), 1U);
    EXPECT_EQ(describe(holders[0]).rfind("prepared transaction 'forgotten' (user postgres", 0), 0U);
    database().exec("rollback prepared 'forgotten'");
    EXPECT_TRUE(create_permanent_slot(replication, soon(), "walbrook_7"));
}

TEST_P(Slots, AStopEndsACreationThatWaits) {
    Connection blocker = database().session();
    must_exec(blocker, "create table t(id int); begin; insert into t values (1)");
    Connection replication = open(/*replication=*/true);
    std::stop_source stop;
    auto answer = std::async(std::launch::async, [&] {
        return create_permanent_slot(
            replication, within(std::chrono::seconds(60), stop.get_token()), "walbrook_7");
    });
    EXPECT_TRUE(eventually([&] {
        return database().value(
                   "select count(*) from pg_stat_activity where wait_event_type ="
                   " 'Lock' and application_name = 'walbrook:7:test'") == "1";
    }));
    stop.request_stop();
    const auto stopped = answer.get();
    ASSERT_FALSE(stopped);
    EXPECT_EQ(stopped.error().code(), ErrorCode::cancelled);
    EXPECT_EQ(database().value("select count(*) from pg_replication_slots"), "0");
}

TEST_P(Slots, AnExportedSnapshotCanBeImported) {
    database().exec("create table t as select 1 as id");
    Connection replication = open(/*replication=*/true);
    const auto slot = value_of(create_exporting_slot(replication, soon(), "walbrook_7_tmp_1"));
    database().exec("insert into t values (2)");
    Connection session = open();
    ASSERT_TRUE(import_snapshot(session, soon(), slot.snapshot));
    EXPECT_EQ(must_query(session, "select count(*) from public.t"), (TextRows{{"1"}}));
    must_exec(session, "commit");
    replication.close();
    EXPECT_TRUE(eventually(
        [&] { return !value_of(read_slot(session, soon(), "walbrook_7_tmp_1")).has_value(); }));
}

TEST_P(Slots, TheServerSaysWhoItIs) {
    Connection replication = open(/*replication=*/true);
    const auto identity = value_of(identify_system(replication, soon()));
    EXPECT_EQ(identity.system_identifier,
              database().value("select system_identifier from pg_control_system()"));
    EXPECT_EQ(identity.timeline, 1U);
    EXPECT_EQ(identity.database, database().name());
    EXPECT_EQ(std::to_string(identity.database_oid),
              database().value("select oid from pg_database where datname = current_database()"));
    EXPECT_TRUE(value_of(read_timeline_history(replication, soon(), 1)).empty());
    Connection session = open();
    const auto state = value_of(read_server_state(session, soon()));
    EXPECT_EQ(state.version / 10'000, version());
    EXPECT_FALSE(state.in_recovery);
    EXPECT_EQ(state.wal_level, "logical");
    EXPECT_EQ(state.wal_sender_timeout, std::chrono::seconds(60));
    EXPECT_EQ(state.max_replication_slots, 50);
    const auto positions = value_of(read_wal_positions(session, soon()));
    EXPECT_GE(positions.insert, positions.write);
    EXPECT_GE(positions.write, positions.flush);
    EXPECT_GT(positions.flush, Lsn{});
}

TEST_P(Slots, OneSessionHoldsTheLease) {
    Connection first = open();
    Connection second = open();
    EXPECT_FALSE(value_of(lease_holder(second, soon(), 7)).has_value());
    EXPECT_TRUE(value_of(try_lease(first, soon(), 7)));
    EXPECT_FALSE(value_of(try_lease(second, soon(), 7)));
    EXPECT_TRUE(value_of(try_lease(second, soon(), 8)));
    EXPECT_EQ(describe(value_of(lease_holder(second, soon(), 7)).value()),
              "session " + std::to_string(first.backend_pid()) + " (walbrook:7:test)");
    first.close();
    EXPECT_TRUE(eventually([&] { return value_of(try_lease(second, soon(), 7)); }));
}

// ---- Snapshots and writers ---------------------------------------------------

class Snapshots : public Sessions {
 protected:
    SnapshotHolder hold() {
        return value_of(SnapshotHolder::open(database().connection(),
                                             {.application_name = "walbrook:7:holder"}, soon()));
    }
    static std::uint32_t xid_of(Connection& session) {
        const Rows rows =
            value_of(session.query(soon(), "select (txid_current() % (2::int8 ^ 32)::int8)::text"));
        return Fields(rows, 0).u32();
    }
};
INSTANTIATE_TEST_SUITE_P(Pg, Snapshots, ::testing::ValuesIn(pg_versions()), version_name);

TEST_P(Snapshots, ContainExactlyTheTransactionsThatTheRuleNames) {
    database().exec("create table t(id int, xid int8)");
    std::vector<Connection> sessions;
    std::vector<std::uint32_t> xids;
    for (int i = 0; i < 6; ++i) {
        Connection& session = sessions.emplace_back(database().session());
        must_exec(session, "begin; savepoint a; insert into t values (" + std::to_string(i) +
                               "); release a");
        xids.push_back(xid_of(session));
    }
    must_exec(sessions[1], "commit");
    must_exec(sessions[3], "prepare transaction 'third'");
    must_exec(sessions[4], "commit");
    SnapshotHolder holder = hold();
    for (const int i : {0, 2, 5}) must_exec(sessions[static_cast<std::size_t>(i)], "commit");
    database().exec("commit prepared 'third'");
    Connection late = database().session();
    must_exec(late, "begin; insert into t values (9)");
    const std::uint32_t late_xid = xid_of(late);
    must_exec(late, "commit");

    for (std::size_t i = 0; i < xids.size(); ++i) {
        EXPECT_EQ(holder.xids().visible(xids[i]), i == 1 || i == 4) << i;
    }
    EXPECT_FALSE(holder.xids().visible(late_xid));
    Connection reader = open();
    ASSERT_TRUE(import_snapshot(reader, soon(), holder.name()));
    EXPECT_EQ(must_query(reader, "select id from public.t order by id"), (TextRows{{"1"}, {"4"}}));
    EXPECT_EQ(must_query(reader, "select pg_current_snapshot()"),
              must_query(holder.connection(), "select pg_current_snapshot()"));
    must_exec(reader, "commit");
    EXPECT_GT(holder.position(), Lsn{});
    EXPECT_LE(holder.position(), database().lsn());
    EXPECT_TRUE(holder.check(soon()));
    // The holder neither has an xid nor locks the table.
    EXPECT_EQ(database().value("select count(*) from pg_stat_activity where backend_xid is not null"
                               " and datname = current_database() and pid <> pg_backend_pid()"),
              "0");
    database().exec("drop table t");
}

TEST_P(Snapshots, ALostOneMeansRepeatTheCopy) {
    SnapshotHolder holder = hold();
    const std::string name = holder.name();
    database().exec("select pg_terminate_backend(" +
                    std::to_string(holder.connection().backend_pid()) + ")");
    EXPECT_TRUE(eventually([&] { return !holder.check(soon()); }));
    EXPECT_EQ(holder.check(soon()).error().code(), ErrorCode::aborted);
    Connection reader = open();
    const Status imported = import_snapshot(reader, soon(), name);
    ASSERT_FALSE(imported);
    EXPECT_EQ(imported.error().code(), ErrorCode::aborted);
    EXPECT_TRUE(reader.exec(soon(), "select 1"));
}

class Writers : public Snapshots {
 protected:
    std::vector<std::uint32_t> oids(const std::string& table) { return {database().oid(table)}; }
};
INSTANTIATE_TEST_SUITE_P(Pg, Writers, ::testing::ValuesIn(pg_versions()), version_name);

TEST_P(Writers, AreWaitedForByTransactionNotBySession) {
    database().exec("create table t(id int); create table other(id int)");
    const auto tables = oids("t");
    Connection writer = database().session();
    Connection reader = database().session();
    Connection elsewhere = database().session();
    must_exec(writer, "begin; lock table t in row exclusive mode");
    must_exec(reader, "begin; select * from t");
    must_exec(elsewhere, "begin; insert into other values (1)");
    Connection watcher = open();
    auto list = value_of(list_writers(watcher, soon(), tables, PreparedTransactions::include));
    ASSERT_EQ(list.size(), 1U);
    EXPECT_EQ(list[0].pid, writer.backend_pid());
    EXPECT_EQ(list[0].xid, 0U);
    EXPECT_NE(describe(list[0]).find("idle in transaction"), std::string::npos);
    must_exec(writer, "insert into t values (1)");
    list = value_of(still_writing(watcher, soon(), tables, PreparedTransactions::include, list));
    ASSERT_EQ(list.size(), 1U);
    EXPECT_NE(list[0].xid, 0U);
    must_exec(writer, "commit; begin; insert into t values (2)");  // Another transaction.
    list = value_of(still_writing(watcher, soon(), tables, PreparedTransactions::include, list));
    EXPECT_TRUE(list.empty());
}

TEST_P(Writers, PreparedOnesCountWhenAskedFor) {
    database().exec("create table t(id int)");
    database().exec("begin; insert into t values (1); prepare transaction 'early'");
    const auto tables = oids("t");
    Connection watcher = open();
    EXPECT_TRUE(
        value_of(list_writers(watcher, soon(), tables, PreparedTransactions::if_being_committed))
            .empty());
    auto list = value_of(list_writers(watcher, soon(), tables, PreparedTransactions::include));
    ASSERT_EQ(list.size(), 1U);
    EXPECT_EQ(list[0].gid, "early");
    EXPECT_EQ(describe(list[0]).rfind("prepared transaction 'early'", 0), 0U);
    list = value_of(still_writing(watcher, soon(), tables, PreparedTransactions::include, list));
    EXPECT_EQ(list.size(), 1U);
    database().exec("commit prepared 'early'");
    list = value_of(still_writing(watcher, soon(), tables, PreparedTransactions::include, list));
    EXPECT_TRUE(list.empty());
}

// No view tells what a session commits: whoever may be at that is waited for, and nobody else.
TEST_P(Writers, WhoMayBeCommittingAPreparedOneCounts) {
    database().exec("create table t(id int, v text); create publication p for table t");
    database().exec("select pg_create_logical_replication_slot('slow', 'pgoutput')");
    const auto tables = oids("t");
    Connection forgotten = database().session();
    must_exec(forgotten, "begin; select 1");
    Connection reader = database().session();
    must_exec(reader, "begin; select * from t");
    // A walsender whose client does not read: it stays in the transaction that it sends.
    const PgConnectionConfig to = database().connection();
    const std::unique_ptr<PGconn, decltype(&PQfinish)> slow(
        PQconnectdb(fmt::format("host={} port={} user={} dbname={} replication=database", to.host,
                                to.port, to.username, to.name)
                        .c_str()),
        PQfinish);
    ASSERT_EQ(PQstatus(slow.get()), CONNECTION_OK) << PQerrorMessage(slow.get());
    ASSERT_EQ(PQsendQuery(slow.get(),
                          "START_REPLICATION SLOT slow LOGICAL 0/0 "
                          "(proto_version '1', publication_names 'p')"),
              1);
    database().exec("insert into t select g, repeat('x', 1000) from generate_series(1, 30000) g");
    ASSERT_TRUE(eventually([&] {
        return database().value(
                   "select count(*) from pg_locks l join pg_replication_slots s on "
                   "l.pid = s.active_pid where locktype = 'virtualxid'") == "1";
    }));
    Connection busy = database().session();
    const auto sleeps =
        std::async(std::launch::async, [&] { (void)busy.query(soon(), "select pg_sleep(60)"); });
    const std::string asleep = "pg_stat_activity where query = 'select pg_sleep(60)'";
    EXPECT_TRUE(
        eventually([&] { return database().value("select count(*) from " + asleep) == "1"; }));
    Connection watcher = open();
    const auto list_pids = [&] {
        std::vector<std::uint32_t> pids;
        for (const Writer& writer : value_of(
                 list_writers(watcher, soon(), tables, PreparedTransactions::if_being_committed))) {
            pids.push_back(writer.pid);
        }
        return pids;
    };
    EXPECT_TRUE(list_pids().empty());  // Nothing is prepared.
    database().exec("begin; insert into t values (1); prepare transaction 'p'");
    EXPECT_EQ(list_pids(), std::vector{busy.backend_pid()});
    database().exec("select pg_cancel_backend(pid) from " + asleep);
    database().exec("rollback prepared 'p'");
}

// Between two polls a session may turn its transaction into a prepared one, even one
// that had no xid when it was seen.
TEST_P(Writers, APreparedFormIsStillTheSameTransaction) {
    database().exec("create table t(id int)");
    const auto tables = oids("t");
    for (const bool xid_known : {false, true}) {
        SCOPED_TRACE(xid_known);
        Connection writer = database().session();
        must_exec(writer, "begin; lock table t in row exclusive mode");
        if (xid_known) must_exec(writer, "insert into t values (1)");
        Connection watcher = open();
        auto list = value_of(list_writers(watcher, soon(), tables, PreparedTransactions::include));
        ASSERT_EQ(list.size(), 1U);
        must_exec(writer, "insert into t values (2); prepare transaction 'late'");
        EXPECT_TRUE(value_of(still_writing(watcher, soon(), tables,
                                           PreparedTransactions::if_being_committed, list))
                        .empty());
        list =
            value_of(still_writing(watcher, soon(), tables, PreparedTransactions::include, list));
        ASSERT_EQ(list.size(), 1U);
        EXPECT_EQ(list[0].gid, "late");
        database().exec("commit prepared 'late'");
        EXPECT_TRUE(
            value_of(still_writing(watcher, soon(), tables, PreparedTransactions::include, list))
                .empty());
    }
}

TEST_P(Writers, LockModesThatCannotHaveWrittenAreLeftOut) {
    database().exec("create table t(id int)");
    const auto tables = oids("t");
    Connection watcher = open();
    struct Case {
        const char* mode;
        std::size_t count;
    };
    for (const auto& [mode, count] : std::initializer_list<Case>{{"access share", 0},
                                                                 {"row share", 0},
                                                                 {"row exclusive", 1},
                                                                 {"share update exclusive", 0},
                                                                 {"share", 0},
                                                                 {"share row exclusive", 0},
                                                                 {"exclusive", 1},
                                                                 {"access exclusive", 1}}) {
        Connection session = database().session();
        must_exec(session, std::string("begin; lock table t in ") + mode + " mode");
        EXPECT_EQ(
            value_of(list_writers(watcher, soon(), tables, PreparedTransactions::include)).size(),
            count)
            << mode;
    }
}

}  // namespace
}  // namespace walbrook
