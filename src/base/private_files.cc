#include "base/private_files.h"

#include <fmt/format.h>

#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace walbrook {
namespace {

constexpr mode_t kOthers = S_IRWXG | S_IRWXO;

Error refused(const char* what, const std::string& path) {
    const int why = errno;
    struct stat found{};
    if ((why == ELOOP || why == ENOTDIR) && lstat(path.c_str(), &found) == 0) {
        const bool is_link = S_ISLNK(found.st_mode);
        return Error(
            ErrorCode::config,
            fmt::format("{} is {}", path,
                        is_link ? "a symbolic link; name what it leads to" : "not a folder"));
    }
    const bool is_denied = why == EACCES || why == EPERM || why == EROFS;
    return Error(is_denied ? ErrorCode::permission : ErrorCode::config,
                 fmt::format("{} {}: {}", what, path, std::generic_category().message(why)));
}

// Opened without following a link, which another user may have laid where everybody may write.
int open_itself(const std::string& path, int flags) {
    return open(path.c_str(), flags | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR);
}

// An operator may lay folders elsewhere.
bool is_link_of_ours(const std::string& path) {
    struct stat found{};
    return lstat(path.c_str(), &found) == 0 && S_ISLNK(found.st_mode) &&
           (found.st_uid == geteuid() || found.st_uid == 0);
}

// What another user owns is open to that user, whatever its mode.
Status make_private(int fd, mode_t mode, const std::string& path) {
    struct stat found{};
    if (fstat(fd, &found) != 0) return refused("look at", path);
    if ((found.st_mode & S_ISVTX) != 0) {
        return Error(ErrorCode::config,
                     fmt::format("{} is a folder for everybody; name one below it", path));
    }
    if (found.st_uid != geteuid()) {
        return Error(ErrorCode::permission,
                     fmt::format("{} belongs to user {}, and this process is user {}; name another "
                                 "one, or let the process's user have it (chown)",
                                 path, found.st_uid, geteuid()));
    }
    if ((found.st_mode & kOthers) != 0 && fchmod(fd, mode) != 0) {
        return refused("keep others out of", path);
    }
    return {};
}

}  // namespace

Status make_private_folder(const std::string& named) {
    std::string path = named;  // With a slash at its end a link would be followed.
    while (path.size() > 1 && path.ends_with('/')) path.pop_back();
    for (std::size_t slash = path.find('/', 1); slash != std::string::npos;
         slash = path.find('/', slash + 1)) {
        mkdir(path.substr(0, slash).c_str(), 0755);
    }
    if (mkdir(path.c_str(), S_IRWXU) != 0 && errno != EEXIST)
        return refused("make the folder", path);
    const int fd = is_link_of_ours(path) ? open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
                                         : open_itself(path, O_RDONLY | O_DIRECTORY);
    if (fd < 0) return refused("open the folder", path);
    Status made = make_private(fd, S_IRWXU, path);
    close(fd);
    return made;
}

Status make_private_file(const std::string& path) {
    const int fd = open_itself(path, O_RDWR | O_CREAT);
    if (fd < 0) return refused("open", path);
    Status made = make_private(fd, S_IRUSR | S_IWUSR, path);
    close(fd);
    return made;
}

}  // namespace walbrook
