#pragma once

#include "walbrook/destinations.h"
#include "walbrook/result.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace walbrook::ducklake {

// Of DuckLake's tables, as the extension that we bring makes them.
inline constexpr std::string_view kCatalogVersion = "1.0";
// ErrorCode::corrupt_state for a newer one.
Status check_catalog_version(const std::string& version);

enum class CatalogKind : std::uint8_t { sqlite, duckdb, postgres };

// Where the lake keeps its metadata.
struct Catalog {
    CatalogKind kind = CatalogKind::sqlite;
    std::string target;  // An absolute path, or a libpq connection string.

    // As DuckDB's ATTACH takes it: "ducklake:sqlite:/path". One in Postgres gets time-outs where
    // the connection string says nothing of them.
    std::string attach_uri() const;
    bool is_file() const { return kind != CatalogKind::postgres; }
    // What no error may repeat: the connection string, its password, and the parts into which
    // libpq tears a password that was not escaped. Longest first.
    std::vector<std::string> secrets() const;
};

// Nothing is checked here: see DuckLakeConfig::problems().
Catalog parse_catalog(const std::string& text);

// Why the text names no catalog (mysql://…, ducklake:…); empty if it may. Does not repeat it.
std::string catalog_form_problem(std::string_view text);

// The DuckDB extensions that it takes.
std::vector<std::string> extensions_of(CatalogKind kind);

// Why libpq cannot use the connection string of a catalog in Postgres; empty if it can.
std::string connection_string_problem(const Catalog& catalog);

// Makes the folder of a catalog file, and refuses a network file system (neither SQLite's
// WAL mode nor file locks can be trusted there) and a SQLite file of a newer DuckLake. A lake
// that is there stays as it is. Only while nothing else of this process has the file open, as
// below.
Status check_catalog_file(const Catalog& catalog);
// Puts the SQLite file of a lake into WAL mode, in which readers do not stop our commits, and
// makes our triggers in it.
//
// Only while this process has no other connection to the file: it uses another SQLite
// library than DuckDB's extension, and closing any descriptor of a file drops all
// POSIX locks that the process holds on it (sqlite.org, "How To Corrupt", 2.2).
Status prepare_sqlite_catalog(const std::string& path);

// One writer of a catalog file: a lock on "<catalog>.walbrook-lock". A stopped process
// keeps it and a dead one loses it, so whoever holds it is the only one that can
// commit, and no epoch is needed in transactions.
class Fence {
 public:
    // ErrorCode::fenced when another process (or another object of this one) has it.
    static Result<Fence> take(const std::string& catalog_path);
    Fence(Fence&& other) noexcept;
    Fence& operator=(Fence&& other) noexcept;
    ~Fence();

 private:
    explicit Fence(int descriptor) : descriptor_(descriptor) {}
    int descriptor_ = -1;
};

}  // namespace walbrook::ducklake
