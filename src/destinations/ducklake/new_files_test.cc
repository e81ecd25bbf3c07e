// That an fsync happened cannot be seen from here; that a file was found to be new can: one
// that cannot be opened fails the call.

#include "destinations/ducklake/new_files.h"

#include "support/temp_dir.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace walbrook::ducklake {
namespace {

namespace fs = std::filesystem;

class NewFilesTest : public ::testing::Test {
 protected:
    std::string folder(const std::string& name) const {
        fs::create_directories(root_.path() / name);
        return root_.path() / name;
    }
    void begin_with(const std::string& watched) {
        ASSERT_TRUE(files_.begin());
        ASSERT_TRUE(files_.watch(watched));
    }
    static void make(const std::string& path) { std::ofstream(path) << "x"; }
    // Opening it fails: it points to itself.
    static void make_trap(const std::string& path) { fs::create_symlink(path, path); }

    const testing::TempDir root_;
    NewFiles files_;
};

TEST_F(NewFilesTest, SyncsWhatCameSinceTheTransactionBegan) {
    const std::string a = folder("a");
    make_trap(a + "/old.parquet");
    begin_with(a);
    ASSERT_TRUE(files_.watch(folder("b")));
    make(a + "/new.parquet");
    make_trap(a + "/not_data.tmp");
    EXPECT_TRUE(files_.sync());
    make_trap(a + "/bad.parquet");
    EXPECT_FALSE(files_.sync());
    // Another transaction is not blamed for it.
    begin_with(a);
    EXPECT_TRUE(files_.sync());
    make_trap(folder("b") + "/unwatched.parquet");
    EXPECT_TRUE(files_.sync());
}

TEST_F(NewFilesTest, AFolderMayBeMadeLater) {
    const std::string path = root_.path() / "later" / "table";
    begin_with(path);
    EXPECT_TRUE(files_.sync());
    make_trap(folder("later/table") + "/bad.parquet");
    EXPECT_FALSE(files_.sync());
}

TEST_F(NewFilesTest, AFolderMayGoAndComeAgain) {
    const std::string path = folder("a");
    begin_with(path);
    fs::remove_all(path);
    EXPECT_TRUE(files_.sync());
    begin_with(folder("a"));
    make_trap(path + "/bad.parquet");
    EXPECT_FALSE(files_.sync());
}

TEST_F(NewFilesTest, WhatIsRemovedAgainNeedNotLast) {
    const std::string path = folder("a");
    begin_with(path);
    make(path + "/gone.parquet");
    fs::remove(path + "/gone.parquet");
    EXPECT_TRUE(files_.sync());
}

// The kernel forgets what is too much: then all files count as new.
TEST_F(NewFilesTest, MoreFilesThanTheKernelRemembers) {
    std::size_t limit = 0;
    std::ifstream("/proc/sys/fs/inotify/max_queued_events") >> limit;
    ASSERT_GT(limit, 0U);
    const std::string path = folder("a");
    make_trap(path + "/old.parquet");
    begin_with(path);
    EXPECT_TRUE(files_.sync());
    for (std::size_t i = 0; i <= limit; ++i) {
        make(path + "/" + std::to_string(i));
    }
    EXPECT_FALSE(files_.sync());
    begin_with(path);
    EXPECT_TRUE(files_.sync());
}

}  // namespace
}  // namespace walbrook::ducklake
