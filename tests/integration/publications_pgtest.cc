#include "replica.h"
#include "support/eventually.h"
#include "support/pg_test.h"
#include "support/temp_dir.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>

// Publications that change while the pipeline runs.
namespace walbrook::testing {
namespace {

class Publications : public PgTest {
 protected:
    void begin(const std::string& sql) {
        database().exec(sql);
        replica_.emplace(database());
        replica_->configure("batch: {max_fill_ms: 50}");
        replica_->start();
    }
    void start(const std::string& sql) {
        begin(sql);
        ASSERT_TRUE(replica_->catches_up()) << replica_->log();
    }
    // The rows of the source that are published, and those of the lake.
    bool becomes_equal(const std::string& table, const std::string& schema = "public") {
        return eventually([&] { return replica_->difference_of(table, schema).empty(); },
                          std::chrono::seconds(30));
    }
    bool becomes(const std::string& sql, const std::string& value) {
        return eventually([&] { return replica_->lake().value(sql) == value; },
                          std::chrono::seconds(30));
    }
    void stop() { EXPECT_EQ(replica_->stop().code, 0) << replica_->log(); }
    bool follows(const std::string& table) {
        const auto status = replica_->table(table);
        return status && status->phase == TablePhase::ready;
    }
    bool is_gone(const std::string& table) { return replica_->status() && !replica_->table(table); }
    std::optional<Replica> replica_;
};
INSTANTIATE_TEST_SUITE_P(Pg, Publications, ::testing::ValuesIn(pg_versions()), version_name);

TEST_P(Publications, ATableThatComesIsCopiedAndFollowed) {
    start(
        "create table a (id int primary key, v int); insert into a values (1, 1);"
        "create table b (id int primary key, v int); insert into b values (1, 1);"
        "create publication shop for table a");
    database().exec("alter publication shop add table b; insert into b values (2, 2)");
    ASSERT_TRUE(becomes_equal("b")) << replica_->log();
    ASSERT_TRUE(eventually([&] { return follows("b"); }));
    database().exec("insert into b values (3, 3); update b set v = 9 where id = 1");
    database().exec("insert into a values (2, 2)");
    ASSERT_TRUE(replica_->catches_up());
    EXPECT_EQ(replica_->difference_of_tables({"a", "b"}), "");
    stop();
}

TEST_P(Publications, OfAllTablesANewTableComesByItself) {
    start("create table a (id int primary key); create publication shop for all tables");
    database().exec(
        "create table late (id int primary key, v text);"
        "insert into late select g, 'v' || g from generate_series(1, 1000) g");
    ASSERT_TRUE(becomes_equal("late")) << replica_->log();
    database().exec("delete from late where id > 500");
    ASSERT_TRUE(becomes_equal("late")) << replica_->log();
    // So does a partition that is detached.
    database().exec(
        "create table whole (id int primary key, v text) partition by range (id);"
        "create table part partition of whole for values from (0) to (100);"
        "insert into whole select g, 'v' from generate_series(1, 50) g");
    ASSERT_TRUE(becomes_equal("whole")) << replica_->log();
    database().exec("alter table whole detach partition part; insert into part values (60, 'w')");
    ASSERT_TRUE(becomes_equal("part")) << replica_->log();
    stop();
}

TEST_P(Publications, WithoutTablesItWaitsForThem) {
    begin("create publication shop");
    ASSERT_TRUE(eventually([&] { return replica_->status().has_value(); }));
    database().exec(
        "create table a (id int primary key); insert into a values (1);"
        "alter publication shop add table a");
    ASSERT_TRUE(becomes_equal("a")) << replica_->log();
    stop();
}

TEST_P(Publications, ATableThatLeavesKeepsItsRowsAndTheOthersGoOn) {
    start(
        "create table a (id int primary key); create table b (id int primary key);"
        "insert into b values (1); create publication shop for table a, b");
    database().exec("alter publication shop drop table b; insert into b values (2)");
    ASSERT_TRUE(eventually([&] { return is_gone("b"); })) << replica_->log();
    database().exec("insert into a values (1)");
    ASSERT_TRUE(replica_->catches_up());
    EXPECT_EQ(replica_->difference_of("a"), "");
    EXPECT_EQ(replica_->lake().value("select count(*) from lake.public.b"), "1");
    stop();
}

TEST_P(Publications, ATableThatLeftAndCameBackHasNoStaleRows) {
    start(
        "create table a (id int primary key, v int); insert into a values (1, 1), (2, 2);"
        "create publication shop for table a");
    database().exec("alter publication shop drop table a");
    database().exec("delete from a where id = 1; insert into a values (3, 3)");
    database().exec("alter publication shop add table a");
    ASSERT_TRUE(becomes_equal("a")) << replica_->log();
    database().exec("update a set v = 30 where id = 3");
    ASSERT_TRUE(becomes_equal("a")) << replica_->log();
    stop();
}

TEST_P(Publications, ADroppedTableIsForgotten) {
    start(
        "create table a (id int primary key); create table b (id int primary key);"
        "create publication shop for all tables");
    database().exec("drop table b");
    ASSERT_TRUE(eventually([&] { return is_gone("b"); })) << replica_->log();
    database().exec("insert into a values (1)");
    ASSERT_TRUE(becomes_equal("a")) << replica_->log();
    stop();
}

TEST_P(Publications, ANarrowerRowFilterLeavesNoStaleRows) {
    if (GetParam() < 15) return;  // Row filters begin with 15.
    start(
        "create table a (id int primary key, v int);"
        "insert into a select g, g from generate_series(1, 100) g;"
        "create publication shop for table a where (id <= 80)");
    ASSERT_TRUE(becomes("select count(*) from lake.public.a", "80")) << replica_->log();
    database().exec("alter publication shop set table a where (id <= 50)");
    ASSERT_TRUE(becomes("select count(*) from lake.public.a", "50")) << replica_->log();
    database().exec("alter publication shop set table a where (id <= 90)");
    ASSERT_TRUE(becomes("select count(*) from lake.public.a", "90")) << replica_->log();
    database().exec("insert into a values (-1, 1), (500, 1); delete from a where id = 90");
    ASSERT_TRUE(becomes("select min(id) || ' ' || max(id) from lake.public.a", "-1 89"))
        << replica_->log();
    stop();
}

TEST_P(Publications, AnotherColumnListIsFollowed) {
    if (GetParam() < 15) return;  // Column lists begin with 15.
    start(
        "create table a (id int primary key, v int, w int);"
        "insert into a values (1, 2, 3); create publication shop for table a (id, v)");
    database().exec("alter publication shop set table a (id, w); insert into a values (4, 5, 6)");
    ASSERT_TRUE(eventually([&] {
        const auto rows = replica_->lake().query("select * from lake.public.a order by id");
        return rows == std::vector<std::vector<std::string>>{{"1", "3"}, {"4", "6"}};
    })) << replica_->log();
    stop();
}

// Tables of a schema begin with 15.
TEST_P(Publications, OfASchemaTablesComeAndGo) {
    if (GetParam() < 15) return;
    start(
        "create schema s; create table s.a (id int primary key); insert into s.a values (1);"
        "create publication shop for tables in schema s");
    database().exec("create table s.b (id int primary key); insert into s.b values (1), (2)");
    ASSERT_TRUE(eventually([&] { return replica_->difference_of("b", "s").empty(); }))
        << replica_->log();
    database().exec("drop table s.a");
    ASSERT_TRUE(eventually([&] { return is_gone("a"); })) << replica_->log();
    stop();
}

TEST_P(Publications, OneThatIsDroppedAndMadeAnewIsNoticed) {
    start(
        "create table a (id int primary key, v int); insert into a values (1, 1);"
        "create table b (id int primary key); create publication shop for table a, b");
    database().exec("drop publication shop");
    database().exec("insert into a values (2, 2); delete from a where id = 1");
    database().exec("create publication shop for table a");
    database().exec("insert into a values (3, 3)");
    ASSERT_TRUE(becomes_equal("a")) << replica_->log();
    database().exec("insert into a values (4, 4)");
    ASSERT_TRUE(becomes_equal("a")) << replica_->log();
    ASSERT_TRUE(eventually([&] { return is_gone("b"); })) << replica_->log();
    stop();
}

TEST_P(Publications, WhatIsNotPublishedIsNotExpected) {
    start(
        "create table a (id int primary key, v int); insert into a values (1, 1), (2, 2);"
        "create publication shop for table a with (publish = 'insert')");
    database().exec("insert into a values (3, 3); update a set v = 0; delete from a where id = 1");
    database().exec("insert into a values (4, 4)");
    ASSERT_TRUE(replica_->catches_up()) << replica_->log();
    EXPECT_EQ(replica_->lake().value("select sum(v) from lake.public.a"), "10");
    stop();
}

// pgoutput says nothing of a partition that comes with rows, goes, or is truncated alone.
TEST_P(Publications, UnderViaRootPartitionsComeAndGo) {
    start(
        "create table p (id int, v int, primary key (id)) partition by range (id);"
        "create table p1 partition of p for values from (0) to (100);"
        "insert into p select g, g from generate_series(1, 50) g;"
        "create publication shop for table p with (publish_via_partition_root = true)");
    ASSERT_TRUE(becomes_equal("p")) << replica_->log();
    database().exec(
        "create table p2 partition of p for values from (100) to (200);"
        "insert into p select g, g from generate_series(100, 150) g");
    ASSERT_TRUE(becomes_equal("p")) << replica_->log();
    EXPECT_EQ(replica_->log().find("copied again"), std::string::npos) << replica_->log();
    database().exec(
        "create table p3 (id int primary key, v int); insert into p3 values (201, 1), (202, 2);"
        "alter table p attach partition p3 for values from (200) to (300)");
    ASSERT_TRUE(becomes_equal("p")) << replica_->log();
    database().exec("truncate p2");
    ASSERT_TRUE(becomes_equal("p")) << replica_->log();
    database().exec("insert into p values (120, 1), (250, 2)");
    ASSERT_TRUE(becomes_equal("p")) << replica_->log();
    database().exec("alter table p detach partition p3");
    ASSERT_TRUE(becomes_equal("p")) << replica_->log();
    database().exec("drop table p1; insert into p values (130, 1)");
    ASSERT_TRUE(becomes_equal("p")) << replica_->log();
    stop();
}

// The server sends the rows of each leaf under the leaf's name.
TEST_P(Publications, LeavesWithoutViaRootAreOneTable) {
    start(
        "create table p (id int, v text, primary key (id)) partition by range (id);"
        "create table p1 partition of p for values from (0) to (100);"
        "insert into p select g, 'a' from generate_series(1, 50) g;"
        "create publication shop for table p");
    ASSERT_TRUE(becomes_equal("p")) << replica_->log();
    database().exec(
        "create table p2 (v text, gone int, id int not null);"
        "alter table p2 drop column gone;"
        "alter table p attach partition p2 for values from (100) to (200);"
        "create table p3 partition of p for values from (200) to (300) partition by list (id);"
        "create table p31 partition of p3 default;"
        "insert into p select g, 'b' from generate_series(90, 99) g union all"
        " select g, 'c' from generate_series(150, 160) g union all"
        " select g, 'd' from generate_series(250, 260) g");
    ASSERT_TRUE(becomes_equal("p")) << replica_->log();
    // A row that moves to another leaf, an unchanged long value, deletes in each.
    database().exec(
        "insert into p values (98 + 10, repeat(md5('x'), 1000));"
        "update p set id = 270 where id = 108; update p set id = id + 1000 - 999 where id = 270;"
        "delete from p where id in (95, 155, 255); update p set v = 'e' where id % 2 = 0");
    ASSERT_TRUE(becomes_equal("p")) << replica_->log();
    EXPECT_EQ(replica_->lake().value(
                  "select count(*) from information_schema.tables where table_catalog = 'lake' "
                  "and table_schema = 'public'"),
              "1");
    database().exec(
        "alter table p add column n int default 7; insert into p values (101, 'f', 1);"
        "alter table p rename column v to w; update p set w = 'g' where id = 101");
    ASSERT_TRUE(becomes_equal("p")) << replica_->log();
    database().exec("truncate p2; insert into p values (102, 'h', 2)");
    ASSERT_TRUE(becomes_equal("p")) << replica_->log();
    database().exec("truncate p; insert into p values (1, 'i', 1), (150, 'j', 2), (250, 'k', 3)");
    ASSERT_TRUE(becomes_equal("p")) << replica_->log();
    database().exec("alter table p detach partition p2; insert into p values (2, 'l', 1)");
    ASSERT_TRUE(becomes_equal("p")) << replica_->log();
    database().exec(
        "insert into p2 values ('m', 151, 3); alter table p attach partition p2 for "
        "values from (100) to (200); insert into p values (103, 'n', 4)");
    ASSERT_TRUE(becomes_equal("p")) << replica_->log();
    database().exec("drop table p1; insert into p values (104, 'o', 5)");
    ASSERT_TRUE(becomes_equal("p")) << replica_->log();
    database().exec("drop table p2, p3");
    ASSERT_TRUE(becomes_equal("p")) << replica_->log();
    stop();
}

TEST_P(Publications, LeavesThatComeAreFollowedWithoutACopy) {
    start(
        "create table p (id int, v int, primary key (id)) partition by range (id);"
        "create table p1 partition of p for values from (0) to (100);"
        "insert into p select g, g from generate_series(1, 50) g;"
        "create publication shop for table p");
    ASSERT_TRUE(becomes_equal("p")) << replica_->log();
    for (int i = 1; i < 6; ++i) {
        database().exec(
            fmt::format("create table q{0} partition of p for values from ({0}00) to ({0}99);"
                        "insert into p select g, g from generate_series({0}00, {0}20) g;"
                        "update p set v = v + 1 where id between {0}05 and {0}10; delete from p "
                        "where id = {0}15",
                        i));
    }
    ASSERT_TRUE(becomes_equal("p")) << replica_->log();
    EXPECT_EQ(replica_->count_in_log("copied again"), 0) << replica_->log();
    stop();
}

// Rows from before its membership are never sent, however late they are committed: its copy waits
// for them, and so does that of the next process.
TEST_P(Publications, WhatWasPreparedBeforeATableCameIsNotLostByARestart) {
    start(
        "create table a (id int primary key); create publication shop for table a;"
        "create table late (id int primary key, v text); insert into late values (1, 'copied')");
    const std::string gid = database().name();
    database().exec("begin; insert into late values (2, 'prepared'); prepare transaction '" + gid +
                    "'");
    database().exec("alter publication shop add table late");
    const auto waits = [&] {
        const auto late = replica_->table("late");
        return late && late->reason.find("prepared transaction") != std::string::npos;
    };
    ASSERT_TRUE(eventually(waits)) << replica_->log();
    stop();
    replica_->start();
    ASSERT_TRUE(eventually([&] { return waits() || follows("late"); })) << replica_->log();
    database().exec("commit prepared '" + gid + "'");
    database().exec("insert into late values (3, 'streamed')");
    ASSERT_TRUE(becomes_equal("late")) << replica_->log();
    stop();
}

// The store has not heard what the copy had that the lake has: that of the lake counts.
TEST_P(Publications, ALeafThatCameWithRowsBeforeTheStoreKnewTheCopyIsCopied) {
    database().exec(
        "create table m (id int primary key, v int) partition by range (id);"
        "create table m1 partition of m for values from (0) to (100);"
        "insert into m values (1, 1); create publication shop for table m");
    replica_.emplace(database());
    replica_->configure("batch: {max_fill_ms: 50}");
    replica_->set_environment("WALBROOK_FAILPOINTS", "publish.after_apply=kill");
    replica_->start();
    ASSERT_TRUE(replica_->process().wait(std::chrono::seconds(60))) << replica_->log();
    database().exec(
        "begin; create table m2 (like m including all); insert into m2 values (101, 1);"
        "alter table m attach partition m2 for values from (100) to (200); commit");
    replica_->clear_environment();
    replica_->start();
    database().exec("insert into m values (2, 2), (102, 2)");
    ASSERT_TRUE(becomes_equal("m")) << replica_->log();
    stop();
}

// Out of its table it is in no publication: nothing of what happens there is sent. Here it is back
// before anybody has looked: all in one transaction, and between two runs.
TEST_P(Publications, APartitionThatWasAwayForAWhileIsCopiedAgain) {
    for (const bool via_root : {false, true}) {
        Database source(cluster());
        source.exec(fmt::format(
            "create table p (id int, v text, primary key (id)) partition by range (id);"
            "create table p1 partition of p for values from (0) to (100);"
            "create table p2 partition of p for values from (100) to (200) partition by list (id);"
            "create table p21 partition of p2 default;"
            "insert into p select g, 'a' from generate_series(1, 120) g;"
            "create publication shop for table p with (publish_via_partition_root = {})",
            via_root));
        Replica replica(source);
        replica.configure("batch: {max_fill_ms: 50}");
        replica.start();
        ASSERT_TRUE(replica.catches_up()) << replica.log();
        const auto is_equal = [&] {
            return eventually([&] { return replica.difference_of("p").empty(); });
        };
        ASSERT_TRUE(is_equal()) << replica.log();
        source.exec(
            "begin; alter table p detach partition p1; delete from p1 where id = 1;"
            "insert into p1 values (0, 'b'); alter table p attach partition p1 for values from (0) "
            "to (100); commit; insert into p values (130, 'b')");
        EXPECT_TRUE(is_equal()) << replica.difference_of("p");
        EXPECT_EQ(replica.stop().code, 0) << replica.log();
        source.exec(
            "alter table p detach partition p2; update p21 set v = 'c' where id < 110;"
            "alter table p attach partition p2 for values from (100) to (200);"
            "insert into p values (131, 'c')");
        replica.start();
        EXPECT_TRUE(is_equal()) << replica.difference_of("p");
        EXPECT_EQ(replica.stop().code, 0) << replica.log();
    }
}

// The publication, or the operator's wish, changes between a copy's look at the catalog and its
// hold: nobody who tells the stream of that finds the copy there.
class CopiesThatBegin : public Publications {
 protected:
    // Follows `other`; the copy of `t`, which has come into the publication since, waits.
    void start_waiting(const std::string& table, const std::string& published_as) {
        database().exec(
            "create table other (id int primary key); insert into other values (1);"
            "create publication shop for table other");
        replica_.emplace(database());
        replica_->configure("batch: {max_fill_ms: 50}");
        replica_->set_environment("WALBROOK_FAILPOINTS", "copy.before_hold=wait:" + go() + "@2");
        replica_->start();
        ASSERT_TRUE(replica_->catches_up()) << replica_->log();
        database().exec(table + "; alter publication shop add table " + published_as);
        ASSERT_TRUE(eventually([&] {
            const auto now = replica_->table("t");
            return now && now->phase == TablePhase::copying;
        })) << replica_->log();
    }
    void go_on() { write_file(go(), ""); }
    bool is_in_lake() {
        return replica_->reader().value(
                   "select count(*) from information_schema.tables where table_catalog = 'lake' "
                   "and table_schema = 'public' and table_name = 't'") != "0";
    }
    // The copy that waited has come to its end, and `other` is followed.
    void end_of_copy() {
        EXPECT_TRUE(eventually([&] {
            return replica_->count_in_log("a copy is repeated") > 0 || is_in_lake();
        })) << replica_->log();
        database().exec("insert into other values (2)");
        EXPECT_TRUE(becomes_equal("other")) << replica_->log();
    }

 private:
    std::string go() const { return folder_.file("go"); }
    TempDir folder_{"copies"};
};
INSTANTIATE_TEST_SUITE_P(Pg, CopiesThatBegin, ::testing::ValuesIn(pg_versions()), version_name);

class FiltersOfCopiesThatBegin : public CopiesThatBegin {
 protected:
    void change_to(int limit) {
        start_waiting(
            "create table t (id int primary key, v int);"
            "insert into t select g, g from generate_series(1, 100) g",
            "t where (id <= 80)");
        if (HasFatalFailure()) return;
        database().exec(
            fmt::format("alter publication shop set table other, t where (id <= {})", limit));
        ASSERT_TRUE(eventually([&] {
            return replica_->count_in_log("a table is published in another way") == 1;
        })) << replica_->log();
        go_on();
        end_of_copy();
        ASSERT_TRUE(eventually([&] { return is_in_lake(); })) << replica_->log();
        ASSERT_TRUE(becomes("select count(*) from lake.public.t", std::to_string(limit)))
            << replica_->log();
        database().exec("insert into t values (-1, 1), (500, 1); delete from t where id = 1");
        ASSERT_TRUE(becomes("select min(id) || ' ' || max(id) from lake.public.t",
                            fmt::format("-1 {}", limit)))
            << replica_->log();
        ASSERT_TRUE(replica_->catches_up()) << replica_->log();
        EXPECT_EQ(replica_->lake().value("select count(*) from lake.public.t"),
                  std::to_string(limit));
        stop();
    }
};
INSTANTIATE_TEST_SUITE_P(Pg, FiltersOfCopiesThatBegin, ::testing::ValuesIn(newest_pg_version()),
                         version_name);

TEST_P(FiltersOfCopiesThatBegin, ANarrowerOneIsTheCopys) { change_to(50); }

TEST_P(FiltersOfCopiesThatBegin, AWiderOneIsTheCopys) { change_to(90); }

// Of a partitioned table: before 15 its hold waits for a new stream besides.
constexpr std::string_view kPartitioned =
    "create table t (id int primary key, v int) partition by range (id);"
    "create table t1 partition of t for values from (0) to (1000);"
    "insert into t select g, g from generate_series(1, 100) g";

TEST_P(CopiesThatBegin, OfATableThatLeavesComeToNothing) {
    start_waiting(std::string(kPartitioned), "t");
    if (HasFatalFailure()) return;
    database().exec("alter publication shop drop table t");
    ASSERT_TRUE(eventually([&] { return is_gone("t"); })) << replica_->log();
    go_on();
    end_of_copy();
    EXPECT_FALSE(is_in_lake());
    EXPECT_TRUE(is_gone("t"));
    // A leaf is a table of its own now.
    database().exec("alter publication shop add table t1; insert into t values (201, 1)");
    ASSERT_TRUE(becomes_equal("t1")) << replica_->log();
    database().exec("insert into t values (202, 2); delete from t where id = 1");
    ASSERT_TRUE(becomes_equal("t1")) << replica_->log();
    EXPECT_FALSE(is_in_lake());
    // And the whole once more.
    database().exec("alter publication shop set table other, t");
    ASSERT_TRUE(becomes_equal("t")) << replica_->log();
    stop();
}

TEST_P(CopiesThatBegin, OfATableThatIsPausedWait) {
    start_waiting(std::string(kPartitioned), "t");
    if (HasFatalFailure()) return;
    ASSERT_EQ(replica_->command({"pause", "public.t"}).code, 0);
    go_on();
    end_of_copy();
    EXPECT_FALSE(is_in_lake());
    const auto paused = replica_->table("t");
    ASSERT_TRUE(paused);
    EXPECT_TRUE(paused->paused);
    EXPECT_EQ(paused->phase, TablePhase::queued) << paused->reason;
    ASSERT_EQ(replica_->command({"resume", "public.t"}).code, 0);
    ASSERT_TRUE(becomes_equal("t")) << replica_->log();
    database().exec("update t set v = 0 where id < 10");
    ASSERT_TRUE(becomes_equal("t")) << replica_->log();
    stop();
}

// A resync waits its turn, and what is visible is followed meanwhile.
class QueuedTables : public Publications {};
INSTANTIATE_TEST_SUITE_P(Pg, QueuedTables, ::testing::ValuesIn(newest_pg_version()), version_name);

TEST_P(QueuedTables, AreNotFollowedUnderAnotherColumnList) {
    const TempDir folder("queued");
    database().exec(
        "create table busy (id int primary key); create table other (id int primary key);"
        "create table t (id int primary key, a int, b int);"
        "insert into t select g, g, g from generate_series(1, 100) g;"
        "create publication shop for table busy, other, t (id, a)");
    replica_.emplace(database());
    replica_->configure("batch: {max_fill_ms: 50}");
    replica_->configure("max_table_sync_workers: 1");
    // After the three copies of the start.
    replica_->set_environment("WALBROOK_FAILPOINTS",
                              "copy.before_hold=wait:" + folder.file("go") + "@4");
    replica_->start();
    ASSERT_TRUE(replica_->catches_up()) << replica_->log();
    ASSERT_EQ(replica_->command({"resync", "public.busy"}).code, 0);
    ASSERT_TRUE(eventually([&] {
        const auto busy = replica_->table("busy");
        return busy && busy->phase == TablePhase::copying;
    })) << replica_->log();
    ASSERT_EQ(replica_->command({"resync", "public.t"}).code, 0);
    database().exec("insert into t values (101, 101, 101)");
    ASSERT_TRUE(becomes("select count(*) from lake.public.t", "101")) << replica_->log();
    database().exec("alter publication shop set table busy, other, t (id, a, b)");
    const auto stands = [&] {
        const auto t = replica_->table("t");
        return t && t->phase == TablePhase::queued &&
               t->reason == "its place in the publication has changed";
    };
    ASSERT_TRUE(eventually(stands)) << replica_->log();
    database().exec("insert into t values (102, 102, 102); insert into other values (1)");
    ASSERT_TRUE(becomes_equal("other")) << replica_->log();
    LakeReader reader = replica_->reader();
    EXPECT_EQ(reader.value("select count(*) from lake.public.t"), "101");
    EXPECT_EQ(reader.value("select count(*) from information_schema.columns where table_catalog = "
                           "'lake' and table_schema = 'public' and table_name = 't'"),
              "2");
    EXPECT_TRUE(stands());
    write_file(folder.file("go"), "");
    ASSERT_TRUE(becomes_equal("t")) << replica_->log();
    stop();
}

class RowFilters : public Publications {};
INSTANTIATE_TEST_SUITE_P(Pg, RowFilters, ::testing::ValuesIn(newest_pg_version()), version_name);

TEST_P(RowFilters, OfRootsAndLeavesCountInTheCopy) {
    for (const bool via_root : {true, false}) {
        Database source(cluster());
        source.exec(
            fmt::format("create table p (id int, v int, primary key (id)) partition by range (id);"
                        "create table p1 partition of p for values from (0) to (100);"
                        "create table p2 (v int, id int not null);"
                        "alter table p attach partition p2 for values from (100) to (200);"
                        "insert into p select g, g % 10 from generate_series(0, 199) g;"
                        "create publication shop for table p {}, p2 where (id < 150) "
                        "with (publish_via_partition_root = {})",
                        via_root ? "where (id % 2 = 0)" : "", via_root));
        Replica replica(source);
        replica.configure("batch: {max_fill_ms: 50}");
        ASSERT_EQ(replica.run_until_caught_up().code, 0) << replica.log();
        const std::string count = via_root ? "100" : "150";
        EXPECT_EQ(replica.lake().value("select count(*) from lake.public.p"), count);
        source.exec(
            "insert into p values (1000 - 950, 1) on conflict (id) do update set v = 77;"
            "update p set v = 77 where id in (51, 102, 198)");
        ASSERT_EQ(replica.run_until_caught_up().code, 0) << replica.log();
        EXPECT_EQ(replica.lake().value("select count(*) from lake.public.p"), count);
        EXPECT_EQ(replica.lake().value(
                      "select string_agg(id, ' ' order by id) from lake.public.p where v = 77"),
                  via_root ? "50 102 198" : "50 51 102");
    }
}

// The watch of the catalog looks now and then: such a copy is repeated until it has looked, too.
TEST_P(RowFilters, ACopyMayBeTheFirstToSeeAChange) {
    start(
        "create table a (id int primary key, v int);"
        "insert into a select g, g from generate_series(1, 100) g;"
        "create publication shop for table a where (id <= 80)");
    for (const int limit : {50, 90, 60}) {
        database().exec(fmt::format("alter publication shop set table a where (id <= {})", limit));
        ASSERT_EQ(replica_->command({"resync", "public.a"}).code, 0);
        ASSERT_TRUE(becomes("select count(*) from lake.public.a", std::to_string(limit)))
            << replica_->log();
        ASSERT_TRUE(eventually([&] { return follows("a"); })) << replica_->log();
    }
    database().exec("insert into a values (-1, 1), (500, 1); delete from a where id = 60");
    ASSERT_TRUE(becomes("select min(id) || ' ' || max(id) from lake.public.a", "-1 59"))
        << replica_->log();
    stop();
}

// Without a key over all leaves each tells old rows apart by all of their columns.
TEST_P(Publications, LeavesWithoutAKeyAreOneTableUnderFull) {
    start(
        "create table p (id int, v int) partition by range (id);"
        "create table p1 partition of p for values from (0) to (100);"
        "create table p2 partition of p for values from (100) to (200);"
        "alter table p1 replica identity full; alter table p2 replica identity full;"
        "insert into p values (1, 1), (1, 1), (1, 1), (150, 2), (150, 2);"
        "create publication shop for table p");
    ASSERT_TRUE(becomes_equal("p")) << replica_->log();
    database().exec(
        "delete from p where ctid in (select min(ctid) from p where id = 1);"
        "update p set v = 3 where (tableoid, ctid) in (select tableoid, min(ctid) from p where "
        "id = 150 group by 1); update p set id = 160 where id = 1;"
        "create table p3 partition of p for values from (200) to (300); insert into p values "
        "(201, 1), (201, 1)");
    ASSERT_TRUE(becomes_equal("p")) << replica_->log();
    EXPECT_EQ(replica_->count_in_log("copied again"), 0) << replica_->log();
    stop();
}

// What one table cannot hold stays apart; what people must mend stops that table alone.
TEST_P(Publications, LeavesThatContradictEachOtherStopTheirTableUntilTheyAgree) {
    start(
        "create table p (id int, v int, primary key (id)) partition by range (id);"
        "create table p1 partition of p for values from (0) to (100);"
        "create table p2 partition of p for values from (100) to (200);"
        "create table other (id int primary key);"
        "insert into p values (1, 1), (150, 2); create publication shop for table p, other");
    ASSERT_TRUE(becomes_equal("p")) << replica_->log();
    database().exec("alter table p1 replica identity full; update p set v = 9");
    ASSERT_TRUE(eventually([&] {
        const auto now = replica_->table("p");
        return now && now->phase == TablePhase::errored &&
               now->reason.find("different replica identities") != std::string::npos;
    })) << replica_->log();
    database().exec("insert into other values (1)");
    ASSERT_TRUE(becomes_equal("other")) << replica_->log();
    database().exec("alter table p2 replica identity full; update p set v = 10");
    ASSERT_EQ(replica_->command({"resume", "public.p"}).code, 0);
    ASSERT_TRUE(becomes_equal("p")) << replica_->log();
    stop();
}

// The table cannot be copied again, so nothing tells which leaves it has by now.
TEST_P(Publications, ALeafThatLeavesATableWhichHasStoppedIsFollowed) {
    start(
        "create table p (id int, v int, primary key (id)) partition by range (id);"
        "create table p1 partition of p for values from (0) to (100);"
        "create table p2 partition of p for values from (100) to (200);"
        "insert into p values (1, 1), (150, 2); create publication shop for all tables");
    ASSERT_TRUE(becomes_equal("p")) << replica_->log();
    database().exec("create unlogged table p3 partition of p for values from (200) to (300)");
    ASSERT_TRUE(eventually([&] {
        const auto now = replica_->table("p");
        return now && now->phase == TablePhase::errored;
    })) << replica_->log();
    database().exec("alter table p detach partition p1");
    ASSERT_TRUE(becomes_equal("p1")) << replica_->log();
    ASSERT_TRUE(eventually([&] { return follows("p1"); })) << replica_->log();
    database().exec("insert into p1 values (2, 2)");
    EXPECT_TRUE(becomes_equal("p1")) << replica_->log();
    stop();
}

// Queries and the stream have the leaf as a table of its own by then: one table has its rows.
TEST_P(Publications, ALeafWhoseDetachmentIsPendingIsNoLeafAnyMore) {
    start(
        "create table p (id int, v int, primary key (id)) partition by range (id);"
        "create table p1 partition of p for values from (0) to (100);"
        "create table p2 partition of p for values from (100) to (200);"
        "insert into p values (1, 1), (150, 2); create publication shop for table p, p2"
        " with (publish_via_partition_root = true)");
    ASSERT_TRUE(becomes_equal("p")) << replica_->log();
    {
        Connection reader = database().session();
        must_exec(reader, "begin; select from p");
        Connection other = database().session();
        must_exec(other, "set statement_timeout = 300");
        EXPECT_FALSE(other.exec(within(std::chrono::seconds(60)),
                                "alter table p detach partition p2 concurrently"));
        must_exec(reader, "commit");
    }
    ASSERT_EQ(database().value("select count(*) from pg_inherits where inhdetachpending"), "1");
    database().exec("insert into p2 values (160, 3)");
    ASSERT_TRUE(becomes_equal("p2")) << replica_->log();
    ASSERT_TRUE(becomes_equal("p")) << replica_->log();
    ASSERT_TRUE(eventually([&] { return follows("p") && follows("p2"); })) << replica_->log();
    const auto copies = [&] {
        return std::pair(replica_->table("p")->copies, replica_->table("p2")->copies);
    };
    const auto before = copies();
    database().exec("alter table p detach partition p2 finalize; insert into p2 values (170, 4)");
    database().exec("insert into p values (2, 2)");
    ASSERT_TRUE(replica_->catches_up());
    ASSERT_TRUE(becomes_equal("p2")) << replica_->log();
    ASSERT_TRUE(becomes_equal("p")) << replica_->log();
    EXPECT_EQ(copies(), before);
    stop();
}

// Names that the lake does not tell apart: one table has the place, the others wait for people.
TEST_P(Publications, ATableThatTheLakeCannotHoldIsErroredAlone) {
    start(
        "create table orders (id int primary key); create table \"Orders\" (id int primary key);"
        "insert into orders values (1); insert into \"Orders\" values (2);"
        "create publication shop for table orders, \"Orders\"");
    const auto is_refused = [&](const std::string& table) {
        const auto now = replica_->table(table);
        return now && now->phase == TablePhase::errored &&
               now->reason.find("differ only in case") != std::string::npos;
    };
    ASSERT_TRUE(becomes_equal("orders")) << replica_->log();
    ASSERT_TRUE(eventually([&] { return is_refused("Orders"); })) << replica_->log();
    database().exec(
        "create table \"ORDERS\" (id int primary key); insert into orders values (3);"
        "alter publication shop add table \"ORDERS\"");
    ASSERT_TRUE(eventually([&] { return is_refused("ORDERS"); })) << replica_->log();
    // Asked for by name, it is still refused, and the other keeps its place.
    ASSERT_EQ(replica_->command({"resync", "public.Orders"}).code, 0);
    ASSERT_EQ(replica_->command({"resync", "public.orders"}).code, 0);
    ASSERT_TRUE(eventually([&] { return is_refused("Orders") && follows("orders"); }));
    stop();
    replica_->start();
    database().exec("insert into orders values (4)");
    ASSERT_TRUE(becomes_equal("orders")) << replica_->log();
    ASSERT_TRUE(eventually([&] { return is_refused("Orders") && follows("orders"); }));
    database().exec("alter table \"Orders\" rename to mended");
    // Which of its names is known depends on whether the pipeline has looked since.
    ASSERT_TRUE(
        eventually([&] { return replica_->command({"resync", "public.mended"}).code == 0; }));
    ASSERT_TRUE(becomes_equal("mended")) << replica_->log();
    stop();
}

// The store's tables, where they are in the source itself: else each of its changes would be the
// reason of the next.
TEST_P(Publications, OfAllTablesOurOwnAreNone) {
    database().exec(
        "create table t (id int primary key); insert into t values (1);"
        "create publication shop for all tables");
    Replica replica(database());
    replica.configure("batch: {max_fill_ms: 20}");
    replica.configure("store: {type: postgres}");
    for (int i = 2; i < 5; ++i) {
        replica.start();
        database().exec(fmt::format("insert into t values ({})", i));
        ASSERT_TRUE(eventually([&] {
            const auto now = replica.status();
            return now && now->tables.size() == 1 && now->tables[0].phase == TablePhase::ready;
        })) << replica.log();
        ASSERT_TRUE(replica.catches_up()) << replica.log();
        EXPECT_EQ(replica.difference_of("t"), "");
        EXPECT_EQ(replica.stop().code, 0) << replica.log();
    }
    EXPECT_EQ(database().value("select count(*) from walbrook.tables"), "1");
}

class SchemasOfPublications : public Publications {};  // They came with Postgres 15.
INSTANTIATE_TEST_SUITE_P(Pg, SchemasOfPublications, ::testing::ValuesIn(newest_pg_version()),
                         version_name);

TEST_P(SchemasOfPublications, ATableThatWasElsewhereForAWhileIsCopiedAgain) {
    start(
        "create schema s; create schema x; create table s.t (id int primary key, v int);"
        "create table s.p (id int primary key) partition by range (id);"
        "create table s.p1 partition of s.p for values from (0) to (100);"
        "insert into s.t select g, g from generate_series(1, 10) g; insert into s.p values (1);"
        "create publication shop for tables in schema s");
    ASSERT_TRUE(becomes_equal("t", "s")) << replica_->log();
    database().exec(
        "begin; alter table s.t set schema x; update x.t set v = 0 where id < 5;"
        "alter table x.t set schema s; commit; insert into s.t values (11, 11)");
    EXPECT_TRUE(becomes_equal("t", "s")) << replica_->log();
    // A leaf is published with its table, wherever it is.
    EXPECT_EQ(replica_->count_in_log("copied again"), 1) << replica_->log();
    database().exec(
        "alter table s.p1 set schema x; grant select on s.p, s.t to public;"
        "alter table s.t set (fillfactor = 50); analyze s.t; comment on table s.t is 'c';"
        "insert into s.p values (2)");
    EXPECT_TRUE(becomes_equal("p", "s")) << replica_->log();
    EXPECT_EQ(replica_->count_in_log("copied again"), 1) << replica_->log();
    stop();
}

}  // namespace
}  // namespace walbrook::testing
