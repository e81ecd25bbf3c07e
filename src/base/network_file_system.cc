#include "base/network_file_system.h"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <sys/vfs.h>
#include <system_error>

namespace walbrook {
namespace {

struct Known {
    std::uint32_t magic;
    NetworkFileSystem file_system;
};

// statfs(2), and linux/magic.h.
constexpr auto kKnown = std::to_array<Known>({
    {0x6969, {"NFS"}},
    {0x517B, {"SMB"}},
    {0xFF534D42, {"CIFS"}},
    {0xFE534D42, {"SMB2"}},
    {0x65735546, {"FUSE", true}},
    {0x5346414F, {"AFS"}},
    {0x00C36400, {"Ceph"}},
    {0x01021997, {"9P", true}},
    {0x0BD00BD0, {"Lustre"}},
    {0x47504653, {"GPFS"}},
    {0x01161970, {"GFS2"}},
    {0x7461636F, {"OCFS2"}},
});

}  // namespace

std::optional<NetworkFileSystem> find_network_file_system(std::uint32_t magic) {
    for (const Known& known : kKnown) {
        if (known.magic == magic) return known.file_system;
    }
    return std::nullopt;
}

Result<std::optional<NetworkFileSystem>> network_file_system_of(const std::string& folder) {
    struct statfs info{};
    if (statfs(folder.c_str(), &info) != 0) {
        return Error(ErrorCode::config, "look at the file system of " + folder + ": " +
                                            std::generic_category().message(errno));
    }
    // Some kernels give those above 2^31 with their sign.
    return find_network_file_system(static_cast<std::uint32_t>(info.f_type));
}

Status refuse_network_file_system(std::string_view key, const std::string& folder) {
    WALBROOK_TRY(const auto found, network_file_system_of(folder));
    if (!found || found->may_be_local) return {};
    return Error(ErrorCode::config,
                 fmt::format("{}: {} lies on {}, a network file system: locks and SQLite's WAL "
                             "mode cannot be trusted there; name a folder on a local disk",
                             key, folder, found->name));
}

}  // namespace walbrook
