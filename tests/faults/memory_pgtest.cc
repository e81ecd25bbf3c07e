// Memory that is short all the time, so that reading goes in small steps, and memory that the
// kernel refuses.

#include "integration/bank.h"
#include "support/eventually.h"
#include "support/pg_test.h"
#include "support/run_form.h"

#include <sys/resource.h>

namespace walbrook::testing {
namespace {

class MemoryLimit : public PgTest {};
INSTANTIATE_TEST_SUITE_P(Pg, MemoryLimit, ::testing::ValuesIn(newest_pg_version()), version_name);

TEST_P(MemoryLimit, OfTheConfigurationOnlySlowsDown) {
    Bank bank = Bank::small(database());
    Replica replica(database());
    replica.configure("batch: {max_fill_ms: 20}");
    // Any process is larger than this share of the memory.
    replica.set_environment("WALBROOK__PIPELINE__MEMORY_BACKPRESSURE__ACTIVATE_THRESHOLD",
                            "0.000002");
    replica.set_environment("WALBROOK__PIPELINE__MEMORY_BACKPRESSURE__RESUME_THRESHOLD",
                            "0.000001");
    bank.start(2, 100);
    replica.start();
    FaultTrial trial("memory above its limit all the time");
    ASSERT_TRUE(replica.catches_up());
    const auto now = replica.status();
    ASSERT_TRUE(now.has_value());
    EXPECT_EQ(now->memory_state, "scarce");
    database().exec("update pgbench_accounts set filler = 'x' || aid");
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.stop().code, 0);
    replica.clear_environment();
    replica.start();
    trial.is_over();
    trial.expect_recovery(replica);
    bank.expect_nothing_lost(replica, trial);
}

// Whatever the process makes of it, a failed call or its end: nothing is lost.
TEST_P(MemoryLimit, OfTheKernelLosesNothing) {
    Bank bank = Bank::small(database());
    Replica replica(database());
    replica.configure("batch: {max_fill_ms: 20}");
    bank.start(2, 100);
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    FaultTrial trial("memory refused by the kernel (RLIMIT_AS)");
    for (int round = 0; round < (is_long_form() ? 6 : 1); ++round) {
        SCOPED_TRACE(round);
        const pid_t process = replica.process().pid();
        // What it has it keeps; nothing is added.
        const rlimit tight{1 << 20, RLIM_INFINITY};
        ASSERT_EQ(prlimit(process, RLIMIT_AS, &tight, nullptr), 0);
        // Until it needs more than it has at hand.
        EXPECT_TRUE(eventually([&] {
            const bool is_felt = !replica.is_running() ||
                                 replica.status().value_or(PipelineStatus{}).state == "retrying";
            if (!is_felt) {
                database().exec(
                    "insert into pgbench_history (tid, bid, aid, delta, filler) "
                    "select 1, 1, g, 0, 'many' from generate_series(1, 20000) g");
            }
            return is_felt;
        })) << "the limit was not felt";
        const rlimit wide{RLIM_INFINITY, RLIM_INFINITY};
        if (replica.is_running()) {
            ASSERT_EQ(prlimit(process, RLIMIT_AS, &wide, nullptr), 0);
        } else {
            replica.start();
        }
        trial.is_over();
        trial.expect_recovery(replica);
        if (HasFailure()) return;
    }
    bank.expect_nothing_lost(replica, trial);
}

}  // namespace
}  // namespace walbrook::testing
