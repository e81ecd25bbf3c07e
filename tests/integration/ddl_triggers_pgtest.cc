#include "replica.h"
#include "support/eventually.h"
#include "support/pg_test.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>

// Schema changes of a source whose event triggers tell of them (`walbrook init`).
namespace walbrook::testing {
namespace {

using ::testing::HasSubstr;

class DdlTriggers : public PgTest {
 protected:
    void follow(const std::string& sql =
                    "create table t (id int primary key, a int, b text);"
                    "insert into t values (1, 10, 'x'), (2, 20, 'y')") {
        database().exec(sql + ";create publication shop for all tables");
        replica_.emplace(database());
        replica_->configure("batch: {max_fill_ms: 50}");
        replica_->start();
        ASSERT_TRUE(replica_->catches_up()) << replica_->log();
        ASSERT_EQ(replica_->command({"init"}).code, 0);
    }
    void expect_followed_in_place() {
        ASSERT_TRUE(replica_->catches_up()) << replica_->log();
        EXPECT_EQ(replica_->difference_of("t"), "") << replica_->log();
        EXPECT_EQ(replica_->count_in_log("copied again"), 0) << replica_->log();
        EXPECT_EQ(replica_->count_in_log("copy_again"), 0) << replica_->log();
        EXPECT_EQ(replica_->stop().code, 0);
    }
    std::optional<Replica> replica_;
};
INSTANTIATE_TEST_SUITE_P(Pg, DdlTriggers, ::testing::ValuesIn(pg_versions()), version_name);

// Names, types and how many there are do not tell these columns apart.
TEST_P(DdlTriggers, ColumnsDroppedAndAddedUnderTheirNamesAreFollowedInPlace) {
    follow();
    for (const char* change :
         {"alter table t drop b; alter table t add b text; insert into t values (3, 3, 'new')",
          "begin; alter table t drop a, drop b, add b int, add a text;"
          "insert into t values (4, 4, 'n'); update t set a = 'm' where id < 3; commit",
          "alter table t drop a; alter table t add a text; insert into t values (5, 5, 'o')"}) {
        database().exec(change);
        ASSERT_TRUE(replica_->catches_up()) << replica_->log();
    }
    expect_followed_in_place();
}

TEST_P(DdlTriggers, InAStreamedTransactionWithAbortedPartsToo) {
    follow();
    database().exec(
        "set logical_decoding_work_mem = '64kB'; begin;"
        "savepoint s; alter table t drop a; alter table t add a int;"
        "insert into t (id, a) select g, 1 from generate_series(3001, 6000) g; rollback to s;"
        "alter table t drop b; alter table t add b text;"
        "insert into t select g, g, 'n' from generate_series(3001, 6000) g;"
        "savepoint t; alter table t drop a; alter table t add a text; release t;"
        "update t set a = 'z' where id % 7 = 0; commit");
    expect_followed_in_place();
}

TEST_P(DdlTriggers, UnderReplicaRoleAndByCascadesTheyTell) {
    follow(
        "create type mood as enum ('good', 'bad'); create domain amount as int;"
        "create table t (id int primary key, m mood, a amount); insert into t values (1, 'good', "
        "5)");
    database().exec(
        "set session_replication_role = replica; begin; drop type mood cascade;"
        "alter table t add m text; insert into t values (2, 3, 'text'); drop domain amount cascade;"
        "alter table t add a text default 'd'; insert into t values (3, 'm', 'a'); commit");
    expect_followed_in_place();
}

TEST_P(DdlTriggers, TheyTellOfTablesThatInherit) {
    follow(
        "create table parent (id int, a int); create table t (own int, primary key (id)) inherits "
        "(parent); insert into t values (1, 10, 100)");
    database().exec(
        "begin; alter table parent drop a; alter table parent add a text;"
        "insert into t values (2, 200, 'a'); commit");
    expect_followed_in_place();
}

TEST_P(DdlTriggers, TheyTellOfPartitionedTables) {
    follow(
        "create table t (id int primary key, a int, b text) partition by range (id);"
        "create table t1 partition of t for values from (0) to (10);"
        "create table t2 (gone int, id int not null, a int, b text); alter table t2 drop gone;"
        "alter table t attach partition t2 for values from (10) to (20);"
        "insert into t values (1, 1, 'x'), (11, 11, 'y')");
    for (const char* change :
         {"begin; alter table t drop b; alter table t add b text; insert into t values (2, 2, 'n'),"
          "(12, 12, 'm'); update t set b = 'o' where id = 11; commit",
          "alter table t drop a; alter table t add a int; insert into t values (3, 'p', 3), "
          "(13, 'q', 13)"}) {
        database().exec(change);
        ASSERT_TRUE(replica_->catches_up()) << replica_->log();
    }
    expect_followed_in_place();
}

// A change without a row does not wait for the poll; what others write under our prefix is
// no more than a hint.
TEST_P(DdlTriggers, WhatOthersWriteUnderOurPrefixDoesNoHarm) {
    follow();
    const std::string oid = std::to_string(database().oid("t"));
    for (const std::string& lie :
         {"1 " + oid + ":1,2", "1 " + oid + ":", "1 " + oid + ":3,4,5",
          std::string("1 4294967295:1"), std::string("1 7:7;"), std::string("nonsense"),
          std::string("1 "), "1 " + oid + ":1,2,3,4"}) {
        database().exec(
            "begin; alter table t rename a to c; select pg_logical_emit_message(true, "
            "'walbrook', '" +
            lie +
            "'); insert into t select max(id) + 1, 1, 'z' from t;"
            "alter table t rename c to a; commit");
        database().exec(
            "begin; alter table t add n int; select pg_logical_emit_message(true, "
            "'walbrook', '" +
            lie +
            "'); insert into t select max(id) + 1, 1, 'z', 5 from "
            "t; commit; alter table t drop n");
        // The last change has no row: the next look at the catalog brings it.
        ASSERT_TRUE(eventually([&] { return replica_->difference_of("t").empty(); }))
            << lie << replica_->difference_of("t") << replica_->log();
    }
    EXPECT_EQ(replica_->stop().code, 0);
}

TEST_P(DdlTriggers, AreMadeAgainAndRemovedAndNeedASuperuser) {
    follow();
    EXPECT_EQ(replica_->command({"init"}).code, 0);
    const auto triggers = [&] {
        return database().value("select count(*) from pg_event_trigger where evtenabled = 'A'");
    };
    EXPECT_EQ(triggers(), "2");
    EXPECT_EQ(replica_->command({"init", "--remove"}).code, 0);
    EXPECT_EQ(triggers(), "0");
    // Without them all goes on.
    database().exec(
        "alter table t drop b; alter table t add b text; insert into t values (3, 3, 'n')");
    ASSERT_TRUE(replica_->catches_up()) << replica_->log();
    EXPECT_EQ(replica_->difference_of("t"), "") << replica_->log();
    EXPECT_EQ(replica_->stop().code, 0);
}

}  // namespace
}  // namespace walbrook::testing
