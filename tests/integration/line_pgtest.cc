// The line from a table to the lake and on: copied, followed, stopped, started again.

#include "integration/replica.h"
#include "support/eventually.h"
#include "support/pg_test.h"

namespace walbrook::testing {
namespace {

class Line : public PgTest {
 protected:
    void SetUp() override {
        PgTest::SetUp();
        replica_ = std::make_unique<Replica>(database());
    }
    void TearDown() override {
        replica_.reset();
        PgTest::TearDown();
    }
    Replica& replica() { return *replica_; }

 private:
    std::unique_ptr<Replica> replica_;
};

INSTANTIATE_TEST_SUITE_P(Pg, Line, ::testing::ValuesIn(pg_versions()), version_name);

TEST_P(Line, CopiesATableOfNumbersAndText) {
    database().exec(
        "create table item(id int primary key, note text);"
        "insert into item select g, 'note ' || g from generate_series(1, 1000) g;"
        "insert into item values (1001, null), (1002, ''), (1003, E'tab\\tand\\nline');"
        "create publication shop for table item");
    EXPECT_EQ(replica().run_until_caught_up().code, 0);
    EXPECT_EQ(replica().difference_of("item"), "");
    EXPECT_EQ(replica().leftovers_at_source(), "");
}

TEST_P(Line, FollowsInsertsUpdatesDeletesAndTruncates) {
    database().exec(
        "create table item(id int primary key, note text);"
        "create table other(id int primary key, note text);"
        "insert into item select g, 'note ' || g from generate_series(1, 100) g;"
        "insert into other select * from item;"
        "create publication shop for table item, other");
    replica().start();
    ASSERT_TRUE(replica().catches_up());
    EXPECT_EQ(replica().difference_of("item"), "");
    database().exec(
        "insert into item values (101, 'new');"
        "update item set note = 'changed' where id <= 10;"
        "update item set id = id + 1000 where id between 20 and 25;"
        "delete from item where id between 30 and 39;"
        "begin; update other set id = -id where id <= 5; delete from other where id = 50;"
        "insert into other values (50, 'again'); commit");
    ASSERT_TRUE(replica().catches_up());
    EXPECT_EQ(replica().difference_of("item"), "");
    EXPECT_EQ(replica().difference_of("other"), "");
    database().exec("truncate item; insert into item values (1, 'first')");
    ASSERT_TRUE(replica().catches_up());
    EXPECT_EQ(replica().difference_of("item"), "");
    EXPECT_EQ(replica().stop().code, 0);
}

TEST_P(Line, GoesOnWhereItStopped) {
    database().exec(
        "create table item(id int primary key, note text);"
        "insert into item select g, 'note ' || g from generate_series(1, 100) g;"
        "create publication shop for table item");
    replica().start();
    ASSERT_TRUE(replica().catches_up());
    EXPECT_EQ(replica().stop().code, 0);
    database().exec(
        "insert into item values (101, 'while it was away'); delete from item where id = 1");
    replica().start();
    ASSERT_TRUE(replica().catches_up());
    EXPECT_EQ(replica().difference_of("item"), "");
    replica().kill();
    database().exec("insert into item values (102, 'after the crash')");
    replica().start();
    ASSERT_TRUE(replica().catches_up());
    EXPECT_EQ(replica().difference_of("item"), "");
    EXPECT_EQ(replica().lake().value("select count(*) from lake.public.item"), "101");
    EXPECT_EQ(replica().stop().code, 0);
}

}  // namespace
}  // namespace walbrook::testing
