// What networks and servers do to connections: they end in the middle of a message, are
// reset, deliver byte by byte, fall silent, and stay open on one side. Nothing is lost, nothing
// doubled.

#include "integration/bank.h"
#include "support/eventually.h"
#include "support/pg_test.h"
#include "support/tcp_proxy.h"

#include <fmt/format.h>

#include <array>
#include <utility>
#include <vector>

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

 private:
    std::unique_ptr<TcpProxy> proxy_;
};
INSTANTIATE_TEST_SUITE_P(Pg, BrokenConnection, ::testing::ValuesIn(newest_pg_version()),
                         version_name);

// Places in a stream: the head of a message, its length, its middle, and between two.
std::vector<std::uint64_t> places() {
    return {0, 1, 4, 5, 6, 9, 30, 31, 64, 333, 1000, 2047, 4099, 6000, 8191, 8192, 12345, 16384};
}

constexpr std::array kEnds = {
    std::pair(TcpProxy::End::close, "connection closed after n bytes"),
    std::pair(TcpProxy::End::reset, "connection reset after n bytes"),
};

TEST_P(BrokenConnection, TheStreamIsCutAtManyPlaces) {
    Bank bank = Bank::small(database());
    Replica replica(database());
    replica.connect_through(proxy().port());
    replica.configure("batch: {max_fill_ms: 20}");
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    bank.start(2, 300);
    for (const auto& [end, fault] : kEnds) {
        FaultTrial trial(fault);
        for (const std::uint64_t bytes : places()) {
            SCOPED_TRACE(bytes);
            proxy().cut(":stream", bytes, end);
            ASSERT_TRUE(eventually([&] { return proxy().cuts_left() == 0; }, seconds(30)));
            trial.is_over();
            // The next cut is to hit a stream, not an attempt to connect.
            trial.expect_recovery(replica);
            if (HasFailure()) return;
        }
        trial.expect_equal(replica);
    }
    bank.expect_nothing_lost(replica);
}

TEST_P(BrokenConnection, CopiesAreCutAtManyPlaces) {
    Bank bank = Bank::small(database());
    // Many tables: the pause before the next attempt grows with each failure of one.
    std::string list;
    for (int i = 0; i < 12; ++i) {
        const std::string table = fmt::format("t{}", i);
        list += (i == 0 ? "" : ", ") + table;
        database().exec(fmt::format(
            "create table {0}(line text); insert into {0} select repeat('{0} ', 10) || g from "
            "generate_series(1, 1000) g",
            table));
    }
    database().exec("alter publication shop add table " + list);
    Replica replica(database());
    replica.connect_through(proxy().port());
    // Both sessions of a copy: the one that holds the snapshot, those that read.
    int cuts = 0;
    for (const std::uint64_t bytes : places()) {
        const auto end = ++cuts % 2 == 0 ? TcpProxy::End::close : TcpProxy::End::reset;
        proxy().cut(":copy", bytes * 2, end);
    }
    for (const std::uint64_t bytes : places()) {
        if (bytes >= 1000) break;
        const auto end = ++cuts % 2 == 0 ? TcpProxy::End::close : TcpProxy::End::reset;
        proxy().cut(":snapshot", bytes, end);
    }
    bank.start(2, 100);
    replica.start();
    FaultTrial trial("connections of copies closed or reset after n bytes");
    ASSERT_TRUE(eventually([&] { return proxy().cuts_left() == 0; }, seconds(100)));
    trial.is_over(cuts);
    trial.expect_recovery(replica);
    bank.expect_nothing_lost(replica, trial);
}

// The same on the way to the server: half a status of what was received, half a query.
TEST_P(BrokenConnection, WhatIsSentIsCutAtManyPlaces) {
    Bank bank = Bank::small(database());
    Replica replica(database());
    replica.configure("batch: {max_fill_ms: 20}");
    replica.connect_through(proxy().port());
    bank.start(2, 300);
    int cuts = 0;
    const auto cut = [&](const char* who, std::uint64_t bytes) {
        const auto end = ++cuts % 2 == 0 ? TcpProxy::End::close : TcpProxy::End::reset;
        proxy().cut(who, bytes, end, TcpProxy::Way::to_server);
    };
    const auto are_done = [&] { return proxy().cuts_left() == 0; };
    {
        // In what such a connection begins with, and in the queries of the copies.
        for (const std::uint64_t bytes : {50, 690}) cut(":snapshot", bytes);
        for (const std::uint64_t bytes : {3, 300, 760}) cut(":copy", bytes);
        replica.start();
        FaultTrial trial("connections of copies closed or reset after n bytes to the server");
        ASSERT_TRUE(eventually(are_done, seconds(60)));
        trial.is_over(cuts);
        trial.expect_recovery(replica);
        trial.expect_equal(replica);
    }
    FaultTrial trial("connection closed or reset after n bytes to the server");
    // A status has 39 bytes. Of several cuts each one after the first hits an attempt to connect:
    // what it begins with, its queries, the start of the stream.
    const std::vector<std::vector<std::uint64_t>> rounds = {
        {3}, {20}, {38}, {10, 50, 520}, {10, 600, 800}};
    for (const auto& round : rounds) {
        SCOPED_TRACE(round.back());
        for (const std::uint64_t bytes : round) cut(":stream", bytes);
        ASSERT_TRUE(eventually(are_done, seconds(30)));
        trial.is_over(static_cast<int>(round.size()));
        trial.expect_recovery(replica);
        if (HasFailure()) return;
    }
    bank.expect_nothing_lost(replica, trial);
}

TEST_P(BrokenConnection, ByteByByteIsOnlySlow) {
    Bank bank = Bank::small(database());
    database().exec(
        "create table log(line text); insert into log select 'line ' || g from "
        "generate_series(1, 2000) g; alter publication shop add table log");
    Replica replica(database());
    replica.connect_through(proxy().port());
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    FaultTrial trial("packets of one byte");
    bank.start(2, 50);
    proxy().split(1);
    ASSERT_EQ(replica.command({"resync", "public.log"}).code, 0);
    for (int round = 0; round < 3; ++round) {
        const Lsn before = replica.position();
        ASSERT_TRUE(eventually([&] { return replica.position() > before; }));
    }
    ASSERT_TRUE(replica.catches_up());
    proxy().split(0);
    trial.is_over();
    trial.expect_recovery(replica);
    bank.expect_nothing_lost(replica, trial);
}

// A network that passes nothing for longer than either side waits, and connections of which one
// end is gone while the other is not told.
TEST_P(BrokenConnection, SilenceLosesNothing) {
    PgCluster own({.version = version(), .settings = {{"wal_sender_timeout", "2s"}}});
    Database source(own);
    TcpProxy gate(own.port());
    Bank bank = Bank::small(source);
    Replica replica(source);
    replica.configure("batch: {max_fill_ms: 20}");
    replica.connect_through(gate.port());
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    bank.start(2, 100);
    const std::string sender = fmt::format(
        "select coalesce(max(active_pid), 0) from pg_replication_slots where slot_name "
        "= '{}'",
        replica.slot());
    const auto silences = [&] { return replica.count_in_log("has said nothing for"); };
    FaultTrial server_leaves("silence until the server leaves");
    gate.stall(":stream");
    ASSERT_TRUE(eventually([&] { return source.value(sender) == "0"; }));
    gate.resume();
    server_leaves.is_over();
    server_leaves.expect_recovery(replica);

    // TCP notices nothing of a proxy that lives on before a server that hangs.
    FaultTrial client_leaves("silence until the client leaves");
    int before = silences();
    gate.stall(":stream");
    ASSERT_TRUE(eventually([&] { return silences() > before; }));
    gate.resume();
    client_leaves.is_over();
    client_leaves.expect_recovery(replica);

    FaultTrial server_gone("half-open: the server's end is gone");
    before = silences();
    // Silence may end the stream by itself: then there is none for a moment.
    const auto half_open = [&](TcpProxy::Side side) {
        return eventually([&] { return gate.half_open(":stream", side) >= 1; });
    };
    ASSERT_TRUE(half_open(TcpProxy::Side::server));
    server_gone.is_over();
    // Until then it may have caught up with all that there was.
    EXPECT_TRUE(eventually([&] { return silences() > before; }));
    server_gone.expect_recovery(replica);

    // The slot belongs to the old connection for as long as the server waits.
    FaultTrial client_gone("half-open: the client's end is gone");
    const std::string old = source.value(sender);
    ASSERT_TRUE(half_open(TcpProxy::Side::client));
    client_gone.is_over();
    EXPECT_TRUE(eventually([&] {
        const std::string now = source.value(sender);
        return now != old && now != "0";
    }));
    client_gone.expect_recovery(replica);

    bank.stop();
    ASSERT_TRUE(replica.catches_up());
    for (FaultTrial* trial : {&server_leaves, &client_leaves, &server_gone}) {
        trial->expect_equal(replica);
    }
    bank.expect_nothing_lost(replica, client_gone);
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
