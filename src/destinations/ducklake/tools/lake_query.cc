// lake_query CATALOG SQL [--format csv|table]
//
// Reads a DuckLake catalog from another process than the writer's: attaches it
// read-only as `lake`, runs one query and prints its rows. Exit 1 on an error.

#include "destinations/duckdb_engine/engine.h"
#include "destinations/duckdb_engine/sql.h"
#include "destinations/ducklake/catalog.h"

#include <fmt/format.h>

#include <cstdio>
#include <string>
#include <vector>

namespace {

using namespace walbrook;

std::string csv_cell(const std::optional<std::string>& cell) {
    if (!cell) return "";
    if (!cell->empty() && cell->find_first_of(",\"\r\n") == std::string::npos) return *cell;
    return duckdb_engine::quote_identifier(*cell);  // CSV doubles quotes in the same way.
}

void print_csv(const duckdb_engine::QueryResult& result) {
    for (std::size_t c = 0; c < result.columns().size(); ++c) {
        fmt::print("{}{}", c == 0 ? "" : ",", csv_cell(result.columns()[c]));
    }
    fmt::print("\n");
    for (std::size_t r = 0; r < result.rows(); ++r) {
        for (std::size_t c = 0; c < result.columns().size(); ++c) {
            fmt::print("{}{}", c == 0 ? "" : ",", csv_cell(result.text(r, c)));
        }
        fmt::print("\n");
    }
}

void print_table(const duckdb_engine::QueryResult& result) {
    std::vector<std::vector<std::string>> lines{result.columns()};
    for (std::size_t r = 0; r < result.rows(); ++r) {
        lines.emplace_back();
        for (std::size_t c = 0; c < result.columns().size(); ++c) {
            lines.back().push_back(result.text(r, c).value_or("NULL"));
        }
    }
    std::vector<std::size_t> widths(result.columns().size());
    for (const auto& line : lines) {
        for (std::size_t c = 0; c < line.size(); ++c)
            widths[c] = std::max(widths[c], line[c].size());
    }
    for (std::size_t i = 0; i < lines.size(); ++i) {
        for (std::size_t c = 0; c < widths.size(); ++c) {
            fmt::print("{}{:<{}}", c == 0 ? "" : "  ", lines[i][c], widths[c]);
        }
        fmt::print("\n");
        if (i != 0) continue;
        for (std::size_t c = 0; c < widths.size(); ++c) {
            fmt::print("{}{:-<{}}", c == 0 ? "" : "  ", "", widths[c]);
        }
        fmt::print("\n");
    }
}

Result<duckdb_engine::QueryResult> ask(const std::string& catalog_text, std::string sql) {
    const ducklake::Catalog catalog = ducklake::parse_catalog(catalog_text);
    duckdb_engine::DatabaseOptions options;
    options.memory_bytes_max = 1ULL << 30;
    options.extensions = {"icu", "sqlite_scanner", "ducklake"};
    if (catalog.kind == ducklake::CatalogKind::postgres) options.extensions[1] = "postgres_scanner";
    WALBROOK_TRY(auto database, duckdb_engine::Database::create(options));
    WALBROOK_TRY(auto session, database->connect());
    WALBROOK_RETURN_IF_ERROR(session->run("SET TimeZone = 'UTC'"));
    WALBROOK_RETURN_IF_ERROR(session->run(fmt::format(
        "ATTACH {} AS lake (READ_ONLY)", duckdb_engine::quote_literal(catalog.attach_uri()))));
    WALBROOK_RETURN_IF_ERROR(session->run("USE lake"));
    while (!sql.empty() && (sql.back() == ';' || sql.back() == '\n' || sql.back() == ' ')) {
        sql.pop_back();
    }
    // Every value as DuckDB prints it; what cannot stand in a FROM is asked as it is.
    if (auto result = session->query(fmt::format("SELECT COLUMNS(*)::VARCHAR FROM ({}\n)", sql))) {
        return result;
    }
    return session->query(sql);
}

}  // namespace

int main(int argc, char** argv) {
    const std::vector<std::string> arguments(argv + 1, argv + argc);
    const bool has_format = arguments.size() == 4 && arguments[2] == "--format" &&
                            (arguments[3] == "csv" || arguments[3] == "table");
    if (arguments.size() != 2 && !has_format) {
        fmt::print(stderr, "usage: lake_query CATALOG SQL [--format csv|table]\n");
        return 64;
    }
    const auto result = ask(arguments[0], arguments[1]);
    if (!result) {
        fmt::print(stderr, "lake_query: {}\n", result.error().message());
        return 1;
    }
    if (has_format && arguments[3] == "csv") {
        print_csv(*result);
    } else {
        print_table(*result);
    }
    return 0;
}
