#include "postgres/connect_options.h"

#include "base/hidden.h"
#include "postgres/connect_remedy.h"
#include "postgres/sqlstate.h"

#include <fmt/format.h>
#include <libpq-fe.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <sys/mman.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace walbrook {
namespace {

using ParsedUrl = std::unique_ptr<PQconninfoOption, void (*)(PQconninfoOption*)>;

std::string value_of(const ParsedUrl& url, std::string_view keyword) {
    for (const PQconninfoOption* option = url.get(); option->keyword != nullptr; ++option) {
        if (option->keyword == keyword && option->val != nullptr) return option->val;
    }
    return {};
}

bool is_set(const char* variable) {
    const char* const value = std::getenv(variable);
    return value != nullptr && *value != '\0';
}

// Backslashes protect spaces in `options` (Postgres manual, "options" of libpq).
std::string escaped_option(std::string_view value) {
    std::string out;
    for (const char c : value) {
        if (c == ' ' || c == '\\') out += '\\';
        out += c;
    }
    return out;
}

// "08006" and the like, between the severity and the message.
bool is_sqlstate_at(std::string_view text, std::size_t at) {
    if (at + 7 > text.size() || text.substr(at + 5, 2) != ": ") return false;
    const std::string_view code = text.substr(at, 5);
    return std::all_of(code.begin(), code.end(), [](unsigned char c) {
        return std::isdigit(c) != 0 || (std::isupper(c) != 0 && c < 0x80);
    });
}

std::string without_locations(std::string_view text) {
    std::string out;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        const std::string_view line = text.substr(0, end);
        // The second line of a verbose message names a file of the server's source code.
        const bool is_location = line.find(".c:") != std::string_view::npos;
        if (!is_location && !line.empty()) {
            if (!out.empty()) out += "; ";
            out += line;
        }
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return out;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> session_settings(const Purpose& purpose) {
    return {{"datestyle", "ISO"},
            {"intervalstyle", "postgres"},
            {"timezone", "UTC"},
            {"extra_float_digits", "3"},
            {"bytea_output", "hex"},
            {"xmlbinary", "base64"},
            {"search_path", ""},
            {"row_security", "off"},
            {"enable_tidscan", "on"},
            {"statement_timeout", "0"},
            {"idle_in_transaction_session_timeout", "0"},
            {"idle_session_timeout", "0"},
            // So that the server gives up locks, slots and snapshots of ours when the network
            // lost us without a word.
            {"tcp_keepalives_idle", "30"},
            {"tcp_keepalives_interval", "10"},
            {"tcp_keepalives_count", "3"},
            {"lock_timeout", std::to_string(purpose.lock_timeout.count())}};
}

std::string url_value(const std::string& url, std::string_view keyword) {
    // A search for "sslmode=" would not do: the keyword may be percent-encoded, `ssl=true` is an
    // older word for it, and a password may hold all that.
    const ParsedUrl parsed(PQconninfoParse(url.c_str(), nullptr), PQconninfoFree);
    return parsed ? value_of(parsed, keyword) : std::string();
}

std::string tls_mode_of(const PgConnectionConfig& config) {
    if (config.tls.mode != "prefer") return config.tls.mode;
    if (std::string of_url = url_value(config.url, "sslmode"); !of_url.empty()) return of_url;
    const bool is_wanted =
        !config.tls.trusted_root_certs.empty() || !config.tls.client_cert.empty();
    if (is_wanted) return "verify-full";
    // A service file wins over the environment, and only libpq knows what it says.
    if (!url_value(config.url, "service").empty() || is_set("PGSERVICE")) return "prefer";
    return is_set("PGSSLMODE") ? std::getenv("PGSSLMODE") : "prefer";
}

Result<std::unique_ptr<PemFile>> PemFile::create(std::string_view pem) {
    const auto refused = [] {
        return Error(ErrorCode::config,
                     fmt::format("keep a certificate or key that was given as text in memory: {} "
                                 "(give the path of a file instead)",
                                 std::generic_category().message(errno)));
    };
    const int fd = memfd_create("walbrook-pem", MFD_CLOEXEC);
    if (fd < 0) return refused();
    std::unique_ptr<PemFile> file(new PemFile(fd));
    // libpq takes no key that others could read.
    if (fchmod(fd, S_IRUSR | S_IWUSR) != 0) return refused();
    while (!pem.empty()) {
        const ssize_t written = write(fd, pem.data(), pem.size());
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return refused();
        pem.remove_prefix(static_cast<std::size_t>(written));
    }
    return file;
}

PemFile::~PemFile() { close(fd_); }

std::string PemFile::path() const { return fmt::format("/proc/self/fd/{}", fd_); }

void ConnectOptions::add(std::string_view keyword, std::string value) {
    entries_.emplace_back(keyword, std::move(value));
}

void ConnectOptions::add_given(std::string_view keyword, const std::string& value) {
    if (!value.empty()) add(keyword, value);
}

Status ConnectOptions::add_url(const std::string& url) {
    const Error unreadable(ErrorCode::config,
                           "pg_connection.url is not a Postgres url "
                           "(postgres://user@host:port/database; special characters in user and "
                           "password must be percent-encoded)");
    char* problem = nullptr;
    const ParsedUrl parsed(PQconninfoParse(url.c_str(), &problem), PQconninfoFree);
    PQfreemem(problem);  // Repeats parts of the url, maybe of the password: dropped.
    if (!parsed) return unreadable;
    // A password with a bare '/' makes a "port" of its first half, which libpq would print.
    const std::string port = value_of(parsed, "port");
    if (port.find_first_not_of("0123456789,") != std::string::npos) return unreadable;
    password_ = value_of(parsed, "password");
    url_options_ = value_of(parsed, "options");
    add("dbname", url);
    return {};
}

Status ConnectOptions::add_certificate(std::string_view keyword, const std::string& pem_or_path) {
    if (pem_or_path.find("-----BEGIN") == std::string::npos) {
        // libpq reports a missing file without any code; here it still can have one.
        if (!pem_or_path.empty() && access(pem_or_path.c_str(), R_OK) != 0) {
            const std::string why = std::generic_category().message(errno);
            // It may be the key itself, in another form than PEM.
            if (keyword == "sslkey") {
                return Error(ErrorCode::config,
                             fmt::format("read the file that tls.client_key names: {}", why));
            }
            return Error(ErrorCode::config,
                         fmt::format("read the certificate file {}: {}", pem_or_path, why));
        }
        add_given(keyword, pem_or_path);
        return {};
    }
    WALBROOK_TRY(auto file, PemFile::create(pem_or_path));
    add(keyword, file->path());
    files_.push_back(std::move(file));
    return {};
}

Status ConnectOptions::add_tls(const PgConnectionConfig& config) {
    // Where nobody says one libpq looks at more than we do: service files, sslrootcert=system.
    if (const std::string mode = tls_mode_of(config); mode != "prefer") add("sslmode", mode);
    WALBROOK_RETURN_IF_ERROR(add_certificate("sslrootcert", config.tls.trusted_root_certs));
    WALBROOK_RETURN_IF_ERROR(add_certificate("sslcert", config.tls.client_cert));
    return add_certificate("sslkey", config.tls.client_key);
}

void ConnectOptions::add_settings(const Purpose& purpose) {
    add("client_encoding", "UTF8");
    add("application_name", purpose.application_name);
    if (!purpose.replication) return;
    add("replication", "database");
    std::string options = url_options_;
    for (const auto& [name, value] : session_settings(purpose)) {
        if (!options.empty()) options += ' ';
        options += fmt::format("-c {}={}", name, escaped_option(value));
    }
    add("options", std::move(options));
}

Result<ConnectOptions> ConnectOptions::create(const PgConnectionConfig& config,
                                              const Purpose& purpose) {
    ConnectOptions options;
    // The url comes first: libpq lets later values win over what it says.
    if (!config.url.empty()) WALBROOK_RETURN_IF_ERROR(options.add_url(config.url));
    options.add_given("host", config.host);
    if (config.port != 0) options.add("port", std::to_string(config.port));
    options.add_given("dbname", config.name);
    options.add_given("user", config.username);
    options.add_given("password", config.password);
    if (!config.password.empty()) options.password_ = config.password;
    WALBROOK_RETURN_IF_ERROR(options.add_tls(config));
    const TcpKeepaliveConfig& alive = config.keepalive;
    options.add("keepalives", "1");
    options.add("keepalives_idle", std::to_string(alive.idle_secs));
    options.add("keepalives_interval", std::to_string(alive.interval_secs));
    options.add("keepalives_count", std::to_string(alive.retries));
    // Keepalives say nothing while sent data waits for its acknowledgement; this does.
    const std::uint64_t dead_after_ms =
        1000ULL * (alive.idle_secs + std::uint64_t{alive.interval_secs} * alive.retries);
    options.add("tcp_user_timeout",
                std::to_string(std::min<std::uint64_t>(dead_after_ms, 2'000'000'000)));
    options.add_settings(purpose);
    return options;
}

std::vector<const char*> ConnectOptions::keywords() const {
    std::vector<const char*> out;
    for (const auto& entry : entries_) out.push_back(entry.first.c_str());
    out.push_back(nullptr);
    return out;
}

std::vector<const char*> ConnectOptions::values() const {
    std::vector<const char*> out;
    for (const auto& entry : entries_) out.push_back(entry.second.c_str());
    out.push_back(nullptr);
    return out;
}

Error connect_error(std::string_view libpq_text, std::string_view password, const Login& login) {
    std::string text = without_locations(libpq_text);
    std::string sqlstate;
    for (std::size_t at = text.find(":  "); at != std::string::npos;
         at = text.find(":  ", at + 3)) {
        if (!is_sqlstate_at(text, at + 3)) continue;
        sqlstate = text.substr(at + 3, 5);
        text.erase(at + 3, 7);
    }
    text = hidden(std::move(text), password);
    const ConnectRemedy remedy = connect_remedy(sqlstate, text, login);
    if (!remedy.text.empty()) text += fmt::format(" ({})", remedy.text);
    return Error(remedy.code.value_or(error_code_of_sqlstate(sqlstate)),
                 text.empty() ? "no reason given" : text)
        .with_sqlstate(sqlstate);
}

}  // namespace walbrook
