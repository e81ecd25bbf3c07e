// One table that cannot go on: it is tried again as often as the configuration says, over
// restarts too, and the others go on. And tables that are followed without a copy.

#include "integration/replica.h"
#include "support/eventually.h"
#include "support/pg_test.h"
#include "support/temp_dir.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>

namespace walbrook::testing {
namespace {

constexpr const char* kErrored = "a table is errored; the others go on";
constexpr const char* kResync = "walbrook resync public.two";
constexpr const char* kByItself = "a new copy is tried by itself";

// A role that may read table one, and not table two.
class Retries : public PgTest {
 protected:
    void SetUp() override {
        PgTest::SetUp();
        role_ = "role_" + database().name();
        database().exec(fmt::format(
            "create role {0} login replication; grant create on database {1} to {0};"
            "create table one (id int primary key); create table two (id int primary key, v text);"
            "insert into two values (1, 'a'); create publication shop for table one, two;"
            "grant select on one to {0}",
            role_, database().name()));
    }
    void TearDown() override {
        database().exec(fmt::format("drop owned by {0}; drop role {0}", role_));
        PgTest::TearDown();
    }
    const std::string& role() const { return role_; }
    void grant() { database().exec("grant select on two to " + role_); }
    void configure(Replica& replica, const std::string& delay_ms, const std::string& attempts) {
        replica.connect_as(role_);
        replica.configure("table_error_retry_delay_ms: " + delay_ms);
        replica.configure("table_error_retry_max_attempts: " + attempts);
    }
    // Errored with this remedy, after so many copies that failed.
    static bool is_errored(Replica& replica, int failures, const std::string& remedy) {
        return eventually([&] {
            if (replica.count_in_log(kErrored) < failures) return false;
            const auto two = replica.table("two");
            return two && two->phase == TablePhase::errored &&
                   two->remedy.find(remedy) != std::string::npos;
        });
    }
    static bool is_ready(Replica& replica, const std::string& table) {
        return eventually([&] {
            const auto now = replica.table(table);
            return now && now->phase == TablePhase::ready;
        });
    }

 private:
    std::string role_;
};
INSTANTIATE_TEST_SUITE_P(Pg, Retries, ::testing::ValuesIn(newest_pg_version()), version_name);

TEST_P(Retries, BringATableBackOnceItsPrivilegeIsThere) {
    Replica replica(database());
    configure(replica, "100", "1000000");
    replica.start();
    ASSERT_TRUE(is_errored(replica, 3, kByItself)) << replica.log();
    // Between two tries; while one is under way there is nothing to remedy.
    ASSERT_TRUE(is_errored(replica, 3, "grant the role SELECT")) << replica.log();
    database().exec("insert into one values (1); insert into two values (2, 'meanwhile')");
    ASSERT_TRUE(eventually([&] { return replica.difference_of("one").empty(); }));
    // So after a restart.
    EXPECT_EQ(replica.stop().code, 0);
    const int before = replica.count_in_log(kErrored);
    replica.start();
    ASSERT_TRUE(is_errored(replica, before + 2, kByItself)) << replica.log();
    grant();
    ASSERT_TRUE(is_ready(replica, "two")) << replica.log();
    database().exec("update two set v = 'followed'; insert into one values (2)");
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of_tables({"one", "two"}), "");
    EXPECT_EQ(replica.stop().code, 0);
}

TEST_P(Retries, EndAfterTheirNumberAndThenItIsTheOperators) {
    Replica replica(database());
    configure(replica, "100", "2");
    replica.start();
    ASSERT_TRUE(is_errored(replica, 3, kResync)) << replica.log();
    EXPECT_EQ(replica.count_in_log(kErrored), 3);
    database().exec("insert into one values (1)");
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of("one"), "");
    grant();
    ASSERT_EQ(replica.command({"resync", "public.two"}).code, 0);
    ASSERT_TRUE(is_ready(replica, "two")) << replica.log();
    EXPECT_EQ(replica.count_in_log(kErrored), 3);
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of_tables({"one", "two"}), "");
    EXPECT_EQ(replica.stop().code, 0);
}

// A restart tries once, and counts. So a service that is restarted for ever does not copy for ever.
TEST_P(Retries, AreCountedOverRestarts) {
    Replica replica(database());
    // None comes by itself within the test.
    configure(replica, "3600000", "2");
    replica.start();
    ASSERT_TRUE(is_errored(replica, 1, kByItself)) << replica.log();
    EXPECT_EQ(replica.stop().code, 0);
    replica.start();
    ASSERT_TRUE(is_errored(replica, 2, kByItself)) << replica.log();
    replica.kill();
    replica.start();
    ASSERT_TRUE(is_errored(replica, 3, kResync)) << replica.log();
    EXPECT_EQ(replica.stop().code, 0);
    replica.start();
    ASSERT_TRUE(is_errored(replica, 4, kResync)) << replica.log();
    EXPECT_EQ(replica.stop().code, 0);
    EXPECT_EQ(replica.run_until_caught_up().code, 65);
    // One that succeeds begins to count anew.
    grant();
    EXPECT_EQ(replica.run_until_caught_up().code, 0);
    EXPECT_EQ(replica.difference_of_tables({"one", "two"}), "");
}

// Rights of the partitioned table do not pass to its partitions for whoever reads those.
TEST_P(Retries, ANewPartitionThatMayNotBeReadIsItsTablesTroubleAlone) {
    database().exec(
        "create table tree (id int primary key) partition by range (id);"
        "create table tree1 partition of tree for values from (0) to (100);"
        "insert into tree values (1); alter publication shop set table one, tree;"
        "grant select on tree, tree1 to " +
        role());
    Replica replica(database());
    configure(replica, "100", "1000000");
    replica.start();
    ASSERT_TRUE(replica.catches_up()) << replica.log();
    database().exec(
        "create table tree2 partition of tree for values from (100) to (200);"
        "insert into tree values (101); insert into one values (1)");
    ASSERT_TRUE(eventually([&] { return replica.difference_of("one").empty(); })) << replica.log();
    const auto names_the_right = [&] {
        const auto tree = replica.table("tree");
        return tree && tree->phase == TablePhase::errored &&
               tree->reason.find("grant select on table public.tree2") != std::string::npos;
    };
    ASSERT_TRUE(eventually(names_the_right)) << replica.log();
    EXPECT_EQ(replica.stop().code, 0);
    replica.start();
    database().exec("insert into one values (2); insert into tree values (2)");
    ASSERT_TRUE(eventually([&] { return replica.difference_of("one").empty(); })) << replica.log();
    ASSERT_TRUE(eventually(names_the_right)) << replica.log();
    EXPECT_EQ(replica.count_in_log("the source's catalog needs attention"), 0);
    database().exec("grant select on tree2 to " + role());
    ASSERT_TRUE(is_ready(replica, "tree")) << replica.log();
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of_tables({"one", "tree"}), "");
    EXPECT_EQ(replica.stop().code, 0);
}

// A value in the stream that the lake cannot hold: that table stands where it was, readable, and
// the transaction's other tables have all of it.
TEST_P(Retries, ABadValueStopsItsTableAlone) {
    grant();
    database().exec("alter table two add column n numeric(8,2)");
    Replica replica(database());
    configure(replica, "100", "1");
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    database().exec(
        "begin; insert into one values (1); insert into two values (2, 'good', 1.50);"
        "commit");
    ASSERT_TRUE(replica.catches_up());
    const auto before = replica.reader().rows("public", "two");
    EXPECT_EQ(before.size(), 2U);
    database().exec(
        "begin; insert into one values (2); insert into two values (3, 'bad', 'NaN');"
        "insert into one values (3); commit; insert into one values (4)");
    ASSERT_TRUE(eventually([&] {
        const auto two = replica.table("two");
        return two && two->phase == TablePhase::errored &&
               two->remedy.find(kResync) != std::string::npos;
    })) << replica.log();
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of("one"), "");
    EXPECT_EQ(replica.reader().rows("public", "two"), before);
    database().exec("delete from two where id = 3; insert into one values (5)");
    ASSERT_EQ(replica.command({"resync", "public.two"}).code, 0);
    ASSERT_TRUE(is_ready(replica, "two")) << replica.log();
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of_tables({"one", "two"}), "");
    EXPECT_EQ(replica.stop().code, 0);
}

// ---------------------------------------------------------------- without a copy

struct CopyRule {
    const char* name;
    const char* yaml;
    bool shop;     // Whether the rows of shop.item are copied,
    bool archive;  // those of archive.item,
    bool log;      // and those of shop.log_2024.
};

class CopyRules : public PgTest {
 protected:
    static std::string ids(Replica& replica, const std::string& table) {
        return replica.reader().value("select string_agg(id, ',' order by id) from lake." + table);
    }
};
INSTANTIATE_TEST_SUITE_P(Pg, CopyRules, ::testing::ValuesIn(newest_pg_version()), version_name);

TEST_P(CopyRules, SayWhoseRowsAreCopiedAndAllAreFollowed) {
    database().exec("create schema shop; create schema archive;");
    for (const char* table : {"shop.item", "archive.item", "shop.log_2024"}) {
        database().exec(
            fmt::format("create table {0} (id int primary key);"
                        "insert into {0} values (1), (2)",
                        table));
    }
    database().exec("create publication shop for all tables");
    const std::vector<CopyRule> rules{
        {"all", "{type: include_all_tables}", true, true, true},
        {"none", "{type: skip_all_tables}", false, false, false},
        {"by name", "{type: include_tables, tables: [shop.item]}", true, false, false},
        {"by pattern", "{type: include_tables, tables: ['*.item']}", true, true, false},
        {"but by name", "{type: skip_tables, tables: [shop.item]}", false, true, true},
        {"but by pattern", "{type: skip_tables, tables: ['shop.log_*', 'archive.*']}", true, false,
         false},
    };
    std::string expected = "1,2";
    std::string streamed;
    int next = 3;
    for (const CopyRule& rule : rules) {
        SCOPED_TRACE(rule.name);
        Replica replica(database());
        replica.configure(std::string("table_sync_copy: ") + rule.yaml);
        replica.start();
        ASSERT_TRUE(replica.catches_up()) << replica.log();
        for (const char* table : {"shop.item", "archive.item", "shop.log_2024"}) {
            database().exec(fmt::format("insert into {} values ({})", table, next));
        }
        ASSERT_TRUE(replica.catches_up()) << replica.log();
        EXPECT_EQ(replica.stop().code, 0);
        streamed = std::to_string(next);
        const std::string all = expected + "," + streamed;
        EXPECT_EQ(ids(replica, "shop.item"), rule.shop ? all : streamed);
        EXPECT_EQ(ids(replica, "archive.item"), rule.archive ? all : streamed);
        EXPECT_EQ(ids(replica, "shop.log_2024"), rule.log ? all : streamed);
        expected = all;
        ++next;
    }
}

// What was streamed is all that such a table has: a resync would throw it away.
TEST_P(CopyRules, AResyncDoesNotTakeWhatWasStreamed) {
    database().exec(
        "create table copied (id int primary key);"
        "create table followed (id int primary key);"
        "insert into copied values (1); insert into followed values (1);"
        "create publication shop for all tables");
    Replica replica(database());
    replica.configure("table_sync_copy: {type: skip_tables, tables: [public.followed]}");
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    database().exec("insert into followed values (2), (3); delete from followed where id = 3");
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(ids(replica, "public.followed"), "2");
    EXPECT_EQ(replica.command({"resync", "public.followed"}).code, 78);
    // The others of a pattern are copied again.
    EXPECT_EQ(replica.command({"resync", "public.*"}).code, 0);
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of("copied"), "");
    database().exec("insert into followed values (4); update followed set id = 5 where id = 2");
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(ids(replica, "public.followed"), "4,5");
    const auto followed = replica.table("followed");
    ASSERT_TRUE(followed.has_value());
    EXPECT_EQ(followed->phase, TablePhase::ready);
    EXPECT_EQ(replica.stop().code, 0);
}

// It comes back as a table of which nobody knows any more, in the same run and in the next one.
TEST_P(CopyRules, ATableThatCameBackDoesNotTakeWhatWasStreamed) {
    database().exec(
        "create table other (id int primary key); create table followed (id int primary key);"
        "insert into followed values (1); create publication shop for table other, followed");
    Replica replica(database());
    replica.configure("table_sync_copy: {type: skip_tables, tables: [public.followed]}");
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    database().exec("insert into followed values (2)");
    ASSERT_TRUE(replica.catches_up());
    const auto is_refused = [&] {
        return eventually([&] {
            const auto followed = replica.table("followed");
            return followed && followed->phase == TablePhase::errored &&
                   followed->reason.find("table_sync_copy") != std::string::npos;
        });
    };
    database().exec("alter publication shop drop table followed");
    ASSERT_TRUE(eventually([&] { return replica.status() && !replica.table("followed"); }));
    database().exec("alter publication shop add table followed; insert into followed values (3)");
    EXPECT_TRUE(is_refused()) << replica.log();
    EXPECT_EQ(ids(replica, "public.followed"), "2");
    EXPECT_EQ(replica.stop().code, 0);
    replica.start();
    EXPECT_TRUE(is_refused()) << replica.log();
    EXPECT_EQ(ids(replica, "public.followed"), "2");
    // To begin anew is the operator's to decide.
    replica.change_lake("drop table lake.public.followed");
    ASSERT_EQ(replica.command({"resync", "public.followed"}).code, 0);
    ASSERT_TRUE(eventually([&] {
        const auto followed = replica.table("followed");
        return followed && followed->phase == TablePhase::ready;
    })) << replica.log();
    database().exec("insert into followed values (4)");
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(ids(replica, "public.followed"), "4");
    EXPECT_EQ(replica.stop().code, 0);
}

// Its first copy is visible, and nobody has heard of that yet.
TEST_P(CopyRules, ATableThatIsPausedWhileItBecomesVisibleKeepsWhatWasStreamed) {
    const TempDir folder("go");
    database().exec(
        "create table followed (id int primary key); insert into followed values (1);"
        "create publication shop for all tables");
    Replica replica(database());
    replica.configure("table_sync_copy: {type: skip_tables, tables: [public.followed]}");
    replica.set_environment(
        "WALBROOK_FAILPOINTS",
        fmt::format("copy.after_snapshot=wait:{}@1;publish.after_apply=wait:{}@1",
                    folder.file("copy"), folder.file("publish")));
    replica.start();
    const auto is_in = [&](TablePhase phase) {
        return eventually([&] {
            const auto followed = replica.table("followed");
            return followed && followed->phase == phase;
        });
    };
    ASSERT_TRUE(eventually([&] {
        return database().value(
                   fmt::format("select count(*) from pg_stat_activity where application_name = "
                               "'walbrook:{}:snapshot' and backend_xmin is not null and state = "
                               "'idle in transaction'",
                               replica.id())) == "1";
    })) << replica.log();
    database().exec("insert into followed values (2)");
    write_file(folder.file("copy"), "");
    ASSERT_TRUE(eventually([&] { return replica.reader().has_table("public", "followed"); }))
        << replica.log();
    EXPECT_EQ(ids(replica, "public.followed"), "2");
    ASSERT_EQ(replica.command({"pause", "public.followed"}).code, 0);
    write_file(folder.file("publish"), "");
    ASSERT_TRUE(is_in(TablePhase::queued)) << replica.log();
    ASSERT_EQ(replica.command({"resume", "public.followed"}).code, 0);
    EXPECT_TRUE(is_in(TablePhase::errored)) << replica.log();
    EXPECT_EQ(ids(replica, "public.followed"), "2");
    EXPECT_EQ(replica.stop().code, 0);
}

}  // namespace
}  // namespace walbrook::testing
