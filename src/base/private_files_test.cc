#include "base/private_files.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sys/stat.h>
#include <unistd.h>

namespace walbrook {
namespace {

class PrivateFiles : public testing::Test {
 protected:
    void SetUp() override {
        std::string name = (std::filesystem::temp_directory_path() / "walbrook.XXXXXX").string();
        ASSERT_NE(mkdtemp(name.data()), nullptr);
        folder_ = name;
        umask_ = umask(0);
    }
    void TearDown() override {
        umask(umask_);
        std::filesystem::remove_all(folder_);
    }
    static mode_t mode_of(const std::string& path) {
        struct stat found{};
        return stat(path.c_str(), &found) == 0 ? found.st_mode & 07777 : 0;
    }
    std::string folder_;
    mode_t umask_ = 0;
};

TEST_F(PrivateFiles, AreMadeForThisUserAlone) {
    const std::string folder = folder_ + "/a/b";
    ASSERT_TRUE(make_private_folder(folder));
    EXPECT_EQ(mode_of(folder), 0700U);
    EXPECT_EQ(mode_of(folder_ + "/a"), 0755U);
    ASSERT_TRUE(make_private_file(folder + "/f"));
    EXPECT_EQ(mode_of(folder + "/f"), 0600U);
}

TEST_F(PrivateFiles, AreMadeNarrowerAndKeepWhatTheyHold) {
    std::filesystem::create_directory(folder_ + "/wide");
    std::ofstream(folder_ + "/wide/f") << "text";
    EXPECT_EQ(mode_of(folder_ + "/wide"), 0777U);
    EXPECT_EQ(mode_of(folder_ + "/wide/f"), 0666U);
    ASSERT_TRUE(make_private_folder(folder_ + "/wide"));
    ASSERT_TRUE(make_private_file(folder_ + "/wide/f"));
    EXPECT_EQ(mode_of(folder_ + "/wide"), 0700U);
    EXPECT_EQ(mode_of(folder_ + "/wide/f"), 0600U);
    EXPECT_EQ(std::filesystem::file_size(folder_ + "/wide/f"), 4U);
}

TEST_F(PrivateFiles, WhatIsMeantForEverybodyIsRefusedAndLeftAlone) {
    const std::string shared = folder_ + "/shared";
    ASSERT_EQ(mkdir(shared.c_str(), 0777), 0);
    ASSERT_EQ(chmod(shared.c_str(), 01777), 0);
    const Status refused = make_private_folder(shared);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::config);
    EXPECT_EQ(mode_of(shared), 01777U);
    std::ofstream(folder_ + "/f") << "";
    EXPECT_FALSE(make_private_folder(folder_ + "/f"));
    EXPECT_FALSE(make_private_folder("/proc/none"));
    EXPECT_FALSE(make_private_file(folder_ + "/none/f"));
}

}  // namespace
}  // namespace walbrook
