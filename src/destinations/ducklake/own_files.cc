#include "destinations/ducklake/own_files.h"

#include "destinations/duckdb_engine/sql.h"

#include <fmt/format.h>

#include <filesystem>
#include <random>
#include <system_error>

namespace walbrook::ducklake {

using duckdb_engine::quote_literal;

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
    for (const std::string& path : paths) list += (list.empty() ? "" : ", ") + quote_literal(path);
    return session.run(fmt::format("CALL ducklake_add_data_files('lake', {}, [{}], schema => {})",
                                   quote_literal(lake_table), list, quote_literal(lake_schema)));
}

}  // namespace walbrook::ducklake
