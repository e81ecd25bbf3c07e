#include "replica.h"
#include "support/eventually.h"
#include "support/pg_test.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

// Schema changes while the pipeline runs. Every test ends with equal rows.
namespace walbrook::testing {
namespace {

class SchemaChanges : public PgTest {
 protected:
    // A running pipeline that has caught up with table t.
    void follow(const std::string& sql =
                    "create table t (id int primary key, a int, b text);"
                    "insert into t values (1, 10, 'x'), (2, 20, 'y')") {
        database().exec(sql + ";create publication shop for all tables");
        replica_.emplace(database());
        replica_->configure("batch: {max_fill_ms: 50}");
        replica_->start();
        ASSERT_TRUE(replica_->catches_up()) << replica_->log();
    }
    void expect_same(const std::vector<std::string>& tables = {"t"}) {
        ASSERT_TRUE(replica_->catches_up()) << replica_->log();
        EXPECT_EQ(replica_->difference_of_tables(tables), "") << replica_->log();
    }
    // The same, where it takes a look at the catalog first.
    bool becomes_equal(const std::string& table, const std::string& schema = "public") {
        return eventually([&] { return replica_->difference_of(table, schema).empty(); },
                          std::chrono::seconds(20));
    }
    // Whether a copy of the table was made since the start of the process.
    bool was_copied_again() {
        return replica_->log().find("copied again") != std::string::npos ||
               replica_->log().find("copy_again") != std::string::npos;
    }
    void expect_followed_in_place(const std::vector<std::string>& tables = {"t"}) {
        expect_same(tables);
        EXPECT_FALSE(was_copied_again()) << replica_->log();
        EXPECT_EQ(replica_->stop().code, 0);
    }
    void expect_copied_again(const std::vector<std::string>& tables = {"t"}) {
        expect_same(tables);
        EXPECT_TRUE(was_copied_again()) << replica_->log();
        EXPECT_EQ(replica_->stop().code, 0);
    }
    std::optional<Replica> replica_;
};
INSTANTIATE_TEST_SUITE_P(Pg, SchemaChanges, ::testing::ValuesIn(pg_versions()), version_name);

TEST_P(SchemaChanges, AnAddedColumnIsFollowed) {
    follow();
    database().exec("alter table t add c numeric(8,2); insert into t values (3, 30, 'z', 1.50)");
    expect_followed_in_place();
}

TEST_P(SchemaChanges, AnAddedColumnWithALiteralDefaultFillsOlderRows) {
    follow();
    database().exec(
        "alter table t add c int not null default 7, add d text default 'it''s; \\\"so\\\"',"
        " add e timestamptz default '2020-02-29 12:00+02', add f int[] default '{1,null,3}';"
        "insert into t values (3, 30, 'z')");
    expect_same();
    EXPECT_EQ(replica_->stop().code, 0);
}

// The rows are rewritten, and the stream says nothing of it.
TEST_P(SchemaChanges, AVolatileDefaultCopiesTheTableAgain) {
    follow();
    database().exec(
        "alter table t add c double precision default random(); insert into t values (3, 30, 'z')");
    expect_copied_again();
}

TEST_P(SchemaChanges, ADroppedColumnIsFollowed) {
    follow();
    database().exec("alter table t drop a; insert into t values (3, 'z')");
    expect_followed_in_place();
}

TEST_P(SchemaChanges, ARenamedColumnKeepsItsValues) {
    follow();
    database().exec("alter table t rename a to price; insert into t values (3, 30, 'z')");
    expect_followed_in_place();
}

TEST_P(SchemaChanges, ColumnsThatSwapTheirNamesKeepTheirValues) {
    follow("create table t (id int primary key, a int, b int); insert into t values (1, 10, 20)");
    database().exec(
        "begin; alter table t rename a to x; alter table t rename b to a;"
        " alter table t rename x to b; insert into t (id, a, b) values (2, 1, 2); commit");
    expect_followed_in_place();
}

// Names and types are the same before and after: only the attribute number tells.
TEST_P(SchemaChanges, AColumnThatIsDroppedAndAddedUnderItsNameLosesItsValues) {
    follow();
    database().exec("alter table t drop b; alter table t add b text; insert into t values (3, 3)");
    expect_same();
    EXPECT_EQ(replica_->stop().code, 0);
}

TEST_P(SchemaChanges, SeveralInOneTransactionWithRowsBetween) {
    follow();
    database().exec(
        "begin; insert into t values (3, 30, 'z'); alter table t add c int;"
        " insert into t values (4, 40, 'w', 4); alter table t rename b to bb;"
        " update t set bb = 'new', c = 1 where id = 1; alter table t drop a;"
        " insert into t values (5, 'v', 5); delete from t where id = 2; commit");
    expect_same();
    EXPECT_EQ(replica_->stop().code, 0);
}

TEST_P(SchemaChanges, AWiderTypeWithoutARewriteIsFollowed) {
    follow(
        "create table t (id int primary key, a numeric(8,2), b varchar(5));"
        "insert into t values (1, 1.25, 'abc')");
    database().exec(
        "alter table t alter a type numeric(12,2), alter b type varchar(50);"
        "insert into t values (2, 1234567890.12, 'abcdefghij')");
    expect_followed_in_place();
}

TEST_P(SchemaChanges, ARewritingTypeChangeCopiesTheTableAgain) {
    follow();
    database().exec(
        "alter table t alter a type bigint using a * 1000; insert into t values (3, 1, 'z')");
    expect_copied_again();
}

// No row comes, and no relation message: only watching tells.
TEST_P(SchemaChanges, ARewriteToTheSameTypeIsNoticedWithoutARow) {
    follow();
    database().exec("alter table t alter b type text using upper(b)");
    ASSERT_TRUE(becomes_equal("t")) << replica_->log();
    expect_copied_again();
}

TEST_P(SchemaChanges, AChangeWithoutARowReachesTheLake) {
    follow();
    database().exec("alter table t add c int default 5; alter table t rename a to aa");
    ASSERT_TRUE(becomes_equal("t")) << replica_->log();
    expect_followed_in_place();
}

TEST_P(SchemaChanges, ARenamedTableIsFollowed) {
    follow();
    database().exec("alter table t rename to u; insert into u values (3, 30, 'z')");
    expect_followed_in_place({"u"});
}

// The second name comes after a column has changed, and has to wait for the lake's next
// transaction.
TEST_P(SchemaChanges, ARenamedTableIsFollowedWithoutARowAndCommandedByItsNewName) {
    follow();
    database().exec("alter table t rename to u");
    ASSERT_TRUE(becomes_equal("u")) << replica_->log();
    database().exec("alter table u rename a to aa; alter table u rename to w");
    ASSERT_TRUE(becomes_equal("w")) << replica_->log();
    EXPECT_TRUE(eventually([&] { return replica_->command({"pause", "public.w"}).code == 0; }));
    EXPECT_EQ(replica_->command({"resume", "public.w"}).code, 0);
    EXPECT_EQ(replica_->stop().code, 0);
}

TEST_P(SchemaChanges, ATableThatMovesToAnotherSchemaIsCopiedThere) {
    follow();
    database().exec(
        "create schema archive; alter table t set schema archive;"
        "insert into archive.t values (3, 30, 'z')");
    ASSERT_TRUE(replica_->catches_up()) << replica_->log();
    ASSERT_TRUE(becomes_equal("t", "archive")) << replica_->log();
    EXPECT_EQ(replica_->stop().code, 0);
}

TEST_P(SchemaChanges, ATableThatIsDroppedAndMadeAnewUnderItsNameIsTheNewOne) {
    follow();
    database().exec(
        "drop table t; create table t (id int primary key, other text);"
        "insert into t values (9, 'new')");
    ASSERT_TRUE(becomes_equal("t")) << replica_->log();
    database().exec("insert into t values (10, 'newer')");
    expect_same();
    EXPECT_EQ(replica_->stop().code, 0);
}

TEST_P(SchemaChanges, AnotherKeyIsFollowed) {
    follow(
        "create table t (id int primary key, other int not null, v text);"
        "insert into t values (1, 100, 'a'), (2, 200, 'b')");
    database().exec(
        "alter table t drop constraint t_pkey, add primary key (other);"
        "update t set id = 5, v = 'c' where other = 100; delete from t where other = 200;"
        "insert into t values (7, 300, 'd'); update t set other = 400 where id = 7");
    expect_same();
    EXPECT_EQ(replica_->stop().code, 0);
}

TEST_P(SchemaChanges, EachReplicaIdentityInTurn) {
    follow(
        "create table t (id int primary key, k int not null unique, v text);"
        "insert into t select g, g, 'v' || g from generate_series(1, 20) g");
    database().exec(
        "update t set v = 'default' where id = 1;"
        "alter table t replica identity full; update t set v = 'full' where id in (2, 3);"
        " delete from t where id = 4;"
        "alter table t replica identity using index t_k_key; update t set v = 'index', id = 105"
        " where k = 5; delete from t where k = 6; update t set k = 107 where k = 7;"
        "alter table t replica identity nothing; insert into t values (200, 200, 'nothing');"
        "alter table t replica identity default; update t set v = 'again' where id = 200;"
        "delete from t where id = 8");
    expect_same();
    EXPECT_EQ(replica_->stop().code, 0);
}

TEST_P(SchemaChanges, UnderReplicaRoleNothingIsMissed) {
    follow();
    database().exec(
        "set session_replication_role = replica; alter table t add c int default 3;"
        "alter table t rename b to bb; insert into t values (3, 30, 'z', 9)");
    expect_followed_in_place();
}

TEST_P(SchemaChanges, AChangeThatIsRolledBackIsNone) {
    follow();
    database().exec(
        "begin; alter table t add c int; insert into t values (3, 3, 'c', 3); rollback;"
        "insert into t values (4, 4, 'd')");
    expect_followed_in_place();
}

TEST_P(SchemaChanges, ReplayedAfterACrashTheyChangeNothing) {
    follow();
    database().exec(
        "alter table t add c int default 1; insert into t values (3, 3, 'c', 3);"
        "alter table t rename c to d; insert into t values (4, 4, 'd', 4);"
        "alter table t drop a; insert into t values (5, 'e', 5)");
    replica_->kill();
    database().exec("alter table t add f int default 8; update t set d = 9 where id = 1");
    replica_->start();
    expect_same();
    replica_->kill();
    replica_->start();
    database().exec("alter table t rename f to g; insert into t values (6, 'f', 6, 6)");
    expect_same();
    EXPECT_EQ(replica_->stop().code, 0);
}

TEST_P(SchemaChanges, WhileThePipelineIsDownTheyAreFoundAtTheStart) {
    follow();
    EXPECT_EQ(replica_->stop().code, 0);
    database().exec(
        "insert into t values (3, 3, 'c'); alter table t add c text default 'old';"
        "insert into t values (4, 4, 'd', 'new'); alter table t alter b type text using b || '!'");
    replica_->start();
    ASSERT_TRUE(replica_->catches_up()) << replica_->log();
    ASSERT_TRUE(becomes_equal("t")) << replica_->log();
    EXPECT_EQ(replica_->stop().code, 0);
}

// Until the new copy is there, which a writer delays here, the rows stay what they were.
TEST_P(SchemaChanges, ARewriteWhileThePipelineIsDownIsNotFollowedInPlace) {
    follow(
        "create table t (id int primary key, a int, b text); insert into t values (1, 10, 'x');"
        "create table u (id int primary key)");
    EXPECT_EQ(replica_->stop().code, 0);
    database().exec(
        "alter table t add c double precision default random(); insert into t values (2, 20, 'y');"
        "insert into u values (1)");
    Connection writer = database().session();
    must_exec(writer, "begin");
    must_exec(writer, "insert into t values (3, 30, 'z')");
    replica_->start();
    ASSERT_TRUE(becomes_equal("u")) << replica_->log();
    EXPECT_EQ(replica_->lake().query("from lake.public.t"), TextRows({{"1", "10", "x"}}));
    must_exec(writer, "commit");
    ASSERT_TRUE(becomes_equal("t")) << replica_->log();
    EXPECT_EQ(replica_->stop().code, 0);
}

TEST_P(SchemaChanges, PolicyStopLeavesTheTableErroredAndReadable) {
    database().exec(
        "create table t (id int primary key, a int, b text); create table u (id int primary key);"
        "insert into t values (1, 10, 'x'); create publication shop for all tables");
    replica_.emplace(database());
    replica_->configure("schema_change_policy: stop");
    replica_->configure("table_error_retry_max_attempts: 0");
    replica_->start();
    ASSERT_TRUE(replica_->catches_up()) << replica_->log();
    database().exec(
        "alter table t alter a type text using 'n' || a; insert into t values (2, 'z')");
    database().exec("insert into u values (1)");
    ASSERT_TRUE(eventually([&] {
        return replica_->log().find("a table stopped") != std::string::npos;
    })) << replica_->log();
    EXPECT_TRUE(becomes_equal("u"));
    EXPECT_EQ(replica_->lake().value("select a from lake.public.t"), "10");
    EXPECT_EQ(replica_->stop().code, 0);
}

}  // namespace
}  // namespace walbrook::testing
