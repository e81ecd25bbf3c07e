#pragma once

#include "walbrook/result.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace walbrook {

// A file system that another machine can have, too. Locks and shared memory of files (flock,
// SQLite's WAL mode) cannot be trusted there, and Unix sockets do not work on some.
struct NetworkFileSystem {
    std::string_view name;
    // Programs of this machine serve some, and containers and virtual machines have their own
    // disk through one: fuse-overlayfs and virtiofs are FUSE, as sshfs is; gVisor's is 9P. The
    // type does not tell.
    bool may_be_local = false;
};

// By the type that statfs(2) gives; nothing for any other.
std::optional<NetworkFileSystem> find_network_file_system(std::uint32_t magic);

// Of a folder that exists. ErrorCode::config if it cannot be looked at.
Result<std::optional<NetworkFileSystem>> network_file_system_of(const std::string& folder);

// ErrorCode::config where the folder that the key of the configuration names is another machine's,
// too; but not where it may be this one's: in many containers the present folder is FUSE or 9P and
// nobody chose it. For what this machine alone uses, whose kernel keeps its locks.
Status refuse_network_file_system(std::string_view key, const std::string& folder);

}  // namespace walbrook
