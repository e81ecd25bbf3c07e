// Preloaded into a program that a test starts (LD_PRELOAD), where no disk can be mounted:
// the files below one folder share so many bytes, and a write that would need more fails
// with ENOSPC, as on a disk that is full. Only sizes of files count; what was removed but
// is still open counts until it is closed.
//
//   WALBROOK_TEST_DISK_FOLDER   the folder
//   WALBROOK_TEST_DISK_LIMIT    a file beside it with the number of bytes, read each time

#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <vector>

namespace {

constexpr std::string_view kDeleted = " (deleted)";

std::string path_of(const std::string& link) {
    std::string path(4096, '\0');
    const ssize_t size = readlink(link.c_str(), path.data(), path.size());
    path.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
    return path;
}

bool is_below(std::string_view path, std::string_view folder) {
    return path.size() > folder.size() && path.starts_with(folder) && path[folder.size()] == '/';
}

// Calls `each` with the names in a folder; what vanishes meanwhile is passed over.
template <class Each>
void list(const std::string& folder, const Each& each) {
    DIR* dir = opendir(folder.c_str());
    if (dir == nullptr) return;
    while (const dirent* entry = readdir(dir)) {
        const std::string_view name = entry->d_name;
        if (name != "." && name != "..") each(folder + '/' + entry->d_name);
    }
    closedir(dir);
}

std::uint64_t bytes_below(const std::string& folder) {
    std::uint64_t sum = 0;
    list(folder, [&](const std::string& path) {
        struct stat file{};
        if (lstat(path.c_str(), &file) != 0) return;
        if (S_ISREG(file.st_mode)) sum += static_cast<std::uint64_t>(file.st_size);
        if (S_ISDIR(file.st_mode)) sum += bytes_below(path);
    });
    return sum;
}

// Files of ours without a name.
std::uint64_t bytes_of_removed(const std::string& folder) {
    std::uint64_t sum = 0;
    std::vector<ino_t> seen;
    list("/proc/self/fd", [&](const std::string& link) {
        const std::string path = path_of(link);
        struct stat file{};
        if (!path.ends_with(kDeleted) || !is_below(path, folder)) return;
        if (stat(link.c_str(), &file) != 0 || !S_ISREG(file.st_mode)) return;
        for (const ino_t inode : seen) {
            if (inode == file.st_ino) return;
        }
        seen.push_back(file.st_ino);
        sum += static_cast<std::uint64_t>(file.st_size);
    });
    return sum;
}

std::uint64_t read_limit() {
    const char* path = std::getenv("WALBROOK_TEST_DISK_LIMIT");
    char text[32];
    const int fd = path == nullptr ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    const ssize_t size = fd < 0 ? 0 : read(fd, text, sizeof text);
    if (fd >= 0) close(fd);
    std::uint64_t limit = 0;
    if (size > 0) std::from_chars(text, text + size, limit);
    return limit;
}

// May the file grow to `end` bytes? Sets errno if not. `end` < 0: a write of `size` bytes at
// the descriptor's own place.
bool has_room(int fd, off_t end, std::size_t size) {
    const char* folder = std::getenv("WALBROOK_TEST_DISK_FOLDER");
    struct stat file{};
    if (folder == nullptr || fstat(fd, &file) != 0 || !S_ISREG(file.st_mode)) return true;
    if (end < 0) {
        const bool appends = (fcntl(fd, F_GETFL) & O_APPEND) != 0;
        end = (appends ? file.st_size : lseek(fd, 0, SEEK_CUR)) + static_cast<off_t>(size);
    }
    if (end <= file.st_size) return true;
    if (!is_below(path_of("/proc/self/fd/" + std::to_string(fd)), folder)) return true;
    const auto growth = static_cast<std::uint64_t>(end - file.st_size);
    if (bytes_below(folder) + bytes_of_removed(folder) + growth <= read_limit()) return true;
    errno = ENOSPC;
    return false;
}

ssize_t write_at(int fd, const void* data, std::size_t size, off_t at) {
    if (!has_room(fd, at + static_cast<off_t>(size), 0)) return -1;
    return syscall(SYS_pwrite64, fd, data, size, at);
}

int resize(int fd, off_t size) {
    return has_room(fd, size, 0) ? static_cast<int>(syscall(SYS_ftruncate, fd, size)) : -1;
}

int allocate(int fd, int mode, off_t from, off_t size) {
    if (mode == 0 && !has_room(fd, from + size, 0)) return -1;
    return static_cast<int>(syscall(SYS_fallocate, fd, mode, from, size));
}

}  // namespace

#define WALBROOK_EXPORT extern "C" __attribute__((visibility("default")))

WALBROOK_EXPORT ssize_t write(int fd, const void* data, std::size_t size) {
    return has_room(fd, -1, size) ? syscall(SYS_write, fd, data, size) : -1;
}

WALBROOK_EXPORT ssize_t writev(int fd, const iovec* parts, int count) {
    std::size_t size = 0;
    for (int i = 0; i < count; ++i) size += parts[i].iov_len;
    return has_room(fd, -1, size) ? syscall(SYS_writev, fd, parts, count) : -1;
}

WALBROOK_EXPORT ssize_t pwrite(int fd, const void* data, std::size_t size, off_t at) {
    return write_at(fd, data, size, at);
}

WALBROOK_EXPORT ssize_t pwrite64(int fd, const void* data, std::size_t size, off64_t at) {
    return write_at(fd, data, size, at);
}

WALBROOK_EXPORT int ftruncate(int fd, off_t size) noexcept { return resize(fd, size); }
WALBROOK_EXPORT int ftruncate64(int fd, off64_t size) noexcept { return resize(fd, size); }

WALBROOK_EXPORT int fallocate(int fd, int mode, off_t from, off_t size) {
    return allocate(fd, mode, from, size);
}

WALBROOK_EXPORT int fallocate64(int fd, int mode, off64_t from, off64_t size) {
    return allocate(fd, mode, from, size);
}

WALBROOK_EXPORT int posix_fallocate(int fd, off_t from, off_t size) {
    return allocate(fd, 0, from, size) == 0 ? 0 : errno;
}

WALBROOK_EXPORT int posix_fallocate64(int fd, off64_t from, off64_t size) {
    return allocate(fd, 0, from, size) == 0 ? 0 : errno;
}
