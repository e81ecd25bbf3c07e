// lake_holder CATALOG TABLE
//
// Another process that reads a lake in the ways that hold on to it, all at once: a
// transaction that stays open, a cursor that is not read to its end, and a query that
// runs as long as it is let. Says "holding" once it is in the middle of all three. SIGTERM
// ends the query; then the transaction is asked and the cursor read to its end. Exit 0
// when both still show the snapshot that they began with.

#include <duckdb.h>
#include <fmt/format.h>

#include <signal.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include "destinations/duckdb_engine/engine.h"
#include "destinations/duckdb_engine/sql.h"

namespace {

using namespace walbrook;

volatile sig_atomic_t is_asked_to_end = 0;
void on_sigterm(int) { is_asked_to_end = 1; }

[[noreturn]] void fail(const std::string& what) {
    fmt::print(stderr, "lake_holder: {}\n", what);
    std::exit(1);
}

// DuckDB by its C interface: the engine of the product holds results whole.
class Session {
 public:
    explicit Session(duckdb_database database) {
        if (duckdb_connect(database, &connection_) != DuckDBSuccess) fail("cannot connect");
    }
    void run(const std::string& sql) {
        duckdb_result result{};
        const bool ok = duckdb_query(connection_, sql.c_str(), &result) == DuckDBSuccess;
        const char* error = duckdb_result_error(&result);
        if (!ok) fail(error == nullptr ? sql : error);
        duckdb_destroy_result(&result);
    }
    std::int64_t number(const std::string& sql) {
        duckdb_result result = open(sql);
        const std::int64_t rows = rest_of(result);
        duckdb_destroy_result(&result);
        return rows;
    }
    // A statement that advances by duckdb_pending_execute_task and makes its rows as they
    // are fetched.
    duckdb_pending_result begin(const std::string& sql) {
        duckdb_prepared_statement prepared = nullptr;
        duckdb_pending_result pending = nullptr;
        if (duckdb_prepare(connection_, sql.c_str(), &prepared) != DuckDBSuccess) {
            fail(duckdb_prepare_error(prepared));
        }
        if (duckdb_pending_prepared_streaming(prepared, &pending) != DuckDBSuccess) {
            fail(duckdb_pending_error(pending));
        }
        duckdb_destroy_prepare(&prepared);
        return pending;
    }
    duckdb_result open(const std::string& sql) {
        duckdb_pending_result pending = begin(sql);
        duckdb_result result{};
        if (duckdb_execute_pending(pending, &result) != DuckDBSuccess) {
            fail(duckdb_pending_error(pending));
        }
        duckdb_destroy_pending(&pending);
        if (!duckdb_result_is_streaming(result)) fail("the rows were all made at once");
        return result;
    }
    // Rows of one chunk; 0 at the end.
    static std::int64_t fetch(duckdb_result result) {
        duckdb_data_chunk chunk = duckdb_fetch_chunk(result);
        if (chunk == nullptr) return 0;
        const auto rows = static_cast<std::int64_t>(duckdb_data_chunk_get_size(chunk));
        duckdb_destroy_data_chunk(&chunk);
        return rows;
    }
    static std::int64_t rest_of(duckdb_result result) {
        std::int64_t rows = 0;
        while (const std::int64_t some = fetch(result)) rows += some;
        return rows;
    }

 private:
    duckdb_connection connection_ = nullptr;
};

duckdb_database open_lake(const std::string& catalog) {
    duckdb_config config = nullptr;
    duckdb_database database = nullptr;
    char* error = nullptr;
    if (duckdb_create_config(&config) != DuckDBSuccess ||
        duckdb_set_config(config, "threads", "1") != DuckDBSuccess ||
        duckdb_set_config(config, "autoinstall_known_extensions", "false") != DuckDBSuccess ||
        duckdb_open_ext(":memory:", &database, config, &error) != DuckDBSuccess) {
        fail(error == nullptr ? "cannot open duckdb" : error);
    }
    duckdb_destroy_config(&config);
    Session session(database);
    for (const char* extension : {"icu", "sqlite_scanner", "ducklake"}) {
        session.run("LOAD " + duckdb_engine::quote_literal(fmt::format(
                                  "{}/{}.duckdb_extension", duckdb_engine::extension_folder(),
                                  extension)));
    }
    session.run("ATTACH " + duckdb_engine::quote_literal("ducklake:sqlite:" + catalog) +
                " AS lake (READ_ONLY)");
    return database;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        fmt::print(stderr, "usage: lake_holder CATALOG TABLE\n");
        return 64;
    }
    signal(SIGTERM, on_sigterm);
    const std::string table = std::string("lake.") + argv[2];
    duckdb_database database = open_lake(argv[1]);
    const std::string all_rows = "SELECT * FROM " + table;

    Session transaction(database);
    transaction.run("BEGIN");
    const std::int64_t rows = transaction.number(all_rows);

    Session cursor(database);
    duckdb_result unfinished = cursor.open(all_rows);
    std::int64_t fetched = Session::fetch(unfinished);
    if (fetched == 0 || fetched == rows) fail("the table is too small for an unfinished cursor");

    // In steps of this thread, so that "in the middle" is known and not guessed.
    Session query(database);
    duckdb_pending_result running = query.begin(
        fmt::format("SELECT sum(hash(t, r)) FROM {} AS t, range(1000000000000) AS r", table));
    for (int step = 0; is_asked_to_end == 0; ++step) {
        if (duckdb_pending_execute_task(running) != DUCKDB_PENDING_RESULT_NOT_READY) {
            fail("the query ended by itself");
        }
        if (step != 10) continue;
        fmt::print("holding\n");
        std::fflush(stdout);
    }
    duckdb_destroy_pending(&running);

    fetched += Session::rest_of(unfinished);
    const std::int64_t again = transaction.number(all_rows);
    fmt::print("transaction {} then {}, cursor {}\n", rows, again, fetched);
    std::fflush(stdout);
    std::_Exit(rows == again && rows == fetched ? 0 : 1);
}
