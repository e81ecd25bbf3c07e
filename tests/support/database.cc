#include "support/database.h"

#include "postgres/quote.h"
#include "support/eventually.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <iterator>
#include <stdexcept>
#include <unistd.h>

namespace walbrook::testing {
namespace {

constexpr std::chrono::seconds kLimit(120);

std::string copy_text(const Rows& rows, std::size_t row, std::size_t column) {
    return rows.is_null(row, column) ? "\\N" : copy_escaped(rows.text(row, column));
}

Connection open_session(const PgConnectionConfig& config) {
    auto session = Connection::open(config, {.application_name = "walbrook-test"}, within(kLimit));
    if (!session) throw std::runtime_error(session.error().message());
    return *std::move(session);
}

std::string fresh_name() {
    static std::atomic<int> count{0};
    return fmt::format("t_{}_{}", getpid(), ++count);
}

}  // namespace

std::string copy_escaped(std::string_view text) {
    std::string out;
    for (const char c : text) {
        switch (c) {
            case '\\':
                out += "\\\\";
                break;
            case '\t':
                out += "\\t";
                break;
            case '\n':
                out += "\\n";
                break;
            case '\r':
                out += "\\r";
                break;
            default:
                out += c;
        }
    }
    return out;
}

void must_exec(Connection& session, const std::string& sql) {
    const Status done = session.exec(within(kLimit), sql);
    if (!done) throw std::runtime_error(sql + ": " + done.error().message());
}

TextRows must_query(Connection& session, const std::string& sql) {
    const auto rows = session.query(within(kLimit), sql);
    if (!rows) throw std::runtime_error(sql + ": " + rows.error().message());
    TextRows out;
    for (std::size_t row = 0; row < rows->size(); ++row) {
        std::vector<std::string>& line = out.emplace_back();
        for (std::size_t column = 0; column < rows->columns(); ++column) {
            line.push_back(copy_text(*rows, row, column));
        }
    }
    return out;
}

Database::Database(PgCluster& cluster) : cluster_(&cluster), name_(fresh_name()) {
    Connection maintenance = open_session(cluster_->connection());
    // template0: whatever another session does to template1 cannot stop us.
    must_exec(maintenance, "create database " + name_ + " template template0");
}

Database::~Database() {
    try {
        cluster_->start();  // A test may have stopped it.
        drop_leftovers();
        session_.reset();
        Connection maintenance = open_session(cluster_->connection());
        must_exec(maintenance, "drop database " + name_ + " with (force)");
    } catch (const std::exception& problem) {
        std::fprintf(stderr, "database %s stays: %s\n", name_.c_str(), problem.what());
    }
}

// DROP DATABASE … FORCE ends sessions, but refuses slots and prepared transactions.
void Database::drop_leftovers() {
    for (const std::vector<std::string>& row :
         query("select gid from pg_prepared_xacts where database = current_database()")) {
        exec("rollback prepared " + quote_literal(row[0]));
    }
    const bool dropped = eventually([&] {
        query(
            "select pg_terminate_backend(active_pid) from pg_replication_slots"
            " where database = current_database() and active");
        query(
            "select pg_drop_replication_slot(slot_name) from pg_replication_slots"
            " where database = current_database() and not active");
        return value(
                   "select count(*) from pg_replication_slots"
                   " where database = current_database()") == "0";
    });
    if (!dropped) throw std::runtime_error("a replication slot cannot be dropped");
}

void Database::move_to(PgCluster& promoted) {
    session_.reset();
    cluster_ = &promoted;
}

Connection Database::session() {
    Connection session = open_session(connection());
    must_exec(session, "set search_path = public");
    return session;
}

Connection& Database::own_session() {
    const bool alive = session_ && session_->is_open() && session_->exec(within(kLimit), "select");
    if (!alive) session_ = session();
    return *session_;
}

void Database::exec(const std::string& sql) { must_exec(own_session(), sql); }

TextRows Database::query(const std::string& sql) { return must_query(own_session(), sql); }

std::string Database::value(const std::string& sql) {
    const TextRows rows = query(sql);
    if (rows.size() != 1 || rows[0].size() != 1) throw std::runtime_error(sql + ": not one value");
    return rows[0][0];
}

std::uint32_t Database::oid(const std::string& table) {
    const std::string digits = value("select " + quote_literal(table) + "::regclass::oid");
    std::uint32_t oid = 0;
    std::from_chars(digits.data(), digits.data() + digits.size(), oid);
    return oid;
}

Lsn Database::lsn() {
    const auto lsn = parse_lsn(value("select pg_current_wal_insert_lsn()"));
    if (!lsn) throw std::runtime_error("the server's WAL position cannot be read");
    return *lsn;
}

std::vector<std::string> table_rows(Connection& session, const TableQuery& query) {
    const std::string table = quote_qualified(query.schema, query.table);
    std::string columns;
    const auto add = [&](const std::string& name) {
        columns += columns.empty() ? "" : ", ";
        // Casts to text are not what these types print: that of character(n) cuts the
        // padding off, that of inet adds the mask of a host.
        const std::string column = quote_identifier(name);
        columns += "case when pg_typeof(" + column + ")::oid in (1042, 869) and " + column +
                   " is not null then format('%s', " + column + ") else " + column + "::text end";
    };
    for (const std::string& name : query.columns) add(name);
    if (query.columns.empty()) {
        // As it is, not as COPY writes it.
        const auto names = session.query(
            within(kLimit),
            "select attname from pg_attribute where attrelid = " + quote_literal(table) +
                "::regclass and attnum > 0 and not attisdropped order by attnum");
        if (!names) throw std::runtime_error(names.error().message());
        for (std::size_t i = 0; i < names->size(); ++i) add(std::string(names->text(i, 0)));
    }
    const std::string where = query.where.empty() ? "" : " where " + query.where;
    std::vector<std::string> lines;
    for (const std::vector<std::string>& row :
         must_query(session, "select " + columns + " from " + table + where)) {
        lines.push_back(fmt::format("{}", fmt::join(row, "\t")));
    }
    std::sort(lines.begin(), lines.end());
    return lines;
}

std::vector<std::string> table_rows(const Database& database, const TableQuery& query) {
    Connection session = open_session(database.connection());
    return table_rows(session, query);
}

std::string difference(const std::vector<std::string>& left,
                       const std::vector<std::string>& right) {
    std::vector<std::string> only_left;
    std::vector<std::string> only_right;
    std::set_difference(left.begin(), left.end(), right.begin(), right.end(),
                        std::back_inserter(only_left));
    std::set_difference(right.begin(), right.end(), left.begin(), left.end(),
                        std::back_inserter(only_right));
    if (only_left.empty() && only_right.empty()) return {};
    std::string out = fmt::format("{} rows against {}; {} only left, {} only right", left.size(),
                                  right.size(), only_left.size(), only_right.size());
    constexpr std::size_t shown_max = 5;
    for (std::size_t i = 0; i < std::min(shown_max, only_left.size()); ++i) {
        out += "\n- " + only_left[i];
    }
    for (std::size_t i = 0; i < std::min(shown_max, only_right.size()); ++i) {
        out += "\n+ " + only_right[i];
    }
    return out;
}

}  // namespace walbrook::testing
