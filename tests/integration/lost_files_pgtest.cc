// A data file of the lake that somebody has removed.

#include "integration/replica.h"
#include "support/eventually.h"
#include "support/pg_test.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

namespace walbrook::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class LostFiles : public PgTest {
 protected:
    void SetUp() override {
        PgTest::SetUp();
        database().exec(
            "create table one (id int primary key, v text);"
            "create table two (id int primary key, v text);"
            "insert into one values (1, 'a'); insert into two values (1, 'a'), (2, 'b');"
            "create publication shop for table one, two");
    }
    // Removes the Parquet files of table two, and returns their paths.
    std::vector<std::string> lose_files(const Replica& replica) {
        const std::string its = fmt::format("_copy_{}_", database().oid("two"));
        std::vector<std::string> lost;
        for (const auto& each :
             fs::recursive_directory_iterator(replica.folder() + "/lake/data/public")) {
            const std::string path = each.path().string();
            if (path.ends_with(".parquet") && path.find(its) != std::string::npos) {
                lost.push_back(path);
            }
        }
        for (const std::string& path : lost) fs::remove(path);
        return lost;
    }
    static bool is_in(Replica& replica, TablePhase phase) {
        return eventually([&] {
            const auto two = replica.table("two");
            return two && two->phase == phase;
        });
    }
};
INSTANTIATE_TEST_SUITE_P(Pg, LostFiles, ::testing::ValuesIn(newest_pg_version()), version_name);

TEST_P(LostFiles, StopTheirTableAloneUntilItIsCopiedAgain) {
    Replica replica(database());
    replica.configure("table_error_retry_max_attempts: 0");
    replica.start();
    ASSERT_TRUE(replica.catches_up()) << replica.log();
    const std::vector<std::string> lost = lose_files(replica);
    ASSERT_EQ(lost.size(), 1U);
    database().exec(
        "begin; update one set v = 'new'; update two set v = 'new' where id = 1;"
        "insert into one values (2, 'b'); commit");
    ASSERT_TRUE(is_in(replica, TablePhase::errored)) << replica.log();
    const auto two = replica.table("two");
    ASSERT_TRUE(two);
    EXPECT_THAT(two->reason, HasSubstr(lost[0]));
    EXPECT_THAT(two->reason, HasSubstr("walbrook resync public.two"));
    EXPECT_THAT(two->remedy, HasSubstr("walbrook resync public.two"));
    database().exec("insert into one values (3, 'c'); delete from two where id = 2");
    ASSERT_TRUE(replica.catches_up()) << replica.log();
    EXPECT_EQ(replica.difference_of("one"), "");
    // Nor does a start need the file.
    EXPECT_EQ(replica.stop().code, 0);
    replica.start();
    database().exec("update one set v = 'newer'");
    ASSERT_TRUE(replica.catches_up()) << replica.log();
    EXPECT_EQ(replica.difference_of("one"), "");
    ASSERT_EQ(replica.command({"resync", "public.two"}).code, 0);
    ASSERT_TRUE(is_in(replica, TablePhase::ready)) << replica.log();
    database().exec("update two set v = 'newer'; insert into two values (3, 'c')");
    ASSERT_TRUE(replica.catches_up()) << replica.log();
    EXPECT_EQ(replica.difference_of_tables({"one", "two"}), "");
    EXPECT_EQ(replica.stop().code, 0);
}

TEST_P(LostFiles, AreCopiedAgainByThemselves) {
    Replica replica(database());
    replica.configure("table_error_retry_delay_ms: 100");
    replica.start();
    ASSERT_TRUE(replica.catches_up()) << replica.log();
    ASSERT_EQ(lose_files(replica).size(), 1U);
    database().exec("update one set v = 'new'; update two set v = 'new' where id = 1");
    ASSERT_TRUE(eventually([&] { return replica.difference_of_tables({"one", "two"}).empty(); }))
        << replica.log();
    EXPECT_EQ(replica.stop().code, 0);
}

// Those that nothing has changed since are read by nobody but readers: a resync heals them, too.
TEST_P(LostFiles, NeedNotBeMetByAChange) {
    Replica replica(database());
    replica.start();
    ASSERT_TRUE(replica.catches_up()) << replica.log();
    ASSERT_EQ(lose_files(replica).size(), 1U);
    ASSERT_EQ(replica.command({"resync", "public.two"}).code, 0);
    database().exec("update two set v = 'new' where id = 1");
    ASSERT_TRUE(eventually([&] { return replica.difference_of_tables({"one", "two"}).empty(); }))
        << replica.log();
    EXPECT_EQ(replica.stop().code, 0);
}

}  // namespace
}  // namespace walbrook::testing
