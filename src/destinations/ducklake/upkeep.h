#pragma once

#include "base/clock.h"
#include "destinations/ducklake/compaction.h"
#include "destinations/ducklake/lake.h"
#include "destinations/ducklake/tables.h"
#include "destinations/ducklake/thinning.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <stop_token>
#include <vector>

namespace walbrook::ducklake {

// Keeps the lake quick for readers and for us: few snapshots, few small files, few deleted
// rows in files, no files that nobody needs. In small steps between flushes; what is due is
// counted while flushes are written, so that a call with nothing to do costs nothing.
class Upkeep {
 public:
    explicit Upkeep(Lake& lake) : lake_(lake) {}

    // A flush wrote to this table: a new file if it inserted.
    void count_change(std::uint32_t oid, bool has_inserted, std::size_t deleted);
    // The lake is new: nobody left anything to be done.
    void expect_nothing() { thinned_ = cleaned_ = now(); }
    void count_quiet_flush() { ++quiet_flushes_; }
    void count_commit() { ++commits_; }

    // What shows this position stays until then, also for a query that is at it already.
    void keep_readable(Lsn position, Instant until) { wanted_.keep(position, now(), until); }

    // Takes the most urgent step, if one is due. `note` is that of the newest snapshot.
    Status step(const Tables& tables, const Note& note, const std::stop_token& stop);

 private:
    struct Due {
        std::size_t files = 0;
        std::size_t deleted = 0;  // Rows.
    };

    Status thin(const std::stop_token& stop);
    Status clean(const std::stop_token& stop);
    Status flush_records(const Note& note, const std::stop_token& stop);
    Result<std::vector<DataFile>> files_of(const TableRecord& record);
    Status compact(const TableRecord& record, Due& due, const Note& note,
                   const std::stop_token& stop);
    Status write_again(const TableRecord& record, const std::vector<DataFile>& files,
                       const Note& note, const std::stop_token& stop);

    Lake& lake_;
    std::map<std::uint32_t, Due> due_;  // By oid.
    std::uint32_t last_ = 0;            // Whose turn it was.
    std::size_t quiet_flushes_ = 0;
    std::size_t commits_ = 0;
    WantedPositions wanted_;
    std::optional<Instant> thinned_;
    std::optional<Instant> cleaned_;
};

}  // namespace walbrook::ducklake
