// What DuckDB does by itself, for the benchmarks:
//
//   lake_peer import URL TABLE CATALOG DATA_PATH    its postgres extension fills a lake of the
//                                                   same kind with CREATE TABLE AS, all defaults
//   lake_peer compare URL TABLE CATALOG             exit 1 unless public.TABLE of the lake holds
//                                                   the rows of the source, as often as it does

#include "destinations/duckdb_engine/engine.h"
#include "destinations/duckdb_engine/sql.h"

#include <fmt/format.h>

#include <cstdio>
#include <stdexcept>
#include <string>

using namespace walbrook::duckdb_engine;

namespace {

template <class T>
T must(walbrook::Result<T> result) {
    if (!result) throw std::runtime_error(result.error().message());
    return *std::move(result);
}

// Rows as a multiset: their number and two sums over their hashes, of values that DuckDB
// gets from both sides in the same types.
std::string fingerprint(Connection& session, const std::string& table, const std::string& types) {
    const QueryResult result = must(
        session.query(fmt::format("with rows as (select hash({1}) as h from {0}) select count(*), "
                                  "sum(h::hugeint), sum(hash(h, 'again')::hugeint) from rows",
                                  table, types)));
    return *result.text(0, 0) + " rows, " + result.text(0, 1).value_or("-") + ", " +
           result.text(0, 2).value_or("-");
}

int run(int argc, char** argv) {
    const std::string mode = argc > 1 ? argv[1] : "";
    const bool imports = mode == "import" && argc == 6;
    if (!imports && !(mode == "compare" && argc == 5)) {
        std::fprintf(stderr,
                     "usage: lake_peer import URL TABLE CATALOG DATA_PATH | compare URL "
                     "TABLE CATALOG\n");
        return 64;
    }
    DatabaseOptions options;
    options.memory_bytes_max = 8ULL << 30;
    options.extensions = {"sqlite_scanner", "postgres_scanner", "ducklake", "icu"};
    const auto database = must(Database::create(options));
    const auto session = must(database->connect());
    const std::string table = quote_identifier(argv[3]);
    must(session->query(fmt::format(
        "ATTACH {} AS lake ({})", quote_literal(std::string("ducklake:sqlite:") + argv[4]),
        imports ? "DATA_PATH " + quote_literal(argv[5]) : std::string("READ_ONLY"))));
    must(session->query(
        fmt::format("ATTACH {} AS source (TYPE postgres, READ_ONLY)", quote_literal(argv[2]))));
    if (imports) {
        must(session->query("CREATE TABLE lake.main.imported AS SELECT * FROM source.public." +
                            table));
        return 0;
    }
    std::string values;
    const QueryResult columns =
        must(session->query("describe select * from source.public." + table));
    for (std::size_t i = 0; i < columns.rows(); ++i) {
        values += fmt::format("{}{}::{}", i == 0 ? "" : ", ", quote_identifier(*columns.text(i, 0)),
                              *columns.text(i, 1));
    }
    const std::string source = fingerprint(*session, "source.public." + table, values);
    const std::string copy = fingerprint(*session, "lake.public." + table, values);
    if (source == copy) return 0;
    std::fprintf(stderr, "source: %s\nlake:   %s\n", source.c_str(), copy.c_str());
    return 1;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return run(argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "lake_peer: %s\n", error.what());
        return 1;
    }
}
