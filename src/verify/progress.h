#pragma once

#include "verify/report.h"
#include "walbrook/result.h"

#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

namespace walbrook::verify {

// There is one comparison at a time in a work_dir, of whichever process: each holds what the
// pipeline reads for a moment, and takes the other's position from it.
class ComparisonLock {
 public:
    // ErrorCode::conflict: there is one.
    static Result<ComparisonLock> take(const std::string& work_dir);
    ~ComparisonLock();
    ComparisonLock(ComparisonLock&& other) noexcept;
    ComparisonLock& operator=(ComparisonLock&&) = delete;

 private:
    explicit ComparisonLock(int file) : file_(file) {}
    int file_;
};

// What a comparison that did not end had found so far: a file with lines of JSON, of which the last
// one of a table counts.
class Progress {
 public:
    explicit Progress(std::string path) : path_(std::move(path)) {}

    // Those of positions that were named within this time: what is older is no news, and what is
    // of the future is of a clock that has gone back.
    std::vector<TableResult> load(std::int64_t from_secs, std::int64_t to_secs) const;
    // Forgets what was there, except these.
    void begin(const std::vector<TableResult>& done);
    void add(const TableResult& table);
    void end();

 private:
    const std::string path_;
    std::ofstream out_;
};

}  // namespace walbrook::verify
