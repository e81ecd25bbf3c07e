#include "destinations/duckdb_engine/engine.h"

#include "base/hidden.h"
#include "destinations/duckdb_engine/sql.h"

#include <duckdb.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <filesystem>
#include <mutex>
#include <system_error>
#include <utility>

#ifndef WALBROOK_DUCKDB_EXTENSIONS_DEFAULT
#define WALBROOK_DUCKDB_EXTENSIONS_DEFAULT ""
#endif

namespace walbrook::duckdb_engine {

namespace {

// SQLite's words, which DuckDB passes on as an error of its own kind: SQLITE_IOERR when its
// files cannot grow, SQLITE_FULL in the middle of a write.
bool is_catalog_full(std::string_view message) {
    return message.find("disk I/O error") != std::string_view::npos ||
           message.find("database or disk is full") != std::string_view::npos;
}

std::string_view advice_for(std::string_view message) {
    if (is_catalog_full(message)) return "; is the catalog's disk full? free some space there";
    if (message.find(std::strerror(ENOSPC)) != std::string_view::npos) {
        return "; free some space there";
    }
    return "";
}

// A catalog in another process's hands: SQLite's words, and Postgres's.
bool is_catalog_away(std::string_view message) {
    return message.find("database is locked") != std::string_view::npos ||
           message.find("could not connect") != std::string_view::npos ||
           message.find("onnection refused") != std::string_view::npos ||
           message.find("server closed the connection") != std::string_view::npos ||
           message.find("due to lock timeout") != std::string_view::npos;
}

// By what the caller can do about it (walbrook/result.h).
ErrorCode code_of(duckdb_error_type type, std::string_view message) {
    // Errors of a value repeat it, and it may say anything.
    const bool is_of_value = type == DUCKDB_ERROR_CONVERSION || type == DUCKDB_ERROR_OUT_OF_RANGE ||
                             type == DUCKDB_ERROR_CONSTRAINT;
    if (!is_of_value && (is_catalog_full(message) || is_catalog_away(message))) {
        return ErrorCode::unavailable;
    }
    switch (type) {
        case DUCKDB_ERROR_INTERRUPT:
            return ErrorCode::cancelled;
        case DUCKDB_ERROR_IO:
        case DUCKDB_ERROR_NETWORK:
        case DUCKDB_ERROR_HTTP:
        case DUCKDB_ERROR_CONNECTION:
        case DUCKDB_ERROR_OUT_OF_MEMORY:
        case DUCKDB_ERROR_FATAL:  // Another statement has made it invalid, whose error says why.
            return ErrorCode::unavailable;
        case DUCKDB_ERROR_TRANSACTION:
            return ErrorCode::aborted;
        case DUCKDB_ERROR_CONVERSION:
        case DUCKDB_ERROR_OUT_OF_RANGE:
            return ErrorCode::unsupported_value;
        case DUCKDB_ERROR_CONSTRAINT:
            return ErrorCode::schema_mismatch;
        case DUCKDB_ERROR_PERMISSION:
            return ErrorCode::permission;
        default:
            return ErrorCode::internal;
    }
}

// What all errors of statements begin with.
constexpr std::string_view kFromDuckDb = "duckdb: ";

std::string first_line(std::string_view all) { return std::string(all.substr(0, all.find('\n'))); }

// What DuckDB quotes of a statement, which may hold values, follows the first line. But its
// extensions for SQLite and Postgres say `Failed to execute query "STATEMENT": REASON`, the latter
// in any number of lines.
std::string without_statement(std::string_view all) {
    constexpr std::string_view kQuote = " query \"";
    const std::string first = first_line(all);
    const std::size_t begin = first.find(kQuote);
    if (begin == std::string::npos) return first;
    const auto reason_at = [&](std::size_t end) {
        return fmt::format("{} a query: {}", all.substr(0, begin), first_line(all.substr(end + 3)));
    };
    for (const std::string_view words : {"ERROR:  ", "FATAL:  ", "server closed the connection",
                                         "no connection to the server", "SSL ", "could not "}) {
        const std::size_t end = all.rfind(fmt::format("\": {}", words));
        if (end != std::string_view::npos && end >= begin + kQuote.size()) return reason_at(end);
    }
    const std::size_t end = first.rfind("\": ");
    if (all.find_first_not_of('\n', first.size()) == std::string_view::npos &&
        end != std::string::npos && end >= begin + kQuote.size()) {
        return reason_at(end);
    }
    return fmt::format("{} a query", all.substr(0, begin));
}

// DuckLake says why a commit failed below the first line, and below how often it was tried.
std::string reason_of(std::string_view all) {
    constexpr std::string_view kFailed = "Failed to commit DuckLake transaction.";
    const std::string first = first_line(all);
    if (!first.ends_with(kFailed)) return without_statement(all);
    all.remove_prefix(first.size());
    while (!all.empty()) {
        all.remove_prefix(1);
        const std::string line = first_line(all);
        if (!line.empty() && !line.starts_with("Exceeded the maximum") && line.front() != '.') {
            return fmt::format("{} {}", first, without_statement(all));
        }
        all.remove_prefix(line.size());
    }
    return first;
}

class ConfigHandle {
 public:
    ConfigHandle() { is_made_ = duckdb_create_config(&config_) == DuckDBSuccess; }
    ~ConfigHandle() { duckdb_destroy_config(&config_); }
    ConfigHandle(const ConfigHandle&) = delete;
    ConfigHandle& operator=(const ConfigHandle&) = delete;
    Status set(const char* key, const std::string& value) {
        if (is_made_ && duckdb_set_config(config_, key, value.c_str()) == DuckDBSuccess) return {};
        return Error(ErrorCode::internal, std::string("duckdb refused the setting ") + key);
    }
    duckdb_config get() const { return config_; }

 private:
    duckdb_config config_ = nullptr;
    bool is_made_ = false;
};

class ResultHandle {
 public:
    ResultHandle() = default;
    ~ResultHandle() { duckdb_destroy_result(&result_); }
    ResultHandle(const ResultHandle&) = delete;
    ResultHandle& operator=(const ResultHandle&) = delete;
    duckdb_result* get() { return &result_; }

 private:
    duckdb_result result_{};
};

}  // namespace

bool is_from_duckdb(const Error& error) {
    return error.message().find(kFromDuckDb) != std::string::npos;
}

std::string extension_folder() {
    if (const char* given = std::getenv("WALBROOK_DUCKDB_EXTENSIONS"); given && *given != '\0') {
        return given;
    }
    // Installed, they lie beside the library: wherever that was found, so are they. By
    // dlsym, because the address that a program sees may be its own stub.
    Dl_info library{};
    if (dladdr(dlsym(RTLD_DEFAULT, "duckdb_open"), &library) != 0) {
        const auto beside = std::filesystem::path(library.dli_fname).parent_path() / "extensions";
        std::error_code error;
        if (std::filesystem::is_directory(beside, error)) return beside.string();
    }
    return WALBROOK_DUCKDB_EXTENSIONS_DEFAULT;
}

std::optional<std::int64_t> QueryResult::number(std::size_t row, std::size_t column) const {
    const std::optional<std::string>& cell = text(row, column);
    std::int64_t value = 0;
    if (!cell) return std::nullopt;
    const auto [end, error] = std::from_chars(cell->data(), cell->data() + cell->size(), value);
    if (error != std::errc() || end != cell->data() + cell->size()) return std::nullopt;
    return value;
}

namespace {

std::string without(const std::vector<std::string>& secrets, std::string text) {
    for (const std::string& secret : secrets) text = hidden(std::move(text), secret);
    return text;
}

// Of a DuckDB that is invalid. Whoever looks for leaks finds them here.
void keep_for_ever(void* handle) {
    static std::mutex mutex;
    static auto* const kept = new std::vector<void*>();
    const std::lock_guard lock(mutex);
    kept->push_back(handle);
}

}  // namespace

struct Connection::Handle {
    duckdb_connection connection = nullptr;
    std::shared_ptr<const std::vector<std::string>> secrets;
    std::shared_ptr<std::atomic<bool>> is_invalid;
    ~Handle() {
        // Its rollback throws out of a destructor. (Seen with 1.5.5.)
        if (*is_invalid) {
            keep_for_ever(connection);
        } else {
            duckdb_disconnect(&connection);
        }
    }
};

Connection::Connection(std::unique_ptr<Handle> handle) : handle_(std::move(handle)) {}
Connection::~Connection() = default;

Result<QueryResult> Connection::query(std::string_view sql, std::stop_token stop) {
    if (stop.stop_requested()) return Error(ErrorCode::cancelled, "stopped");
    // A stop between here and the statement's begin is not seen by DuckDB, which then
    // clears the mark; scans look at the token themselves.
    const std::stop_callback interrupt(stop, [this] { duckdb_interrupt(handle_->connection); });
    ResultHandle handle;
    const std::string text(sql);
    if (duckdb_query(handle_->connection, text.c_str(), handle.get()) != DuckDBSuccess) {
        const duckdb_error_type type = duckdb_result_error_type(handle.get());
        if (type == DUCKDB_ERROR_FATAL || type == DUCKDB_ERROR_INTERNAL) {
            *handle_->is_invalid = true;
        }
        const char* said = duckdb_result_error(handle.get());
        // In this order: half a secret would not be found.
        const std::string message =
            reason_of(without(*handle_->secrets, said == nullptr ? "no message" : said));
        return Error(code_of(type, message),
                     fmt::format("{}{}{}", kFromDuckDb, message, advice_for(message)));
    }
    QueryResult result;
    result.rows_changed_ = duckdb_rows_changed(handle.get());
    const idx_t columns = duckdb_column_count(handle.get());
    result.rows_ = duckdb_row_count(handle.get());
    for (idx_t c = 0; c < columns; ++c) {
        result.columns_.emplace_back(duckdb_column_name(handle.get(), c));
    }
    for (idx_t r = 0; r < result.rows_; ++r) {
        for (idx_t c = 0; c < columns; ++c) {
            char* const cell = duckdb_value_varchar(handle.get(), c, r);
            result.cells_.push_back(cell == nullptr ? std::nullopt
                                                    : std::optional<std::string>(cell));
            duckdb_free(cell);
        }
    }
    return result;
}

Status Connection::run(std::string_view sql, std::stop_token stop) {
    return query(sql, std::move(stop)).status();
}

Result<std::uint64_t> Connection::change(std::string_view sql, ScanSource& source,
                                         std::stop_token stop) {
    source.stop = stop;
    Result<QueryResult> result = query(sql, stop);
    if (!source.status()) return Error(source.status().error());
    if (!result) return Error(result.error());
    return result->rows_changed();
}

struct Database::Handle {
    duckdb_database database = nullptr;
    // Its connections have it, too.
    std::shared_ptr<std::atomic<bool>> is_invalid = std::make_shared<std::atomic<bool>>(false);
    ~Handle() {
        if (*is_invalid) {
            keep_for_ever(database);
        } else {
            duckdb_close(&database);
        }
    }
};

Database::Database(std::unique_ptr<Handle> handle) : handle_(std::move(handle)) {}
Database::~Database() = default;

bool Database::is_invalid() const { return *handle_->is_invalid; }

namespace {

// DuckDB numbers its temporary files from 0 in each instance, writes into what already has that
// name (one of the other's), and removes the folder with all that is in it. So each has its own.
Result<std::string> own_temp_directory(const std::string& parent) {
    static std::atomic<unsigned> databases = 0;
    if (parent.empty()) return parent;
    std::error_code error;
    std::filesystem::create_directories(parent, error);
    if (error) {
        return Error(ErrorCode::unavailable,
                     "make DuckDB's temporary folder " + parent + ": " + error.message());
    }
    return fmt::format("{}/{}", parent, ++databases);
}

}  // namespace

Result<std::unique_ptr<Database>> Database::create(const DatabaseOptions& options) {
    WALBROOK_TRY(const std::string temp_directory, own_temp_directory(options.temp_directory));
    ConfigHandle config;
    WALBROOK_RETURN_IF_ERROR(
        config.set("memory_limit", std::to_string(options.memory_bytes_max) + "B"));
    WALBROOK_RETURN_IF_ERROR(config.set("threads", std::to_string(options.threads)));
    WALBROOK_RETURN_IF_ERROR(config.set("temp_directory", temp_directory));
    WALBROOK_RETURN_IF_ERROR(config.set("autoinstall_known_extensions", "false"));
    WALBROOK_RETURN_IF_ERROR(config.set("autoload_known_extensions", "false"));
    // Extensions are files of ours, loaded by path from beside libduckdb, which nobody checks
    // either (scripts/deps has their checksums). To check a signature takes a third of a
    // second of CPU for each, at every start.
    WALBROOK_RETURN_IF_ERROR(config.set("allow_unsigned_extensions", "true"));
    // The order of rows means nothing here, and keeping it costs memory.
    WALBROOK_RETURN_IF_ERROR(config.set("preserve_insertion_order", "false"));
    // It keeps parts of every file that was read, 50 KiB a flush; the kernel has them too.
    WALBROOK_RETURN_IF_ERROR(config.set("enable_external_file_cache", "false"));
    auto handle = std::make_unique<Handle>();
    char* message = nullptr;
    if (duckdb_open_ext(nullptr, &handle->database, config.get(), &message) != DuckDBSuccess) {
        Error error(ErrorCode::config,
                    "open duckdb: " + first_line(message == nullptr ? "no message" : message));
        duckdb_free(message);
        return error;
    }
    std::unique_ptr<Database> database(new Database(std::move(handle)));
    database->memory_bytes_ = options.memory_bytes_max;
    database->memory_bytes_in_need_ = options.memory_bytes_in_need;
    database->secrets_ = std::make_shared<const std::vector<std::string>>(options.secrets);
    WALBROOK_TRY(std::unique_ptr<Connection> connection, database->connect());
    const std::filesystem::path folder = extension_folder();
    for (const std::string& name : options.extensions) {
        const std::string path =
            std::filesystem::absolute(folder / (name + ".duckdb_extension")).string();
        if (Status status = connection->run("LOAD " + quote_literal(path)); !status) {
            return Error(ErrorCode::config, status.error().message())
                .with_context("load DuckDB's extension " + name +
                              " (is WALBROOK_DUCKDB_EXTENSIONS right?)");
        }
    }
    WALBROOK_RETURN_IF_ERROR(register_scan(connection->handle_->connection, database->scans_));
    return database;
}

// In steps: few values need all of it.
bool Database::give_more() {
    std::uint64_t now = memory_bytes_;
    if (now >= memory_bytes_in_need_) return false;
    const std::uint64_t next = std::min(now * 4, memory_bytes_in_need_);
    if (!memory_bytes_.compare_exchange_strong(now, next)) return true;  // Somebody else did.
    const auto session = connect();
    return session && (*session)->run(fmt::format("SET memory_limit = '{}B'", next)).ok();
}

bool is_out_of_memory(const Error& error) {
    return error.message().find("Out of Memory Error") != std::string::npos;
}

// DuckDB holds a value several times on its way into a file.
bool is_large(const Database& database, std::uint64_t bytes) {
    return bytes > database.memory_bytes() / 16;
}

Error too_large(const Database& database, std::uint64_t bytes) {
    return {ErrorCode::unsupported_value,
            fmt::format("{} needs more memory than there is for the lake ({} MiB, "
                        "half of the machine's or the container's); make the value smaller, or "
                        "give it more memory",
                        bytes == 0 ? "a row" : fmt::format("a row of {} MiB", bytes >> 20),
                        database.memory_bytes() >> 20)};
}

Result<std::unique_ptr<Connection>> Database::connect() {
    auto handle = std::make_unique<Connection::Handle>();
    handle->secrets = secrets_;
    handle->is_invalid = handle_->is_invalid;
    if (duckdb_connect(handle_->database, &handle->connection) != DuckDBSuccess) {
        return Error(ErrorCode::internal, "duckdb refused a connection");
    }
    return std::unique_ptr<Connection>(new Connection(std::move(handle)));
}

}  // namespace walbrook::duckdb_engine
