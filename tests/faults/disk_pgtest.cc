// Disks that are full: that of work_dir when something must spill, that of the store, that of the
// lake while it is copied to and streamed to. The log and the status say so and what to do; once
// there is space, everything arrives.

#include "integration/bank.h"
#include "support/eventually.h"
#include "support/pg_test.h"
#include "support/small_disk.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <filesystem>
#include <functional>
#include <set>
#include <tuple>

namespace walbrook::testing {
namespace {

using ::testing::HasSubstr;

constexpr std::uint64_t kPlenty = 1 << 30;

class DiskFull : public ::testing::TestWithParam<std::tuple<int, SmallDisk::Kind>> {
 protected:
    Database& database() { return source_; }
    // A folder of the replica is on a disk of its own.
    SmallDisk& give(Replica& replica, const std::string& folder, std::uint64_t bytes) {
        disk_ = std::make_unique<SmallDisk>(replica.folder() + "/" + folder, bytes,
                                            std::get<1>(GetParam()));
        for (auto& [name, value] : disk_->environment()) replica.set_environment(name, value);
        return *disk_;
    }
    SmallDisk& disk() { return *disk_; }
    // `item` beside the tables of a bank, on which money moves all the time.
    void create() {
        bank_ = std::unique_ptr<Bank>(new Bank(Bank::small(database())));
        database().exec(
            "create table item(id int primary key, note text);"
            "insert into item values (1, 'before'); alter publication shop add table item");
    }
    Bank& bank() { return *bank_; }
    static bool complains(const Replica& replica, const std::string& text) {
        return eventually([&] { return replica.log().find(text) != std::string::npos; });
    }

 private:
    Database source_{PgCluster::shared(std::get<0>(GetParam()))};
    std::unique_ptr<Bank> bank_;
    std::unique_ptr<SmallDisk> disk_;
};

std::string disk_name(const ::testing::TestParamInfo<std::tuple<int, SmallDisk::Kind>>& info) {
    return fmt::format("Pg{}{}", std::get<0>(info.param),
                       std::get<1>(info.param) == SmallDisk::Kind::mounted ? "Mounted" : "Counted");
}

// 10 MB that do not compress.
constexpr const char* kLargeTransaction =
    "insert into item select g, md5(g::text) || md5((g + 1)::text) || md5((g + 2)::text) from "
    "generate_series(1000, 100000) g";

class WorkDiskFull : public DiskFull {
 protected:
    // Spills from 400 kB on.
    void give_work_dir(Replica& replica) {
        replica.configure("batch: {max_fill_ms: 20, max_bytes: 65536}");
        give(replica, "work", 2 << 20);
    }
    // The program ends, for a service manager to start it again.
    void make_space(Replica& replica) {
        const auto exit = replica.process().wait(std::chrono::seconds(30));
        ASSERT_TRUE(exit.has_value()) << "neither ended nor went on";
        EXPECT_EQ(exit->code, 69);
        disk().resize(kPlenty);
        replica.start();
    }
};
INSTANTIATE_TEST_SUITE_P(Pg, WorkDiskFull,
                         ::testing::Combine(::testing::ValuesIn(newest_pg_version()),
                                            ::testing::Values(SmallDisk::Kind::mounted,
                                                              SmallDisk::Kind::counted)),
                         disk_name);

TEST_P(WorkDiskFull, ALargeTransactionIsNotLost) {
    create();
    Replica replica(database());
    give_work_dir(replica);
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    bank().start(2, 50);
    FaultTrial trial("disk of work_dir full", disk().name());
    database().exec(kLargeTransaction);
    ASSERT_TRUE(complains(replica, "free some space there"));
    make_space(replica);
    trial.is_over();
    database().exec("insert into item values (2, 'after')");
    trial.expect_recovery(replica);
    bank().expect_nothing_lost(replica, trial);
}

// The same for what is held while its table is copied.
TEST_P(WorkDiskFull, WhatIsHeldForACopyIsNotLost) {
    database().exec(
        "create table item(id int primary key, note text);"
        "insert into item values (1, 'before'); create publication shop for table item");
    Replica replica(database());
    give_work_dir(replica);
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
        database().exec(
            fmt::format("insert into second select g, md5(g::text) || md5(({0} + "
                        "g)::text) from generate_series(1, 5000) g",
                        i));
    }
    ASSERT_TRUE(complains(replica, "free some space there"));
    must_exec(writer, "commit");
    make_space(replica);
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of_tables({"item", "second"}), "");
    EXPECT_EQ(replica.stop().code, 0);
}

class StoreDiskFull : public DiskFull {};
INSTANTIATE_TEST_SUITE_P(Pg, StoreDiskFull,
                         ::testing::Combine(::testing::ValuesIn(newest_pg_version()),
                                            ::testing::Values(SmallDisk::Kind::mounted,
                                                              SmallDisk::Kind::counted)),
                         disk_name);

// While positions are to be stored, and while a version of a table is.
TEST_P(StoreDiskFull, WhatItMissesIsStoredLater) {
    create();
    Replica replica(database());
    replica.configure("batch: {max_fill_ms: 20}");
    replica.configure("store: {type: sqlite, path: store/state.db}");
    give(replica, "store", kPlenty);
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    bank().start(2, 50);
    FaultTrial trial("disk of the store full", disk().name());
    for (const char* change : {"insert into item values (2, 'new')",
                               "alter table item add column more int default 7; insert into item "
                               "values (3, 'wider', 8)"}) {
        const auto complaints = [&] { return replica.count_in_log("free some space there"); };
        const int before = complaints();
        disk().fill();
        database().exec(change);
        ASSERT_TRUE(eventually([&] { return complaints() > before; })) << replica.log();
        disk().resize(kPlenty);
        trial.is_over();
        trial.expect_recovery(replica);  // By itself: the process still runs.
        if (HasFailure()) return;
    }
    bank().expect_nothing_lost(replica, trial);
}

class LakeDiskFull : public DiskFull {
 protected:
    // Files that failed writes have left: each of them would keep the disk full.
    static std::string strays(Replica& replica) {
        LakeReader lake = replica.reader();
        std::set<std::string> known;
        for (const char* table : {"data_file", "delete_file", "files_scheduled_for_deletion"}) {
            for (const auto& row : lake.query(
                     fmt::format("select path from __ducklake_metadata_lake.ducklake_{}", table))) {
                known.insert(std::filesystem::path(row[0]).filename());
            }
        }
        std::string all;
        for (const auto& file : std::filesystem::recursive_directory_iterator(
                 replica.folder() + "/lake/data",
                 std::filesystem::directory_options::follow_directory_symlink)) {
            const std::string name = file.path().filename();
            if (name.ends_with(".parquet") && !known.contains(name)) all += name + "\n";
        }
        return all;
    }
    // The catalog on the small disk, the data on a large one.
    void give_catalog(Replica& replica) {
        give(replica, "lake", kPlenty);
        std::filesystem::create_directories(replica.folder() + "/data");
        std::filesystem::create_directory_symlink(replica.folder() + "/data",
                                                  replica.folder() + "/lake/data");
    }
    // Changes that cannot be written, in a lake that has been written to; then there is room.
    void stream_to_full_disk(Replica& replica, const char* fault,
                             const std::function<void()>& meanwhile, std::uint64_t left = 0) {
        replica.start();
        ASSERT_TRUE(replica.catches_up());
        bank().start(2, 50);
        FaultTrial trial(fault, disk().name());
        disk().fill(left);
        database().exec(
            "begin; insert into item select g, md5(g::text) from generate_series(2, 5000) g;"
            "update item set note = 'changed' where id % 3 = 0; commit; delete from item where "
            "id % 10 = 0");
        PipelineStatus full;
        ASSERT_TRUE(eventually([&] {
            full = replica.status().value_or(PipelineStatus{});
            return full.state == "retrying";
        }));
        ASSERT_FALSE(full.problems.empty());
        EXPECT_THAT(full.problems[0], HasSubstr("free some space"));
        EXPECT_TRUE(complains(replica, "free some space"));
        EXPECT_LT(full.durable, database().lsn());
        meanwhile();
        disk().resize(kPlenty);
        trial.is_over();
        trial.expect_recovery(replica);
        const auto after = replica.status();
        ASSERT_TRUE(after.has_value());
        EXPECT_EQ(after->problems, std::vector<std::string>{});
        bank().expect_nothing_lost(replica, trial);
        EXPECT_EQ(strays(replica), "");
    }
};
INSTANTIATE_TEST_SUITE_P(Pg, LakeDiskFull,
                         ::testing::Combine(::testing::ValuesIn(newest_pg_version()),
                                            ::testing::Values(SmallDisk::Kind::mounted,
                                                              SmallDisk::Kind::counted)),
                         disk_name);

TEST_P(LakeDiskFull, WhatIsStreamedIsNotLost) {
    create();
    Replica replica(database());
    give(replica, "lake/data", kPlenty);
    stream_to_full_disk(replica, "disk of the lake full", [&] {
        // What the lake has stays readable. (Of a catalog on a full disk SQLite reads nothing:
        // it needs a file for its locks.)
        EXPECT_EQ(replica.reader().value("select count(*) from lake.public.item"), "1");
    });
}

TEST_P(LakeDiskFull, WhatIsStreamedIsNotLostWithoutRoomForTheCatalog) {
    create();
    Replica replica(database());
    give_catalog(replica);
    stream_to_full_disk(replica, "disk of the lake's catalog full", [] {});
}

// Enough for SQLite's locks: the catalog is read, and the commit fails.
TEST_P(LakeDiskFull, WhatIsStreamedIsNotLostWithoutRoomForACommit) {
    create();
    Replica replica(database());
    give_catalog(replica);
    const auto look = [&] { EXPECT_TRUE(complains(replica, "Failed to commit: ")); };
    stream_to_full_disk(replica, "disk of the lake's catalog full", look, 40'000);
}

// A transaction of which a part fits: the part goes too, however often it is tried.
TEST_P(LakeDiskFull, NothingOfAFailedFlushStays) {
    create();
    database().exec(
        "create table small(id int primary key); alter publication shop add table small");
    Replica replica(database());
    give(replica, "lake/data", kPlenty);
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    disk().fill(512 << 10);
    database().exec(
        fmt::format("begin; insert into small select generate_series(1, 1000);"
                    "{}; insert into small select generate_series(1001, 2000); commit",
                    kLargeTransaction));
    const auto failures = [&] {
        const std::string log = replica.log();
        int count = 0;
        for (std::size_t at = 0; (at = log.find("a flush failed", at)) != std::string::npos; ++at) {
            ++count;
        }
        return count;
    };
    ASSERT_TRUE(eventually([&] { return failures() >= 2; })) << replica.log();
    disk().resize(kPlenty);
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of_tables({"item", "small"}), "");
    EXPECT_EQ(replica.stop().code, 0);
    EXPECT_EQ(strays(replica), "");
}

// The large table is copied again and again; the small one is followed meanwhile.
TEST_P(LakeDiskFull, ACopyGoesOnWhenThereIsRoom) {
    create();
    database().exec(
        "create table large(id int primary key, a text, b text);"
        "insert into large select g, md5(g::text), md5((-g)::text) from "
        "generate_series(1, 200000) g; alter publication shop add table large");
    Replica replica(database());
    give(replica, "lake/data", 3 << 20);
    bank().start(1, 20);
    replica.start();
    FaultTrial trial("disk of the lake full while it is copied to", disk().name());
    ASSERT_TRUE(complains(replica, "free some space"));
    database().exec("insert into item values (2, 'meanwhile')");
    database().exec("update large set a = 'changed' where id % 1000 = 0");
    std::optional<TableStatus> large;
    EXPECT_TRUE(eventually([&] {
        large = replica.table("large");
        return large && large->reason.find("free some space") != std::string::npos;
    }));
    ASSERT_TRUE(large.has_value());
    EXPECT_NE(large->phase, TablePhase::ready) << large->reason;
    EXPECT_TRUE(eventually([&] { return replica.difference_of("item").empty(); }));
    disk().resize(kPlenty);
    trial.is_over();
    // The pauses between its attempts grow to 30 s.
    trial.expect_recovery(replica);
    bank().expect_nothing_lost(replica, trial);
    EXPECT_EQ(strays(replica), "");
}

// Killed and started again on a disk that is still full.
TEST_P(LakeDiskFull, AStartWaitsForRoom) {
    create();
    Replica replica(database());
    give(replica, "lake", kPlenty);
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    disk().fill();
    database().exec("insert into item select g, 'new' from generate_series(2, 5000) g");
    ASSERT_TRUE(complains(replica, "free some space"));
    replica.kill();
    replica.start();
    ASSERT_TRUE(eventually([&] {
        const auto now = replica.status();
        return now && !now->problems.empty() &&
               now->problems[0].find("free some space") != std::string::npos;
    }));
    EXPECT_TRUE(replica.is_running());
    disk().resize(kPlenty);
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of("item"), "");
    EXPECT_EQ(replica.stop().code, 0);
}

}  // namespace
}  // namespace walbrook::testing
