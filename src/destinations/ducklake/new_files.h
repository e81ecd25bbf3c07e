#pragma once

#include "walbrook/result.h"

#include <map>
#include <set>
#include <string>
#include <vector>

namespace walbrook::ducklake {

// fsync of one file or folder.
Status sync_path(const std::string& path);

// DuckDB closes the files that it writes without fsync (seen with strace), and a catalog
// that outlives a power cut must not point to files that do not. So whoever lets DuckDB
// write into a folder names it before, and the commit makes durable what came there since.
// The kernel says what came (inotify(7)): listing a folder of many thousand files took
// a fifth of a flush. Where it does not, lists tell, and where it says too much for its own
// memory, everything in the folder is synced.
// One thread at a time.
class NewFiles {
 public:
    NewFiles() = default;
    ~NewFiles();
    NewFiles(const NewFiles&) = delete;
    NewFiles& operator=(const NewFiles&) = delete;

    // Forgets what the last transaction watched and what came meanwhile.
    Status begin();
    // Files that come from now on are new; `folder` may not exist yet.
    Status watch(const std::string& folder);
    // Makes what is new in the watched folders durable, and its names in the folders.
    Status sync();
    // What the last sync() found.
    const std::vector<std::string>& files() const { return files_; }

 private:
    struct Folder {
        std::string path;
        bool was_empty = false;  // Or missing: then its own name may be new.
        std::set<std::string> names;
    };

    int add_watch(const std::string& folder);
    Status read_events();
    Status sync_folder(const std::string& path, const std::set<std::string>& before);

    int inotify_ = -1;
    std::map<int, Folder> folders_;       // By the kernel's number of the watch.
    std::map<std::string, int> watches_;  // By path.
    // By the present transaction; with the files that were there before where nobody tells.
    std::map<std::string, std::set<std::string>> watched_;
    bool is_overflown_ = false;
    std::vector<std::string> files_;
};

}  // namespace walbrook::ducklake
