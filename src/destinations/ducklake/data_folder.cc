#include "destinations/ducklake/data_folder.h"

#include "destinations/ducklake/new_files.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <string>
#include <system_error>
#include <unistd.h>

namespace walbrook::ducklake {

namespace {

constexpr const char* kOwnerFile = "walbrook-lake-id";

// False if it is there already.
Result<bool> write_new(const std::string& path, const std::string& text) {
    const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (file < 0 && errno == EEXIST) return false;
    const bool is_written =
        file >= 0 && ::write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    const int reason = errno;
    if (file >= 0) ::close(file);
    if (!is_written) {
        if (file >= 0) ::unlink(path.c_str());
        return Error(ErrorCode::unavailable, "write " + path + ": " + std::strerror(reason));
    }
    return true;
}

}  // namespace

Result<std::string> read_lake_id(duckdb_engine::Connection& session) {
    WALBROOK_TRY(const auto rows,
                 session.query(fmt::format(
                     "SELECT schema_uuid::VARCHAR FROM {}.ducklake_schema ORDER BY schema_id "
                     "LIMIT 1",
                     Lake::metadata())));
    if (rows.rows() != 1 || !rows.text(0, 0)) {
        return Error(ErrorCode::corrupt_state, "the lake's catalog has no schema main");
    }
    return *rows.text(0, 0);
}

Status claim_data_folder(Lake& lake) {
    const std::string& folder = lake.options().data_path;
    const std::string path = folder + kOwnerFile;
    WALBROOK_TRY(const std::string id, read_lake_id(lake.session()));
    WALBROOK_TRY(const bool is_new, write_new(path, id + "\n"));
    if (is_new) {
        WALBROOK_RETURN_IF_ERROR(sync_path(path));
        return sync_path(folder);
    }
    std::string owner;
    std::ifstream(path) >> owner;
    if (owner == id) return {};
    return Error(ErrorCode::config,
                 fmt::format("data_path {} belongs to another lake, of another catalog ({} says "
                             "so): give each lake a folder of its own, or move that one away",
                             folder, path));
}

bool is_data_folder(const std::filesystem::path& folder) {
    std::error_code ignored;
    return std::filesystem::exists(folder / kOwnerFile, ignored);
}

}  // namespace walbrook::ducklake
