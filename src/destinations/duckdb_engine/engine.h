#pragma once

#include "destinations/duckdb_engine/scan.h"
#include "walbrook/result.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

namespace walbrook::duckdb_engine {

struct DatabaseOptions {
    std::uint64_t memory_bytes_max = 256ULL << 20;
    std::uint64_t memory_bytes_in_need = 0;  // What give_more() goes up to.
    unsigned threads = 2;
    // It spills into a folder of its own there. Empty: nothing is spilled.
    std::string temp_directory;
    std::vector<std::string> extensions;  // Names: "ducklake", "icu".
    std::vector<std::string> secrets;     // Never in an error, whatever DuckDB says.
};

// The folder with the signed extensions: $WALBROOK_DUCKDB_EXTENSIONS, else
// `extensions` beside libduckdb (as installed), else what the build was told.
std::string extension_folder();

// A small result, held whole in memory; every cell as DuckDB prints it.
class QueryResult {
 public:
    std::size_t rows() const { return rows_; }
    const std::vector<std::string>& columns() const { return columns_; }
    const std::optional<std::string>& text(std::size_t row, std::size_t column) const {
        return cells_[row * columns_.size() + column];
    }
    // Nothing for null and for what is no whole number.
    std::optional<std::int64_t> number(std::size_t row, std::size_t column) const;
    // Rows that the statement inserted, deleted or updated.
    std::uint64_t rows_changed() const { return rows_changed_; }

 private:
    friend class Connection;
    std::vector<std::string> columns_;
    std::vector<std::optional<std::string>> cells_;
    std::size_t rows_ = 0;
    std::uint64_t rows_changed_ = 0;
};

// One session. Used by one thread at a time, except interrupt().
class Connection {
 public:
    ~Connection();
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    // Runs one statement, or several of which the last one's result counts. A stop
    // interrupts it: ErrorCode::cancelled. Nested values are null in the result: cast
    // them to VARCHAR.
    Result<QueryResult> query(std::string_view sql, std::stop_token stop = {});
    Status run(std::string_view sql, std::stop_token stop = {});
    // run() for a statement that reads `source` as walbrook_scan: when that fails, its
    // error is the answer, not DuckDB's. Returns the rows changed.
    Result<std::uint64_t> change(std::string_view sql, ScanSource& source,
                                 std::stop_token stop = {});

 private:
    friend class Database;
    struct Handle;
    explicit Connection(std::unique_ptr<Handle> handle);
    std::unique_ptr<Handle> handle_;
};

// Whether DuckDB said so: of an error of Connection, with whatever context before it.
bool is_from_duckdb(const Error& error);

// An in-memory DuckDB with our table function and the extensions loaded, which
// reaches nothing by itself: extensions are neither installed nor loaded on demand.
class Database {
 public:
    static Result<std::unique_ptr<Database>> create(const DatabaseOptions& options);
    ~Database();
    Database(const Database&) = delete;
    Database& operator=(const Database&) = delete;

    // Thread-safe. All connections must be gone before the database is.
    Result<std::unique_ptr<Connection>> connect();
    Scans& scans() { return scans_; }

    // True once a statement has met an error of DuckDB's own making: the instance then refuses
    // whatever is asked of it, and only a new one goes on. What is left of this one stays in memory
    // until the process ends: DuckDB ends the process where its destructors fail. Thread-safe.
    bool is_invalid() const;

    // After is_out_of_memory(): lets it take more, for good. False when it may not. Thread-safe.
    bool give_more();
    bool may_have_more() const { return memory_bytes_ < memory_bytes_in_need_; }
    std::uint64_t memory_bytes() const { return memory_bytes_; }

 private:
    struct Handle;
    explicit Database(std::unique_ptr<Handle> handle);
    std::shared_ptr<const std::vector<std::string>> secrets_;
    Scans scans_;  // Outlives handle_, whose functions refer to it.
    std::unique_ptr<Handle> handle_;
    std::atomic<std::uint64_t> memory_bytes_ = 0;
    std::uint64_t memory_bytes_in_need_ = 0;
};

// Whether DuckDB has refused something because it would need more memory than it may take.
bool is_out_of_memory(const Error& error);
// Whether that may be about these bytes, and not only about all that happens beside them.
bool is_large(const Database& database, std::uint64_t bytes);
// That error, when it is about values of so many bytes and there is no more memory to be had:
// nothing but other values heals it.
Error too_large(const Database& database, std::uint64_t bytes);

}  // namespace walbrook::duckdb_engine
