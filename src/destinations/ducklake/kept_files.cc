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

Status make_parent(const std::string& path) {
    std::error_code error;
    const fs::path parent = fs::path(path).parent_path();
    fs::create_directories(parent, error);
    if (!error) return {};
    return Error(ErrorCode::unavailable, "make " + parent.string() + ": " + error.message());
}

bool is_there(const std::string& path) {
    std::error_code ignored;
    return fs::exists(path, ignored);
}

// `from` gets the second name `to`.
Status link_file(const std::string& from, const std::string& to) {
    if (::link(from.c_str(), to.c_str()) == 0) return {};
    if (errno == ENOENT && is_there(from)) {
        WALBROOK_RETURN_IF_ERROR(make_parent(to));
        if (::link(from.c_str(), to.c_str()) == 0) return {};
    }
    if (errno == EEXIST) {
        ::unlink(to.c_str());
        if (::link(from.c_str(), to.c_str()) == 0) return {};
    }
    const int reason = errno;
    // Gone meanwhile, or a file system without hard links: then restore() tells.
    if (reason == ENOENT || reason == EPERM || reason == ENOTSUP) return {};
    return Error(ErrorCode::unavailable,
                 "link " + from + " to " + to + ": " + std::strerror(reason));
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
        WALBROOK_RETURN_IF_ERROR(link_file(path, kept_name(path)));
    }
    return {};
}

Status KeptFiles::restore() {
    for (const std::string& path : paths_) {
        if (is_there(path)) continue;
        WALBROOK_RETURN_IF_ERROR(link_file(kept_name(path), path));
        if (!is_there(path)) {
            return Error(ErrorCode::corrupt_state,
                         "the file " + path +
                             " of a commit whose answer was lost is gone and cannot be brought "
                             "back; move the lake away to begin anew");
        }
        WALBROOK_RETURN_IF_ERROR(sync_path(fs::path(path).parent_path().string()));
    }
    return {};
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
    WALBROOK_TRY(paths_, list_kept(folder_));
    WALBROOK_RETURN_IF_ERROR(restore());
    std::erase_if(paths_, [&](const auto& path) { return is_younger(kept_name(path), age_min); });
    forget();
    return {};
}

void KeptFiles::bring_back(std::string_view folder) {
    const auto kept = list_kept(folder_ + std::string(folder));
    if (!kept) return;
    for (const std::string& path : *kept) {
        if (!is_there(path)) link_file(kept_name(path), path).ignore();
    }
}

}  // namespace walbrook::ducklake
