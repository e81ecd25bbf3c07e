#pragma once

#include "batch/net_change.h"
#include "destinations/ducklake/lake.h"
#include "destinations/ducklake/tables.h"
#include "destinations/ducklake/upkeep.h"
#include "walbrook/batch.h"

#include <cstddef>
#include <map>
#include <memory>
#include <stop_token>
#include <utility>
#include <vector>

namespace walbrook::ducklake {

// Writes one flush within one lake transaction. Batches of a table are folded into their
// net change first, so that each row of the lake is touched once; what is folded but not
// written is bounded in bytes.
class FlushWriter {
 public:
    FlushWriter(Lake& lake, Tables& tables, std::stop_token stop)
        : lake_(lake), changes_(lake, tables), stop_(std::move(stop)) {}

    // All items to the end. On an error the transaction must be rolled back.
    Status write(Flush& flush);
    // False: the items came to nothing.
    bool has_written() const { return has_written_ || changes_.has_written(); }
    // False: DuckLake may find that the transaction changes nothing, and make no snapshot.
    bool makes_snapshot() const {
        return changes_.has_written() || (has_written_ && !may_cancel_out_);
    }
    // "publish" if it makes a copy visible, "slice" if all of it goes to copies that nobody
    // sees yet, else "flush".
    std::string kind() const;
    // After a rollback: removes the files that were written for it.
    void remove_files();
    // Tells the upkeep what was written, once it is committed.
    void report_to(Upkeep& upkeep) const;

 private:
    // Changes of one table to one target under one version.
    struct Folded {
        TableSchemaPtr schema;
        CopyTargetPtr copy;
        std::unique_ptr<NetChangeBuilder> builder;
        std::size_t bytes = 0;
    };
    using Key = std::pair<std::uint32_t, bool>;  // Table oid; to its shadow?

    Status write_item(const FlushItem& item);
    Status fold(const ChangeBatch& batch);
    Status write_folded(Folded& folded);
    Status replace(const Replace& replace);
    Status write_folded_of(TableId table);
    Status write_all_folded();
    Result<std::uint64_t> remove_found(const Target& target, const RowBatch& keys);
    // Each fails if the lake holds more or fewer of these rows than expected.
    Status merge(const Target& target, const NetChange& change);
    // How many were there.
    Result<std::uint64_t> remove_by_key(const Target& target, const RowBatch& keys);
    Result<std::uint64_t> remove_whole_rows(const Target& target, const RowBatch& rows);
    Status insert(const Target& target, const RowBatch& rows);
    Status insert_merged(const Target& target);
    // A Parquet file of our own among the table's (floats.h says when).
    Result<std::string> new_file(const Target& target);
    Status add_file(const Target& target, const std::string& path);

    Lake& lake_;
    TableChanges changes_;
    const std::stop_token stop_;
    std::map<Key, Folded> folded_;
    std::size_t folded_bytes_ = 0;
    bool has_written_ = false;
    bool has_published_ = false;
    bool has_visible_ = false;
    bool may_cancel_out_ = false;  // A table was written to twice.
    struct Written {
        std::uint32_t oid;
        bool has_inserted;
        std::uint64_t deleted;
    };
    std::vector<Written> written_;
    std::vector<std::string> files_;  // Of our own, in the transaction.
};

}  // namespace walbrook::ducklake
