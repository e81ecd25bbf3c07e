#pragma once

#include "walbrook/lsn.h"
#include "walbrook/result.h"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

struct sqlite3;
struct sqlite3_stmt;

namespace walbrook {

// One SQLite file, opened for reading and writing. SQLite's errors become ours in one
// place: busy and input/output trouble are `unavailable`, a damaged file is
// `corrupt_state`, a file that may not be opened is `permission`.
class SqliteSession {
 public:
    // Makes the file (mode 0600) where there is none.
    static Result<SqliteSession> open(const std::string& path);

    // One or more statements without parameters or rows.
    Status exec(const std::string& sql);
    sqlite3* handle() const { return handle_.get(); }
    // What SQLite says about its last failure, as our error; the file's name follows `what`.
    Error error(std::string_view what) const;

 private:
    struct Close {
        void operator()(sqlite3* handle) const;
    };
    SqliteSession(sqlite3* handle, std::string path) : path_(std::move(path)), handle_(handle) {}
    std::string path_;
    std::unique_ptr<sqlite3, Close> handle_;
};

// A prepared statement: parameters are added in order, then rows are taken. The first
// failure is remembered; next() and done() report it.
class SqliteStatement {
 public:
    SqliteStatement(SqliteSession& session, const char* sql);

    SqliteStatement& add(std::int64_t value);
    SqliteStatement& add(std::string_view text);
    // Text of fixed width, whose order is the order of positions: "00000016/B374D848".
    SqliteStatement& add(Lsn lsn);

    // True when there is a row to read.
    Result<bool> next();
    // Runs a statement without rows to its end.
    Status done();

    std::int64_t integer(int column) const;
    std::string text(int column) const;
    Lsn lsn(int column) const;  // 0 when it is not one.

 private:
    struct Finalize {
        void operator()(sqlite3_stmt* statement) const;
    };
    SqliteSession& session_;
    std::unique_ptr<sqlite3_stmt, Finalize> statement_;
    int parameters_ = 0;
    bool failed_ = false;
};

// BEGIN IMMEDIATE; rolled back at the end of the scope unless committed.
class SqliteTransaction {
 public:
    static Result<SqliteTransaction> begin(SqliteSession& session);
    SqliteTransaction(SqliteTransaction&& other) noexcept;
    SqliteTransaction& operator=(SqliteTransaction&&) = delete;
    ~SqliteTransaction();
    Status commit();

 private:
    explicit SqliteTransaction(SqliteSession& session) : session_(&session) {}
    SqliteSession* session_;  // nullptr once it is over.
};

}  // namespace walbrook
