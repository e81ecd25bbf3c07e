#pragma once

#include "postgres/rows.h"
#include "postgres/wait.h"
#include "walbrook/config.h"
#include "walbrook/result.h"

#include <chrono>
#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

struct pg_conn;

namespace walbrook {

// What a session is for.
struct Purpose {
    std::string application_name;  // Shown to the source's operator; see application_name().
    bool replication = false;      // A walsender session (replication=database).
    // Of every statement; the only bound of slot creation, and what frees a slot when we
    // are killed meanwhile.
    std::chrono::milliseconds lock_timeout{30'000};
};

// "walbrook:<pipeline id>:<role>".
std::string application_name(std::uint64_t pipeline_id, std::string_view role);

// A parameter of a query, as text.
class Param {
 public:
    Param(std::nullopt_t) {}                         // NOLINT(google-explicit-constructor): null
    Param(std::string_view text) : text_(text) {}    // NOLINT(google-explicit-constructor)
    Param(const std::string& text) : text_(text) {}  // NOLINT(google-explicit-constructor)
    Param(const char* text) : text_(text) {}         // NOLINT(google-explicit-constructor)
    Param(bool value) : text_(value ? "t" : "f") {}  // NOLINT(google-explicit-constructor)
    template <std::integral T>
        requires(!std::same_as<T, bool> && !std::same_as<T, char>)
    Param(T value) : text_(std::to_string(value)) {}  // NOLINT(google-explicit-constructor)
    Param(Lsn lsn) : text_(to_string(lsn)) {}         // NOLINT(google-explicit-constructor)

    const std::optional<std::string>& text() const { return text_; }

 private:
    std::optional<std::string> text_;
};

// One session with a server of version 14 or newer; owned by one thread.
//
// Every session has the same settings, so that values print the same everywhere and no
// time-out of the role ends a copy: DateStyle ISO, IntervalStyle postgres, TimeZone UTC,
// extra_float_digits 3, bytea_output hex, xmlbinary base64, search_path empty,
// row_security off (a policy then fails the query instead of hiding rows), client
// encoding UTF8, enable_tidscan on, all four time-outs 0, lock_timeout as asked, TCP keepalives
// of the server's side 30 s, 10 s, 3 times.
// lc_monetary stays: money cannot be read back without the server's own.
//
// The socket is in libpq's non-blocking mode. Every call has a deadline and a stop. When
// either comes, the server is asked to cancel, and the session stays usable if it obeys
// within 5 s; else it is closed and every further call says `unavailable`. A statement
// that was done before the cancel arrived counts as done. So a call ends at most 7 s
// after its deadline or stop, whatever the network does.
class Connection {
 public:
    // Connects. Host names are looked up without a deadline (libpq's getaddrinfo).
    // Errors: permission (password, pg_hba), config (no such database, bad url, a certificate
    // that cannot be read or is not trusted, a server older than 14), throttled, unavailable,
    // timed_out, cancelled. Messages say what to do (connect_remedy.h) and never contain the url
    // or the password.
    static Result<Connection> open(const PgConnectionConfig& config, const Purpose& purpose,
                                   const Deadline& deadline);

    Connection(Connection&&) noexcept = default;
    Connection& operator=(Connection&&) noexcept = default;
    ~Connection() = default;

    // One statement with $1, $2 … as text. On a replication connection only without
    // parameters (walsenders do not speak the extended protocol).
    template <class... Params>
    Result<Rows> query(const Deadline& deadline, const std::string& sql, const Params&... params) {
        return run(deadline, sql, std::vector<Param>{Param(params)...});
    }
    // One or more statements, separated by semicolons; their results are dropped. Several
    // make one transaction unless they say otherwise (Postgres manual, "Multiple
    // Statements in a Simple Query").
    Status exec(const Deadline& deadline, const std::string& sql);

    // Sends COPY … TO STDOUT or START_REPLICATION and returns when data may be read with
    // PQgetCopyData on handle(). When that has said -1, finish_copy() gives the outcome.
    Status start_copy(const Deadline& deadline, const std::string& sql);
    Status finish_copy(const Deadline& deadline);

    // Asks the server to end what this session is doing; true if it was told, and then
    // this returns before it has ended. Goes over a session of its own
    // (pg_cancel_backend), bounded to 2 s: PQcancel would wait without a bound for a
    // server that does not answer. Safe to call while handle() is in a COPY.
    bool cancel();

    // libpq's connection, for readers of COPY and replication data. nullptr once closed.
    pg_conn* handle() const { return handle_.get(); }
    bool is_open() const;
    // The error of handle() as ours: what libpq says now, with its reaction.
    Error error(std::string_view what) const;
    // For example 170010.
    int server_version() const { return server_version_; }
    int major_version() const { return server_version_ / 10'000; }
    // The server's process, also behind a pooler.
    std::uint32_t backend_pid() const { return backend_pid_; }
    bool is_replication() const { return replication_; }
    void close() { handle_.reset(); }

 private:
    struct Finish {
        void operator()(pg_conn* connection) const;
    };
    enum class Collected { all, copy, timed_out, stopped };
    struct Collecting;

    explicit Connection(pg_conn* handle) : handle_(handle) {}
    static Result<Connection> open_uncancellable(const PgConnectionConfig& config,
                                                 const Purpose& purpose, const Deadline& deadline);
    Status finish_connecting(const Deadline& deadline, std::string_view password);
    Status pin_settings(const Purpose& purpose, const Deadline& deadline);
    Status send(const std::string& sql, const std::vector<Param>& params);
    Result<Rows> run(const Deadline& deadline, const std::string& sql,
                     const std::vector<Param>& params);
    Result<Rows> outcome(const Deadline& deadline, bool copy_expected);
    Collected collect(Collecting& into, Instant until, const StopEvent& stop);

    std::unique_ptr<pg_conn, Finish> handle_;
    // For the session that cancels; without it nothing can be cancelled.
    std::shared_ptr<const PgConnectionConfig> config_;
    std::uint32_t backend_pid_ = 0;
    int server_version_ = 0;
    bool replication_ = false;
};

// The error of a failed result: the server's primary message (details, and what a data exception
// quotes, may hold row values and are left out), its SQLSTATE and the reaction to it.
Error error_of_result(const pg_result* result);

}  // namespace walbrook
