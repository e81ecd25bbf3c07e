#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <stop_token>
#include <string>
#include <vector>

#include "base/clock.h"
#include "destinations/ducklake/lake.h"
#include "destinations/ducklake/tables.h"
#include "destinations/ducklake/thinning.h"

namespace walbrook::ducklake {

// Keeps the lake quick for readers and for us: few snapshots, few rows in the catalog,
// few small files, few deleted rows in files, no files that nobody needs. In small steps
// between flushes; what is due is counted while flushes are written, so that a call with
// nothing to do costs nothing.
//
// Small files that have deleted rows are merged by deleting and inserting their rows
// again: DuckLake merges only files without deletions, and rewrites either all files
// over a share of deleted rows or none, which takes as long as the table is large.
class Upkeep {
 public:
    explicit Upkeep(Lake& lake) : lake_(lake) {}

    // A flush touched this table, and may have left so many rows in the catalog or, if
    // there were more, files.
    void count_change(std::uint32_t oid, std::size_t inserted, std::size_t deleted);
    void count_quiet_flush() { ++quiet_flushes_; }
    void count_commit() { ++commits_; }

    // Takes the most urgent step, if one is due. `note` is that of the newest snapshot.
    Status step(const Tables& tables, const Note& note, const std::stop_token& stop);

 private:
    struct Due {
        std::size_t inlined_rows = 0;
        std::size_t inlined_deletes = 0;
        std::size_t files = 0;
        bool has_dead_files = false;
        bool is_flushed = false;  // The step before was to empty the catalog.
    };
    struct File {
        std::string path;  // As `filename` shows it.
        std::int64_t rows = 0;
        std::int64_t deleted = 0;
        std::int64_t bytes = 0;
    };

    Result<bool> has_fixed_files(const TableRecord& record, const std::stop_token& stop);
    Status thin(const std::stop_token& stop);
    Status clean(const std::stop_token& stop);
    Status flush_records(const Note& note, const std::stop_token& stop);
    // A statement on one table, in a transaction of its own.
    Status call(const TableRecord& record, const Note& note, const std::string& function,
                const std::string& more, const std::stop_token& stop);
    Status step_of(const TableRecord& record, Due& due, const Note& note,
                   const std::stop_token& stop);
    Status flush_inlined(const TableRecord& record, Due& due, const Note& note,
                         const std::stop_token& stop);
    Status renew_schema_version(const TableRecord& record);
    Result<std::vector<File>> files_of(const TableRecord& record);
    Status compact(const TableRecord& record, Due& due, const Note& note,
                   const std::stop_token& stop);
    Status write_again(const TableRecord& record, const std::vector<File>& files, const Note& note,
                       const std::stop_token& stop);
    Status rewrite_dead(const TableRecord& record, const Note& note, const std::stop_token& stop);

    Lake& lake_;
    std::map<std::uint32_t, Due> due_;  // By oid.
    std::size_t quiet_flushes_ = 0;
    std::size_t commits_ = 0;
    Instant thinned_ = now();
    Instant cleaned_ = now();
};

}  // namespace walbrook::ducklake
