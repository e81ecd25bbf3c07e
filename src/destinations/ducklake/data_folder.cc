#include "destinations/ducklake/data_folder.h"

#include "base/network_file_system.h"
#include "destinations/ducklake/new_files.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace walbrook::ducklake {

namespace fs = std::filesystem;

namespace {

constexpr const char* kOwnerFile = "walbrook-lake-id";

// The whole file or none, whenever the process ends.
Status write_whole(const std::string& path, const std::string& text) {
    const std::string unfinished = path + ".new";
    const auto failed = [&](int reason) {
        ::unlink(unfinished.c_str());
        return Error(ErrorCode::unavailable, "write " + path + ": " + std::strerror(reason));
    };
    const int file = ::open(unfinished.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    const bool is_written =
        file >= 0 && ::write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    const int reason = errno;
    if (file >= 0) ::close(file);
    if (!is_written) return failed(reason);
    WALBROOK_RETURN_IF_ERROR(sync_path(unfinished));
    if (::rename(unfinished.c_str(), path.c_str()) != 0) return failed(errno);
    return sync_path(fs::path(path).parent_path());
}

// Empty where there is none, and where whoever made the file did not come to write it.
Result<std::string> read_owner(const std::string& path) {
    std::error_code error;
    const auto size = fs::file_size(path, error);
    if (error == std::errc::no_such_file_or_directory || (!error && size == 0)) {
        return std::string();
    }
    std::string owner;
    if (!error && std::ifstream(path) >> owner) return owner;
    return Error(ErrorCode::config, "read " + path + ", which says whose folder this is: " +
                                        (error ? error.message() : "it holds no id"));
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
    WALBROOK_TRY(std::string owner, read_owner(path));
    if (owner.empty()) {
        WALBROOK_RETURN_IF_ERROR(write_whole(path, id + "\n"));
        // Another lake may have begun at the same time.
        WALBROOK_TRY(owner, read_owner(path));
    }
    if (owner == id) return {};
    return Error(ErrorCode::config,
                 fmt::format("data_path {} belongs to another lake, of another catalog ({} says "
                             "so): give each lake a folder of its own, or move that one away",
                             folder, path));
}

namespace {

// As DuckDB says it (1.5.5): `Cannot open file "PATH": No such file or directory`.
std::string missing_file(const std::string& error) {
    constexpr std::string_view kBefore = "Cannot open file \"";
    const std::size_t found = error.find(kBefore);
    if (found == std::string::npos) return {};
    const std::size_t begin = found + kBefore.size();
    const std::size_t end = error.find("\": " + std::string(std::strerror(ENOENT)), begin);
    return end == std::string::npos ? std::string() : error.substr(begin, end - begin);
}

// As DuckDB says it (1.5.5): `No magic bytes found at end of file 'PATH'`, `File 'PATH' too small
// to be a Parquet file`, and more of the kind.
std::string damaged_file(const Error& error, const std::string& data_path) {
    const std::size_t begin = error.message().find(data_path);
    if (error.code() != ErrorCode::internal || begin == std::string::npos) return {};
    const std::string path = error.message().substr(begin);
    return path.substr(0, path.find_first_of("'\""));
}

Error copy_again(const std::string& path, const TableSchema& table, std::string_view what) {
    const std::string name = table.display_name();
    return Error(ErrorCode::corrupt_state,
                 fmt::format("the file {} of {} {}, and changes of its rows need it; copy the "
                             "table again: walbrook resync {}",
                             path, name, what, name))
        .with_table(table.id.oid);
}

}  // namespace

bool is_gone(const fs::path& file, const fs::path& data_path) {
    // Without it the disk of the whole folder is away.
    if (!is_data_folder(data_path)) return false;
    struct stat about{};
    if (::stat(file.c_str(), &about) == 0 || errno != ENOENT) return false;
    const fs::path own = file.parent_path();
    fs::path folder = own;
    while (::lstat(folder.c_str(), &about) != 0) {
        if (errno != ENOENT || folder == data_path) return false;
        folder = folder.parent_path();
    }
    // A link that leads nowhere, or an empty folder in the place of whole tables: another disk
    // belongs there. But a table's own folder is empty without its only file.
    std::error_code error;
    const bool is_empty = fs::is_empty(folder, error);
    if (error || (is_empty && folder != own)) return false;
    // What another machine says may be of before or after.
    const auto network = network_file_system_of(folder.string());
    return network && !*network;
}

Error of_lost_file(const Lake& lake, Error error, const TableSchema& table) {
    if (!duckdb_engine::is_from_duckdb(error)) return error;
    const std::string& data_path = lake.options().data_path;
    if (const std::string path = damaged_file(error, data_path); !path.empty()) {
        return copy_again(path, table, "is damaged");
    }
    if (error.code() != ErrorCode::unavailable) return error;
    const std::string path = missing_file(error.message());
    // The second name first: whoever takes that away has given the file its own before.
    if (!path.starts_with(data_path) || lake.bring_back_file(path)) return error;
    if (!is_gone(path, data_path.substr(0, data_path.size() - 1))) return error;
    return copy_again(path, table, "is gone");
}

bool is_data_folder(const fs::path& folder) {
    std::error_code ignored;
    return fs::exists(folder / kOwnerFile, ignored);
}

}  // namespace walbrook::ducklake
