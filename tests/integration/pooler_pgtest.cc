// A connection pooler in the way is named, before anything is done through it.

#include "integration/replica.h"
#include "support/fake_pooler.h"
#include "support/pg_test.h"

#include <gmock/gmock.h>

namespace walbrook::testing {
namespace {

using ::testing::HasSubstr;

class Pooler : public PgTest {
 protected:
    void refuse(FakePooler::Mode mode) {
        database().exec(
            "create table item(id int primary key); create publication shop for table item");
        FakePooler pooler(mode, cluster().port());
        Replica replica(database());
        replica.connect_through(pooler.port());
        EXPECT_EQ(replica.run_until_caught_up().code, 78);
        EXPECT_THAT(replica.log(), HasSubstr("point pg_connection directly at Postgres"));
        EXPECT_EQ(replica.leftovers_at_source(), "");
        replica.connect_through(0);
        EXPECT_EQ(replica.run_until_caught_up().code, 0);
    }
};
INSTANTIATE_TEST_SUITE_P(Pg, Pooler, ::testing::ValuesIn(newest_pg_version()), version_name);

TEST_P(Pooler, ThatRefusesReplicationIsNamed) { refuse(FakePooler::Mode::refuses_replication); }

// Settings, snapshots and the lease would be those of whoever comes next.
TEST_P(Pooler, ThatSharesSessionsIsRefused) { refuse(FakePooler::Mode::shares_sessions); }

}  // namespace
}  // namespace walbrook::testing
