// Copy: 3 million rows of the mixed table over 2 connections into a new DuckLake, against
// two bare COPY … (FORMAT binary) that are thrown away, and against DuckDB's own import.
// Alternating pairs with a warm cache; the lake is compared with the source after each.
//
//   copy_bench [ROWS [PAIRS]]

#include "bench.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>

using namespace walbrook;
using namespace walbrook::bench;

namespace {

constexpr unsigned kConnections = 2;

int run(long rows, int pairs) {
    const auto cluster = start_server();
    testing::Database database(*cluster);
    print_machine(database);
    create_mixed_table(database, "item");
    database.exec("insert into item " + mixed_rows("1", std::to_string(rows)));
    database.exec("vacuum (freeze, analyze) item");
    database.exec("create publication bench for table item");
    fmt::print("{} rows of {} bytes\n", rows,
               database.value("select (sum(pg_column_size(i)) / count(*))::int from item i"));
    bare_copy(database.url(), "item", kConnections);  // Warms the cache.
    std::vector<double> bare, ours, cpu, memory, ratios, imported;
    for (int i = 0; i < pairs; ++i) {
        const double before_bare = server_cpu_seconds(*cluster);
        const Run limit = bare_copy(database.url(), "item", kConnections);
        const double after_bare = server_cpu_seconds(*cluster);
        bare.push_back(limit.seconds);
        Replica replica(database, Replica::Kind::ducklake,
                        {fmt::format("max_copy_connections_per_table: {}", kConnections)});
        const Run run = replica.catch_up();
        const double after_run = server_cpu_seconds(*cluster);
        replica.expect_equal("item");
        database.exec("select pg_drop_replication_slot('" + replica.slot() + "')");
        ours.push_back(run.seconds);
        cpu.push_back(run.cpu_seconds * 1e6 / static_cast<double>(rows));
        memory.push_back(run.rss_mib_max);
        ratios.push_back(bare.back() / run.seconds);
        imported.push_back(duckdb_import(database.url(), "item").seconds);
        fmt::print(
            "pair {}: bare {:.2f} s, walbrook {:.2f} s (ratio {:.2f}), {:.2f} CPU-s per "
            "million rows, {:.0f} MiB; duckdb import {:.2f} s; lake equal; CPU-s of the "
            "server: bare {:.2f} (and its reader {:.2f}), walbrook {:.2f}\n",
            i + 1, bare.back(), ours.back(), ratios.back(), cpu.back(), memory.back(),
            imported.back(), after_bare - before_bare, limit.cpu_seconds, after_run - after_bare);
        std::fflush(stdout);
    }
    fmt::print(
        "copy, medians: bare {:.2f} s, walbrook {:.2f} s, of the bare copy {:.2f} (at least "
        "0.80), CPU-s per million rows {:.2f} (at most 1.0), duckdb import {:.2f} s "
        "(slower than walbrook: {}), {:.0f} MiB\n",
        median(bare), median(ours), median(ratios), median(cpu), median(imported),
        median(imported) > median(ours) ? "yes" : "NO", median(memory));
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return run(argc > 1 ? std::atol(argv[1]) : 3'000'000, argc > 2 ? std::atoi(argv[2]) : 5);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "copy_bench: %s\n", error.what());
        return 1;
    }
}
