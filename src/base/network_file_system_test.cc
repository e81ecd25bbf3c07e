#include "base/network_file_system.h"

#include <gtest/gtest.h>

#include <linux/magic.h>
#include <string>

namespace walbrook {
namespace {

std::string name_of(std::uint32_t magic) {
    const auto found = find_network_file_system(magic);
    return found ? std::string(found->name) : "local";
}

bool may_be_local(std::uint32_t magic) { return find_network_file_system(magic)->may_be_local; }

TEST(NetworkFileSystems, AreKnownByTheirType) {
    EXPECT_EQ(name_of(NFS_SUPER_MAGIC), "NFS");
    EXPECT_EQ(name_of(SMB_SUPER_MAGIC), "SMB");
    EXPECT_EQ(name_of(0xFF534D42), "CIFS");  // Not in all of the headers.
    EXPECT_EQ(name_of(0xFE534D42), "SMB2");
    EXPECT_EQ(name_of(AFS_SUPER_MAGIC), "AFS");
    EXPECT_EQ(name_of(0x00C36400), "Ceph");
    EXPECT_EQ(name_of(0x0BD00BD0), "Lustre");
    EXPECT_EQ(name_of(0x47504653), "GPFS");
    EXPECT_EQ(name_of(0x01161970), "GFS2");
    EXPECT_EQ(name_of(OCFS2_SUPER_MAGIC), "OCFS2");
    for (const std::uint32_t magic : {NFS_SUPER_MAGIC, SMB_SUPER_MAGIC}) {
        EXPECT_FALSE(may_be_local(magic));
    }
}

TEST(NetworkFileSystems, SomeTypesMayBeThisMachinesOwn) {
    EXPECT_EQ(name_of(FUSE_SUPER_MAGIC), "FUSE");
    EXPECT_EQ(name_of(V9FS_MAGIC), "9P");
    EXPECT_TRUE(may_be_local(FUSE_SUPER_MAGIC));
    EXPECT_TRUE(may_be_local(V9FS_MAGIC));
}

TEST(NetworkFileSystems, LocalOnesAreNone) {
    for (const std::uint32_t magic :
         {EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, TMPFS_MAGIC, OVERLAYFS_SUPER_MAGIC, 0}) {
        EXPECT_EQ(name_of(magic), "local");
    }
    const auto btrfs = static_cast<std::uint32_t>(BTRFS_SUPER_MAGIC);
    EXPECT_EQ(name_of(btrfs), "local");
    const auto proc = network_file_system_of("/proc");
    ASSERT_TRUE(proc);
    EXPECT_FALSE(*proc);
}

TEST(NetworkFileSystems, AFolderThatIsNotThereIsNamed) {
    const auto none = network_file_system_of("/proc/none");
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().code(), ErrorCode::config);
    EXPECT_EQ(none.error().message(),
              "look at the file system of /proc/none: No such file or directory");
}

}  // namespace
}  // namespace walbrook
