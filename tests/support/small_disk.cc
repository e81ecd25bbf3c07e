#include "support/small_disk.h"

#include "support/eventually.h"
#include "support/temp_dir.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <sched.h>
#include <stdexcept>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <system_error>

namespace walbrook::testing {
namespace {

std::string options_for(std::uint64_t bytes) { return "mode=0700,size=" + std::to_string(bytes); }

// As the kernel names it.
std::string made(const std::string& folder) {
    std::filesystem::create_directories(folder);
    return std::filesystem::canonical(folder).string();
}

std::uint64_t bytes_below(const std::string& folder) {
    namespace fs = std::filesystem;
    std::uint64_t sum = 0;
    std::error_code gone;  // Meanwhile.
    for (fs::recursive_directory_iterator it(folder, gone), end; !gone && it != end;
         it.increment(gone)) {
        std::error_code no_file;
        const std::uintmax_t size = fs::file_size(it->path(), no_file);
        if (!no_file) sum += size;
    }
    return sum;
}

}  // namespace

SmallDisk::SmallDisk(const std::string& folder, std::uint64_t bytes, Kind kind)
    : folder_(made(folder)), kind_(kind) {
    namespace fs = std::filesystem;
    fs::permissions(folder_, fs::perms::owner_all);
    if (kind_ == Kind::mounted && !mount_it(bytes)) {
        std::fprintf(stderr, "no disk can be mounted at %s (%s): its writes are counted instead\n",
                     folder_.c_str(), std::strerror(errno));
        kind_ = Kind::counted;
    }
    if (kind_ == Kind::counted) resize(bytes);
}

SmallDisk::~SmallDisk() {
    if (kind_ == Kind::mounted) umount2(folder_.c_str(), MNT_DETACH);
}

bool SmallDisk::mount_it(std::uint64_t bytes) {
    if (unshare(CLONE_NEWNS) != 0) return false;
    // Else the mount would be everybody's.
    if (mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return false;
    return mount("tmpfs", folder_.c_str(), "tmpfs", 0, options_for(bytes).c_str()) == 0;
}

std::vector<std::pair<std::string, std::string>> SmallDisk::environment() const {
    if (kind_ == Kind::mounted) return {};
    const char* asan = std::getenv("ASAN_OPTIONS");
    return {{"LD_PRELOAD", COUNTED_DISK},
            {"WALBROOK_TEST_DISK_FOLDER", folder_},
            {"WALBROOK_TEST_DISK_LIMIT", limit_file()},
            // What is preloaded comes before the sanitizer, which would refuse to start.
            {"ASAN_OPTIONS",
             (asan == nullptr ? "" : std::string(asan) + ":") + "verify_asan_link_order=0"}};
}

void SmallDisk::resize(std::uint64_t bytes) {
    if (kind_ == Kind::counted) {
        // In one step: it is read all the time.
        write_file(limit_file() + ".new", std::to_string(bytes));
        std::filesystem::rename(limit_file() + ".new", limit_file());
    } else if (mount("tmpfs", folder_.c_str(), "tmpfs", MS_REMOUNT, options_for(bytes).c_str()) !=
               0) {
        throw std::runtime_error("resize a disk: " + std::string(std::strerror(errno)));
    }
}

void SmallDisk::fill(std::uint64_t left) {
    if (kind_ == Kind::counted) return resize(bytes_below(folder_) + left);
    // Less than is used is refused, and somebody may be writing.
    const bool filled = eventually([&] {
        struct statvfs disk{};
        if (statvfs(folder_.c_str(), &disk) != 0) return false;
        const std::uint64_t used = std::max<std::uint64_t>(disk.f_blocks - disk.f_bfree, 1);
        return mount("tmpfs", folder_.c_str(), "tmpfs", MS_REMOUNT,
                     options_for(used * disk.f_frsize + left).c_str()) == 0;
    });
    if (!filled) throw std::runtime_error("fill a disk: " + std::string(std::strerror(errno)));
}

}  // namespace walbrook::testing
