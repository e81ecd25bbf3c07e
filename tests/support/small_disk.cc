#include "support/small_disk.h"

#include <sched.h>
#include <sys/mount.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <utility>

namespace walbrook::testing {
namespace {

std::string options_for(std::uint64_t bytes) { return "mode=0700,size=" + std::to_string(bytes); }

}  // namespace

SmallDisk::SmallDisk(std::string folder, std::uint64_t bytes) : folder_(std::move(folder)) {
    namespace fs = std::filesystem;
    fs::create_directories(folder_);
    fs::permissions(folder_, fs::perms::owner_all);
    if (unshare(CLONE_NEWNS) != 0) return;
    // Else the mount would be everybody's.
    if (mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return;
    is_real_ = mount("tmpfs", folder_.c_str(), "tmpfs", 0, options_for(bytes).c_str()) == 0;
}

SmallDisk::~SmallDisk() {
    if (is_real_) umount2(folder_.c_str(), MNT_DETACH);
}

void SmallDisk::resize(std::uint64_t bytes) {
    if (!is_real_) return;
    if (mount("tmpfs", folder_.c_str(), "tmpfs", MS_REMOUNT, options_for(bytes).c_str()) != 0) {
        throw std::runtime_error("resize a disk: " + std::string(std::strerror(errno)));
    }
}

}  // namespace walbrook::testing
