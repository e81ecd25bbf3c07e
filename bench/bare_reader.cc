// The limits that the benchmarks measure against: what Postgres can send to a client that
// throws everything away.
//
//   bare_reader copy URL TABLE CONNECTIONS            COPY … (FORMAT binary), by block ranges
//   bare_reader stream URL SLOT PUBLICATION END_LSN   binary pgoutput up to the commit at END

#include <libpq-fe.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <poll.h>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <vector>

namespace {

[[noreturn]] void fail(PGconn* conn, const std::string& what) {
    std::fprintf(stderr, "bare_reader: %s: %s", what.c_str(), PQerrorMessage(conn));
    std::exit(1);
}

PGconn* connect(const std::string& url, bool replication) {
    const char* const keys[] = {"dbname", replication ? "replication" : nullptr, nullptr};
    const char* const values[] = {url.c_str(), "database", nullptr};
    PGconn* conn = PQconnectdbParams(keys, values, 1);
    if (PQstatus(conn) != CONNECTION_OK) fail(conn, "connect");
    return conn;
}

std::string one_value(PGconn* conn, const std::string& sql) {
    PGresult* result = PQexec(conn, sql.c_str());
    if (PQresultStatus(result) != PGRES_TUPLES_OK) fail(conn, sql);
    std::string value = PQgetvalue(result, 0, 0);
    PQclear(result);
    return value;
}

void start_copy(PGconn* conn, const std::string& sql, ExecStatusType expected) {
    PGresult* result = PQexec(conn, sql.c_str());
    if (PQresultStatus(result) != expected) fail(conn, sql);
    PQclear(result);
}

std::uint64_t read_u64(const char* from) {
    std::uint64_t value;
    std::memcpy(&value, from, sizeof value);
    return __builtin_bswap64(value);
}

void write_u64(char* to, std::uint64_t value) {
    value = __builtin_bswap64(value);
    std::memcpy(to, &value, sizeof value);
}

std::uint64_t copy_range(const std::string& url, const std::string& sql) {
    PGconn* conn = connect(url, false);
    start_copy(conn, sql, PGRES_COPY_OUT);
    std::uint64_t bytes = 0;
    char* buffer = nullptr;
    int size;
    while ((size = PQgetCopyData(conn, &buffer, 0)) > 0) {
        bytes += static_cast<std::uint64_t>(size);
        PQfreemem(buffer);
    }
    if (size == -2) fail(conn, "read");
    PQfinish(conn);
    return bytes;
}

int copy(const std::string& url, const std::string& table, unsigned connections) {
    PGconn* conn = connect(url, false);
    const std::uint64_t blocks = std::stoull(one_value(
        conn, "select pg_relation_size('" + table + "') / current_setting('block_size')::int8"));
    PQfinish(conn);
    std::vector<std::thread> threads;
    std::vector<std::uint64_t> bytes(connections);
    for (unsigned i = 0; i < connections; ++i) {
        std::string sql = "copy (select * from only " + table + " where ctid >= '(" +
                          std::to_string(blocks * i / connections) + ",0)'";
        if (i + 1 < connections) {
            sql += " and ctid < '(" + std::to_string(blocks * (i + 1) / connections) + ",0)'";
        }
        sql += ") to stdout (format binary)";
        threads.emplace_back([&url, &bytes, i, sql] { bytes[i] = copy_range(url, sql); });
    }
    std::uint64_t sum = 0;
    for (unsigned i = 0; i < connections; ++i) {
        threads[i].join();
        sum += bytes[i];
    }
    std::printf("%llu\n", static_cast<unsigned long long>(sum));
    return 0;
}

void send_status(PGconn* conn, std::uint64_t received) {
    char message[34] = {'r'};
    write_u64(message + 1, received);
    // Nothing is confirmed: the slot is read again in the next round.
    if (PQputCopyData(conn, message, sizeof message) != 1 || PQflush(conn) < 0) {
        fail(conn, "send the status");
    }
}

int stream(const std::string& url, const std::string& slot, const std::string& publication,
           std::uint64_t end) {
    PGconn* conn = connect(url, true);
    const std::string version = PQserverVersion(conn) >= 160'000   ? "4"
                                : PQserverVersion(conn) >= 150'000 ? "3"
                                                                   : "2";
    start_copy(conn,
               "START_REPLICATION SLOT " + slot + " LOGICAL 0/0 (proto_version '" + version +
                   "', publication_names '" + publication +
                   "', messages 'true', streaming 'on', binary 'true')",
               PGRES_COPY_BOTH);
    const int receive_buffer = 4 << 20;
    (void)setsockopt(PQsocket(conn), SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    std::uint64_t messages = 0;
    char* buffer = nullptr;
    for (;;) {
        const int size = PQgetCopyData(conn, &buffer, 1);
        if (size == 0) {
            pollfd fd{PQsocket(conn), POLLIN, 0};
            if (poll(&fd, 1, 1000) == 0) send_status(conn, 0);
            if (PQconsumeInput(conn) == 0) fail(conn, "read");
            continue;
        }
        if (size < 0) fail(conn, "read");
        bool done = false;
        if (buffer[0] == 'w' && size > 25) {
            ++messages;
            // Commit: flags, LSN of the commit, end of the transaction.
            done = buffer[25] == 'C' && read_u64(buffer + 25 + 10) >= end;
        } else if (buffer[0] == 'k') {
            done = read_u64(buffer + 1) >= end;
            if (size > 17 && buffer[17] != 0) send_status(conn, 0);
        }
        PQfreemem(buffer);
        if (done) break;
    }
    PQfinish(conn);
    std::printf("%llu\n", static_cast<unsigned long long>(messages));
    return 0;
}

std::uint64_t parse_lsn(const char* text) {
    unsigned high = 0, low = 0;
    if (std::sscanf(text, "%X/%X", &high, &low) != 2) std::exit(64);
    return (std::uint64_t{high} << 32) | low;
}

}  // namespace

int main(int argc, char** argv) {
    const std::string mode = argc > 1 ? argv[1] : "";
    if (mode == "copy" && argc == 5) {
        return copy(argv[2], argv[3], static_cast<unsigned>(std::atoi(argv[4])));
    }
    if (mode == "stream" && argc == 6) return stream(argv[2], argv[3], argv[4], parse_lsn(argv[5]));
    std::fprintf(stderr,
                 "usage: bare_reader copy URL TABLE CONNECTIONS | stream URL SLOT "
                 "PUBLICATION END_LSN\n");
    return 64;
}
