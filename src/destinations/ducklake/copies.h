#pragma once

#include "destinations/ducklake/lake.h"
#include "walbrook/batch.h"

#include <cstdint>
#include <deque>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace walbrook::ducklake {

// Rows of initial copies: each unit becomes one Parquet file, written by its own thread
// and session outside of any lake transaction, in the folder that the shadow table will
// have:
//
//   <data_path>/<schema's folder>/_walbrook_copy_<oid>_<attempt>/
//       walbrook_<oid>_<attempt>_<unit>_<random>.parquet
//
// finish() makes the shadow table and registers all its files in one short transaction.
// A crash before leaves only files that the catalog does not know; sweep_files() finds
// them by their names.
class Copies {
 public:
    explicit Copies(Lake& lake) : lake_(lake) {}

    // What the one thread that is not a copier does:
    // Forgets earlier attempts and their files. `schema_folder` is relative to data_path.
    Status begin(const CopyTargetPtr& copy, const std::string& schema_folder);
    // Within a lake transaction; may be repeated when that fails. Returns the folder.
    Result<std::string> register_files(const CopyTargetPtr& copy);
    // The files now belong to the catalog.
    void finish(const CopyTargetPtr& copy);
    void discard(const CopyTargetPtr& copy);

    // Thread-safe.
    Status write(const CopyUnit& unit, RowReader& rows, const std::stop_token& stop);

 private:
    // fsync runs while the next unit is already read: only what is registered must be
    // durable.
    struct File {
        std::string path;
        std::shared_future<Status> synced;
    };
    struct Copy {
        CopyTargetPtr target;
        std::string folder;                   // Absolute.
        std::map<std::uint32_t, File> files;  // By unit.
    };
    struct Session {
        std::shared_ptr<duckdb_engine::Database> database;  // Outlives the connection.
        std::unique_ptr<duckdb_engine::Connection> connection;
    };
    Result<Session> take_session();
    void return_session(Session session);
    void forget(const CopyTarget& target);  // mutex_ is held.
    Copy* find(const CopyTarget& target);   // mutex_ is held.
    static void remove(const File& file);
    // Begins the fsync of a file; waits for older ones when many are on their way.
    std::shared_future<Status> start_sync(std::string path);

    Lake& lake_;
    std::mutex mutex_;                              // Guards everything below.
    std::map<std::uint32_t, Copy> copies_;          // By oid.
    std::vector<Session> sessions_;                 // Idle ones.
    std::deque<std::shared_future<Status>> syncs_;  // The newest.
};

// Removes files that a dead process left: of copies, and those that DuckDB wrote for a
// transaction that was not committed. Only while nothing writes. Returns how many.
Result<std::size_t> sweep_files(Lake& lake);

}  // namespace walbrook::ducklake
