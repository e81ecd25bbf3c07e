#include "base/memory.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <unistd.h>
#include <vector>

namespace walbrook {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMiB = 1ULL << 20;

// A tree that looks like /proc and /sys.
class MachineTest : public ::testing::Test {
 protected:
    MachineTest() {
        std::string path = (fs::temp_directory_path() / "walbrook-XXXXXX").string();
        root_ = ::mkdtemp(path.data());
        write("proc/meminfo", "MemTotal:       8388608 kB\nMemFree:  1 kB\n");
        write("proc/self/statm", "90000 20480 5120 1 0 2 0\n");
    }
    ~MachineTest() override { fs::remove_all(root_); }

    void write(const std::string& path, const std::string& text) {
        fs::create_directories((root_ / path).parent_path());
        std::ofstream(root_ / path) << text;
    }
    MachineLimits limits() const { return read_machine_limits(root_); }

    fs::path root_;
};

TEST_F(MachineTest, HasItsPhysicalMemoryWhereNoGroupSetsALimit) {
    EXPECT_EQ(limits().memory_bytes, 8192 * kMiB);
    EXPECT_FALSE(limits().is_container);
    EXPECT_GE(limits().cpus, 1U);
    const auto page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
    EXPECT_EQ(read_memory_in_use(limits(), root_), (20480 - 5120) * page);
}

TEST_F(MachineTest, TakesTheSmallestLimitAboveItsGroup) {
    write("proc/self/cgroup", "0::/system.slice/walbrook.service\n");
    write("sys/fs/cgroup/system.slice/memory.max", "536870912\n");
    write("sys/fs/cgroup/system.slice/cpu.max", "150000 100000\n");
    write("sys/fs/cgroup/system.slice/walbrook.service/memory.max", "max\n");
    write("sys/fs/cgroup/system.slice/walbrook.service/memory.stat",
          "anon 104857600\nfile 999999999\nshmem 1048576\nanon_thp 5\n");
    EXPECT_EQ(limits().memory_bytes, 512 * kMiB);
    EXPECT_TRUE(limits().is_container);
    EXPECT_LE(limits().cpus, 2U);
    EXPECT_EQ(read_memory_in_use(limits(), root_), 101 * kMiB);
}

// The container's path is not seen inside of it: the mount is its own group.
TEST_F(MachineTest, ReadsTheGroupOfAContainer) {
    write("proc/self/cgroup", "0::/docker/0123abc\n");
    write("sys/fs/cgroup/memory.max", "268435456\n");
    write("sys/fs/cgroup/memory.stat", "anon 4096\n");
    EXPECT_EQ(limits().memory_bytes, 256 * kMiB);
    EXPECT_EQ(read_memory_in_use(limits(), root_), 4096U);
}

TEST_F(MachineTest, ReadsVersionOne) {
    write("proc/self/cgroup", "9:cpu,cpuacct:/box\n4:memory:/box\n0::/\n");
    write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    EXPECT_EQ(limits().memory_bytes, 8192 * kMiB);
    write("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "1073741824\n");
    write("sys/fs/cgroup/memory/box/memory.stat", "rss 1\ntotal_rss 7340032\n");
    write("sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "100000\n");
    write("sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n");
    EXPECT_EQ(limits().memory_bytes, 1024 * kMiB);
    EXPECT_EQ(limits().cpus, 1U);
    EXPECT_EQ(read_memory_in_use(limits(), root_), 7 * kMiB);
}

TEST_F(MachineTest, NonsenseIsNoLimit) {
    const std::vector<std::string> groups = {"", ":", "0:", "0::", "x:memory:/a\n", "\n\n4::"};
    for (const std::string& group : groups) {
        SCOPED_TRACE(group);
        write("proc/self/cgroup", group);
        for (const char* text : {"", "0\n", "-1\n", "maximum", "99999999999999999999"}) {
            write("sys/fs/cgroup/memory.max", text);
            write("sys/fs/cgroup/memory/memory.limit_in_bytes", text);
            write("sys/fs/cgroup/cpu.max", text);
            EXPECT_EQ(limits().memory_bytes, 8192 * kMiB);
        }
    }
    write("proc/self/statm", "nonsense");
    EXPECT_FALSE(read_memory_in_use(limits(), root_));
}

TEST(Machine, ThisOneHasMemory) {
    const MachineLimits here = read_machine_limits();
    EXPECT_GT(here.memory_bytes, 64 * kMiB);
    const auto used = read_memory_in_use(here);
    ASSERT_TRUE(used);
    EXPECT_GT(*used, 0U);
    EXPECT_LT(*used, here.memory_bytes);
}

}  // namespace
}  // namespace walbrook
