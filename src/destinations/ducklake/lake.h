#pragma once

#include "destinations/duckdb_engine/engine.h"
#include "destinations/ducklake/catalog.h"
#include "destinations/ducklake/kept_files.h"
#include "destinations/ducklake/new_files.h"
#include "destinations/ducklake/note.h"
#include "walbrook/lsn.h"
#include "walbrook/result.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

namespace walbrook::ducklake {

// That of our own tables in the lake (records.h).
inline constexpr std::string_view kRecordSchema = "_walbrook";

struct LakeOptions {
    Catalog catalog;
    std::string data_path;  // Absolute, ends with a slash.
    std::uint64_t pipeline_id = 0;
    std::uint64_t memory_bytes_max = 256ULL << 20;
    std::uint64_t memory_bytes_in_need = 0;
    std::string temp_directory;
};

// Whether a transaction that ended so may be in the lake: then the files that it wrote stay. (Of
// one that was fenced nobody knows whether it was before the other process began.)
bool may_be_there(const Status& transacted);

// DuckDB with the lake attached as `lake`, and its transactions. Two transactions of
// one process cannot overlap (the second COMMIT fails: SQLite does not upgrade a
// snapshot that has become old), so there is one writing session, used by one thread
// at a time.
class Lake {
 public:
    // Makes a lake where none is. One that is there stays as it is, until take_over(): a newer
    // walbrook, or that of another source, may go on with it.
    static Result<std::unique_ptr<Lake>> open(LakeOptions options);

    // From here on no other process can commit to a lake whose catalog is in Postgres (catalogs
    // that are files are locked: Fence), the catalog has our triggers, and what a process that
    // died left is whole. Before anything is written.
    Status take_over();

    duckdb_engine::Connection& session() { return *session_; }
    // What the session's statements may scan.
    duckdb_engine::Scans& scans() { return database_->scans(); }
    // For sessions of other threads, which have nothing to do with the lake. Thread-safe;
    // they keep the database that they began with.
    std::shared_ptr<duckdb_engine::Database> database() const;
    const LakeOptions& options() const { return options_; }
    // The prefix of DuckLake's own tables: `__ducklake_metadata_lake`.
    static std::string_view metadata() { return "__ducklake_metadata_lake"; }

    // Runs `work` in one transaction and commits it with the note; rolls back when it
    // fails. `what` is the commit's message as it is when `work` has ended. After an error of the
    // commit the catalog is attached again and asked whether it has the commit:
    // ErrorCode::unknown_outcome only if it does not answer. With a catalog in Postgres a few
    // errors in a row that tell nothing are ErrorCode::unavailable.
    Status transact(const std::string& what, const std::function<Result<Note>()>& work,
                    std::stop_token stop);

    // What an error of the catalog, outside of transact(), is to whoever tries again: see there.
    Error excused(Error error);
    // Whether transact() will call it unavailable: nobody should find another meaning in it before.
    bool is_excusable(const Error& error) const;

    // Folders into which the present transaction may write must be watched before.
    NewFiles& new_files() { return new_files_; }

    // A file that the catalog names: see KeptFiles.
    bool bring_back_file(const std::string& path) const {
        return kept_files_.bring_back_file(path);
    }

    // What the newest snapshot of ours says; nothing if there is none.
    Result<std::optional<Note>> newest_note();
    Status reattach();
    // What comes next begins with that. Also sessions of other threads may have made it so.
    bool is_broken() const { return is_broken_ || database_->is_invalid(); }
    // ErrorCode::fenced if another process has called take_over() since.
    Status check_fence();
    // Goes on with a new DuckDB, after one that is invalid a few times at most
    // (ErrorCode::corrupt_state). An old one grows: DuckLake keeps the statistics of each table
    // at each snapshot that it met, and not all that DuckDB keeps counts against its limit.
    Status reopen();

 private:
    explicit Lake(LakeOptions options);
    Result<std::unique_ptr<duckdb_engine::Database>> make_database() const;
    Status attach();
    Status try_transact(const std::string& what, const std::function<Result<Note>()>& work,
                        std::stop_token stop);
    Result<std::string> newest_extra_info();
    std::string last_commit_id() const;
    // Whether the last commit that this process tried, and nobody's after it, is the newest one in
    // the catalog. It is not in doubt any more: end_doubt().
    Result<bool> has_last_commit();
    // Of a catalog in a DuckDB file, which knows no triggers (catalog.cc, kTriggers).
    Status forget_bounds();
    Status commit(const std::string& what, const Note& note);
    // After a COMMIT that answered with an error: its server may still be at it, and what the
    // catalog says then may be over a moment later. From here on it has happened, or never will.
    Status end_doubt();
    Status resolve(const Error& error);
    // After a commit of unknown outcome, once the catalog answers again.
    Status settle_files();

    const LakeOptions options_;
    mutable std::mutex mutex_;  // Guards database_ where another thread may look.
    std::shared_ptr<duckdb_engine::Database> database_;
    // Those before it that are invalid: what is under way still has their scans.
    std::vector<std::shared_ptr<duckdb_engine::Database>> invalid_;
    std::unique_ptr<duckdb_engine::Connection> session_;
    NewFiles new_files_;
    KeptFiles kept_files_;
    std::string commit_prefix_;
    std::uint64_t commits_ = 0;
    std::optional<std::int64_t> epoch_;       // Of a catalog in Postgres.
    std::optional<std::int64_t> next_epoch_;  // That end_doubt() is about to take.
    bool is_in_doubt_ = false;                // Until end_doubt().
    bool has_bounds_ = false;                 // That forget_bounds() has to look at.
    bool is_broken_ = false;                  // It is attached again before it is used.
    int excused_ = 0;                         // Since the last transaction that went well.
};

}  // namespace walbrook::ducklake
