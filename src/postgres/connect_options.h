#pragma once

#include "postgres/connect_remedy.h"
#include "postgres/connection.h"

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace walbrook {

// The settings that every session of ours gets, names and values as SET takes them.
// transaction_timeout (17 and newer) comes later, when the version is known.
std::vector<std::pair<std::string, std::string>> session_settings(const Purpose& purpose);

// What a url says for a keyword of libpq, as libpq reads it; empty if nothing.
std::string url_value(const std::string& url, std::string_view keyword);
// The mode that is in effect: tls.mode, else the url's; and whoever gives certificates wants the
// server verified, unless one of these says otherwise. Else the variable PGSSLMODE counts; but
// where a service file may say one it is "prefer", whatever libpq will find there.
std::string tls_mode_of(const PgConnectionConfig& config);

// PEM text as a file (libpq takes certificates from nowhere else) that is in memory, has no name
// that others could open and goes with the process, however that ends.
class PemFile {
 public:
    // ErrorCode::config when there can be none.
    static Result<std::unique_ptr<PemFile>> create(std::string_view pem);
    ~PemFile();
    PemFile(const PemFile&) = delete;
    PemFile& operator=(const PemFile&) = delete;
    // For this process, while this lives.
    std::string path() const;

 private:
    explicit PemFile(int fd) : fd_(fd) {}
    const int fd_;
};

// Keywords and values for PQconnectStartParams. Must live until the session stands,
// because certificates given as text are in files that go with it.
class ConnectOptions {
 public:
    // ErrorCode::config when the url cannot be read; the message does not repeat it.
    static Result<ConnectOptions> create(const PgConnectionConfig& config, const Purpose& purpose);

    // Both end with a nullptr, as libpq wants; valid until this is changed or destroyed.
    std::vector<const char*> keywords() const;
    std::vector<const char*> values() const;
    // What must not appear in any message; may be empty.
    const std::string& password() const { return password_; }

 private:
    ConnectOptions() = default;
    void add(std::string_view keyword, std::string value);
    void add_given(std::string_view keyword, const std::string& value);
    Status add_url(const std::string& url);
    Status add_tls(const PgConnectionConfig& config);
    Status add_certificate(std::string_view keyword, const std::string& pem_or_path);
    void add_settings(const Purpose& purpose);

    std::vector<std::pair<std::string, std::string>> entries_;
    std::vector<std::unique_ptr<PemFile>> files_;
    std::string password_;
    std::string url_options_;  // The url's own `options`, kept before ours.
};

// The error of a session that could not be opened, from PQerrorMessage under
// PQERRORS_VERBOSE: "… FATAL:  28P01: password …\nLOCATION: …". The SQLSTATE that
// came last counts (libpq tries several hosts and TLS modes).
Error connect_error(std::string_view libpq_text, std::string_view password,
                    const Login& login = {});

}  // namespace walbrook
