// What a source may do while its tables are copied.

#include "integration/replica.h"
#include "postgres/quote.h"
#include "support/eventually.h"
#include "support/pg_test.h"
#include "support/tcp_proxy.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <thread>

namespace walbrook::testing {
namespace {

class Copy : public PgTest {
 protected:
    // A table that takes a while, in very short ranges.
    void create_large() {
        database().exec(
            "create table large(id int primary key, v int, pad text);"
            "insert into large select g, g, repeat('x', 200) from generate_series(1, 200000) g;"
            "create publication shop for table large");
    }
    static void slow_down(Replica& replica) {
        replica.configure("copy_lock_yield_ms: 10");
        replica.configure("max_copy_connections_per_table: 1");
    }
};
INSTANTIATE_TEST_SUITE_P(Pg, Copy, ::testing::ValuesIn(pg_versions()), version_name);

// The snapshot of the copy sees an empty table behind a TRUNCATE, without any error.
TEST_P(Copy, ATruncateInTheMiddleLosesNothing) {
    create_large();
    Replica replica(database());
    slow_down(replica);
    replica.start();
    ASSERT_TRUE(replica.is_copying("large", 1));
    database().exec("begin; truncate large; insert into large values (1, 1, 'after'); commit");
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of("large"), "");
    EXPECT_EQ(replica.stop().code, 0);
}

// A rewrite sends no rows, and the old snapshot sees an empty new table.
TEST_P(Copy, ARewriteInTheMiddleLosesNothing) {
    create_large();
    Replica replica(database());
    slow_down(replica);
    replica.start();
    ASSERT_TRUE(replica.is_copying("large", 1));
    // A migration waits for one range, never for the copy.
    database().exec(
        "set lock_timeout = '5s'; alter table large alter v type bigint using v * 10;"
        "insert into large values (0, 5, 'after')");
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of("large"), "");
    EXPECT_EQ(replica.stop().code, 0);
}

TEST_P(Copy, ChangesDuringTheCopyAreNeitherLostNorDoubled) {
    create_large();
    Replica replica(database());
    slow_down(replica);
    replica.start();
    ASSERT_TRUE(replica.is_copying("large", 1));
    database().exec(
        "update large set v = -v where id % 7 = 0; delete from large where id % 11 = 0;"
        "update large set id = -id where id between 100 and 200;"
        "insert into large select g, g, 'new' from generate_series(300001, 300500) g");
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of("large"), "");
    EXPECT_EQ(replica.stop().code, 0);
}

// Once the slot exists, transactions of strangers delay no copy.
TEST_P(Copy, ForgottenTransactionsDelayNothing) {
    database().exec(
        "create table one(id int primary key); insert into one values (1);"
        "create table two(id int primary key); insert into two values (2);"
        "create table stranger(id int); create publication shop for table one");
    Replica replica(database());
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.stop().code, 0);

    Connection prepared = database().session();
    must_exec(prepared, "begin; insert into stranger values (1); prepare transaction 'forgotten'");
    Database other(cluster());
    other.exec("create table t(id int)");
    Connection idle = other.session();
    must_exec(idle, "begin; insert into t values (1)");
    Connection nested = database().session();
    std::string savepoints = "begin;";
    for (int i = 0; i < 300; ++i) {
        savepoints += fmt::format("savepoint s{}; insert into stranger values ({});", i, i);
    }
    must_exec(nested, savepoints);

    database().exec("alter publication shop add table two");
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of("two"), "");
    EXPECT_EQ(replica.stop().code, 0);
    must_exec(nested, "rollback");
    database().exec("rollback prepared 'forgotten'");
}

// Inserts that fail on several sessions, at least 300 a second together: each takes an xid and
// ends without a commit.
class FailingInserts {
 public:
    FailingInserts(Database& source, std::vector<std::string> tables) : source_(source) {
        for (int i = 0; i < 4; ++i) {
            sessions_.emplace_back([this, tables](const std::stop_token& stop) {
                Connection session = source_.session();
                // More than is asked for below: a session that falls behind hurries afterwards.
                Pace pace(100);
                for (std::size_t n = 0; !stop.stop_requested(); ++n) {
                    const Status refused = session.exec(
                        within(std::chrono::seconds(30)),
                        fmt::format("insert into {} values (1)", tables[n % tables.size()]));
                    if (refused || refused.error().sqlstate() != "23505") return;
                    ++count_;
                    pace.wait();
                }
            });
        }
    }
    int count() const { return count_; }

    // What came since `from`, by our count and by the source's.
    struct Reading {
        int failures;
        long xids;
        std::chrono::steady_clock::time_point at;
    };
    // The source's count first here, and last in the next: between the two more may fail, however
    // long that takes.
    Reading read() {
        const long xids = xids_given();
        return {count_, xids, std::chrono::steady_clock::now()};
    }
    void expect_rate_since(const Reading& from) {
        const int failures = count_;
        const auto at = std::chrono::steady_clock::now();
        const Reading now{failures, xids_given(), at};
        const std::chrono::duration<double> seconds = now.at - from.at;
        const double rate = (now.failures - from.failures) / seconds.count();
        ::testing::Test::RecordProperty("failing_inserts_per_second", std::to_string(rate));
        EXPECT_GE(rate, 300) << "the load was too weak to show anything";
        // One of each session may have its xid on one side of a reading only.
        EXPECT_GE(now.xids - from.xids, now.failures - from.failures - 4);
    }

 private:
    long xids_given() {
        return std::stol(source_.value("select txid_snapshot_xmax(txid_current_snapshot())"));
    }

    Database& source_;
    std::atomic<int> count_{0};
    std::vector<std::jthread> sessions_;
};

TEST_P(Copy, FailingInsertsDelayNothing) {
    database().exec(
        "create table one(id int primary key, pad text); insert into one values (1);"
        "create table two(id int primary key, pad text);"
        "insert into two select g, repeat('x', 200) from generate_series(1, 100000) g;"
        "create publication shop for table one");
    TcpProxy slow(cluster().port());
    Replica replica(database());
    replica.connect_through(slow.port());
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.stop().code, 0);
    database().exec("alter publication shop add table two");

    FailingInserts application(database(), {"one", "two"});
    ASSERT_TRUE(eventually([&] { return application.count() > 300; }));
    // The copy lasts until the load has been seen.
    slow.slow_down(":copy", 1'000'000);
    replica.start();
    const auto is_copying = [&] {
        const auto now = replica.status();
        return now && now->tables.size() == 2 && now->tables[1].phase == TablePhase::copying;
    };
    ASSERT_TRUE(eventually(is_copying));
    const FailingInserts::Reading before = application.read();
    ASSERT_TRUE(eventually([&] { return application.count() > before.failures + 1200; }));
    application.expect_rate_since(before);
    EXPECT_TRUE(is_copying()) << "the copy was too short for this";
    slow.slow_down("", 0);
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of_tables({"one", "two"}), "");
    const int during = application.count();
    EXPECT_TRUE(eventually([&] { return application.count() > during; })) << "it has stopped";
    EXPECT_EQ(replica.stop().code, 0);
}

// A copy that takes long, of two tables at once, and a user who changes both in one
// transaction, with the patience that people set: neither waits long, and nobody has to
// die for it. Nor does the application queue up behind the user.
TEST_P(Copy, MigrationsWaitLittleAndAreNeverDeadlockVictims) {
    TcpProxy slow(cluster().port());
    slow.slow_down(":copy", 1'000'000);
    for (const char* table : {"a", "b"}) {
        database().exec(fmt::format(
            "create table {0}(id int primary key, v int, pad text);"
            "insert into {0} select g, g, repeat('x', 200) from generate_series(1, 300000) g",
            table));
    }
    database().exec("create publication shop for table a, b");
    Replica replica(database());
    replica.connect_through(slow.port());
    replica.configure("max_copy_connections_per_table: 2");
    replica.start();
    ASSERT_TRUE(replica.is_copying("a", 1));
    ASSERT_TRUE(replica.is_copying("b", 1));

    std::string refused;
    std::jthread application([&](const std::stop_token& stop) {
        Connection session = database().session();
        must_exec(session, "set statement_timeout = '10s'");
        Pace pace(100);
        for (int i = 1; !stop.stop_requested() && refused.empty(); ++i) {
            const Status done = session.exec(
                within(std::chrono::seconds(30)),
                fmt::format("update {} set v = -v where id = {}", i % 2 == 0 ? "a" : "b", i));
            if (!done) refused = done.error().message();
            pace.wait();
        }
    });
    Connection user = database().session();
    must_exec(user, "set lock_timeout = '5s'");
    for (int round = 0; round < 4; ++round) {
        SCOPED_TRACE(round);
        const char* first = round % 2 == 0 ? "a" : "b";
        const char* second = round % 2 == 0 ? "b" : "a";
        EXPECT_NO_THROW(must_exec(user, fmt::format("begin; alter table {} alter v set default {};"
                                                    "alter table {} alter v set default {}; commit",
                                                    first, round, second, round)));
    }
    const auto now = replica.status();
    ASSERT_TRUE(now.has_value());
    EXPECT_EQ(now->tables[0].phase, TablePhase::copying) << "the copy was too short for this";
    application.request_stop();
    application.join();
    EXPECT_EQ(refused, "");
    slow.slow_down("", 0);
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of_tables({"a", "b"}), "");
    EXPECT_EQ(replica.stop().code, 0);
    EXPECT_EQ(cluster().log().find("deadlock detected"), std::string::npos);
}

TEST_P(Copy, HostileNamesAreOnlyNames) {
    const std::string schema = "odd \"schema\"; drop table x; --";
    const std::string table = "select 'é'; \\ \"q\" %s {}";
    const std::string column = "a\"b'c;--$1";
    database().exec("create schema " + quote_identifier(schema) + "; create table " +
                    quote_qualified(schema, table) + "(" + quote_identifier(column) +
                    " int primary key, \"order\" text, \"Upper Case\" text);"
                    "insert into " +
                    quote_qualified(schema, table) +
                    " values (1, 'a', null);"
                    "create publication \"shop's \"\"window\"\"\" for table " +
                    quote_qualified(schema, table));
    Replica replica(database(), "shop''s \"window\"");
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    database().exec("update " + quote_qualified(schema, table) +
                    " set \"order\" = 'b'; insert into " + quote_qualified(schema, table) +
                    " values (2, null, 'c')");
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of(table, schema), "");
    EXPECT_EQ(replica.stop().code, 0);
}

// The server goes away in the middle of everything and comes back.
TEST_P(Copy, ARestartOfTheServerLosesNothing) {
    PgCluster own({.version = version()});
    Database source(own);
    source.exec(
        "create table item(id int primary key, note text);"
        "insert into item select g, 'x' from generate_series(1, 1000) g;"
        "create publication shop for table item");
    Replica replica(source);
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    own.restart();
    source.exec("insert into item values (1001, 'after a restart')");
    ASSERT_TRUE(replica.catches_up());
    own.kill();
    own.start();
    source.exec("update item set note = 'after a crash' where id <= 10");
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of("item"), "");
    EXPECT_EQ(replica.stop().code, 0);
}

// Nothing that was streamed may go because a row that was never copied changes.
TEST_P(Copy, ATableThatIsNotCopiedKeepsWhatWasStreamed) {
    database().exec(
        "create table item(id int primary key, note text);"
        "create table other(id int primary key);"
        "insert into item values (1, 'old'); create publication shop for table item, other");
    Replica replica(database());
    replica.configure("table_sync_copy: {type: skip_all_tables}");
    replica.configure("table_error_retry_delay_ms: 100");
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    database().exec("insert into item values (2, 'new'); insert into other values (1)");
    ASSERT_TRUE(replica.catches_up());
    database().exec("update item set note = 'changed' where id = 1; insert into other values (2)");
    ASSERT_TRUE(eventually([&] {
        const auto status = replica.status();
        return status && status->problems.size() == 1 &&
               status->problems[0].find("table_sync_copy") != std::string::npos;
    }));
    EXPECT_EQ(replica.difference_of("other"), "");
    EXPECT_EQ(replica.reader().value("select string_agg(note, ',') from lake.public.item"), "new");
    EXPECT_EQ(replica.stop().code, 0);
    // Not at the next start either.
    EXPECT_EQ(replica.run_until_caught_up().code, 65);
    EXPECT_EQ(replica.reader().value("select string_agg(note, ',') from lake.public.item"), "new");
}

// What changed while a table was out of the publication is in no stream.
// The lake knows by what a table belonged to the publication, too.
TEST_P(Copy, ATableThatWasAwayIsCopiedAgainWithoutAStore) {
    database().exec(
        "create table item(id int primary key, note text); create table stays(id int primary key);"
        "insert into item values (1, 'a'); insert into stays values (1);"
        "create publication shop for table item, stays");
    Replica replica(database());
    replica.configure("store: {type: memory}");
    ASSERT_EQ(replica.run_until_caught_up().code, 0);
    database().exec("alter publication shop drop table item");
    database().exec(
        "update item set note = 'changed' where id = 1; insert into item values (2, 'b')");
    database().exec("alter publication shop add table item");
    database().exec("insert into item values (3, 'c'); insert into stays values (2)");
    ASSERT_EQ(replica.run_until_caught_up().code, 0);
    EXPECT_EQ(replica.difference_of_tables({"item", "stays"}), "");
}

TEST_P(Copy, ATableThatWasAwayIsCopiedAgain) {
    database().exec(
        "create table item(id int primary key, note text); create table stays(id int primary key);"
        "insert into item values (1, 'a'); insert into stays values (1);"
        "create publication shop for table item, stays");
    Replica replica(database());
    ASSERT_EQ(replica.run_until_caught_up().code, 0);
    database().exec("alter publication shop drop table item");
    database().exec(
        "update item set note = 'changed' where id = 1; insert into item values (2, 'b')");
    database().exec("alter publication shop add table item");
    database().exec("insert into item values (3, 'c'); insert into stays values (2)");
    ASSERT_EQ(replica.run_until_caught_up().code, 0);
    EXPECT_EQ(replica.difference_of_tables({"item", "stays"}), "");
    // Only that one, and only once.
    const int copies = replica.snapshots();
    database().exec("insert into item values (4, 'd')");
    ASSERT_EQ(replica.run_until_caught_up().code, 0);
    EXPECT_EQ(replica.difference_of_tables({"item", "stays"}), "");
    EXPECT_LE(replica.snapshots(), copies + 3);
    // What is published changed for a while.
    database().exec("alter publication shop set (publish = 'insert')");
    database().exec("update item set note = 'unseen' where id = 4");
    database().exec("alter publication shop set (publish = 'insert, update, delete, truncate')");
    ASSERT_EQ(replica.run_until_caught_up().code, 0);
    EXPECT_EQ(replica.difference_of_tables({"item", "stays"}), "");
}

class SlotCreation : public PgTest {};
INSTANTIATE_TEST_SUITE_P(Pg, SlotCreation, ::testing::ValuesIn(newest_pg_version()), version_name);

// Postgres makes no slot while a transaction with an xid is open: it is named, and once it
// has ended all goes on by itself.
TEST_P(SlotCreation, NamesWhomItWaitsFor) {
    database().exec(
        "create table item(id int primary key); create publication shop for table item");
    database().exec("begin; insert into item values (1); prepare transaction 'forgotten'");
    Replica replica(database());
    replica.start();
    ASSERT_TRUE(eventually([&] {
        return replica.log().find("the slot's creation waits for a transaction") !=
               std::string::npos;
    }));
    EXPECT_NE(replica.log().find("forgotten"), std::string::npos) << replica.log();
    database().exec("commit prepared 'forgotten'");
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of("item"), "");
    EXPECT_EQ(replica.stop().code, 0);
}

}  // namespace
}  // namespace walbrook::testing
