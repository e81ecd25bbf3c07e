#include "destinations/ducklake/kept_files.h"

#include "destinations/ducklake/new_files.h"
#include "destinations/ducklake/own_files.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace walbrook::ducklake {

namespace {

namespace fs = std::filesystem;

bool is_there(const std::string& path) {
    std::error_code ignored;
    return fs::exists(path, ignored);
}

// `from` gets the second name `to`. Returns 0, or why it did not.
int link_file(const std::string& from, const std::string& to) {
    if (::link(from.c_str(), to.c_str()) == 0) return 0;
    if (errno == ENOENT && is_there(from)) {
        std::error_code error;
        fs::create_directories(fs::path(to).parent_path(), error);
        if (error) return error.value();
        if (::link(from.c_str(), to.c_str()) == 0) return 0;
    }
    if (errno == EEXIST) {
        ::unlink(to.c_str());
        if (::link(from.c_str(), to.c_str()) == 0) return 0;
    }
    return errno;
}

// A file system without hard links, a folder that is on another disk than data_path, a file that
// has all the names it may have. (EOPNOTSUPP is ENOTSUP.)
bool has_no_second_names(int reason) {
    return reason == EPERM || reason == ENOTSUP || reason == ENOSYS || reason == EXDEV ||
           reason == EMLINK;
}

Error not_linked(const std::string& from, const std::string& to, int reason) {
    return {ErrorCode::unavailable, "link " + from + " to " + to + ": " + std::strerror(reason)};
}

bool is_younger(const std::string& path, std::chrono::hours age) {
    struct stat about{};
    if (age.count() == 0 || ::stat(path.c_str(), &about) != 0) return false;
    return std::chrono::system_clock::from_time_t(about.st_mtime) + age >
           std::chrono::system_clock::now();
}

}  // namespace

KeptFiles::KeptFiles(std::string data_path)
    : data_path_(std::move(data_path)), folder_(data_path_ + ".walbrook-kept/") {}

std::string KeptFiles::kept_name(const std::string& path) const {
    return folder_ + path.substr(data_path_.size());
}

Status KeptFiles::keep(const std::vector<std::string>& paths) {
    for (const std::string& path : paths) {
        if (!path.starts_with(data_path_) || !is_there(path)) continue;
        paths_.push_back(path);
        const int reason = link_file(path, kept_name(path));
        // ENOENT: gone meanwhile. What is missing in the end restore() tells.
        if (reason == 0 || reason == ENOENT || has_no_second_names(reason)) continue;
        return not_linked(path, kept_name(path), reason);
    }
    return {};
}

Result<std::string> KeptFiles::bring_back_all() {
    std::string gone;
    for (const std::string& path : paths_) {
        if (is_there(path)) continue;
        const int reason = link_file(kept_name(path), path);
        if (reason == ENOENT) {
            gone += (gone.empty() ? "" : ", ") + path;
            continue;
        }
        if (reason != 0) return not_linked(kept_name(path), path, reason);
        WALBROOK_RETURN_IF_ERROR(sync_path(fs::path(path).parent_path().string()));
    }
    return gone;
}

Status KeptFiles::restore() {
    WALBROOK_TRY(const std::string gone, bring_back_all());
    if (gone.empty()) return {};
    return Error(
        ErrorCode::corrupt_state,
        "files of a commit whose answer was lost are gone and cannot be brought back: " + gone +
            "; start walbrook again and let walbrook resync copy their tables again");
}

void KeptFiles::forget() {
    for (const std::string& path : std::exchange(paths_, {})) remove_file(kept_name(path));
}

Result<std::vector<std::string>> KeptFiles::list_kept(const std::string& folder) const {
    std::vector<std::string> paths;
    std::error_code error;
    for (fs::recursive_directory_iterator it(folder, error), end; !error && it != end;
         it.increment(error)) {
        if (!it->is_regular_file()) continue;
        paths.push_back(data_path_ + it->path().string().substr(folder_.size()));
    }
    if (error && error != std::errc::no_such_file_or_directory) {
        return Error(ErrorCode::unavailable, "list " + folder + ": " + error.message());
    }
    return paths;
}

Status KeptFiles::recover(std::chrono::hours age_min) {
    // Ours are those of a commit of this process.
    KeptFiles earlier(data_path_);
    WALBROOK_TRY(earlier.paths_, list_kept(folder_));
    // A name that has vanished since it was listed is no loss: its process, which was only cut off,
    // has settled its commit meanwhile. One that happened has its files again before the second
    // names go, and those of one that did not nobody needs. Whether the catalog needs a file is not
    // known here anyway: one that is missing all the same is met by whoever reads its table.
    WALBROOK_RETURN_IF_ERROR(earlier.bring_back_all().status());
    std::erase_if(earlier.paths_,
                  [&](const auto& path) { return is_younger(kept_name(path), age_min); });
    earlier.forget();
    return {};
}

bool KeptFiles::bring_back_file(const std::string& path) const {
    if (!path.starts_with(data_path_)) return false;
    return is_there(path) || link_file(kept_name(path), path) != ENOENT;
}

void KeptFiles::bring_back(std::string_view folder) {
    const auto kept = list_kept(folder_ + std::string(folder));
    if (!kept) return;
    for (const std::string& path : *kept) {
        if (!is_there(path)) link_file(kept_name(path), path);
    }
}

}  // namespace walbrook::ducklake
