#include "destinations/ducklake/catalog.h"

#include "base/hidden.h"
#include "base/network_file_system.h"

#include <fmt/format.h>
#include <libpq-fe.h>
#include <sqlite3.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <map>
#include <optional>
#include <string_view>
#include <sys/file.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace walbrook::ducklake {

namespace {

namespace fs = std::filesystem;

bool take_prefix(std::string_view& text, std::string_view prefix) {
    if (!text.starts_with(prefix)) return false;
    text.remove_prefix(prefix.size());
    return true;
}

Status refuse_network_file_system(const fs::path& folder) {
    WALBROOK_TRY(const auto found, network_file_system_of(folder.string()));
    if (!found) return {};
    return Error(ErrorCode::config,
                 fmt::format("the catalog lies in {}, which is {}, a network file system: its "
                             "locks cannot be trusted; put the catalog on a local disk "
                             "(data_path may stay), or use postgres:",
                             folder.string(), found->name));
}

struct CloseSqlite {
    void operator()(sqlite3* database) const { sqlite3_close_v2(database); }
};
using Sqlite = std::unique_ptr<sqlite3, CloseSqlite>;

// Keeps the last value of the last row in `value`.
int run(sqlite3* database, const std::string& sql, std::string& value, std::string& reason) {
    char* message = nullptr;
    const int done = sqlite3_exec(
        database, sql.c_str(),
        [](void* to, int, char** values, char**) {
            *static_cast<std::string*>(to) = values[0] == nullptr ? "" : values[0];
            return 0;
        },
        &value, &message);
    reason = message == nullptr ? "" : message;
    sqlite3_free(message);
    return done;
}

// SQLite says "disk I/O error" when its files cannot grow.
std::string_view remedy_for(int done, std::string_view otherwise) {
    const bool is_full = (done & 0xFF) == SQLITE_IOERR || done == SQLITE_FULL;
    return is_full ? "; is its disk full? free some space there" : otherwise;
}

Status use_wal_mode(sqlite3* database, const std::string& path) {
    std::string mode;
    std::string reason;
    const int done = run(database, "PRAGMA journal_mode=WAL", mode, reason);
    if (done == SQLITE_OK && mode == "wal") return {};
    return Error(ErrorCode::unavailable,
                 fmt::format("put the catalog {} into WAL mode: {}{}", path,
                             reason.empty() ? "journal mode is " + mode : reason,
                             remedy_for(done, "; end the programs that have it open")));
}

// What DuckLake leaves to be wished for, as triggers (docs/design/ducklake.md, "What readers may
// see" and "Upkeep"):
// - It replaces the row of a file's deletions by a new one, and readers look only at places up
//   to the last one that was taken when they began: so the new row takes the place of the old.
// - It reads the statistics of all files for each query. Those of files that ended only help
//   readers of old snapshots to leave them out; a file without any is read.
// - Its bounds of whole tables can be wrong ("Bounds that lie"): they become "unknown".
constexpr auto kTriggers = std::to_array<const char*>({
    "CREATE TRIGGER IF NOT EXISTS walbrook_keep_place AFTER INSERT ON ducklake_delete_file BEGIN "
    "UPDATE OR IGNORE ducklake_delete_file SET rowid = new.data_file_id WHERE rowid = new.rowid; "
    "END",
    "CREATE INDEX IF NOT EXISTS walbrook_file_stats ON ducklake_file_column_stats (data_file_id)",
    "CREATE TRIGGER IF NOT EXISTS walbrook_forget_stats AFTER UPDATE OF end_snapshot ON "
    "ducklake_data_file WHEN new.end_snapshot IS NOT NULL BEGIN DELETE FROM "
    "ducklake_file_column_stats WHERE data_file_id = new.data_file_id; END",
    "CREATE TRIGGER IF NOT EXISTS walbrook_forget_first_bounds AFTER INSERT ON "
    "ducklake_table_column_stats BEGIN UPDATE ducklake_table_column_stats SET min_value = NULL, "
    "max_value = NULL, contains_null = 1, contains_nan = NULL WHERE rowid = new.rowid; END",
    "CREATE TRIGGER IF NOT EXISTS walbrook_forget_bounds AFTER UPDATE ON "
    "ducklake_table_column_stats WHEN new.min_value IS NOT NULL OR new.max_value IS NOT NULL OR "
    "new.contains_null IS NOT 1 OR new.contains_nan IS NOT NULL BEGIN UPDATE "
    "ducklake_table_column_stats SET min_value = NULL, max_value = NULL, contains_null = 1, "
    "contains_nan = NULL WHERE rowid = new.rowid; END",
    // Of a lake that is older than the triggers.
    "UPDATE ducklake_table_column_stats SET min_value = NULL WHERE min_value IS NOT NULL OR "
    "max_value IS NOT NULL OR contains_null IS NOT 1 OR contains_nan IS NOT NULL",
});

Status make_triggers(sqlite3* database, const std::string& path) {
    for (const char* sql : kTriggers) {
        std::string value;
        std::string reason;
        const int done = run(database, sql, value, reason);
        if (done != SQLITE_OK) {
            return Error(ErrorCode::unavailable, fmt::format("prepare the catalog {}: {}{}", path,
                                                             reason, remedy_for(done, "")));
        }
    }
    return {};
}

// A new one has no such table.
Status refuse_newer_catalog(sqlite3* database, const std::string& path) {
    std::string version;
    std::string reason;
    const int done =
        run(database, "SELECT value FROM ducklake_metadata WHERE key = 'version'", version, reason);
    if (done == SQLITE_NOTADB) {
        return Error(ErrorCode::config, "the catalog " + path + " is not a SQLite database");
    }
    return version.empty() ? Status() : check_catalog_version(version);
}

Result<Sqlite> open_sqlite(const std::string& path) {
    sqlite3* raw = nullptr;
    const int opened =
        sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
    Sqlite database(raw);
    if (opened != SQLITE_OK) {
        return Error(ErrorCode::config, "open the catalog " + path + ": " + sqlite3_errstr(opened));
    }
    sqlite3_busy_timeout(raw, 10'000);
    return database;
}

}  // namespace

Status check_catalog_version(const std::string& version) {
    const auto number = [](std::string_view text) {
        int value = 0;
        std::from_chars(text.data(), text.data() + text.size(), value);
        return value;
    };
    const auto parsed = [&](std::string_view text) {
        const std::size_t dot = std::min(text.find('.'), text.size());
        return std::pair(number(text.substr(0, dot)),
                         dot == text.size() ? 0 : number(text.substr(dot + 1)));
    };
    if (parsed(version) <= parsed(kCatalogVersion)) return {};
    return Error(
        ErrorCode::corrupt_state,
        fmt::format("the lake's catalog has version {} of DuckLake, this program knows {}; "
                    "a newer walbrook or DuckDB has migrated it: use that one",
                    version, kCatalogVersion));
}

namespace {

// As the string says it, and nothing of the environment; nothing: libpq cannot read it.
std::optional<std::map<std::string, std::string>> options_of(const std::string& connection) {
    PQconninfoOption* options = PQconninfoParse(connection.c_str(), nullptr);
    if (options == nullptr) return std::nullopt;
    std::map<std::string, std::string> said;
    for (const PQconninfoOption* option = options; option->keyword != nullptr; ++option) {
        if (option->val != nullptr) said.emplace(option->keyword, option->val);
    }
    PQconninfoFree(options);
    return said;
}

// A server whose machine is gone says nothing any more: the kernel's two hours would be as many for
// all tables. What the string says of it counts.
std::string with_time_outs(const std::string& connection) {
    const auto said = options_of(connection);
    if (!said) return connection;
    auto all = *said;
    std::vector<std::string> more;
    for (const auto& [key, value] :
         std::to_array<std::pair<const char*, const char*>>({{"connect_timeout", "30"},
                                                             {"keepalives_idle", "30"},
                                                             {"keepalives_interval", "10"},
                                                             {"keepalives_count", "3"},
                                                             {"tcp_user_timeout", "60000"}})) {
        if (all.emplace(key, value).second) more.push_back(fmt::format("{}={}", key, value));
    }
    // Of words, of a URI without options and of one that has some: what fits is what means the same
    // and these.
    using Form = std::pair<const char*, const char*>;
    for (const auto& [first, next] : std::to_array<Form>({{" ", " "}, {"?", "&"}, {"&", "&"}})) {
        const std::string longer = connection + first + fmt::format("{}", fmt::join(more, next));
        if (options_of(longer) == all) return longer;
    }
    return connection;
}

}  // namespace

std::string Catalog::attach_uri() const {
    switch (kind) {
        case CatalogKind::sqlite:
            return "ducklake:sqlite:" + target;
        case CatalogKind::duckdb:
            return "ducklake:" + target;
        case CatalogKind::postgres:
            return "ducklake:postgres:" + with_time_outs(target);
    }
    return target;
}

std::vector<std::string> Catalog::secrets() const {
    if (kind != CatalogKind::postgres) return {};
    std::string password;
    if (const std::size_t scheme = target.find("://"); scheme != std::string::npos) {
        const std::size_t colon = target.find(':', scheme + 3);
        const std::size_t at = target.rfind('@');
        if (colon < at && at != std::string::npos) {
            password = target.substr(colon + 1, at - colon - 1);
        }
    } else if (const std::size_t key = target.find("password"); key != std::string::npos) {
        // To the next `word=`.
        const std::size_t from = target.find('=', key);
        const std::size_t next = from == std::string::npos ? from : target.find('=', from + 1);
        const std::size_t to = next == std::string::npos ? next : target.rfind(' ', next);
        if (from != std::string::npos) {
            password = target.substr(from + 1, to == std::string::npos ? to : to - from - 1);
        }
    }
    std::vector<std::string> all{target};
    if (!password.empty()) all.push_back(password);
    // As libpq sends it: without quotes and percent signs.
    if (PQconninfoOption* options = PQconninfoParse(target.c_str(), nullptr); options != nullptr) {
        for (const PQconninfoOption* option = options; option->keyword != nullptr; ++option) {
            const bool is_secret = std::string_view(option->keyword).ends_with("password");
            if (is_secret && option->val != nullptr && *option->val != '\0') {
                all.emplace_back(option->val);
            }
        }
        PQconninfoFree(options);
    }
    for (std::size_t begin = 0; begin < password.size();) {
        const std::size_t end = std::min(password.find_first_of(" '@:/?", begin), password.size());
        if (end - begin >= 3) all.push_back(password.substr(begin, end - begin));
        begin = end + 1;
    }
    return all;
}

// Of a text that is no path, nothing is repeated: what looks like one may be a password.
std::string catalog_form_problem(std::string_view text) {
    for (const std::string_view known : {"postgres:", "postgresql://", "duckdb:", "sqlite:"}) {
        if (take_prefix(text, known)) {
            if (known.starts_with("postgres")) return {};
            break;
        }
    }
    // `word:…`, `word=…`.
    const std::size_t sign = text.find_first_of(":=");
    const bool begins_with_a_word = sign != std::string_view::npos && sign > 0 &&
                                    text.substr(0, sign).find('/') == std::string_view::npos;
    if (!begins_with_a_word && text.find("://") == std::string_view::npos) return {};
    return "is no path; a database of Postgres is postgres:DSN, a DuckDB file is duckdb:PATH, and "
           "a file with ':' or '=' in its name is given with its folder (./a=b)";
}

Catalog parse_catalog(const std::string& text) {
    std::string_view rest = text;
    if (rest.starts_with("postgres://") || rest.starts_with("postgresql://")) {
        return {CatalogKind::postgres, std::string(rest)};
    }
    if (take_prefix(rest, "postgres:")) return {CatalogKind::postgres, std::string(rest)};
    const bool is_duckdb = take_prefix(rest, "duckdb:");
    if (!is_duckdb) take_prefix(rest, "sqlite:");
    std::error_code ignored;
    const fs::path path = fs::absolute(fs::path(rest), ignored).lexically_normal();
    return {is_duckdb ? CatalogKind::duckdb : CatalogKind::sqlite, path.string()};
}

Status check_catalog_file(const Catalog& catalog) {
    if (!catalog.is_file()) return {};
    const fs::path folder = fs::path(catalog.target).parent_path();
    std::error_code error;
    fs::create_directories(folder, error);
    if (error) {
        return Error(ErrorCode::config,
                     "make the catalog's folder " + folder.string() + ": " + error.message());
    }
    WALBROOK_RETURN_IF_ERROR(refuse_network_file_system(folder));
    if (catalog.kind != CatalogKind::sqlite) return {};
    WALBROOK_TRY(const Sqlite database, open_sqlite(catalog.target));
    return refuse_newer_catalog(database.get(), catalog.target);
}

Status prepare_sqlite_catalog(const std::string& path) {
    WALBROOK_TRY(const Sqlite database, open_sqlite(path));
    WALBROOK_RETURN_IF_ERROR(use_wal_mode(database.get(), path));
    return make_triggers(database.get(), path);
}

std::vector<std::string> extensions_of(CatalogKind kind) {
    // icu: casts of timestamptz.
    switch (kind) {
        case CatalogKind::sqlite:
            return {"icu", "sqlite_scanner", "ducklake"};
        case CatalogKind::duckdb:
            return {"icu", "ducklake"};
        case CatalogKind::postgres:
            return {"icu", "postgres_scanner", "ducklake"};
    }
    return {};
}

std::string connection_string_problem(const Catalog& catalog) {
    if (catalog.kind != CatalogKind::postgres) return {};
    char* message = nullptr;
    PQconninfoOption* options = PQconninfoParse(catalog.target.c_str(), &message);
    std::string problem = message == nullptr ? "" : message;
    PQconninfoFree(options);
    PQfreemem(message);
    if (problem.empty()) return {};
    for (const std::string& secret : catalog.secrets()) {
        problem = hidden(std::move(problem), secret);
    }
    while (problem.ends_with('\n')) problem.pop_back();
    return "libpq cannot read the connection string: " + problem;
}

Result<Fence> Fence::take(const std::string& catalog_path) {
    const std::string path = catalog_path + ".walbrook-lock";
    const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (descriptor < 0) {
        return Error(ErrorCode::permission, "open the lock " + path + ": " + std::strerror(errno));
    }
    Fence fence(descriptor);
    if (::flock(descriptor, LOCK_EX | LOCK_NB) != 0) {
        return Error(ErrorCode::fenced, "another process writes to this lake: it holds the lock " +
                                            path + "; stop it first");
    }
    return fence;
}

Fence::Fence(Fence&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}

Fence& Fence::operator=(Fence&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
}

Fence::~Fence() {
    if (descriptor_ < 0) return;
    // Closing alone would leave the lock to a child that was forked meanwhile.
    ::flock(descriptor_, LOCK_UN);
    ::close(descriptor_);
}

}  // namespace walbrook::ducklake

namespace walbrook {

std::vector<std::string> DuckLakeConfig::problems() const {
    namespace fs = std::filesystem;
    std::vector<std::string> problems;
    const ducklake::Catalog parsed = ducklake::parse_catalog(catalog);
    if (catalog.empty()) {
        problems.emplace_back(
            "destination.ducklake.catalog: is missing; give a path, "
            "duckdb:PATH or postgres:DSN");
    } else if (const std::string form = ducklake::catalog_form_problem(catalog); !form.empty()) {
        problems.push_back("destination.ducklake.catalog: " + form);
    } else if (parsed.kind == ducklake::CatalogKind::postgres && parsed.target.empty()) {
        problems.emplace_back(
            "destination.ducklake.catalog: names no database; give a connection string, for "
            "example postgres:host=db.example dbname=lake user=walbrook");
    } else if (const std::string wrong = ducklake::connection_string_problem(parsed);
               !wrong.empty()) {
        problems.push_back("destination.ducklake.catalog: " + wrong);
    } else if (parsed.is_file() && (parsed.target.empty() || parsed.target.ends_with('/'))) {
        problems.emplace_back("destination.ducklake.catalog: names no file");
    }
    if (data_path.empty()) {
        problems.emplace_back("destination.ducklake.data_path: is missing; give a folder");
    } else if (data_path.find("://") != std::string::npos) {
        problems.emplace_back(
            "destination.ducklake.data_path: must be a local folder; object "
            "stores are not supported yet");
    } else if (std::error_code ignored;
               fs::absolute(data_path, ignored).string().find('\\') != std::string::npos) {
        problems.emplace_back(
            "destination.ducklake.data_path: has a backslash, at which DuckDB parts folders; "
            "name a folder without one");
    }
    return problems;
}

}  // namespace walbrook
