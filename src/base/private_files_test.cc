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

// Its owner could open it again, and put other files into it.
TEST_F(PrivateFiles, WhatAnotherUserOwnsIsRefusedAndLeftAlone) {
    std::string folder = "/usr";  // Who is not root cannot give anything away.
    std::string file = "/etc/passwd";
    if (geteuid() == 0) {
        folder = folder_ + "/of_another";
        file = folder_ + "/file_of_another";
        std::filesystem::create_directory(folder);
        std::ofstream(file) << "";
        ASSERT_EQ(chown(folder.c_str(), 65'534, 65'534), 0);
        ASSERT_EQ(chown(file.c_str(), 65'534, 65'534), 0);
    }
    const mode_t of_folder = mode_of(folder);
    const mode_t of_file = mode_of(file);
    const Status refused = make_private_folder(folder);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::permission);
    EXPECT_NE(refused.error().message().find(folder + " belongs to user "), std::string::npos);
    EXPECT_EQ(make_private_file(file).error().code(), ErrorCode::permission);
    EXPECT_EQ(mode_of(folder), of_folder);
    EXPECT_EQ(mode_of(file), of_file);
}

TEST_F(PrivateFiles, LinksOfOthersAreNotFollowed) {
    std::filesystem::create_directory(folder_ + "/wide");
    std::ofstream(folder_ + "/wide/f") << "";
    std::filesystem::create_symlink("wide", folder_ + "/link");
    std::filesystem::create_symlink("f", folder_ + "/wide/link");
    if (geteuid() == 0) {  // Who else may give a link away?
        ASSERT_EQ(lchown((folder_ + "/link").c_str(), 12345, 12345), 0);
        for (const std::string& link : {folder_ + "/link", folder_ + "/link/"}) {
            const Status refused = make_private_folder(link);
            ASSERT_FALSE(refused) << link;
            EXPECT_EQ(refused.error().code(), ErrorCode::config);
            EXPECT_EQ(refused.error().message(),
                      folder_ + "/link is a symbolic link; name what it leads to");
        }
    }
    EXPECT_FALSE(make_private_file(folder_ + "/wide/link"));
    EXPECT_EQ(mode_of(folder_ + "/wide"), 0777U);
    EXPECT_EQ(mode_of(folder_ + "/wide/f"), 0666U);
    // Above it they may be there.
    EXPECT_TRUE(make_private_folder(folder_ + "/link/below"));
}

TEST_F(PrivateFiles, AFolderMayBeLaidElsewhereByItsOwner) {
    std::filesystem::create_directory(folder_ + "/wide");
    std::filesystem::create_symlink("wide", folder_ + "/link");
    EXPECT_TRUE(make_private_folder(folder_ + "/link"));
    EXPECT_EQ(mode_of(folder_ + "/wide"), 0700U);
}

}  // namespace
}  // namespace walbrook
