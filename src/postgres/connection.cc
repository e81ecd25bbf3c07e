#include "postgres/connection.h"

#include "postgres/connect_options.h"
#include "postgres/quote.h"
#include "postgres/sqlstate.h"

#include <fmt/format.h>
#include <libpq-fe.h>

#include <algorithm>
#include <poll.h>
#include <utility>

namespace walbrook {
namespace {

constexpr std::chrono::seconds kCancelGrace(5);    // To react once the server was told.
constexpr std::chrono::seconds kCancelTimeout(2);  // To tell it.

std::string trimmed(std::string_view text) {
    while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
    return std::string(text);
}

// A data exception may have the value in its very message, at the end or in quotes; those of the
// server's other languages have quotes of their own. (22023 is of settings.)
std::string without_value(std::string message, std::string_view sqlstate) {
    if (!sqlstate.starts_with("22") || sqlstate == "22023") return message;
    message.resize(std::min(message.find(": "), message.size()));
    const std::size_t first = message.find('"');
    if (first != std::string::npos) {
        message.replace(first, message.rfind('"') + 1 - first, "\"...\"");
    }
    const bool is_english =
        std::all_of(message.begin(), message.end(), [](unsigned char c) { return c < 0x80; });
    return is_english ? message : "a value is not fit for this; the server's log says more";
}

void ignore_notice(void*, const PGresult*) {}

Error stopped_error(bool stopped, bool closed) {
    const std::string_view tail = closed ? "; the session did not react and was closed" : "";
    if (stopped) return Error(ErrorCode::cancelled, fmt::format("stopped by request{}", tail));
    return Error(ErrorCode::timed_out, fmt::format("no answer within the deadline{}", tail));
}

}  // namespace

std::string application_name(std::uint64_t pipeline_id, std::string_view role) {
    return fmt::format("walbrook:{}:{}", pipeline_id, role);
}

Error error_of_result(const pg_result* result) {
    const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char* primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const std::string_view sqlstate = state == nullptr ? "" : state;
    const std::string message = without_value(
        trimmed(primary == nullptr ? PQresultErrorMessage(result) : primary), sqlstate);
    return Error(error_code_of_sqlstate(sqlstate), message.empty() ? "no message" : message)
        .with_sqlstate(sqlstate);
}

void Connection::Finish::operator()(pg_conn* connection) const { PQfinish(connection); }

bool Connection::is_open() const {
    return handle_ != nullptr && PQstatus(handle_.get()) == CONNECTION_OK;
}

Error Connection::error(std::string_view what) const {
    const std::string text = handle_ ? trimmed(PQerrorMessage(handle_.get())) : "session is closed";
    return Error(ErrorCode::unavailable, fmt::format("{}: {}", what, text));
}

Result<Connection> Connection::open(const PgConnectionConfig& config, const Purpose& purpose,
                                    const Deadline& deadline) {
    WALBROOK_TRY(Connection connection, open_uncancellable(config, purpose, deadline));
    connection.config_ = std::make_shared<const PgConnectionConfig>(config);
    return connection;
}

Result<Connection> Connection::open_uncancellable(const PgConnectionConfig& config,
                                                  const Purpose& purpose,
                                                  const Deadline& deadline) {
    const std::string what = fmt::format("connect to Postgres as {}", purpose.application_name);
    auto options = ConnectOptions::create(config, purpose);
    if (!options) return std::move(options).error().with_context(what);
    Connection connection(PQconnectStartParams(options->keywords().data(), options->values().data(),
                                               /*expand_dbname=*/1));
    if (!connection.handle_) return Error(ErrorCode::unavailable, what + ": out of memory");
    connection.replication_ = purpose.replication;
    PQsetNoticeReceiver(connection.handle_.get(), ignore_notice, nullptr);
    // A failed start has no PGresult; only this makes libpq put the SQLSTATE in its text.
    PQsetErrorVerbosity(connection.handle_.get(), PQERRORS_VERBOSE);
    if (auto status = connection.finish_connecting(deadline, options->password()); !status) {
        return std::move(status).error().with_context(what);
    }
    PQsetErrorVerbosity(connection.handle_.get(), PQERRORS_DEFAULT);
    PQsetnonblocking(connection.handle_.get(), 1);
    connection.server_version_ = PQserverVersion(connection.handle_.get());
    if (connection.server_version_ < 140'000) {
        return Error(ErrorCode::config,
                     fmt::format("{}: the server has version {}; 14 or newer is needed", what,
                                 connection.server_version_ / 10'000));
    }
    if (auto status = connection.pin_settings(purpose, deadline); !status) {
        return std::move(status).error().with_context(what + ": set session settings");
    }
    return connection;
}

Status Connection::finish_connecting(const Deadline& deadline, std::string_view password) {
    const StopEvent stop(deadline.stop);
    PostgresPollingStatusType next =
        PQstatus(handle_.get()) == CONNECTION_BAD ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING;
    while (next == PGRES_POLLING_READING || next == PGRES_POLLING_WRITING) {
        const short events = next == PGRES_POLLING_READING ? POLLIN : POLLOUT;
        const Wait wait = wait_for(PQsocket(handle_.get()), events, deadline.at, stop);
        if (wait != Wait::ready) return stopped_error(wait == Wait::stopped, false);
        next = PQconnectPoll(handle_.get());
    }
    if (next == PGRES_POLLING_OK) return {};
    const auto known = [](const char* text) { return std::string_view(text ? text : ""); };
    return connect_error(PQerrorMessage(handle_.get()), password,
                         {known(PQuser(handle_.get())), known(PQdb(handle_.get()))});
}

Status Connection::pin_settings(const Purpose& purpose, const Deadline& deadline) {
    std::string sql;
    // A replication session got the others with its start-up packet.
    if (!replication_) {
        for (const auto& [name, value] : session_settings(purpose)) {
            sql += fmt::format("set {} = {};", name, quote_literal(value));
        }
    }
    if (server_version_ >= 170'000) sql += "set transaction_timeout = 0;";
    // libpq's own PQbackendPID is a pooler's invention behind a pooler.
    WALBROOK_TRY(const Rows rows, query(deadline, sql + "select pg_catalog.pg_backend_pid()"));
    Fields fields(rows, 0);
    backend_pid_ = fields.u32();
    return fields.finish("read the process of the session");
}

Status Connection::send(const std::string& sql, const std::vector<Param>& params) {
    if (!is_open()) return Error(ErrorCode::unavailable, "the session is closed");
    int sent = 0;
    if (params.empty()) {
        sent = PQsendQuery(handle_.get(), sql.c_str());
    } else {
        std::vector<const char*> values;
        values.reserve(params.size());
        for (const Param& param : params) {
            values.push_back(param.text() ? param.text()->c_str() : nullptr);
        }
        sent = PQsendQueryParams(handle_.get(), sql.c_str(), static_cast<int>(values.size()),
                                 nullptr, values.data(), nullptr, nullptr, /*resultFormat=*/0);
    }
    if (sent == 0) return error("send a query");
    return {};
}

// What has arrived of a statement's results.
struct Connection::Collecting {
    Rows last;
    std::optional<Error> failure;  // The first.
};

Connection::Collected Connection::collect(Collecting& into, Instant until, const StopEvent& stop) {
    PGconn* conn = handle_.get();
    for (;;) {
        const int unsent = PQflush(conn);
        if (unsent == 1 || PQisBusy(conn) != 0) {
            const short events = unsent == 1 ? POLLIN | POLLOUT : POLLIN;
            const Wait wait = wait_for(PQsocket(conn), events, until, stop);
            if (wait == Wait::timed_out) return Collected::timed_out;
            if (wait == Wait::stopped) return Collected::stopped;
            // When the connection is lost, PQgetResult says so below without waiting.
            if (PQconsumeInput(conn) != 0) continue;
        }
        PGresult* result = PQgetResult(conn);
        if (result == nullptr) return Collected::all;
        const ExecStatusType status = PQresultStatus(result);
        Rows rows(result);
        if (status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH || status == PGRES_COPY_IN) {
            return Collected::copy;
        }
        if (status == PGRES_FATAL_ERROR || status == PGRES_BAD_RESPONSE) {
            if (!into.failure) into.failure = error_of_result(result);
        } else {
            into.last = std::move(rows);
        }
    }
}

Result<Rows> Connection::outcome(const Deadline& deadline, bool copy_expected) {
    Collecting got;
    Collected end = Collected::all;
    {
        const StopEvent stop(deadline.stop);
        end = collect(got, deadline.at, stop);
    }
    const bool gave_up = end == Collected::timed_out || end == Collected::stopped;
    const bool was_stopped = end == Collected::stopped;
    if (gave_up) {
        const Instant until = cancel() ? now() + kCancelGrace : now();
        const StopEvent nobody{std::stop_token()};
        end = collect(got, until, nobody);
        if (end != Collected::all) {
            close();
            return stopped_error(was_stopped, /*closed=*/true);
        }
        if (got.failure && (got.failure->sqlstate() == "57014" || !is_open())) {
            return stopped_error(was_stopped, !is_open());
        }
    }
    if (got.failure) return *std::move(got.failure);
    if ((end == Collected::copy) != copy_expected) {
        close();  // In the middle of a COPY nothing else can be said to the server.
        return Error(ErrorCode::internal, copy_expected ? "the statement did not start a copy"
                                                        : "the statement started a copy");
    }
    return std::move(got.last);
}

Result<Rows> Connection::run(const Deadline& deadline, const std::string& sql,
                             const std::vector<Param>& params) {
    WALBROOK_RETURN_IF_ERROR(send(sql, params));
    return outcome(deadline, /*copy_expected=*/false);
}

Status Connection::exec(const Deadline& deadline, const std::string& sql) {
    return run(deadline, sql, {}).status();
}

Status Connection::start_copy(const Deadline& deadline, const std::string& sql) {
    WALBROOK_RETURN_IF_ERROR(send(sql, {}));
    return outcome(deadline, /*copy_expected=*/true).status();
}

Status Connection::finish_copy(const Deadline& deadline) {
    if (!handle_) return Error(ErrorCode::unavailable, "the session is closed");
    return outcome(deadline, /*copy_expected=*/false).status();
}

bool Connection::cancel() {
    if (!handle_ || !config_) return false;
    const Deadline deadline = within(kCancelTimeout);
    auto other = open_uncancellable(*config_, {.application_name = "walbrook:cancel"}, deadline);
    return other && other->query(deadline, "select pg_cancel_backend($1)", backend_pid_);
}

}  // namespace walbrook
