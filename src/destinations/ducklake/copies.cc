#include "destinations/ducklake/copies.h"

#include "base/failpoints.h"
#include "destinations/duckdb_engine/sql.h"
#include "destinations/ducklake/data_folder.h"
#include "destinations/ducklake/floats.h"
#include "destinations/ducklake/new_files.h"
#include "destinations/ducklake/own_files.h"
#include "destinations/ducklake/table_ddl.h"

#include <fmt/format.h>

#include <filesystem>
#include <system_error>
#include <unordered_set>
#include <utility>

namespace walbrook::ducklake {

using duckdb_engine::Connection;
using duckdb_engine::is_large;
using duckdb_engine::NamedScan;
using duckdb_engine::QueryResult;
using duckdb_engine::quote_literal;
using duckdb_engine::ReaderSource;
using duckdb_engine::too_large;

namespace fs = std::filesystem;

namespace {

// Files whose fsync may be on its way.
constexpr std::size_t kSyncsMax = 4;

Error given_up(const CopyTarget& target) {
    return {ErrorCode::aborted, "this copy of " + target.schema->display_name() +
                                    " was given up, another attempt took its place"};
}

}  // namespace

Copies::Copy* Copies::find(const CopyTarget& target) {
    const auto found = copies_.find(target.schema->id.oid);
    if (found == copies_.end() || found->second.target->attempt != target.attempt) return nullptr;
    return &found->second;
}

Status Copies::begin(const CopyTargetPtr& copy, const std::string& schema_folder) {
    const std::uint32_t oid = copy->schema->id.oid;
    Copy fresh{
        copy,
        lake_.options().data_path + schema_folder + shadow_name(copy->schema->id, copy->attempt),
        {}};
    std::error_code error;
    fs::create_directories(fresh.folder, error);
    if (error) {
        return Error(ErrorCode::unavailable, "make " + fresh.folder + ": " + error.message());
    }
    const std::lock_guard lock(mutex_);
    if (const auto old = copies_.find(oid); old != copies_.end()) {
        for (const auto& [unit, file] : old->second.files) remove(file);
        copies_.erase(old);
    }
    copies_.emplace(oid, std::move(fresh));
    return {};
}

Status Copies::write(const CopyUnit& unit, RowReader& rows, const std::stop_token& stop) {
    const CopyTarget& target = *unit.copy;
    std::string path;
    {
        const std::lock_guard lock(mutex_);
        const Copy* copy = find(target);
        if (copy == nullptr) return given_up(target);
        path = fmt::format("{}/walbrook_{}_{}_{}_{}.parquet", copy->folder, target.schema->id.oid,
                           target.attempt, unit.index, random_suffix());
    }
    WALBROOK_TRY(Session session, take_session());
    ReaderSource source(rows);
    Status status;
    {
        const NamedScan scan(session.database->scans(), source);
        status = session.connection
                     ->change(fmt::format("COPY (SELECT * FROM {}) TO {} ({})", scan.sql(),
                                          quote_literal(path), parquet_options(*target.schema)),
                              source, stop)
                     .status();
    }
    // Who tries again has more memory; what is too large for all of it stays so.
    if (!status && duckdb_engine::is_out_of_memory(status.error()) &&
        is_large(*session.database, source.batch_bytes_max()) && !session.database->give_more()) {
        status = too_large(*session.database, source.batch_bytes_max());
    }
    return_session(std::move(session));
    if (status) status = failpoint("lake.copy_file_written");
    if (!status || source.rows_read() == 0) {
        remove_file(path);
        return status;
    }
    const File file{path, start_sync(path)};
    const std::lock_guard lock(mutex_);
    Copy* copy = find(target);
    if (copy == nullptr) {
        remove(file);
        return given_up(target);
    }
    if (!copy->files.emplace(unit.index, file).second) {
        remove(file);
        return Error(ErrorCode::internal, fmt::format("unit {} of {} was written twice", unit.index,
                                                      target.schema->display_name()));
    }
    return {};
}

Result<std::string> Copies::register_files(const CopyTargetPtr& target) {
    std::vector<File> files;
    std::string folder;
    {
        const std::lock_guard lock(mutex_);
        const Copy* copy = find(*target);
        if (copy == nullptr) return given_up(*target);
        for (const auto& [unit, file] : copy->files) files.push_back(file);
        folder = copy->folder;
    }
    for (const File& file : files) WALBROOK_RETURN_IF_ERROR(file.synced.get());
    const std::string name = shadow_name(target->schema->id, target->attempt);
    WALBROOK_RETURN_IF_ERROR(create_table(lake_.session(), *target->schema, name));
    if (files.empty()) return folder;
    WALBROOK_RETURN_IF_ERROR(sync_path(folder));
    WALBROOK_RETURN_IF_ERROR(sync_path(fs::path(folder).parent_path()));
    std::vector<std::string> paths;
    for (const File& file : files) paths.push_back(file.path);
    WALBROOK_RETURN_IF_ERROR(
        ducklake::register_files(lake_.session(), target->schema->schema, name, paths));
    return folder;
}

void Copies::finish(const CopyTargetPtr& target) {
    const std::lock_guard lock(mutex_);
    if (find(*target) != nullptr) forget(*target);
}

void Copies::discard(const CopyTargetPtr& target) {
    const std::lock_guard lock(mutex_);
    const Copy* copy = find(*target);
    if (copy == nullptr) return;
    for (const auto& [unit, file] : copy->files) remove(file);
    remove_file(copy->folder);  // Empty by now, unless somebody else put something there.
    forget(*target);
}

void Copies::forget(const CopyTarget& target) {
    copies_.erase(target.schema->id.oid);
    if (copies_.empty()) sessions_.clear();
}

void Copies::remove(const File& file) {
    file.synced.wait();
    remove_file(file.path);
}

std::shared_future<Status> Copies::start_sync(std::string path) {
    std::optional<std::shared_future<Status>> oldest;
    // Without a thread to be had the fsync is done by whoever waits for it.
    std::shared_future<Status> started =
        std::async(std::launch::async | std::launch::deferred, [path = std::move(path)] {
            return sync_path(path);
        }).share();
    {
        const std::lock_guard lock(mutex_);
        syncs_.push_back(started);
        if (syncs_.size() > kSyncsMax) {
            oldest = std::move(syncs_.front());
            syncs_.pop_front();
        }
    }
    // A disk that is slower than the source slows the copy down here.
    if (oldest) oldest->wait();
    return started;
}

Result<Copies::Session> Copies::take_session() {
    Session session{lake_.database(), nullptr};
    {
        const std::lock_guard lock(mutex_);
        while (!session.connection && !sessions_.empty()) {
            // Those of an earlier database keep it from going.
            if (sessions_.back().database == session.database) {
                session.connection = std::move(sessions_.back().connection);
            }
            sessions_.pop_back();
        }
    }
    if (!session.connection) {
        WALBROOK_TRY(session.connection, session.database->connect());
    }
    return session;
}

void Copies::return_session(Session session) {
    if (session.database != lake_.database()) return;
    const std::lock_guard lock(mutex_);
    if (!copies_.empty()) sessions_.push_back(std::move(session));
}

namespace {

std::vector<fs::path> list_own_files(const std::string& data_path) {
    std::vector<fs::path> files;
    std::error_code error;
    for (fs::recursive_directory_iterator it(data_path, error), end; !error && it != end;
         it.increment(error)) {
        if (it->is_directory() && is_data_folder(it->path())) it.disable_recursion_pending();
        if (it->is_regular_file() && is_own_file(it->path().filename().string())) {
            files.push_back(it->path());
        }
    }
    return files;
}

}  // namespace

// In this order: whoever has taken the lake over before the look at the fence is seen there, and
// what comes after it is not in the list.
Result<std::size_t> sweep_files(Lake& lake) {
    std::vector<fs::path> stray = list_own_files(lake.options().data_path);
    // Both kinds of names hold a random part, so the name alone tells the file.
    WALBROOK_TRY(const QueryResult known,
                 lake.session().query(fmt::format(
                     "SELECT path FROM {0}.ducklake_data_file UNION ALL SELECT path FROM "
                     "{0}.ducklake_delete_file UNION ALL SELECT path FROM "
                     "{0}.ducklake_files_scheduled_for_deletion",
                     Lake::metadata())));
    std::unordered_set<std::string> names;
    for (std::size_t i = 0; i < known.rows(); ++i) {
        names.insert(fs::path(known.text(i, 0).value_or("")).filename().string());
    }
    std::erase_if(stray,
                  [&](const fs::path& path) { return names.contains(path.filename().string()); });
    WALBROOK_RETURN_IF_ERROR(lake.check_fence());
    for (const fs::path& path : stray) remove_file(path.string());
    return stray.size();
}

}  // namespace walbrook::ducklake
