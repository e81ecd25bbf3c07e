// The slot is gone: nothing is lost in silence.

#include "integration/replica.h"
#include "support/pg_test.h"

#include <gmock/gmock.h>

#include <filesystem>

namespace walbrook::testing {
namespace {

using ::testing::HasSubstr;

class LostSlot : public PgTest {
 protected:
    void SetUp() override {
        PgTest::SetUp();
        database().exec(
            "create table item(id int primary key, note text);"
            "create table other(id int primary key, note text);"
            "insert into item select g, 'note ' || g from generate_series(1, 100) g;"
            "insert into other select * from item;"
            "create publication shop for table item, other");
        replica_ = std::make_unique<Replica>(database());
        ASSERT_EQ(replica_->run_until_caught_up().code, 0);
        database().exec("select pg_drop_replication_slot('walbrook_" +
                        std::to_string(replica_->id()) + "')");
        // Of these the stream will never tell.
        database().exec(
            "insert into item values (101, 'unseen'); delete from item where id = 1;"
            "update other set note = 'unseen' where id = 2");
    }
    void TearDown() override {
        replica_.reset();
        PgTest::TearDown();
    }
    void expect_equal() {
        EXPECT_EQ(replica_->difference_of("item"), "");
        EXPECT_EQ(replica_->difference_of("other"), "");
    }
    std::unique_ptr<Replica> replica_;
};

INSTANTIATE_TEST_SUITE_P(Pg, LostSlot, ::testing::ValuesIn(pg_versions()), version_name);

TEST_P(LostSlot, StopsUnlessToldToCopyAgain) {
    EXPECT_NE(replica_->run_until_caught_up().code, 0);
    EXPECT_THAT(replica_->log(), HasSubstr("invalidated_slot_behavior: recreate"));
    replica_->configure("invalidated_slot_behavior: recreate");
    EXPECT_EQ(replica_->run_until_caught_up().code, 0);
    expect_equal();
}

// A death right after the new slot was made: the next start finds a sound slot and a lake
// that has everything but what happened in between.
TEST_P(LostSlot, ACrashAfterTheNewSlotStillCopiesAgain) {
    replica_->configure("invalidated_slot_behavior: recreate");
    replica_->set_environment("WALBROOK_FAILPOINTS", "start.after_slot=kill");
    EXPECT_NE(replica_->run_until_caught_up().code, 0);
    replica_->clear_environment();
    EXPECT_EQ(replica_->run_until_caught_up().code, 0);
    expect_equal();
}

// The same in the middle of the copies: one table is new, the other still the old one.
TEST_P(LostSlot, ACrashBetweenTheCopiesStillCopiesTheRest) {
    replica_->configure("invalidated_slot_behavior: recreate");
    replica_->configure("max_table_sync_workers: 1");
    replica_->set_environment("WALBROOK_FAILPOINTS", "publish.after_apply=kill");
    EXPECT_NE(replica_->run_until_caught_up().code, 0);
    replica_->clear_environment();
    EXPECT_EQ(replica_->run_until_caught_up().code, 0);
    expect_equal();
}

// Lake and slot are taken away, to begin anew, and the store is left.
TEST_P(LostSlot, NothingIsLostWhereNothingIsThere) {
    std::filesystem::remove_all(replica_->folder() + "/lake");
    replica_->set_environment("WALBROOK_FAILPOINTS", "start.after_slot=kill");
    EXPECT_NE(replica_->run_until_caught_up().code, 0);
    replica_->clear_environment();
    EXPECT_EQ(replica_->run_until_caught_up().code, 0);
    expect_equal();
}

// The lake is put back to an older state, the store is not.
class RestoredLake : public ::testing::TestWithParam<int> {
 protected:
    void SetUp() override {
        source_.exec(
            "create table item(id int primary key, note text);"
            "insert into item select g, 'note ' || g from generate_series(1, 100) g;"
            "create publication shop for table item");
        ASSERT_EQ(replica_.run_until_caught_up().code, 0);
    }
    std::string lake(const std::string& name = "lake") const {
        return replica_.folder() + "/" + name;
    }
    void set_aside() const {
        std::filesystem::copy(lake(), lake("aside"), std::filesystem::copy_options::recursive);
    }
    void put_back() const {
        std::filesystem::remove_all(lake());
        std::filesystem::rename(lake("aside"), lake());
    }
    Database source_{PgCluster::shared(GetParam())};
    Replica replica_{source_};
};
INSTANTIATE_TEST_SUITE_P(Pg, RestoredLake, ::testing::ValuesIn(newest_pg_version()), version_name);

TEST_P(RestoredLake, IsNotGoneOnWithInSilence) {
    set_aside();
    source_.exec("insert into item values (101, 'passed')");
    ASSERT_EQ(replica_.run_until_caught_up().code, 0);
    put_back();
    EXPECT_EQ(replica_.run_until_caught_up().code, 70);
    EXPECT_THAT(replica_.log(), HasSubstr("an older state of it was put back"));
    replica_.configure("invalidated_slot_behavior: recreate");
    EXPECT_EQ(replica_.run_until_caught_up().code, 0);
    EXPECT_EQ(replica_.difference_of("item"), "");
    // Once only.
    source_.exec("insert into item values (102, 'after')");
    EXPECT_EQ(replica_.run_until_caught_up().code, 0);
    EXPECT_EQ(replica_.difference_of("item"), "");
    EXPECT_EQ(replica_.count_in_log("the slot was lost"), 1);
}

// What the slot has passed meanwhile is of no table of ours.
TEST_P(RestoredLake, GoesOnWhereNothingIsMissing) {
    set_aside();
    source_.exec("create table noise as select g from generate_series(1, 1000) g");
    ASSERT_EQ(replica_.run_until_caught_up().code, 0);
    put_back();
    source_.exec("insert into item values (101, 'after')");
    EXPECT_EQ(replica_.run_until_caught_up().code, 0);
    EXPECT_EQ(replica_.difference_of("item"), "");
}

}  // namespace
}  // namespace walbrook::testing
