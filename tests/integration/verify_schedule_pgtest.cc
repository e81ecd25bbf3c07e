// verify.schedule: `walbrook run` compares source and destination by itself.

#include "base/clock.h"
#include "integration/verify_fixture.h"
#include "server/control_server.h"
#include "server/status_report.h"
#include "support/eventually.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <filesystem>

namespace walbrook::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class VerifySchedule : public VerifyTest {
 protected:
    void compare(const std::string& schedule) {
        replica().set_environment("WALBROOK__VERIFY__SCHEDULE", schedule);
    }
    // What status says of comparisons.
    VerifyStatus comparisons() {
        const auto answer = ask_control_socket(replica().work_dir(), "/api/v1/status");
        const auto report = answer ? status_report_from_json(*answer) : answer.error();
        return report ? report->verify : VerifyStatus{};
    }
    std::string metrics() {
        const auto answer = ask_control_socket(replica().work_dir(), "/metrics");
        return answer ? *answer : "";
    }
    bool has_problem(const std::string& text) {
        const auto status = replica().status();
        if (!status) return false;
        for (const std::string& problem : status->problems) {
            if (problem.find(text) != std::string::npos) return true;
        }
        return false;
    }
    void fill(int rows) {
        database().exec(
            fmt::format("create table item(id int primary key, note text);"
                        "insert into item select g, 'note ' || g from generate_series(1, {}) g;"
                        "create table other(id int primary key); insert into other values (1);"
                        "create publication shop for table item, other; analyze",
                        rows));
    }
};
INSTANTIATE_TEST_SUITE_P(Pg, VerifySchedule, ::testing::ValuesIn(newest_pg_version()),
                         version_name);

TEST_P(VerifySchedule, ADifferenceIsAnErrorUntilItIsPutRight) {
    fill(1000);
    compare("2s");
    replica().start();
    ASSERT_TRUE(replica().catches_up());
    ASSERT_TRUE(eventually([&] { return comparisons().equal == 2; }));
    EXPECT_EQ(replica().count_in_log("a table differs from the source"), 0);
    change_lake("UPDATE lake.public.item SET note = 'other' WHERE id = 77");
    ASSERT_TRUE(eventually([&] { return comparisons().different == 1; }));
    const VerifyStatus found = comparisons();
    EXPECT_EQ(found.schedule, "2s");
    EXPECT_EQ(found.equal, 1U);
    EXPECT_GT(found.began_at_secs, 0);
    EXPECT_GT(found.position, Lsn{});
    ASSERT_EQ(found.tables.size(), 1U);
    EXPECT_EQ(found.tables[0].name, "item");
    EXPECT_EQ(found.tables[0].differing_rows, 1U);
    EXPECT_TRUE(has_problem("public.item differs from the source in 1 rows"));
    EXPECT_THAT(replica().log(), HasSubstr("a table differs from the source"));
    EXPECT_THAT(replica().log(), HasSubstr("id=77 differs in note"));
    EXPECT_THAT(metrics(), HasSubstr("outcome=\"different\"} 1\n"));
    EXPECT_THAT(replica().run({"status"}).output, HasSubstr("1 tables equal, 1 different"));
    // One that somebody asks for counts as well: it waits for those of the schedule to end.
    ASSERT_TRUE(eventually([&] { return verify({"--repair"}).code == 0; }));
    ASSERT_TRUE(eventually([&] { return comparisons().equal == 2; }));
    EXPECT_FALSE(has_problem("differs from the source"));
    EXPECT_THAT(metrics(), HasSubstr("outcome=\"different\"} 0\n"));
    EXPECT_EQ(replica().stop().code, 0);
    EXPECT_EQ(replica().leftovers_at_source(), "");
}

TEST_P(VerifySchedule, PutsRightWhatDiffersWhenAskedTo) {
    fill(1000);
    compare("1s");
    replica().set_environment("WALBROOK__VERIFY__REPAIR", "on");
    replica().set_environment("WALBROOK__VERIFY__TABLES", "[public.item]");
    replica().start();
    ASSERT_TRUE(replica().catches_up());
    ASSERT_TRUE(eventually([&] { return comparisons().equal == 1; }));
    change_lake("DELETE FROM lake.public.item WHERE id = 77");
    ASSERT_TRUE(eventually([&] { return replica().difference_of("item").empty(); }));
    EXPECT_THAT(replica().log(), HasSubstr("id=77 is missing in the destination"));
    ASSERT_TRUE(eventually([&] {
        return replica().count_in_log("rows differed from the source and were put right");
    }));
    EXPECT_FALSE(has_problem("differs from the source"));
    EXPECT_EQ(replica().stop().code, 0);
}

// What the last one said is known after a restart, and it is not done again before its time.
TEST_P(VerifySchedule, IsKeptOverARestart) {
    fill(100);
    compare("24h");
    replica().start();
    ASSERT_TRUE(replica().catches_up());
    ASSERT_TRUE(eventually([&] {
        const VerifyStatus now = comparisons();
        return now.equal == 2 && now.next_at_secs > now.began_at_secs;
    }));
    const VerifyStatus before = comparisons();
    EXPECT_EQ(before.next_at_secs, before.began_at_secs + 86'400);
    replica().kill();
    replica().start();
    ASSERT_TRUE(eventually([&] { return comparisons().next_at_secs != 0; }));
    const VerifyStatus after = comparisons();
    EXPECT_EQ(after.began_at_secs, before.began_at_secs);
    EXPECT_EQ(after.position, before.position);
    EXPECT_EQ(after.next_at_secs, before.next_at_secs);
    EXPECT_EQ(replica().stop().code, 0);
    EXPECT_EQ(replica().count_in_log("compared with the source"), 1);
    // Without a schedule it is shown, and nothing is compared.
    replica().clear_environment();
    replica().start();
    ASSERT_TRUE(replica().catches_up());
    EXPECT_EQ(comparisons().equal, 2U);
    EXPECT_EQ(comparisons().schedule, "");
    EXPECT_EQ(comparisons().next_at_secs, 0);
    EXPECT_EQ(replica().stop().code, 0);
}

// What cannot be remembered in a file is not done again and again.
TEST_P(VerifySchedule, KeepsItsTimesWhereNothingCanBeWritten) {
    fill(100);
    compare("24h");
    std::filesystem::create_directories(replica().work_dir() + "/verify.json.new");
    replica().start();
    ASSERT_TRUE(replica().catches_up());
    ASSERT_TRUE(eventually([&] {
        return replica().count_in_log("compared with the source") > 0 &&
               comparisons().next_at_secs > unix_time_us() / 1'000'000 + 80'000;
    }));
    EXPECT_EQ(replica().count_in_log("status will not show this comparison"), 1);
    EXPECT_EQ(replica().stop().code, 0);
    EXPECT_EQ(replica().count_in_log("compared with the source"), 1);
}

// An error is a problem until the next try, which goes on with what is left; a stop ends it at
// once.
TEST_P(VerifySchedule, SurvivesErrorsAndStops) {
    fill(60'000);
    compare("24h");
    replica().set_environment("WALBROOK__VERIFY__MAX_ROWS_PER_SECOND", "3000");
    replica().start();
    ASSERT_TRUE(replica().catches_up());
    const std::string sessions = fmt::format(
        "from pg_stat_activity where application_name like 'walbrook:{}:verify%'", replica().id());
    const auto is_under_way = [&] {
        return comparisons().running && database().value("select count(*) " + sessions) >= "2";
    };
    ASSERT_TRUE(eventually(is_under_way));
    EXPECT_EQ(verify().code, 75);
    // Some losses it gets over by itself: it takes another moment.
    ASSERT_TRUE(eventually([&] {
        if (is_under_way()) database().exec("select pg_terminate_backend(pid) " + sessions);
        return comparisons().failures >= 1;
    })) << replica().log();
    EXPECT_TRUE(has_problem("verify.schedule asks for did not end"));
    EXPECT_NE(comparisons().error, "");
    EXPECT_THAT(metrics(), HasSubstr("walbrook_verify_failures_total"));
    ASSERT_TRUE(eventually(is_under_way));
    EXPECT_EQ(replica().stop().code, 0);
    EXPECT_EQ(replica().leftovers_at_source(), "");
    replica().set_environment("WALBROOK__VERIFY__MAX_ROWS_PER_SECOND", "0");
    replica().start();
    ASSERT_TRUE(eventually([&] { return comparisons().equal == 2; })) << replica().log();
    EXPECT_FALSE(has_problem("did not end"));
    EXPECT_EQ(replica().stop().code, 0);
    EXPECT_EQ(replica().count_in_log("compared with the source"), 1);
}

}  // namespace
}  // namespace walbrook::testing
