#include "destinations/ducklake/new_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

namespace walbrook::ducklake {

namespace {

namespace fs = std::filesystem;

// Names of the Parquet files in a folder, which may not exist yet.
Result<std::unordered_set<std::string>> list_files(const std::string& folder) {
    std::unordered_set<std::string> names;
    std::error_code error;
    for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
        std::string name = it->path().filename().string();
        if (name.ends_with(".parquet")) names.insert(std::move(name));
    }
    if (error && error != std::errc::no_such_file_or_directory) {
        return Error(ErrorCode::unavailable, "list " + folder + ": " + error.message());
    }
    return names;
}

}  // namespace

Status sync_path(const std::string& path) {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
        return Error(ErrorCode::unavailable, "open " + path + ": " + std::strerror(errno));
    }
    const int result = ::fsync(descriptor);
    const int reason = errno;
    ::close(descriptor);
    if (result != 0) {
        return Error(ErrorCode::unavailable, "fsync " + path + ": " + std::strerror(reason));
    }
    return {};
}

Status NewFiles::watch(const std::string& folder) {
    if (!watched_.insert(folder).second || known_.contains(folder)) return {};
    WALBROOK_TRY(auto names, list_files(folder));
    known_.emplace(folder, std::move(names));
    return {};
}

Status NewFiles::sync() {
    for (const std::string& folder : watched_) {
        std::unordered_set<std::string>& known = known_[folder];
        WALBROOK_TRY(auto names, list_files(folder));
        bool has_new = false;
        for (const std::string& name : names) {
            if (known.contains(name)) continue;
            has_new = true;
            WALBROOK_RETURN_IF_ERROR(sync_path(folder + "/" + name));
        }
        if (has_new) WALBROOK_RETURN_IF_ERROR(sync_path(folder));
        // The folder may be new itself.
        if (has_new && known.empty()) {
            WALBROOK_RETURN_IF_ERROR(sync_path(std::filesystem::path(folder).parent_path()));
        }
        known = std::move(names);
    }
    return {};
}

}  // namespace walbrook::ducklake
