#include "destinations/ducklake/own_files.h"

#include "destinations/duckdb_engine/sql.h"

#include <fmt/format.h>

#include <filesystem>
#include <random>
#include <string_view>
#include <system_error>

namespace walbrook::ducklake {

using duckdb_engine::quote_literal;

namespace {

// The pattern that only this path matches: DuckDB takes the paths of files that it is to read for
// patterns. (A backslash does not help, it parts folders: DuckLakeConfig::problems().)
std::string pattern_of(std::string_view path) {
    std::string pattern;
    for (const char each : path) {
        const bool is_special = each == '*' || each == '?' || each == '[';
        pattern += is_special ? fmt::format("[{}]", each) : std::string(1, each);
    }
    return pattern;
}

}  // namespace

std::string random_suffix() {
    std::random_device random;
    return fmt::format("{:08x}{:08x}", random(), random());
}

Result<std::string> own_file_path(const std::string& folder, std::uint32_t oid) {
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    if (error) return Error(ErrorCode::unavailable, "make " + folder + ": " + error.message());
    return fmt::format("{}/walbrook_{}_{}.parquet", folder, oid, random_suffix());
}

bool is_own_file(const std::string& name) {
    return name.ends_with(".parquet") &&
           (name.starts_with("walbrook_") || name.starts_with("ducklake-"));
}

void remove_file(const std::string& path) {
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
}

Status register_files(duckdb_engine::Connection& session, const std::string& lake_schema,
                      const std::string& lake_table, const std::vector<std::string>& paths) {
    std::string list;
    for (const std::string& path : paths) {
        list += (list.empty() ? "" : ", ") + quote_literal(pattern_of(path));
    }
    // A folder `id=7` above would be the value of a column `id`, in the place of the file's own.
    return session.run(
        fmt::format("CALL ducklake_add_data_files('lake', {}, [{}], schema => {}, "
                    "hive_partitioning => false)",
                    quote_literal(lake_table), list, quote_literal(lake_schema)));
}

}  // namespace walbrook::ducklake
