#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "walbrook/destination.h"

namespace walbrook {

// Discards the data but receives complete batches and folds every value into a
// checksum, which equals the one that `MemoryDestination` computes of the same
// changes: it measures the engine without a store behind it.
class BlackholeDestination : public Destination {
 public:
    static std::unique_ptr<BlackholeDestination> create();
    // Over all values received so far, whatever their order. Thread-safe.
    virtual std::uint64_t checksum() const = 0;
    virtual std::uint64_t values() const = 0;
};

// Keeps every table in memory as rows of text; the oracle of tests. A second
// MemoryDestination made from the same MemoryLake sees what the first one left, as
// after a restart.
struct MemoryLake;
class MemoryDestination : public Destination {
 public:
    static std::shared_ptr<MemoryLake> make_lake();
    static std::unique_ptr<MemoryDestination> create(std::shared_ptr<MemoryLake> lake);
    // Rows of a visible table as text, nulls as "\\N", sorted. Thread-safe.
    virtual std::vector<std::vector<std::string>> rows(const std::string& schema,
                                                       const std::string& table) const = 0;
    // The same, but a null is nothing, and so is a table that is not there. Needs no open().
    using Row = std::vector<std::optional<std::string>>;
    virtual std::optional<std::vector<Row>> read(const std::string& schema,
                                                 const std::string& table) const = 0;
    // As BlackholeDestination's.
    virtual std::uint64_t checksum() const = 0;
};

// walbrook_ducklake
struct DuckLakeConfig {
    // Where the catalog is: a path (a SQLite file), "duckdb:PATH" or "postgres:DSN".
    std::string catalog;
    // Folder of the Parquet files; made if missing. Stored absolute.
    std::string data_path;
    std::vector<std::string> problems() const;
};
std::unique_ptr<Destination> make_ducklake_destination(DuckLakeConfig config);

}  // namespace walbrook
