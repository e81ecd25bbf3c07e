// A COMMIT PREPARED is in the log before any snapshot shows what it committed, and between the two
// it may wait for a synchronous standby.

#include "integration/replica.h"
#include "support/eventually.h"
#include "support/pg_test.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <thread>

namespace walbrook::testing {
namespace {

class CommitsOfPrepared : public ::testing::TestWithParam<int> {
 protected:
    CommitsOfPrepared()
        : server_({.version = GetParam(),
                   .settings = {{"max_prepared_transactions", "4"},
                                {"synchronous_standby_names", "nobody"},
                                {"synchronous_commit", "local"}}}),
          database_(server_) {}

    std::string count(const std::string& of) {
        return database_.query("select count(*) from " + of)[0][0];
    }

    PgCluster server_;
    Database database_;
};
INSTANTIATE_TEST_SUITE_P(Pg, CommitsOfPrepared, ::testing::ValuesIn(pg_versions()), version_name);

TEST_P(CommitsOfPrepared, AreWaitedForByCopies) {
    database_.exec(
        "create table item(id int primary key, note text);"
        "insert into item select g, 'x' from generate_series(1, 10) g;"
        "create publication shop for table item");
    Replica replica(database_);
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    // The first row of a relation waits until the catalog shows its transaction; later ones do not.
    database_.exec("insert into item values (11, 'streamed')");
    ASSERT_TRUE(replica.catches_up());
    database_.exec(
        "begin; insert into item values (100, 'p'); delete from item where id = 1;"
        "prepare transaction 'p'");
    Connection forgotten = database_.session();
    must_exec(forgotten, "begin; select 1");
    Connection session = database_.session();
    must_exec(session, "set synchronous_commit = on");
    std::thread commit([&] { must_exec(session, "commit prepared 'p'"); });
    const std::string waiting = "pg_stat_activity where wait_event = 'SyncRep'";
    EXPECT_TRUE(eventually([&] { return count(waiting) == "1"; }));
    EXPECT_TRUE(replica.catches_up());
    EXPECT_EQ(count("item where id = 100"), "0");  // Nobody sees it yet.
    EXPECT_EQ(replica.reader().value("select count(*) from lake.public.item where id = 100"), "1");
    EXPECT_EQ(replica.command({"resync", "public.item"}).code, 0);
    EXPECT_TRUE(eventually([&] {
        const auto item = replica.table("item");
        return item && item->reason.find(fmt::format("the copy waits for session {} (",
                                                     session.backend_pid())) != std::string::npos;
    }));
    database_.exec("select pg_cancel_backend(pid) from " + waiting);
    commit.join();
    EXPECT_TRUE(eventually([&] {
        const auto item = replica.table("item");
        return item && item->copies == 2 && item->phase == TablePhase::ready;
    }));
    EXPECT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of("item"), "");
    EXPECT_EQ(replica.stop().code, 0);
}

}  // namespace
}  // namespace walbrook::testing
