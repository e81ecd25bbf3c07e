#pragma once

#include <map>
#include <set>
#include <string>
#include <unordered_set>

#include "walbrook/result.h"

namespace walbrook::ducklake {

// fsync of one file or folder.
Status sync_path(const std::string& path);

// DuckDB closes the files that it writes without fsync (seen with strace), and a catalog
// that outlives a power cut must not point to files that do not. So whoever lets DuckDB
// write into a folder names it before, and the commit looks for what is new there.
class NewFiles {
 public:
    // Forgets what the last transaction watched.
    void begin() { watched_.clear(); }
    // What lies in the folder now is not new, and nor is what was seen there before.
    Status watch(const std::string& folder);
    // Makes what is new in the watched folders durable, and its names in the folders.
    Status sync();

 private:
    std::map<std::string, std::unordered_set<std::string>> known_;  // Names by folder.
    std::set<std::string> watched_;
};

}  // namespace walbrook::ducklake
