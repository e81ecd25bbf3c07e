#pragma once

#include "support/child_process.h"
#include "support/database.h"
#include "support/pg_cluster.h"
#include "support/temp_dir.h"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

// What the benchmarks share: a server, the table, a pipeline in a folder, and processes
// that are timed from their start to their end. What goes wrong is thrown.
namespace walbrook::bench {

struct Run {
    double seconds = 0;
    double cpu_seconds = 0;  // User and system, of that process alone.
    double rss_mib_max = 0;  // VmHWM.
    std::string output;
};

double median(std::vector<double> values);

// Runs a program to its end; throws with its output unless it exits 0.
Run run_timed(const std::string& program, std::vector<std::string> args);
Run bare_copy(const std::string& url, const std::string& table, unsigned connections);
Run bare_stream(const std::string& url, const std::string& slot, const std::string& publication,
                Lsn end);
// DuckDB's own CREATE TABLE AS into a lake of the same kind.
Run duckdb_import(const std::string& url, const std::string& table);

// Postgres as it is tuned for a measurement: all data in its cache, no checkpoint and no
// disk in between. WALBROOK_BENCH_PG_VERSION (17).
std::unique_ptr<testing::PgCluster> start_server();

// CPU seconds of the server's processes that have ended.
double server_cpu_seconds(const testing::PgCluster& cluster);

// The mixed table: 11 columns, about 166 bytes a row.
void create_mixed_table(testing::Database& database, const std::string& name);
// The SELECT that makes rows `from` to `to` of it.
std::string mixed_rows(const std::string& from, const std::string& to);

// One pipeline in a folder of its own, with product defaults beside the keys given.
class Replica {
 public:
    enum class Kind { ducklake, blackhole };
    Replica(const testing::Database& source, Kind kind,
            std::vector<std::string> pipeline_keys = {});

    const std::string& slot() const { return slot_; }
    std::string catalog() const { return folder_.file("lake/catalog.sqlite"); }
    // `walbrook run --until-caught-up` from its start to its end; with WALBROOK_BENCH_PROFILE
    // set, under perf, which writes to that file.
    Run catch_up();
    // `walbrook run`, to be signalled.
    testing::ChildProcess& start();
    testing::ChildProcess& process() { return *process_; }
    // SIGTERM, and what it used.
    testing::ChildExit stop();
    // What `walbrook status --json` prints; empty when it cannot be asked.
    std::string status() const;
    void wait_until_caught_up(testing::Database& source);
    // Keeps state and lake as they are now; restore() brings them back.
    void save();
    void restore();
    // Throws unless the lake's table holds the source's rows.
    void expect_equal(const std::string& table) const;

 private:
    std::vector<std::string> run_args() const;

    std::string url_;
    std::string slot_;
    testing::TempDir folder_;
    std::unique_ptr<testing::ChildProcess> process_;
};

// "machine: 2 x …, 23 GiB; Postgres 17.10; commit …" for the head of each report.
void print_machine(testing::Database& database);

}  // namespace walbrook::bench
