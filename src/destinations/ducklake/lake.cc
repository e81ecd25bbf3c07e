#include "destinations/ducklake/lake.h"

#include "base/failpoints.h"
#include "destinations/duckdb_engine/sql.h"
#include "destinations/ducklake/own_files.h"
#include "destinations/ducklake/postgres_catalog.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <utility>

namespace walbrook::ducklake {

using duckdb_engine::Connection;
using duckdb_engine::Database;
using duckdb_engine::DatabaseOptions;
using duckdb_engine::QueryResult;
using duckdb_engine::quote_literal;

namespace {

// How long SQLite waits for a lock of another process: only a writer can hold one
// that matters in WAL mode, and only for moments.
constexpr int kBusyTimeoutMs = 30'000;
// In a row.
constexpr int kExcusedMax = 5;
// Each stays in memory, with its sessions and what those have locked: the end of the process heals.
constexpr std::size_t kInvalidMax = 3;
// By then the kernel has told a client of a connection that is dead (tcp_keepalive_time: 2 hours).
constexpr std::chrono::hours kKeptForOthers{24};

// Those of each kind of transaction that has some.
Status failpoint_of(std::string_view when, const std::string& what) {
    const std::string name = fmt::format("lake.{}_{}", when, what);
    const bool is_one =
        std::find(kFailpoints.begin(), kFailpoints.end(), name) != kFailpoints.end();
    return is_one ? failpoint(name) : Status();
}

// What a server says to a client that will never be let in, and libpq about a connection string
// that it cannot use.
bool is_about_configuration(const std::string& message) {
    for (const std::string_view words :
         {"authentication failed", "no password supplied", "does not exist", "no pg_hba.conf entry",
          "invalid connection option", "missing \"=\"", "could not translate host name",
          "invalid sslmode value", "invalid port number", "invalid URI", "invalid value"}) {
        if (message.find(words) != std::string::npos) return true;
    }
    return false;
}

// DuckDB leaves the file that it could not write to its end, and DuckLake knows of none that is
// not complete: on a full disk each attempt would take what has become free since the last one.
// The error names it. (Seen with 1.5.5.)
void remove_unfinished_file(const std::string& error, const std::string& data_path) {
    constexpr std::string_view kBefore = "Could not write file \"";
    const std::size_t found = error.find(kBefore);
    if (found == std::string::npos) return;
    const std::size_t begin = found + kBefore.size();
    const std::string path = error.substr(begin, error.find("\": ", begin) - begin);
    const std::string name = std::filesystem::path(path).filename().string();
    if (path.starts_with(data_path) && is_own_file(name)) remove_file(path);
}

// What DuckLake says of a catalog of another version: "… catalog version is 1.1, but the …".
Status refuse_newer_catalog(const std::string& error) {
    constexpr std::string_view kBefore = "catalog version is ";
    const std::size_t found = error.find(kBefore);
    if (found == std::string::npos) return {};
    const std::size_t begin = found + kBefore.size();
    return check_catalog_version(error.substr(begin, error.find(',', begin) - begin));
}

}  // namespace

bool may_be_there(const Status& transacted) {
    return transacted || transacted.error().code() == ErrorCode::unknown_outcome ||
           transacted.error().code() == ErrorCode::fenced;
}

Lake::Lake(LakeOptions options)
    : options_(std::move(options)),
      kept_files_(options_.data_path),
      commit_prefix_(random_suffix()) {}

Result<std::unique_ptr<Lake>> Lake::open(LakeOptions options) {
    std::unique_ptr<Lake> lake(new Lake(std::move(options)));
    WALBROOK_RETURN_IF_ERROR(check_catalog_file(lake->options_.catalog));
    WALBROOK_TRY(lake->database_, lake->make_database());
    if (Status status = lake->attach(); !status) {
        if (lake->options_.catalog.kind != CatalogKind::postgres ||
            !is_about_configuration(status.error().message())) {
            return status.error();
        }
        return Error(ErrorCode::config,
                     "destination.ducklake.catalog: " + status.error().message());
    }
    lake->has_bounds_ = true;
    lake->kept_files_.bring_back(kRecordSchema);
    return lake;
}

Result<std::unique_ptr<Database>> Lake::make_database() const {
    DatabaseOptions database;
    database.memory_bytes_max = options_.memory_bytes_max;
    database.memory_bytes_in_need = options_.memory_bytes_in_need;
    // Each session works in its caller's thread, and copies run several sessions: with
    // threads of its own DuckDB hands them the work and lets the caller spin meanwhile.
    database.threads = 1;
    database.temp_directory = options_.temp_directory;
    database.extensions = extensions_of(options_.catalog.kind);
    database.secrets = options_.catalog.secrets();
    return Database::create(database);
}

std::shared_ptr<Database> Lake::database() const {
    const std::lock_guard lock(mutex_);
    return database_;
}

Status Lake::attach() {
    WALBROOK_TRY(session_, database_->connect());
    WALBROOK_RETURN_IF_ERROR(session_->run("SET TimeZone = 'UTC'"));
    // Readers could miss rows in the catalog (docs/design/ducklake.md, "What readers may see").
    std::string sql = fmt::format("ATTACH {} AS lake (DATA_PATH {}, DATA_INLINING_ROW_LIMIT 0",
                                  quote_literal(options_.catalog.attach_uri()),
                                  quote_literal(options_.data_path));
    if (options_.catalog.kind == CatalogKind::sqlite) {
        sql += fmt::format(", META_BUSY_TIMEOUT {}", kBusyTimeoutMs);
    }
    if (Status status = session_->run(sql + ")"); !status) {
        WALBROOK_RETURN_IF_ERROR(refuse_newer_catalog(status.error().message()));
        return std::move(status).error().with_context("attach the lake's catalog");
    }
    is_broken_ = false;
    return {};
}

Status Lake::forget_bounds() {
    if (!has_bounds_ || options_.catalog.kind != CatalogKind::duckdb) return {};
    WALBROOK_RETURN_IF_ERROR(session_->run(fmt::format(
        "UPDATE {}.ducklake_table_column_stats SET min_value = NULL, max_value = NULL, "
        "contains_null = true, contains_nan = NULL WHERE min_value IS NOT NULL OR max_value IS NOT "
        "NULL OR contains_null IS DISTINCT FROM true OR contains_nan IS NOT NULL",
        metadata())));
    has_bounds_ = false;
    return {};
}

Status Lake::take_over() {
    switch (options_.catalog.kind) {
        case CatalogKind::sqlite:
            WALBROOK_RETURN_IF_ERROR(session_->run("DETACH lake"));
            WALBROOK_RETURN_IF_ERROR(prepare_sqlite_catalog(options_.catalog.target));
            WALBROOK_RETURN_IF_ERROR(attach());
            break;
        case CatalogKind::duckdb:  // See forget_bounds().
            break;
        case CatalogKind::postgres: {
            WALBROOK_TRY(epoch_, take_epoch(*session_));
            break;
        }
    }
    // The process before us may still be there, cut off, and may still remove what it wrote.
    return kept_files_.recover(epoch_ ? kKeptForOthers : std::chrono::hours(0));
}

Status Lake::check_fence() {
    if (!epoch_) return {};
    WALBROOK_TRY(const std::int64_t newest, newest_epoch(*session_));
    if (newest == *epoch_) return {};
    return overtaken();
}

Status Lake::settle_files() {
    if (kept_files_.empty()) return {};
    // The files of one that has not are gone as they should be; perhaps without second names.
    WALBROOK_TRY(const bool has_happened, has_last_commit());
    if (has_happened) WALBROOK_RETURN_IF_ERROR(kept_files_.restore());
    kept_files_.forget();
    return {};
}

Status Lake::reattach() {
    is_broken_ = true;
    if (database_->is_invalid()) return reopen();
    session_.reset();  // Rolls back what it had begun.
    WALBROOK_TRY(const std::unique_ptr<Connection> other, database_->connect());
    // Fails when an earlier attempt already detached it: the ATTACH then says what is wrong.
    other->run("DETACH lake").ignore();
    return attach();
}

Status Lake::reopen() {
    if (database_->is_invalid() && invalid_.size() >= kInvalidMax) {
        return Error(ErrorCode::corrupt_state,
                     "open the lake again: DuckDB has failed with errors of its own too often in "
                     "this process; start walbrook again");
    }
    WALBROOK_TRY(std::shared_ptr<Database> fresh, make_database());
    is_broken_ = true;
    session_.reset();
    if (database_->is_invalid()) {
        invalid_.push_back(database_);
    } else if (const auto other = database_->connect()) {
        (*other)->run("DETACH lake").ignore();
    }
    {
        const std::lock_guard lock(mutex_);
        database_.swap(fresh);
    }
    return attach();
}

Result<std::string> Lake::newest_extra_info() {
    WALBROOK_TRY(
        const QueryResult result,
        session_->query(fmt::format(
            "SELECT commit_extra_info FROM {}.ducklake_snapshot_changes WHERE author = "
            "'walbrook' AND commit_extra_info IS NOT NULL ORDER BY snapshot_id DESC LIMIT 1",
            metadata())));
    return result.rows() == 0 ? std::string() : result.text(0, 0).value_or("");
}

std::string Lake::last_commit_id() const { return fmt::format("{}-{}", commit_prefix_, commits_); }

Result<bool> Lake::has_last_commit() {
    WALBROOK_TRY(const std::string newest, newest_extra_info());
    const nlohmann::json json = nlohmann::json::parse(newest, nullptr, false);
    const auto commit = json.is_object() ? json.find("commit") : json.end();
    return commit != json.end() && *commit == last_commit_id();
}

Result<std::optional<Note>> Lake::newest_note() {
    if (is_broken()) WALBROOK_RETURN_IF_ERROR(reattach());
    WALBROOK_RETURN_IF_ERROR(end_doubt());
    if (const Status settled = settle_files(); !settled) return excused(settled.error());
    const Result<std::string> found = newest_extra_info();
    if (!found) return excused(found.error());
    const std::string& text = *found;
    if (text.empty()) return std::optional<Note>();
    if (const int format = note_format(text); format > kNoteFormat) {
        return Error(ErrorCode::corrupt_state,
                     fmt::format("the newest snapshot of the lake has a note of format {}, this "
                                 "program knows {}; a newer walbrook wrote it: use that one",
                                 format, kNoteFormat));
    }
    const std::optional<Note> note = parse_note(text);
    if (!note) {
        return Error(ErrorCode::corrupt_state,
                     "the newest snapshot that walbrook made has no position in its "
                     "commit_extra_info");
    }
    return note;
}

// A session that ends in the middle of a question leaves errors of DuckDB that tell nothing of it
// ("Attempting to fetch from an unsuccessful query result"). Nothing has been written by then, and
// what is no such error comes again. Errors of the flush that is being written are its own.
bool Lake::is_excusable(const Error& error) const {
    return options_.catalog.kind == CatalogKind::postgres && error.code() == ErrorCode::internal &&
           duckdb_engine::is_from_duckdb(error) && excused_ < kExcusedMax;
}

Error Lake::excused(Error error) {
    if (!is_excusable(error)) return error;
    ++excused_;
    is_broken_ = true;
    return Error(ErrorCode::unavailable, error.message());
}

Status Lake::transact(const std::string& what, const std::function<Result<Note>()>& work,
                      std::stop_token stop) {
    Status status = try_transact(what, work, std::move(stop));
    if (!status) return excused(std::move(status).error());
    excused_ = 0;
    return status;
}

Status Lake::try_transact(const std::string& what, const std::function<Result<Note>()>& work,
                          std::stop_token stop) {
    if (is_broken()) WALBROOK_RETURN_IF_ERROR(reattach());
    if (stop.stop_requested()) return Error(ErrorCode::cancelled, "stopped");
    WALBROOK_RETURN_IF_ERROR(end_doubt());
    WALBROOK_RETURN_IF_ERROR(settle_files());
    WALBROOK_RETURN_IF_ERROR(forget_bounds());
    WALBROOK_RETURN_IF_ERROR(new_files_.begin());
    WALBROOK_RETURN_IF_ERROR(session_->run("BEGIN"));
    Result<Note> note = work();
    if (!note) {
        Error error(note.error());
        // A catalog error may have ended the transaction already; a session that
        // cannot roll back is replaced.
        if (!session_->run("ROLLBACK")) reattach().ignore();
        remove_unfinished_file(error.message(), options_.data_path);
        return error;
    }
    return commit(what, *note);
}

Status Lake::commit(const std::string& what, const Note& note) {
    ++commits_;
    const std::string message = fmt::format(
        "CALL lake.set_commit_message('walbrook', {}, extra_info => {})", quote_literal(what),
        quote_literal(extra_info(note, options_.pipeline_id, last_commit_id(), epoch_)));
    Status status = session_->run(message);
    if (status) status = new_files_.sync();
    if (status) status = kept_files_.keep(new_files_.files());
    if (status) status = failpoint_of("before", what);
    if (!status) {
        if (!session_->run("ROLLBACK")) reattach().ignore();
        kept_files_.forget();
        return status;
    }
    has_bounds_ = true;
    if (status = session_->run("COMMIT"); !status) {
        WALBROOK_RETURN_IF_ERROR(resolve(status.error()));
    }
    kept_files_.forget();
    // What fails here is done before the next transaction; nobody else reads such a catalog
    // while we have it open.
    forget_bounds().ignore();
    if (status = failpoint_of("after", what); !status) {
        return Error(ErrorCode::unknown_outcome, status.error().message());
    }
    return {};
}

Status Lake::end_doubt() {
    if (!is_in_doubt_) return {};
    if (epoch_) {
        if (!next_epoch_) next_epoch_ = later_epoch(*epoch_);
        WALBROOK_RETURN_IF_ERROR(renew_epoch(*session_, *epoch_, *next_epoch_));
        epoch_ = std::exchange(next_epoch_, std::nullopt);
    }
    is_in_doubt_ = false;
    return {};
}

// Whether a commit that answered with an error has happened all the same. Success
// means it has.
Status Lake::resolve(const Error& error) {
    is_in_doubt_ = true;
    Status over = reattach();
    if (over) over = end_doubt();
    if (!over && over.error().code() == ErrorCode::fenced) {
        // It may have happened before the other process began: then the catalog needs the files.
        kept_files_.restore().ignore();
        return over;
    }
    const auto left_open = [&](const std::string& why, const Error& cause) {
        is_broken_ = true;
        return Error(ErrorCode::unknown_outcome,
                     "commit to the lake: " + error.message() + "; and " + why + cause.message());
    };
    const Result<bool> has_happened = over ? has_last_commit() : Result<bool>(Error(over.error()));
    if (!has_happened) return left_open("it cannot be asked what it holds: ", has_happened.error());
    if (*has_happened) {
        // Never an error by which it would be written again: settle_files() tries once more.
        if (const Status whole = kept_files_.restore(); !whole) {
            return left_open("its files cannot be brought back: ", whole.error());
        }
        return {};
    }
    kept_files_.forget();
    return Error(error).with_context("commit to the lake");
}

}  // namespace walbrook::ducklake
