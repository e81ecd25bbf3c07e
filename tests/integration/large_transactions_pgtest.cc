// Transactions of unusual size and shape: a million rows, parts that were taken back, prepared
// ones, a thousand tables, values near the limits of the protocol, and none of our business.

#include "integration/replica.h"
#include "postgres/quote.h"
#include "support/eventually.h"
#include "support/pg_test.h"
#include "support/run_form.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

namespace walbrook::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class Large : public PgTest {
 protected:
    void TearDown() override {
        replica_.reset();
        PgTest::TearDown();
    }
    // What is larger than a few rows is sent before its commit, and taken back if need be.
    void stream_early() {
        database().exec("alter database " + database().name() +
                        " set logical_decoding_work_mem = '64kB'");
    }
    void follow(const std::string& sql) {
        database().exec(sql + ";create publication shop for all tables");
        replica_.emplace(database());
        replica_->configure(fmt::format("batch: {{max_fill_ms: 100{}}}", batch_));
        replica_->configure("table_error_retry_max_attempts: 0");
        replica_->start();
        ASSERT_TRUE(replica_->catches_up()) << replica_->log();
    }
    void expect_same(const std::vector<std::string>& tables) {
        ASSERT_TRUE(replica_->catches_up()) << replica_->log();
        EXPECT_EQ(replica_->difference_of_tables(tables), "");
        const auto status = replica_->status();
        ASSERT_TRUE(status.has_value());
        EXPECT_THAT(status->problems, IsEmpty());
        EXPECT_EQ(replica_->count_in_log("copied again"), 0);
    }
    // It did come in pieces before its commit, else the test shows nothing.
    bool was_streamed_early() {
        return eventually([&] {
            const TextRows rows = database().query(
                fmt::format("select stream_count > 0 from pg_stat_replication_slots where "
                            "slot_name = '{}'",
                            replica_->slot()));
            return !rows.empty() && rows[0][0] == "t";
        });
    }
    void stop() { EXPECT_EQ(replica_->stop().code, 0); }

    std::string batch_;  // More of what walbrook.yaml says of batches.
    std::optional<Replica> replica_;
};
INSTANTIATE_TEST_SUITE_P(Pg, Large, ::testing::ValuesIn(pg_versions()), version_name);

// ---------------------------------------------------------------- parts that are taken back

constexpr const char* kThree =
    "create table a (id int primary key, v text); create table b (id int primary key, v text);"
    "create table c (id int, v text); alter table c replica identity full;"
    "insert into a select g, 'v' || g from generate_series(1, 100) g;"
    "insert into b table a; insert into c table a";

// `rows` makes each part small, or so large that it is sent before it is taken back.
std::string with_savepoints(int rows) {
    const std::string some = fmt::format("generate_series(1, {}) g", rows);
    return "begin;"
           // A table's first appearance is in a part that never happened.
           "savepoint s1; insert into b select 1000 + g, repeat('x', 100) from " +
           some +
           "; delete from c where id <= 10; rollback to s1;"
           "insert into b select 1000 + g, 'kept' from " +
           some +
           "; savepoint s2; update a set v = 'kept' where id <= 50;"
           "savepoint s3; delete from a where id <= 20; insert into a select 5000 + g, "
           "repeat('y', 100) from " +
           some +
           "; update c set v = 'never' where id > 50; rollback to s3;"
           // The same rows once more, and a nested part within a part that is released.
           "insert into a select 5000 + g, 'second' from " +
           some +
           "; savepoint s4; savepoint s5; truncate c; insert into c values (1, 'never');"
           "rollback to s4; delete from c where id between 20 and 30; release s4; release s2;"
           "savepoint s6; update b set v = 'never'; delete from b; rollback to s6;"
           "update b set v = v || '!' where id <= 5; commit";
}

TEST_P(Large, PartsThatAreTakenBackNeverHappened) {
    follow(kThree);
    database().exec(with_savepoints(3));
    expect_same({"a", "b", "c"});
    stop();
}

TEST_P(Large, PartsThatAreTakenBackAfterTheyWereSentNeverHappened) {
    stream_early();
    follow(kThree);
    database().exec(with_savepoints(3000));
    expect_same({"a", "b", "c"});
    EXPECT_TRUE(was_streamed_early());
    stop();
}

// Several at once, so that their pieces come in turns; one is taken back as a whole, after it
// was the first to name a table and to change it.
TEST_P(Large, TransactionsThatComeInTurnsAreKeptApart) {
    stream_early();
    follow(kThree);
    Connection one = database().session();
    Connection two = database().session();
    Connection lost = database().session();
    for (Connection* each : {&one, &two, &lost}) must_exec(*each, "begin");
    const auto fill = [](Connection& session, const char* table, int from) {
        must_exec(session, fmt::format("insert into {} select g, repeat('x', 200) from "
                                       "generate_series({}, {}) g",
                                       table, from, from + 999));
    };
    fill(lost, "b", 90'000);
    must_exec(lost, "alter table a add column never int");
    must_exec(lost, "insert into a select g, 'n', 7 from generate_series(80000, 80999) g");
    must_exec(lost, "rollback");
    must_exec(lost, "begin");
    for (int round = 0; round < 3; ++round) {
        fill(one, "a", 10'000 + round * 1000);
        fill(lost, "c", 90'000);
        fill(two, "b", 20'000 + round * 1000);
        must_exec(lost, "delete from a where id = 99");
        must_exec(two, "savepoint s; update b set v = 'never'; rollback to s");
        fill(two, "c", 20'000 + round * 1000);
        must_exec(one, "update c set v = 'one' where id = 1");
        must_exec(lost, "rollback; begin");
    }
    // Whoever commits first is first, wherever it began.
    must_exec(two, "commit");
    must_exec(one, "commit");
    must_exec(lost, "rollback");
    expect_same({"a", "b", "c"});
    EXPECT_TRUE(was_streamed_early());
    stop();
}

// A restart while half of it has come: it comes again, once.
TEST_P(Large, ARestartInTheMiddleOfOneLosesNothing) {
    stream_early();
    follow(kThree);
    Connection session = database().session();
    must_exec(session,
              "begin; insert into a select 1000 + g, repeat('x', 100) from "
              "generate_series(1, 2000) g; savepoint s; delete from b; rollback to s");
    const std::uint64_t seen = replica_->status()->changes_received;
    database().exec("insert into b values (-1, 'another, meanwhile')");
    ASSERT_TRUE(eventually([&] {
        const auto now = replica_->status();
        return now && now->changes_received > seen;
    }));
    stop();
    must_exec(session, "update a set v = 'changed' where id <= 1500; commit");
    replica_->start();
    expect_same({"a", "b", "c"});
    stop();
}

// ---------------------------------------------------------------- prepared transactions

TEST_P(Large, PreparedTransactionsCountWhenTheyAreCommitted) {
    stream_early();
    follow(kThree);
    const std::string gid = database().name();
    // Small, and large enough to be sent while it is not prepared yet.
    for (const int rows : {3, 3000}) {
        SCOPED_TRACE(rows);
        const std::string work = fmt::format(
            "begin; insert into a select {0} * 100 + g, repeat('p', 50) from generate_series(1, "
            "{0}) g; delete from b where id = {0}; savepoint s; update c set v = 'never'; rollback "
            "to s; update c set v = 'prepared' where id <= 5; prepare transaction '{1}_{{}}'",
            rows, gid);
        database().exec(fmt::format(fmt::runtime(work), "lost"));
        database().exec("insert into c values (1, 'beside it')");
        ASSERT_TRUE(replica_->catches_up());
        // Not what is only prepared.
        EXPECT_EQ(replica_->reader().value("select count(*) from lake.public.c where v = "
                                           "'prepared' and id = 5"),
                  rows == 3 ? "0" : "1");
        database().exec("rollback prepared '" + gid + "_lost'");
        expect_same({"a", "b", "c"});
        database().exec(fmt::format(fmt::runtime(work), "kept"));
        // It outlives a restart of ours.
        stop();
        replica_->start();
        database().exec("update b set v = 'beside it' where id = 50");
        ASSERT_TRUE(replica_->catches_up());
        database().exec("commit prepared '" + gid + "_kept'");
        expect_same({"a", "b", "c"});
    }
    stop();
}

// What was prepared before the pipeline was, too: it comes with its COMMIT PREPARED, not with
// the copy.
TEST_P(Large, WhatIsPreparedWhileATableComesIsNotLost) {
    follow("create table a (id int primary key, v text)");
    stop();
    const std::string gid = database().name();
    database().exec(
        "create table late (id int primary key, v text);"
        "insert into late values (1, 'copied')");
    database().exec(
        "begin; insert into late values (2, 'prepared'); insert into a values (2, "
        "'prepared'); prepare transaction '" +
        gid + "'");
    replica_->start();
    // A row of it may have come before its table belonged to the publication.
    ASSERT_TRUE(eventually([&] {
        const auto late = replica_->table("late");
        return late && late->reason.find("prepared transaction") != std::string::npos;
    }));
    database().exec("commit prepared '" + gid + "'");
    expect_same({"a", "late"});
    stop();
}

// ---------------------------------------------------------------- not ours

TEST_P(Large, MessagesOfOthersAreNothing) {
    stream_early();
    follow(kThree);
    const int snapshots = replica_->snapshots();
    for (const char* prefix : {"walbrook", "other", "", "walbrook:7:ddl", "heartbeat"}) {
        for (const char* content :
             {"''", "'{\"v\": 1'", "'not json'", "repeat('x', 100000)", "'{}'", "'[1, null]'"}) {
            for (const char* transactional : {"true", "false"}) {
                database().exec(fmt::format("select pg_logical_emit_message({}, '{}', {}::text)",
                                            transactional, prefix, content));
            }
        }
        // Any bytes, in its own transaction and beside rows.
        database().exec(
            fmt::format("select pg_logical_emit_message(true, '{0}', '\\x00ff7b00fe22'::bytea),"
                        " pg_logical_emit_message(false, '{0}', '\\x00ff7b00fe22'::bytea)",
                        prefix));
        database().exec(
            fmt::format("begin; select pg_logical_emit_message(true, '{0}', "
                        "decode(repeat('00ff', 50000), 'hex')); rollback",
                        prefix));
    }
    ASSERT_TRUE(replica_->catches_up());
    EXPECT_LE(replica_->snapshots(), snapshots + 1);
    database().exec(
        "begin; insert into a values (1000, 'before');"
        "select pg_logical_emit_message(true, 'walbrook', '\\xff00'::bytea);"
        "select pg_logical_emit_message(false, 'walbrook', repeat('{', 1000));"
        "savepoint s; select pg_logical_emit_message(true, 'x', repeat('y', 200000));"
        "insert into a values (1001, 'never'); rollback to s;"
        "insert into a select 2000 + g, repeat('z', 100) from generate_series(1, 2000) g;"
        "select pg_logical_emit_message(true, 'walbrook', repeat('y', 200000)); commit");
    expect_same({"a", "b", "c"});
    stop();
}

// Neither an empty transaction nor one of other tables makes a snapshot, and the slot moves on.
TEST_P(Large, EmptyTransactionsMoveTheSlotAndMakeNoSnapshot) {
    database().exec(
        "create table a (id int primary key, v text); create table other (id int);"
        "insert into a values (1, 'a'); create publication shop for table a");
    replica_.emplace(database());
    replica_->start();
    ASSERT_TRUE(replica_->catches_up());
    const int snapshots = replica_->snapshots();
    for (int round = 0; round < 3; ++round) {
        database().exec("begin; insert into other select generate_series(1, 100); commit");
        database().exec(
            "begin; savepoint s; insert into a values (2, 'never'); rollback to s; "
            "commit; begin; insert into a values (3, 'never'); rollback");
        database().exec(
            "update a set v = 'x' where false; select txid_current();"
            "begin; truncate other; create table t (id int); drop table t; commit");
        const Lsn target = database().lsn();
        ASSERT_TRUE(eventually([&] {
            return database().value(fmt::format("select confirmed_flush_lsn >= '{}' from "
                                                "pg_replication_slots where slot_name = '{}'",
                                                to_string(target), replica_->slot())) == "t";
        }));
    }
    // One of the lake's own upkeep is not ours to forbid.
    EXPECT_LE(replica_->snapshots(), snapshots + 1);
    expect_same({"a"});
    stop();
}

// ---------------------------------------------------------------- size

// Values of this size under a sanitizer show nothing more and take minutes: only plain builds have
// these tests (support/tools/pg_main.cc).

// What does not depend on the server's version.
class LargeOnce : public Large {};
INSTANTIATE_TEST_SUITE_P(Pg, LargeOnce, ::testing::ValuesIn(newest_pg_version()), version_name);

// Its rows are ten times what the budget of batches is, which is on disk instead.
TEST_P(LargeOnce, AMillionRowsInOneTransactionNeedNoMoreMemoryThanAFew) {
    // 24 times max_bytes: 8 MiB.
    batch_ = ", max_bytes: 349525";
    follow("create table big (id int primary key, v text); create table c (id int, v text)");
    const auto insert_rows = [](int from, int to) {
        return fmt::format(
            "insert into big select g, 'row number ' || g || repeat('x', "
            "60) from generate_series({}, {}) g",
            from, to);
    };
    for (int i = 0; i < 10; ++i) {
        database().exec(insert_rows(-1000 * (i + 1), -1000 * i - 1));
    }
    ASSERT_TRUE(replica_->catches_up());
    const std::int64_t before = replica_->process().rss_kib_max_now();
    {
        // Each statement has a deadline.
        constexpr int kPart = 1'000'000;
        const int rows = (is_long_form() ? 20 : 1) * kPart;
        Connection session = database().session();
        must_exec(session, "begin");
        for (int from = 1; from <= rows; from += kPart) {
            must_exec(session, insert_rows(from, from + kPart - 1));
        }
        must_exec(session, "commit");
    }
    ASSERT_TRUE(replica_->catches_up(std::chrono::minutes(is_long_form() ? 60 : 5)));
    const std::int64_t after = replica_->process().rss_kib_max_now();
    RecordProperty("peak_kib_before", std::to_string(before));
    RecordProperty("peak_kib_after", std::to_string(after));
    EXPECT_LT(after - before, 160 * 1024);
    const auto sums = [](const char* table) {
        return fmt::format(
            "select count(*) || ' ' || sum(id) || ' ' || count(distinct v) || ' ' || "
            "sum(length(v)) || ' ' || min(v) || ' ' || max(v) from {}",
            table);
    };
    LakeReader reader = replica_->reader();
    ASSERT_TRUE(reader.session().run("SET memory_limit = '12GB'"));
    EXPECT_EQ(reader.value(sums("lake.public.big")), database().value(sums("big")));
    stop();
}

// A value of almost any size arrives as it is, by the copy and by the stream, though it is larger
// than what the lake's part of the memory usually is. (A text has at most 1 GiB, and so has a
// message of the server.)
TEST_P(LargeOnce, ValuesNearTheLimitOfTheProtocolArriveExactly) {
    follow(
        "create table t (id int primary key, v text, n int);"
        "create table x (id int primary key, v bytea); create table c (id int primary key);"
        "insert into t values (1, repeat('0123456789abcdef', 8 << 20), 0);"
        "insert into x values (1, decode(repeat('00ff7f80', 24 << 20), 'hex'))");
    // A small change of its row, with which the large value is not sent; and larger ones.
    database().exec("update t set n = 1; insert into c values (1)");
    ASSERT_TRUE(replica_->catches_up());
    database().exec(
        "insert into t values (2, repeat('fedcba9876543210', 56 << 20), 0);"
        "insert into c values (2)");
    ASSERT_TRUE(replica_->catches_up(std::chrono::minutes(5)));
    LakeReader reader = replica_->reader();
    ASSERT_TRUE(reader.session().run("SET memory_limit = '12GB'"));
    for (const char* query : {"select id, n, length(v), md5(v) from {}t order by id",
                              "select id, octet_length(v), md5(v) from {}x order by id",
                              "select id from {}c order by id"}) {
        EXPECT_EQ(reader.query(fmt::format(fmt::runtime(query), "lake.public.")),
                  database().query(fmt::format(fmt::runtime(query), "")));
    }
    EXPECT_THAT(replica_->status()->problems, IsEmpty());
    stop();
}

// The old row and the new one are one message. Nothing behind it can be had from the slot, so the
// pipeline says so and ends; the others' rows are all there after the remedy.
TEST_P(LargeOnce, AChangeThatTheServerCannotSendIsNamedWithItsRemedy) {
    follow(
        "create table t (id int primary key, v text); alter table t replica identity full;"
        "create table c (id int primary key)");
    database().exec(
        "insert into t values (1, repeat('a', 600 << 20)); update t set v = repeat('b', 600 << 20);"
        "insert into c values (1)");
    ASSERT_TRUE(eventually([&] { return !replica_->is_running(); }, std::chrono::minutes(3)));
    EXPECT_EQ(replica_->stop().code, 78);
    EXPECT_THAT(replica_->log(), HasSubstr("larger than what Postgres can send (1 GB)"));
    database().exec(
        fmt::format("select pg_drop_replication_slot('{}');"
                    "update t set v = 'small'",
                    replica_->slot()));
    replica_->configure("invalidated_slot_behavior: recreate");
    replica_->start();
    ASSERT_TRUE(eventually([&] {
        return replica_->is_running() && replica_->difference_of_tables({"t", "c"}).empty();
    })) << replica_->log();
    stop();
}

}  // namespace
}  // namespace walbrook::testing
