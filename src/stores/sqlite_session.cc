#include "stores/sqlite_session.h"

#include "base/narrow.h"
#include "base/private_files.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include <utility>

namespace walbrook {
namespace {

// How long another connection's transaction is waited for.
constexpr int kBusyTimeoutMs = 10'000;

ErrorCode code_of(int sqlite_code) {
    switch (sqlite_code & 0xff) {  // The lower byte is the primary code.
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
        case SQLITE_IOERR:
        case SQLITE_FULL:
        case SQLITE_NOMEM:
            return ErrorCode::unavailable;
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
            return ErrorCode::corrupt_state;
        case SQLITE_CANTOPEN:
        case SQLITE_PERM:
        case SQLITE_AUTH:
        case SQLITE_READONLY:
            return ErrorCode::permission;
        default:
            return ErrorCode::internal;
    }
}

std::string fixed_width(Lsn lsn) {
    return fmt::format("{:08X}/{:08X}", lsn.value >> 32, lsn.value & 0xFFFFFFFFULL);
}

}  // namespace

void SqliteSession::Close::operator()(sqlite3* handle) const { sqlite3_close_v2(handle); }
void SqliteStatement::Finalize::operator()(sqlite3_stmt* statement) const {
    sqlite3_finalize(statement);
}

Result<SqliteSession> SqliteSession::open(const std::string& path) {
    // SQLite would make the file with the umask's mode; the WAL beside it copies ours.
    if (Status made = make_private_file(path); !made) {
        return Error(ErrorCode::permission, std::move(made).error().message())
            .with_context("open the state file");
    }
    sqlite3* handle = nullptr;
    const int code = sqlite3_open_v2(path.c_str(), &handle, SQLITE_OPEN_READWRITE, nullptr);
    SqliteSession session(handle, path);
    if (code != SQLITE_OK) return session.error("open the state file");
    sqlite3_extended_result_codes(handle, 1);
    sqlite3_busy_timeout(handle, kBusyTimeoutMs);
    return session;
}

Status SqliteSession::exec(const std::string& sql) {
    if (sqlite3_exec(handle_.get(), sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK) return {};
    return error("write the state file");
}

Error SqliteSession::error(std::string_view what) const {
    const int code = sqlite3_errcode(handle_.get());
    const bool is_full = (code & 0xff) == SQLITE_FULL;
    return Error(code_of(code),
                 fmt::format("{} {}: {}{}", what, path_, sqlite3_errmsg(handle_.get()),
                             is_full ? "; free some space there" : ""));
}

SqliteStatement::SqliteStatement(SqliteSession& session, const char* sql) : session_(session) {
    sqlite3_stmt* statement = nullptr;
    failed_ = sqlite3_prepare_v2(session.handle(), sql, -1, &statement, nullptr) != SQLITE_OK;
    statement_.reset(statement);
}

SqliteStatement& SqliteStatement::add(std::int64_t value) {
    failed_ = failed_ || sqlite3_bind_int64(statement_.get(), ++parameters_, value) != SQLITE_OK;
    return *this;
}

SqliteStatement& SqliteStatement::add(std::string_view text) {
    failed_ =
        failed_ || sqlite3_bind_text64(statement_.get(), ++parameters_, text.data(), text.size(),
                                       // The destructor SQLITE_TRANSIENT: SQLite makes a copy.
                                       // NOLINTNEXTLINE(performance-no-int-to-ptr)
                                       reinterpret_cast<sqlite3_destructor_type>(-1),
                                       SQLITE_UTF8) != SQLITE_OK;
    return *this;
}

SqliteStatement& SqliteStatement::add(Lsn lsn) { return add(std::string_view(fixed_width(lsn))); }

Result<bool> SqliteStatement::next() {
    if (failed_) return session_.error("prepare a statement for the state file");
    const int code = sqlite3_step(statement_.get());
    if (code == SQLITE_ROW) return true;
    if (code == SQLITE_DONE) return false;
    return session_.error("use the state file");
}

Status SqliteStatement::done() {
    WALBROOK_TRY(const bool row, next());
    if (row) return Error(ErrorCode::internal, "a statement for the state file gave rows");
    return {};
}

std::int64_t SqliteStatement::integer(int column) const {
    return sqlite3_column_int64(statement_.get(), column);
}

std::string SqliteStatement::text(int column) const {
    const unsigned char* bytes = sqlite3_column_text(statement_.get(), column);
    const int size = sqlite3_column_bytes(statement_.get(), column);
    if (bytes == nullptr) return {};
    return {bytes, bytes + size};
}

Lsn SqliteStatement::lsn(int column) const { return parse_lsn(text(column)).value_or(Lsn{}); }

Result<SqliteTransaction> SqliteTransaction::begin(SqliteSession& session) {
    // IMMEDIATE takes the write lock now: later there would be no waiting for it.
    WALBROOK_RETURN_IF_ERROR(session.exec("begin immediate"));
    return SqliteTransaction(session);
}

SqliteTransaction::SqliteTransaction(SqliteTransaction&& other) noexcept
    : session_(std::exchange(other.session_, nullptr)) {}

SqliteTransaction::~SqliteTransaction() {
    // Its failure means that SQLite has rolled back by itself.
    if (session_ != nullptr) session_->exec("rollback").ignore();
}

Status SqliteTransaction::commit() {
    WALBROOK_RETURN_IF_ERROR(session_->exec("commit"));
    session_ = nullptr;
    return {};
}

}  // namespace walbrook
