// Copies in ranges of the key, each with a snapshot of its own, while rows change and move between
// the ranges (docs/design/snapshot-age.md).

#include "integration/replica.h"
#include "support/eventually.h"
#include "support/pg_test.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <exception>
#include <signal.h>
#include <thread>

namespace walbrook::testing {
namespace {

constexpr int kRows = 16'000;
constexpr int kKeys = 60'000;  // Where rows may move to.

class KeyRanges : public PgTest {
 protected:
    void TearDown() override {
        stop_churning();
        PgTest::TearDown();
    }

    // Accounts with 100 each: about 3 MB, thin over the keys. Every tenth has a value out of line.
    void create(const std::string& table, const std::string& key_type, const std::string& key,
                const std::string& constraint) {
        database().exec(fmt::format(
            "create table {0}(id {1} not null, part text not null default 'p', balance int not "
            "null, note text, big text, {3});"
            "alter table {0} alter big set storage external;"
            "insert into {0}(id, balance, note, big) select {2}, 100, repeat('x', 100), case when "
            "n % 10 = 0 then repeat(md5(n::text), 80) end from generate_series(1, {4}) g, "
            "lateral (select g * {5} as n) x",
            table, key_type, key, constraint, kRows, kKeys / kRows));
        tables_.push_back(table);
        keys_.push_back(key);
    }
    // What changes accounts: money and rows move, in one transaction each, and the sum of all
    // balances stays what it was. `moves`: which rows may move to other keys.
    void create_churn(const std::string& moves) {
        database().exec(
            "create table stop_now(yes int);"
            "create function pick(t text) returns tid language plpgsql as $$ declare r tid; begin "
            "execute format('select ctid from %I where id >= (%s) order by id limit 1 for update "
            "skip locked', t, (select k from keys where name = t)) into r using (random() * " +
            std::to_string(kKeys) +
            ")::int; return r; end $$;"
            "create table keys(name text, k text);"
            "create procedure churn(t text) language plpgsql as $$ declare a tid; b tid; what "
            "float; k text := (select keys.k from keys where name = t); n int; begin "
            "while not exists (select from stop_now) loop begin "
            "for i in 1 .. 1 + (random() * 3)::int loop "
            "what := random(); a := pick(t); n := (random() * " +
            std::to_string(kKeys) +
            ")::int; "
            "if what < 0.1 then execute format('insert into %I(id, balance, note) values (%s, 0, "
            "''new'') on conflict do nothing', t, k) using n; "
            "elsif what < 0.4 then b := pick(t); if a <> b then "
            "execute format('update %I set balance = balance - 1 where ctid = $1', t) using a; "
            "execute format('update %I set balance = balance + 1 where ctid = $1', t) using b; "
            "end if; "
            "elsif what < 0.5 then b := pick(t); if a <> b then execute format('with gone as "
            "(delete from %1$I where ctid = $1 returning balance) update %1$I set balance = "
            "%1$I.balance + gone.balance from gone where %1$I.ctid = $2', t) using a, b; end if; "
            "else execute format('update %I set id = %s, balance = balance where ctid = $2 and (" +
            moves +
            ")', t, k) using n, a; "
            "end if; end loop; "
            "exception when unique_violation or deadlock_detected then null; end; commit; "
            "end loop; end $$");
        for (std::size_t i = 0; i < tables_.size(); ++i) {
            std::string key = keys_[i];
            key.replace(key.find("n"), 1, "$1");
            database().exec(
                fmt::format("insert into keys values ('{}', $k${}$k$)", tables_[i], key));
        }
    }
    void churn() {
        for (const std::string& table : tables_) {
            load_.emplace_back([this, table] {
                try {
                    Connection session = database().session();
                    // For as long as the test takes.
                    const Status done = session.exec(within(std::chrono::minutes(30)),
                                                     "call churn('" + table + "')");
                    EXPECT_TRUE(done) << done.error().message();
                } catch (const std::exception& problem) {
                    ADD_FAILURE() << problem.what();
                }
            });
        }
    }
    void stop_churning() {
        if (load_.empty()) return;
        database().exec("insert into stop_now values (1)");
        load_.clear();
        database().exec("truncate stop_now");
    }
    // Copies take some seconds, and a snapshot may be one old.
    static void configure(Replica& replica) {
        replica.configure("max_snapshot_age_secs: 1");
        replica.configure("copy_max_bytes_per_second: 1500000");
        replica.configure("batch: {max_fill_ms: 50}");
    }
    // Of each copy in ranges that the log tells of.
    static std::vector<int> snapshots_of_copies(const Replica& replica) {
        static const std::string told = "copied in ranges of its key";
        static const std::string count = "\"snapshots\":\"";
        const std::string log = replica.log();
        std::vector<int> all;
        for (auto at = log.find(told); at != std::string::npos; at = log.find(told, at + 1)) {
            all.push_back(std::stoi(log.substr(log.find(count, at) + count.size(), 9)));
        }
        return all;
    }
    // In every snapshot of the lake that shows the table.
    static std::string unbalanced(Replica& replica, const std::string& table, int sum) {
        LakeReader lake = replica.reader();
        const auto visible = lake.query(fmt::format(
            "select s.snapshot_id from __ducklake_metadata_lake.ducklake_snapshot as s join "
            "__ducklake_metadata_lake.ducklake_table as t on t.table_name = '{}' and s.snapshot_id "
            ">= t.begin_snapshot and (t.end_snapshot is null or s.snapshot_id < t.end_snapshot) "
            "order by 1",
            table));
        if (visible.empty()) return "no snapshot shows it";
        for (const auto& row : visible) {
            const std::string found = lake.value(fmt::format(
                "select sum(balance) from lake.public.{} at (version => {})", table, row[0]));
            if (found != std::to_string(sum)) return "snapshot " + row[0] + ": " + found;
        }
        return {};
    }

    std::vector<std::string> tables_;
    std::vector<std::string> keys_;  // SQL of the key with number n.
    std::vector<std::jthread> load_;
};
INSTANTIATE_TEST_SUITE_P(Pg, KeyRanges, ::testing::ValuesIn(pg_versions()), version_name);

// Money and rows move between ranges in both directions, in three kinds of keys, at the first copy
// and when one is copied again while it is visible.
TEST_P(KeyRanges, HoldEveryRowOnceWhileRowsMoveBetweenThem) {
    create("a", "int", "n", "primary key(id)");
    create("b", "uuid", "md5(n::text)::uuid", "primary key(id)");
    create("c", "bigint", "n::bigint * 1000000007 - 30000000000000", "unique(id, part)");
    database().exec(
        "alter table c replica identity using index c_id_part_key;"
        "create publication shop for table a, b, c");
    create_churn("big is null");
    Replica replica(database());
    configure(replica);
    churn();
    replica.start();
    ASSERT_TRUE(eventually([&] { return snapshots_of_copies(replica).size() >= 3; },
                           std::chrono::seconds(90)))
        << replica.log();
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.command({"resync", "public.a"}).code, 0);
    ASSERT_TRUE(eventually([&] { return snapshots_of_copies(replica).size() >= 4; },
                           std::chrono::seconds(90)))
        << replica.log();
    stop_churning();
    ASSERT_TRUE(replica.catches_up());
    for (const int snapshots : snapshots_of_copies(replica)) EXPECT_GT(snapshots, 2);
    EXPECT_EQ(replica.difference_of_tables(tables_), "");
    for (const std::string& table : tables_) {
        EXPECT_EQ(unbalanced(replica, table, 100 * kRows), "") << table;
    }
    EXPECT_EQ(replica.count_in_log("in ranges of the key, each with"), 3);
    EXPECT_EQ(replica.stop().code, 0);
    EXPECT_EQ(replica.leftovers_at_source(), "");
}

class KeyRangesOnce : public KeyRanges {};
INSTANTIATE_TEST_SUITE_P(Pg, KeyRangesOnce, ::testing::ValuesIn(newest_pg_version()), version_name);

// A value that Postgres did not send, of a row that came from a range which has it no more: the
// next copy has one snapshot, however old that becomes.
TEST_P(KeyRangesOnce, AreGivenUpWhereLargeValuesMoveBetweenThem) {
    create("a", "int", "n", "primary key(id)");
    database().exec("create publication shop for table a");
    create_churn("true");
    Replica replica(database());
    configure(replica);
    churn();
    replica.start();
    ASSERT_TRUE(eventually(
        [&] { return replica.count_in_log("came to other keys between the snapshots") == 1; },
        std::chrono::seconds(90)))
        << replica.log();
    ASSERT_TRUE(replica.catches_up());
    stop_churning();
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of("a"), "");
    EXPECT_EQ(unbalanced(replica, "a", 100 * kRows), "");
    EXPECT_EQ(replica.count_in_log("in ranges of the key, each with"), 1);
    EXPECT_EQ(replica.count_in_log("a copy is repeated"), 2);
    EXPECT_EQ(replica.stop().code, 0);
}

// What concerns more than single rows repeats the copy, and so does the death of the process.
TEST_P(KeyRangesOnce, BeginAgainWhenTheTableChangesBetweenThem) {
    create("a", "int", "n", "primary key(id)");
    database().exec("create publication shop for table a");
    create_churn("big is null");
    Replica replica(database());
    configure(replica);
    churn();
    // The copy after so many that were given up has read some rows.
    const auto is_under_way = [&](int repeated) {
        bool has_ended = false;  // The one before.
        return eventually(
            [&] {
                if (replica.count_in_log("a copy is repeated") != repeated) return false;
                const auto now = replica.table("a");
                if (!now) return false;
                has_ended = has_ended || now->phase == TablePhase::queued || now->rows_copied == 0;
                return has_ended && now->phase == TablePhase::copying && now->rows_copied > 1000;
            },
            std::chrono::seconds(60));
    };
    replica.start();
    ASSERT_TRUE(is_under_way(1)) << replica.log();
    replica.kill();
    replica.start();  // Its log goes on.
    ASSERT_TRUE(is_under_way(2)) << replica.log();
    database().exec("alter table a add column more int not null default 7");
    ASSERT_TRUE(is_under_way(3)) << replica.log();
    database().exec(
        "begin; alter table a rename column note to words; alter table a rename column words to "
        "note; commit");
    ASSERT_TRUE(is_under_way(4)) << replica.log();
    stop_churning();
    database().exec("update a set balance = 0; insert into a(id, balance) values (-5, 1600000)");
    churn();
    database().exec(fmt::format(
        "begin; create temp table kept as select * from a; truncate a; insert into a select * "
        "from kept; commit"));
    // The third loss in a row: the next copy has one snapshot.
    ASSERT_TRUE(eventually([&] { return replica.count_in_log("a copy is repeated") == 5; }));
    ASSERT_TRUE(replica.catches_up());
    stop_churning();
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of("a"), "");
    EXPECT_EQ(unbalanced(replica, "a", 100 * kRows), "");
    EXPECT_EQ(replica.count_in_log("a copy is repeated"), 5);
    EXPECT_EQ(replica.stop().code, 0);
}

// The server sends and confirms nothing that it has not flushed, but its snapshots show it: the
// copy waits, since a crash would take it back.
TEST_P(KeyRangesOnce, WaitForWhatTheSourceHasNotFlushed) {
    PgCluster server({.version = GetParam()});
    Database source(server);
    source.exec(
        "create table a(id int primary key, note text);"
        "insert into a select g, repeat('x', 200) from generate_series(1, 14000) g;"
        "create publication shop for table a; checkpoint");
    Replica replica(source);
    configure(replica);
    replica.start();
    ASSERT_TRUE(
        eventually([&] { return replica.count_in_log("in ranges of the key, each with") == 1; }));
    Connection session = source.session();
    must_exec(session, "set synchronous_commit = off");
    const auto writer = static_cast<pid_t>(std::stoi(
        source.value("select pid from pg_stat_activity where backend_type = 'walwriter'")));
    ASSERT_EQ(kill(writer, SIGSTOP), 0);
    const bool is_waiting = eventually([&] {
        // Whatever flushes meanwhile, the copy's last snapshot shows one that is not.
        must_exec(session, "update a set note = 'y' where id = 14000");
        const auto status = replica.table("a");
        return status && status->reason.find("until the source has flushed") != std::string::npos;
    });
    EXPECT_EQ(kill(writer, SIGCONT), 0);
    EXPECT_TRUE(is_waiting) << replica.log();
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of("a"), "");
    EXPECT_EQ(replica.count_in_log("a copy is repeated"), 1);  // In ranges.
    EXPECT_EQ(replica.stop().code, 0);
}

}  // namespace
}  // namespace walbrook::testing
