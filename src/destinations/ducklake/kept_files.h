#pragma once

#include "walbrook/result.h"

#include <chrono>
#include <string>
#include <string_view>
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

    // Files below data_path; those that do not exist any more are left out. Where the file system
    // gives them no second names it goes on without.
    Status keep(const std::vector<std::string>& paths);
    bool empty() const { return paths_.empty(); }
    // The commit happened: brings back what is missing. ErrorCode::corrupt_state if something has
    // no second name.
    Status restore();
    // The outcome is known: the second names go.
    void forget();
    // What a process that died kept, whether or not its commit happened. What the catalog
    // does not know is for sweep_files(). Second names that are younger than `age_min` stay: their
    // process may only be cut off, and brings its files back when DuckLake has removed them.
    Status recover(std::chrono::hours age_min);
    // The same for those below a folder of data_path, so that they can be read; but their second
    // names stay, for whoever goes on with the lake. What cannot be brought back is not there.
    void bring_back(std::string_view folder);
    // The same for a file that the catalog names: its commit has happened, and whoever kept it may
    // have died since. False: it is not there and has no second name.
    bool bring_back_file(const std::string& path) const;

 private:
    std::string kept_name(const std::string& path) const;
    // Returns those that have no second name, in words.
    Result<std::string> bring_back_all();
    // Those that have a second name below this folder.
    Result<std::vector<std::string>> list_kept(const std::string& folder) const;

    const std::string data_path_;
    const std::string folder_;
    std::vector<std::string> paths_;
};

}  // namespace walbrook::ducklake
