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
    const bool is_denied = why == EACCES || why == EPERM || why == EROFS;
    return Error(is_denied ? ErrorCode::permission : ErrorCode::config,
                 fmt::format("{} {}: {}", what, path, std::generic_category().message(why)));
}

}  // namespace

Status make_private_folder(const std::string& path) {
    for (std::size_t slash = path.find('/', 1); slash != std::string::npos;
         slash = path.find('/', slash + 1)) {
        mkdir(path.substr(0, slash).c_str(), 0755);
    }
    if (mkdir(path.c_str(), S_IRWXU) != 0 && errno != EEXIST)
        return refused("make the folder", path);
    struct stat found{};
    if (stat(path.c_str(), &found) != 0) return refused("look at the folder", path);
    if (!S_ISDIR(found.st_mode)) {
        return Error(ErrorCode::config, fmt::format("{} is not a folder", path));
    }
    if ((found.st_mode & S_ISVTX) != 0) {
        return Error(ErrorCode::config,
                     fmt::format("{} is a folder for everybody; name one below it", path));
    }
    if ((found.st_mode & kOthers) != 0 && chmod(path.c_str(), S_IRWXU) != 0) {
        return refused("keep others out of the folder", path);
    }
    return {};
}

Status make_private_file(const std::string& path) {
    const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (fd < 0) return refused("open", path);
    struct stat found{};
    const bool is_private = fstat(fd, &found) == 0 && (found.st_mode & kOthers) == 0;
    Status made;
    if (!is_private && fchmod(fd, S_IRUSR | S_IWUSR) != 0)
        made = refused("keep others out of", path);
    close(fd);
    return made;
}

}  // namespace walbrook
