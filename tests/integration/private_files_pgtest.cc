// What lies under work_dir is for its user alone, however wide the umask, and the folder, was.

#include "integration/replica.h"
#include "support/eventually.h"
#include "support/pg_test.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <signal.h>
#include <sys/stat.h>

namespace walbrook::testing {
namespace {

// The modes that walbrook's processes begin with.
class WideOpen {
 public:
    WideOpen() : before_(umask(0)) {}
    ~WideOpen() { umask(before_); }
    WideOpen(const WideOpen&) = delete;
    WideOpen& operator=(const WideOpen&) = delete;

 private:
    const mode_t before_;
};

mode_t mode_of(const std::string& path) {
    struct stat found{};
    return stat(path.c_str(), &found) == 0 ? found.st_mode & 07777 : 0;
}

// Files that lie there, and that others could read.
std::string wide_files(const std::string& folder) {
    std::string wide;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
        const std::string path = entry.path().string();
        if (entry.is_regular_file() && (mode_of(path) & 077) != 0) wide += path + "\n";
    }
    return wide;
}

// Modes of what the process has open below the folder, files without a name included.
std::string wide_descriptors(pid_t pid, const std::string& folder) {
    std::string wide;
    for (const auto& entry : std::filesystem::directory_iterator(fmt::format("/proc/{}/fd", pid))) {
        std::error_code gone;
        const std::string to = std::filesystem::read_symlink(entry.path(), gone).string();
        struct stat found{};
        if (!to.starts_with(folder) || stat(entry.path().c_str(), &found) != 0) continue;
        if (S_ISREG(found.st_mode) && (found.st_mode & 077) != 0) wide += to + "\n";
    }
    return wide;
}

class PrivateFiles : public PgTest {};
INSTANTIATE_TEST_SUITE_P(Pg, PrivateFiles, ::testing::ValuesIn(newest_pg_version()), version_name);

TEST_P(PrivateFiles, AreSoUnderAnyUmask) {
    const WideOpen wide;
    database().exec(
        "create table item(id int primary key, note text);"
        "insert into item select g, 'x' from generate_series(1, 2000) g;"
        "create publication shop for table item");
    Replica replica(database());
    const std::string work = replica.work_dir();
    std::filesystem::create_directory(work);
    write_file(work + "/state.db", "");
    ASSERT_EQ(mode_of(work), 0777U);
    ASSERT_EQ(mode_of(work + "/state.db"), 0666U);
    // Rows of a held transaction go to a spill file.
    replica.configure("batch: {max_bytes: 1000}");
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    database().exec("update item set note = repeat('y', 1000)");
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(mode_of(work), 0700U);
    for (const char* file : {"state.db", "state.db-wal", "state.db-shm", "control.sock", "lock"}) {
        EXPECT_EQ(mode_of(work + "/" + file), 0600U) << file;
    }
    EXPECT_EQ(wide_descriptors(replica.process().pid(), work), "");
    {
        ChildProcess verify(walbrook_program(),
                            {.args = {"verify", "--max-rows-per-second", "1", "--config",
                                      replica.folder() + "/walbrook.yaml"}});
        ASSERT_TRUE(eventually([&] { return std::filesystem::exists(work + "/verify.progress"); }));
        EXPECT_EQ(mode_of(work + "/verify.progress"), 0600U);
        verify.signal(SIGTERM);
        const auto stopped = verify.wait();
        ASSERT_TRUE(stopped.has_value());
        // Not 0, which says that all is equal.
        EXPECT_EQ(stopped->code, 75);
    }
    EXPECT_EQ(replica.run({"verify"}).exit.code, 0);
    EXPECT_EQ(mode_of(work + "/verify.json"), 0600U);
    EXPECT_EQ(wide_files(work), "");
    EXPECT_EQ(replica.stop().code, 0);
}

TEST_P(PrivateFiles, AFolderForEverybodyIsRefused) {
    database().exec(
        "create table item(id int primary key); create publication shop for table item");
    Replica replica(database());
    const std::string work = replica.work_dir();
    std::filesystem::create_directory(work);
    ASSERT_EQ(chmod(work.c_str(), 01777), 0);
    EXPECT_EQ(replica.run_until_caught_up().code, 78);
    EXPECT_NE(replica.log().find("is a folder for everybody"), std::string::npos);
    EXPECT_EQ(mode_of(work), 01777U);
}

}  // namespace
}  // namespace walbrook::testing
