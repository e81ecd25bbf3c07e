#pragma once

#include "walbrook/result.h"

#include <string>
#include <vector>

namespace walbrook::ducklake {

// DuckLake removes the files of a transaction whose COMMIT answers with an error; but the
// catalog may have it all the same: the answer of a server was lost, a disk failed after the
// write. (Seen with 1.5.5 and a catalog in Postgres: rows that the catalog lists, in a file
// that is gone.) So until it is known whether a commit happened, its files have a second name,
// a hard link of the same path below "<data_path>.walbrook-kept/".
// One thread at a time.
class KeptFiles {
 public:
    // `data_path` ends with a slash.
    explicit KeptFiles(std::string data_path);

    // Files below data_path; those that do not exist any more are left out.
    Status keep(const std::vector<std::string>& paths);
    bool empty() const { return paths_.empty(); }
    // Brings back what is missing. ErrorCode::corrupt_state if that cannot be.
    Status restore();
    // The outcome is known: the second names go.
    void forget();
    // What a process that died kept, whether or not its commit happened. What the catalog
    // does not know is for sweep_files().
    Status recover();

 private:
    std::string kept_name(const std::string& path) const;

    const std::string data_path_;
    const std::string folder_;
    std::vector<std::string> paths_;
};

}  // namespace walbrook::ducklake
