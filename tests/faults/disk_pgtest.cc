// The disk of work_dir is full when a transaction must spill: the log says so and what to
// do; once there is space, everything arrives.

#include <fmt/format.h>

#include "integration/replica.h"
#include "support/eventually.h"
#include "support/pg_test.h"
#include "support/small_disk.h"

namespace walbrook::testing {
namespace {

class DiskFull : public PgTest {
 protected:
    void TearDown() override {
        disk_.reset();
        PgTest::TearDown();
    }
    // Spills from 400 kB on.
    void give(Replica& replica) {
        replica.configure("batch: {max_fill_ms: 20, max_bytes: 65536}");
        disk_ = std::make_unique<SmallDisk>(replica.folder() + "/work", 2 << 20);
        // Where nothing can be mounted, the write itself is made to fail.
        if (!disk_->is_real()) {
            replica.set_environment("WALBROOK_FAILPOINTS", "spill.before_write=error");
        }
    }
    std::string complaint() const {
        return disk_->is_real() ? "free some space there" : "spill.before_write";
    }
    // The program ends, for a service manager to start it again.
    void make_space(Replica& replica) {
        const auto exit = replica.process().wait(std::chrono::seconds(30));
        ASSERT_TRUE(exit.has_value()) << "neither ended nor went on";
        EXPECT_EQ(exit->code, 69);
        disk_->resize(1 << 30);
        replica.clear_environment();
        replica.start();
    }

 private:
    std::unique_ptr<SmallDisk> disk_;
};
INSTANTIATE_TEST_SUITE_P(Pg, DiskFull, ::testing::ValuesIn(newest_pg_version()), version_name);

// 10 MB that do not compress.
constexpr const char* kLargeTransaction =
    "insert into item select g, md5(g::text) || md5((g + 1)::text) || md5((g + 2)::text) from "
    "generate_series(1000, 100000) g";

TEST_P(DiskFull, ALargeTransactionIsNotLost) {
    database().exec(
        "create table item(id int primary key, note text);"
        "insert into item values (1, 'before'); create publication shop for table item");
    Replica replica(database());
    give(replica);
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    database().exec(kLargeTransaction);
    ASSERT_TRUE(eventually([&] { return replica.log().find(complaint()) != std::string::npos; }));
    make_space(replica);
    database().exec("insert into item values (2, 'after')");
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of("item"), "");
    EXPECT_EQ(replica.stop().code, 0);
    EXPECT_EQ(replica.leftovers_at_source(), "");
}

// The same for what is held while its table is copied.
TEST_P(DiskFull, WhatIsHeldForACopyIsNotLost) {
    database().exec(
        "create table item(id int primary key, note text);"
        "insert into item values (1, 'before'); create publication shop for table item");
    Replica replica(database());
    give(replica);
    // A writer that does not end keeps the copy waiting.
    replica.start();
    Connection writer = database().session();
    ASSERT_TRUE(replica.catches_up());
    replica.stop();
    database().exec(
        "create table second(id int, note text); alter publication shop add table second");
    must_exec(writer, "begin; insert into second values (1, 'writer')");
    replica.start();
    ASSERT_TRUE(eventually([&] {
        const auto now = replica.status();
        if (!now) return false;
        for (const TableStatus& table : now->tables) {
            if (table.name == "second") return table.reason.find("waits for") != std::string::npos;
        }
        return false;
    }));
    for (int i = 0; i < 20; ++i) {
        database().exec(fmt::format("insert into second select g, md5(g::text) || md5(({0} + "
                                    "g)::text) from generate_series(1, 5000) g",
                                    i));
    }
    ASSERT_TRUE(eventually([&] { return replica.log().find(complaint()) != std::string::npos; }));
    must_exec(writer, "commit");
    make_space(replica);
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of_tables({"item", "second"}), "");
    EXPECT_EQ(replica.stop().code, 0);
}

}  // namespace
}  // namespace walbrook::testing
