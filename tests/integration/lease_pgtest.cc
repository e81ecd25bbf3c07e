// One process writes for a pipeline.

#include "integration/bank.h"
#include "support/eventually.h"
#include "support/pg_test.h"
#include "support/tcp_proxy.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

namespace walbrook::testing {
namespace {

using ::testing::HasSubstr;

class TwoProcesses : public PgTest {
 protected:
    std::string lease_pid(const Replica& replica) {
        return database().value(
            // Who asks for it in vain has a session, too, for a moment.
            fmt::format("select coalesce(max(pid), 0) from pg_stat_activity join pg_locks l "
                        "using (pid) where l.locktype = 'advisory' and l.granted and "
                        "application_name = 'walbrook:{}:lease'",
                        replica.id()));
    }
};
INSTANTIATE_TEST_SUITE_P(Pg, TwoProcesses, ::testing::ValuesIn(pg_versions()), version_name);

// Each has a lake of its own, so that only the lease stands between them.
TEST_P(TwoProcesses, TheSecondIsRefusedAndTheFirstGoesOn) {
    Bank bank = Bank::small(database());
    Replica first(database());
    first.configure("batch: {max_fill_ms: 20}");
    first.start();
    bank.start(2, 200);
    ASSERT_TRUE(first.catches_up());
    Replica second(database());
    second.be_a_second(first);
    EXPECT_EQ(second.run_until_caught_up().code, 75);
    EXPECT_THAT(second.log(), HasSubstr("is already running"));
    EXPECT_THAT(second.log(), HasSubstr("\"fenced\""));
    // Nor when the first's session has been ended: it takes the lease again.
    for (int round = 0; round < 3; ++round) {
        const std::string before = lease_pid(first);
        ASSERT_NE(before, "0");
        database().exec(fmt::format("select pg_terminate_backend({})", before));
        ASSERT_TRUE(eventually([&] {
            const std::string after = lease_pid(first);
            return after != "0" && after != before;
        }));
        EXPECT_EQ(second.run_until_caught_up().code, 75);
    }
    EXPECT_TRUE(
        eventually([&] { return first.count_in_log("the pipeline's lease is held again") == 3; }));
    bank.expect_nothing_lost(first, 2);
}

// Whoever has it by then owns the pipeline.
TEST_P(TwoProcesses, WhoLosesTheLeaseToAnotherStops) {
    database().exec(
        "create table item(id int primary key); create publication shop for table item;"
        "insert into item select generate_series(1, 100)");
    TcpProxy proxy(cluster().port());
    Replica first(database());
    first.connect_through(proxy.port());
    first.start();
    ASSERT_TRUE(first.catches_up());
    // It learns of the loss, and can ask again, only when the other has it.
    proxy.stall(":lease");
    const std::string pid = lease_pid(first);
    database().exec(fmt::format("select pg_terminate_backend({})", pid));
    ASSERT_TRUE(eventually([&] { return lease_pid(first) == "0"; }));
    Connection other = database().session();
    must_exec(other, fmt::format("set application_name = 'walbrook:{}:lease'", first.id()));
    const std::string key = [&] {
        std::uint64_t hash = 0xcbf29ce484222325ULL;
        for (const char c : "walbrook:" + std::to_string(first.id())) {
            hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
        }
        return std::to_string(static_cast<std::int64_t>(hash));
    }();
    ASSERT_EQ(must_query(other, fmt::format("select pg_try_advisory_lock({})", key))[0][0], "t");
    proxy.resume();
    const auto exit = first.process().wait();
    ASSERT_TRUE(exit.has_value());
    EXPECT_EQ(exit->code, 75);
    EXPECT_THAT(first.log(), HasSubstr("the lease was lost, and another process took it"));
    other.close();
    database().exec("insert into item values (101)");
    first.connect_through(0);
    EXPECT_EQ(first.run_until_caught_up().code, 0);
    EXPECT_EQ(first.difference_of("item"), "");
}

}  // namespace
}  // namespace walbrook::testing
