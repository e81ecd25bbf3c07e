// What networks and servers do to connections: they end in the middle of a message, are
// reset, deliver byte by byte, fall silent, and servers are restarted under load. Nothing
// is lost, nothing doubled.

#include "integration/bank.h"
#include "support/eventually.h"
#include "support/pg_test.h"
#include "support/tcp_proxy.h"

#include <fmt/format.h>

namespace walbrook::testing {
namespace {

using std::chrono::seconds;

class BrokenConnection : public PgTest {
 protected:
    void SetUp() override {
        PgTest::SetUp();
        proxy_ = std::make_unique<TcpProxy>(cluster().port());
    }
    void TearDown() override {
        proxy_.reset();
        PgTest::TearDown();
    }
    TcpProxy& proxy() { return *proxy_; }

    // "log" has no key: a row that came twice would stay twice.
    void create_tables() {
        database().exec(
            "create table item(id int primary key, note text);"
            "create table log(line text);"
            "insert into item select g, 'note ' || g from generate_series(1, 2000) g;"
            "insert into log select 'line ' || g from generate_series(1, 2000) g;"
            "create publication shop for table item, log");
    }
    // One transaction over both tables, of more than the last of places() in the stream.
    void change(int round) {
        database().exec(fmt::format(
            "begin;"
            "insert into log select repeat('round {0} ', 5) || g from generate_series(1, 300) g;"
            "update item set note = note || '{0}' where id % 20 = {0} % 20;"
            "delete from item where id = {0};"
            "insert into item values ({0} + 10000, 'new');"
            "commit",
            round));
    }

 private:
    std::unique_ptr<TcpProxy> proxy_;
};
INSTANTIATE_TEST_SUITE_P(Pg, BrokenConnection, ::testing::ValuesIn(newest_pg_version()),
                         version_name);

// Places in a stream: the head of a message, its length, its middle, and between two.
std::vector<std::uint64_t> places() {
    return {0, 1, 4, 5, 6, 9, 30, 31, 64, 333, 1000, 2047, 4099, 6000, 8191, 8192, 12345, 16384};
}

TEST_P(BrokenConnection, TheStreamIsCutAtManyPlaces) {
    create_tables();
    Replica replica(database());
    replica.connect_through(proxy().port());
    replica.configure("batch: {max_fill_ms: 20}");
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    int round = 0;
    for (const auto end : {TcpProxy::End::close, TcpProxy::End::reset}) {
        for (const std::uint64_t bytes : places()) {
            SCOPED_TRACE(bytes);
            proxy().cut(":stream", bytes, end);
            change(++round);
            ASSERT_TRUE(eventually([&] { return proxy().cuts_left() == 0; }, seconds(30)));
            // The next cut is to hit a stream, not an attempt to connect.
            ASSERT_TRUE(replica.catches_up());
        }
    }
    EXPECT_EQ(replica.difference_of_tables({"item", "log"}), "");
    EXPECT_EQ(replica.stop().code, 0);
    EXPECT_EQ(replica.leftovers_at_source(), "");
}

TEST_P(BrokenConnection, CopiesAreCutAtManyPlaces) {
    // Many tables: the pause before the next attempt grows with each failure of one.
    std::vector<std::string> tables;
    std::string list;
    for (int i = 0; i < 12; ++i) {
        tables.push_back(fmt::format("t{}", i));
        list += (i == 0 ? "" : ", ") + tables.back();
        database().exec(fmt::format(
            "create table {0}(line text); insert into {0} select repeat('{0} ', 10) || g from "
            "generate_series(1, 1000) g",
            tables.back()));
    }
    database().exec("create publication shop for table " + list);
    Replica replica(database());
    replica.connect_through(proxy().port());
    // Both sessions of a copy: the one that holds the snapshot, those that read.
    int i = 0;
    for (const std::uint64_t bytes : places()) {
        const auto end = ++i % 2 == 0 ? TcpProxy::End::close : TcpProxy::End::reset;
        proxy().cut(":copy", bytes * 2, end);
        if (bytes < 1000) proxy().cut(":snapshot", bytes, end);
    }
    replica.start();
    ASSERT_TRUE(replica.catches_up(seconds(100)));
    EXPECT_EQ(proxy().cuts_left(), 0U);
    EXPECT_EQ(replica.difference_of_tables(tables), "");
    EXPECT_EQ(replica.stop().code, 0);
    EXPECT_EQ(replica.leftovers_at_source(), "");
}

TEST_P(BrokenConnection, ByteByByteIsOnlySlow) {
    create_tables();
    proxy().split(1);
    Replica replica(database());
    replica.connect_through(proxy().port());
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    for (int round = 1; round <= 3; ++round) change(round);
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of_tables({"item", "log"}), "");
    EXPECT_EQ(replica.stop().code, 0);
}

// Longer than the server waits for us: it gives the connection up, and we learn of it only
// when something passes again.
TEST_P(BrokenConnection, ASilenceLosesNothing) {
    PgCluster own({.version = version(), .settings = {{"wal_sender_timeout", "1500ms"}}});
    Database source(own);
    TcpProxy silent(own.port());
    source.exec("create table item(id int primary key); create publication shop for table item");
    Replica replica(source);
    replica.connect_through(silent.port());
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    silent.stall(":stream");
    source.exec("insert into item select generate_series(1, 1000)");
    ASSERT_TRUE(eventually([&] {
        return source.value("select count(*) from pg_replication_slots where active") == "0";
    }));
    source.exec("insert into item select generate_series(1001, 2000)");
    silent.resume();
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of("item"), "");
    EXPECT_EQ(replica.stop().code, 0);
}

// What was received becomes visible though its source is away, and who drains does not wait
// for the source.
TEST_P(BrokenConnection, WithoutTheSourceWhatCameIsWritten) {
    PgCluster own({.version = version()});
    Database source(own);
    source.exec("create table item(id int primary key); create publication shop for table item");
    Replica replica(source);
    replica.configure("batch: {max_fill_ms: 3000}");
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    source.exec("insert into item select generate_series(1, 1000)");
    ASSERT_TRUE(eventually([&] {
        const auto status = replica.status();
        return status && status->changes_received >= 1000;
    }));
    own.kill();
    EXPECT_TRUE(eventually(
        [&] { return replica.reader().value("select count(*) from lake.public.item") == "1000"; }));
    EXPECT_EQ(replica.stop().code, 0);
    own.start();
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of("item"), "");
}

// A proxy that lives on before a server that hangs: TCP notices nothing.
TEST_P(BrokenConnection, AServerThatSaysNothingIsLeft) {
    PgCluster own({.version = version(), .settings = {{"wal_sender_timeout", "2s"}}});
    Database source(own);
    TcpProxy silent(own.port());
    source.exec("create table item(id int primary key); create publication shop for table item");
    Replica replica(source);
    replica.connect_through(silent.port());
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    silent.stall(":stream");
    ASSERT_TRUE(eventually(
        [&] { return replica.log().find("has said nothing for") != std::string::npos; }));
    silent.resume();
    source.exec("insert into item select generate_series(1, 1000)");
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of("item"), "");
    EXPECT_EQ(replica.stop().code, 0);
}

// Cleanly, as a crash and without any chance, while tables are copied and streamed.
TEST_P(BrokenConnection, TheServerIsRestartedUnderLoad) {
    PgCluster own({.version = version()});
    Database source(own);
    Bank bank = Bank::small(source);
    Replica replica(source);
    replica.configure("batch: {max_fill_ms: 20}");
    bank.start(2, 300);
    replica.start();
    for (int round = 0; round < 6; ++round) {
        SCOPED_TRACE(round);
        // The first ones come while the tables are being copied.
        if (round >= 2) {
            const int before = replica.snapshots();
            ASSERT_TRUE(eventually([&] { return replica.snapshots() > before + 3; }));
        }
        switch (round % 3) {
            case 0:
                own.stop();
                break;
            case 1:
                own.crash();
                break;
            case 2:
                own.kill();
                break;
        }
        own.start();
        bank.stop();
        bank.start(2, 300);
        if (round == 1) {
            ASSERT_TRUE(replica.catches_up());
        }
    }
    bank.expect_nothing_lost(replica);
}

class RefusingDestination : public PgTest {};
INSTANTIATE_TEST_SUITE_P(Pg, RefusingDestination, ::testing::ValuesIn(newest_pg_version()),
                         version_name);

// For ever: nobody waits for ever for it.
TEST_P(RefusingDestination, DoesNotKeepAProcessThatIsToStop) {
    database().exec(
        "create table item(id int primary key); create publication shop for table item");
    Replica replica(database());
    replica.set_environment("WALBROOK_FAILPOINTS", "flush.before_apply=error");
    replica.start({"--timeout", "3"});
    ASSERT_TRUE(replica.catches_up());
    database().exec("insert into item select generate_series(1, 1000)");
    ASSERT_TRUE(eventually([&] {
        const auto status = replica.status();
        return status && status->state == "retrying" && !status->problems.empty();
    }));
    const auto exit = replica.process().wait(seconds(100));
    ASSERT_TRUE(exit.has_value());
    EXPECT_EQ(exit->code, 69);
    replica.clear_environment();
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of("item"), "");
}

}  // namespace
}  // namespace walbrook::testing
