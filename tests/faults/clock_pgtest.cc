// The machine's clock is set while the pipeline runs, hours back and days forward: nothing waits
// for a time that does not come, and upkeep, which goes by the age of snapshots, takes away
// nothing that is needed.

#include "integration/bank.h"
#include "support/eventually.h"
#include "support/moved_clock.h"
#include "support/pg_test.h"

#include <gmock/gmock.h>

#include <sstream>
#include <string_view>

namespace walbrook::testing {
namespace {

using std::chrono::hours;

class Clock : public PgTest {};
INSTANTIATE_TEST_SUITE_P(Pg, Clock, ::testing::ValuesIn(newest_pg_version()), version_name);

// Each line begins with it, as ISO 8601 says it.
bool has_a_time_before_its_first(const std::string& log) {
    constexpr std::string_view kBegin = "{\"time\":\"20YY-MM";
    std::istringstream lines(log);
    std::string first;
    for (std::string line; std::getline(lines, line);) {
        line.resize(kBegin.size());
        if (first.empty()) first = line;
        if (line < first) return true;
    }
    return false;
}

TEST_P(Clock, JumpsAreOnlySeenInTimesForPeople) {
    MovedClock clock;
    Bank bank = Bank::small(database());
    Replica replica(database());
    for (auto& [name, value] : clock.environment()) replica.set_environment(name, value);
    replica.configure("batch: {max_fill_ms: 50}");
    bank.start(4, 200);
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    FaultTrial back("clock set back");
    FaultTrial forward("clock set forward");
    hours now{0};
    for (const hours jump : {hours(-5), hours(24 * 40), hours(-24 * 400), hours(0)}) {
        SCOPED_TRACE(jump.count());
        clock.set(jump);
        FaultTrial& trial = jump < now ? back : forward;
        now = jump;
        trial.is_over();
        trial.expect_recovery(replica);
        // All that is due by the lake's own times runs, and after it the common way.
        for (int round = 0; round < 3; ++round) {
            const Lsn before = replica.position();
            ASSERT_TRUE(eventually([&] { return replica.position() > before; }));
        }
        // A copy that begins now, a table that is seen already, and a restart.
        ASSERT_EQ(replica.command({"resync", "public.pgbench_tellers"}).code, 0);
        ASSERT_TRUE(replica.catches_up());
        EXPECT_EQ(replica.stop().code, 0);
        replica.start();
        ASSERT_TRUE(replica.catches_up());
    }
    EXPECT_TRUE(has_a_time_before_its_first(replica.log()));  // It did see them.
    bank.stop();
    ASSERT_TRUE(replica.catches_up());
    back.expect_equal(replica);
    bank.expect_nothing_lost(replica, forward);
}

}  // namespace
}  // namespace walbrook::testing
