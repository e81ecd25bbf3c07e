#include "destinations/ducklake/new_files.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <sys/inotify.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace walbrook::ducklake {

namespace {

namespace fs = std::filesystem;

// A new table's folder, those of its schema and of the data, and where that lies.
constexpr int kNewFoldersMax = 4;

bool is_data_file(const std::string& name) { return name.ends_with(".parquet"); }

// Names of the Parquet files in a folder, which may not exist.
Result<std::set<std::string>> list_files(const std::string& folder) {
    std::set<std::string> names;
    std::error_code error;
    for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
        std::string name = it->path().filename().string();
        if (is_data_file(name)) names.insert(std::move(name));
    }
    if (error && error != std::errc::no_such_file_or_directory) {
        return Error(ErrorCode::unavailable, "list " + folder + ": " + error.message());
    }
    return names;
}

Status sync_if_there(const std::string& path) {
    Status status = sync_path(path);
    std::error_code ignored;
    // What a transaction writes and removes again need not last.
    if (!status && !fs::exists(path, ignored) && !ignored) return {};
    return status;
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

NewFiles::~NewFiles() {
    if (inotify_ >= 0) ::close(inotify_);
}

Status NewFiles::begin() {
    watched_.clear();
    WALBROOK_RETURN_IF_ERROR(read_events());
    is_overflown_ = false;
    for (auto& [number, folder] : folders_) folder.names.clear();
    return {};
}

Status NewFiles::watch(const std::string& folder) {
    if (!watched_.try_emplace(folder).second || watches_.contains(folder)) return {};
    const int number = add_watch(folder);
    if (number < 0) {
        WALBROOK_TRY(watched_[folder], list_files(folder));
        return {};
    }
    Folder fresh{folder, false, {}};
    std::error_code error;
    fresh.was_empty = fs::is_empty(folder, error) && !error;
    // Two paths of one folder have one number.
    if (const auto old = folders_.find(number); old != folders_.end()) {
        watches_.erase(old->second.path);
        fresh.names = std::move(old->second.names);
    }
    folders_.insert_or_assign(number, std::move(fresh));
    watches_.emplace(folder, number);
    return {};
}

// Below 0: it does not exist yet, or the kernel has no more watches (its limits are those
// of /proc/sys/fs/inotify).
int NewFiles::add_watch(const std::string& folder) {
    if (inotify_ < 0) inotify_ = ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (inotify_ < 0) return -1;
    return ::inotify_add_watch(inotify_, folder.c_str(), IN_CREATE | IN_MOVED_TO | IN_ONLYDIR);
}

Status NewFiles::read_events() {
    if (inotify_ < 0) return {};
    alignas(inotify_event) std::array<char, 16'384> buffer;
    for (;;) {
        const ssize_t size = ::read(inotify_, buffer.data(), buffer.size());
        if (size < 0 && errno == EINTR) continue;
        if (size < 0 && errno == EAGAIN) return {};
        if (size < 0) {
            return Error(ErrorCode::unavailable,
                         std::string("read which files are new: ") + std::strerror(errno));
        }
        for (std::size_t at = 0; at < static_cast<std::size_t>(size);) {
            inotify_event event;
            std::memcpy(&event, buffer.data() + at, sizeof event);
            const std::string name(event.len == 0 ? "" : buffer.data() + at + sizeof event);
            at += sizeof event + event.len;
            if ((event.mask & IN_Q_OVERFLOW) != 0) is_overflown_ = true;
            const auto found = folders_.find(event.wd);
            if (found == folders_.end()) continue;
            if ((event.mask & IN_IGNORED) != 0) {  // The folder is gone.
                watches_.erase(found->second.path);
                folders_.erase(found);
            } else if (is_data_file(name)) {
                found->second.names.insert(name);
            }
        }
    }
}

Status NewFiles::sync() {
    files_.clear();
    WALBROOK_RETURN_IF_ERROR(read_events());
    for (const auto& [path, before] : watched_) {
        WALBROOK_RETURN_IF_ERROR(sync_folder(path, before));
    }
    return {};
}

Status NewFiles::sync_folder(const std::string& path, const std::set<std::string>& before) {
    const auto found = watches_.find(path);
    Folder* const seen = found == watches_.end() ? nullptr : &folders_.at(found->second);
    const bool is_known = seen != nullptr && !is_overflown_;
    std::set<std::string> names;
    if (is_known) {
        names = std::exchange(seen->names, {});
    } else {
        WALBROOK_TRY(names, list_files(path));
        std::erase_if(names, [&](const std::string& name) { return before.contains(name); });
    }
    if (names.empty()) return {};
    for (const std::string& name : names) {
        files_.push_back(path + "/" + name);
        WALBROOK_RETURN_IF_ERROR(sync_if_there(files_.back()));
    }
    WALBROOK_RETURN_IF_ERROR(sync_path(path));
    if (is_known && !std::exchange(seen->was_empty, false)) return {};
    fs::path above = path;
    for (int i = 0; i < kNewFoldersMax - 1 && above.has_parent_path(); ++i) {
        above = above.parent_path();
        WALBROOK_RETURN_IF_ERROR(sync_path(above));
    }
    return {};
}

}  // namespace walbrook::ducklake
