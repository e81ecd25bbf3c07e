#include "destinations/ducklake/upkeep.h"

#include "destinations/duckdb_engine/sql.h"
#include "destinations/ducklake/floats.h"
#include "destinations/ducklake/own_files.h"
#include "destinations/ducklake/records.h"
#include "destinations/ducklake/snapshot_view.h"
#include "destinations/ducklake/table_ddl.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace walbrook::ducklake {

using duckdb_engine::QueryResult;
using duckdb_engine::quote_literal;
using duckdb_engine::same_name;

namespace {

using std::chrono::minutes;

constexpr std::size_t kCommitsBetweenThinnings = 500;
constexpr minutes kTimeBetweenThinnings{10};
constexpr std::size_t kExpiredAtOnceMax = 2'000;

// A query that began on a snapshot may go on for so long after the snapshot went.
constexpr minutes kDeletionGrace{10};

constexpr std::size_t kQuietFlushesMax = 2'000;

bool has_column(const TableSchema& schema, std::string_view name) {
    return std::any_of(schema.columns.begin(), schema.columns.end(),
                       [&](const ColumnSchema& column) { return same_name(column.name, name); });
}

}  // namespace

void Upkeep::count_change(std::uint32_t oid, bool has_inserted, std::size_t deleted) {
    // What earlier processes left is not counted: it is looked at once.
    const auto [found, is_new] = due_.try_emplace(oid, Due{kFilesOfOneSize, 0});
    if (has_inserted) ++found->second.files;
    found->second.deleted += deleted;
}

Status Upkeep::step(const Tables& tables, const Note& note, const std::stop_token& stop) {
    const Instant present = now();
    // Once in each process, however short it lives.
    if (commits_ >= kCommitsBetweenThinnings ||
        (commits_ != 0 && (!thinned_ || present - *thinned_ >= kTimeBetweenThinnings))) {
        return thin(stop);
    }
    if (commits_ != 0 && (!cleaned_ || present - *cleaned_ >= kDeletionGrace)) return clean(stop);
    if (quiet_flushes_ >= kQuietFlushesMax) return flush_records(note, stop);
    // Tables take turns: under a steady load there is one step a flush.
    auto turn = due_.upper_bound(last_);
    for (std::size_t i = 0; i < due_.size(); ++i, ++turn) {
        if (turn == due_.end()) turn = due_.begin();
        auto& [oid, due] = *turn;
        if (due.files < kFilesOfOneSize && due.deleted < kDeletedRowsMax) continue;
        // A step that fails is not tried again before its time has come once more.
        due = {};
        last_ = oid;
        const auto record = tables.records.find(oid);
        if (record == tables.records.end() || record->second.lake_table.empty()) continue;
        return compact(record->second, due, note, stop);
    }
    return {};
}

Status Upkeep::thin(const std::stop_token& stop) {
    if (std::exchange(commits_, 0) >= kCommitsBetweenThinnings) {
        WALBROOK_RETURN_IF_ERROR(lake_.reopen());
    }
    thinned_ = now();
    WALBROOK_RETURN_IF_ERROR(lake_.check_fence());
    WALBROOK_TRY(const std::vector<Snapshot> snapshots, read_snapshots(lake_.session()));
    std::vector<std::int64_t> expired =
        choose_expired(snapshots, unix_time_us(), {}, wanted_.at(now()));
    if (expired.empty()) return {};
    if (expired.size() > kExpiredAtOnceMax) {
        expired.resize(kExpiredAtOnceMax);
        commits_ = kCommitsBetweenThinnings;  // The rest next time.
    }
    return lake_.session().run(
        fmt::format("CALL ducklake_expire_snapshots('lake', versions => [{}])",
                    fmt::join(expired, ", ")),
        stop);
}

Status Upkeep::clean(const std::stop_token& stop) {
    cleaned_ = now();
    WALBROOK_RETURN_IF_ERROR(lake_.check_fence());
    // A delete file goes when a larger one takes its place, though the snapshot that had it stays.
    // What went before anybody began to read goes all the same: a comparison may take days.
    const std::chrono::seconds age = kDeletionGrace + wanted_.age(*cleaned_);
    return lake_.session().run(
        fmt::format("CALL ducklake_cleanup_old_files('lake', older_than => now() - INTERVAL {} "
                    "SECOND)",
                    age.count()),
        stop);
}

Status Upkeep::flush_records(const Note& note, const std::stop_token& stop) {
    quiet_flushes_ = 0;
    return lake_.transact(
        "maintain",
        [&]() -> Result<Note> {
            WALBROOK_RETURN_IF_ERROR(lake_.new_files().watch(records_folder(lake_, "pipeline")));
            WALBROOK_RETURN_IF_ERROR(lake_.session().run(
                "CALL ducklake_flush_inlined_data('lake', table_name => 'pipeline', schema_name => "
                "'_walbrook')"));
            return note;
        },
        stop);
}

Result<std::vector<DataFile>> Upkeep::files_of(const TableRecord& record) {
    WALBROOK_TRY(
        const QueryResult rows,
        lake_.session().query(fmt::format(
            "SELECT f.path, f.record_count, coalesce(d.delete_count, 0), f.file_size_bytes FROM "
            "{0}.ducklake_data_file AS f JOIN {0}.ducklake_table AS t ON t.table_id = f.table_id "
            "AND t.end_snapshot IS NULL AND t.table_name = {1} JOIN {0}.ducklake_schema AS s ON "
            "s.schema_id = t.schema_id AND s.schema_name = {2} LEFT JOIN {0}.ducklake_delete_file "
            "AS d ON d.data_file_id = f.data_file_id AND d.end_snapshot IS NULL WHERE "
            "f.end_snapshot IS NULL AND f.path_is_relative::BOOLEAN ORDER BY f.data_file_id",
            Lake::metadata(), quote_literal(record.lake_table),
            quote_literal(record.lake_schema))));
    std::vector<DataFile> files;
    for (std::size_t i = 0; i < rows.rows(); ++i) {
        files.push_back({record.folder + "/" + rows.text(i, 0).value_or(""),
                         rows.number(i, 1).value_or(0), rows.number(i, 2).value_or(0),
                         rows.number(i, 3).value_or(0)});
    }
    return files;
}

Status Upkeep::compact(const TableRecord& record, Due& due, const Note& note,
                       const std::stop_token& stop) {
    // Rows are found by `filename`, which a column of that name hides.
    if (has_column(*record.schema, "filename")) return {};
    WALBROOK_TRY(const std::vector<DataFile> all, files_of(record));
    const std::vector<DataFile> files = choose_files(all);
    if (files.empty()) return {};
    WALBROOK_RETURN_IF_ERROR(write_again(record, files, note, stop));
    // There may be more to do: the next flush asks again.
    due.files = kFilesOfOneSize - 1;
    return {};
}

// One new file in their place, by plain SQL. The number of rows must be the same at every
// stage, or nothing happens.
Status Upkeep::write_again(const TableRecord& record, const std::vector<DataFile>& files,
                           const Note& note, const std::stop_token& stop) {
    const std::string name = lake_name(record.lake_schema, record.lake_table);
    std::string list;
    for (const DataFile& file : files) {
        list += (list.empty() ? "" : ", ") + quote_literal(file.path);
    }
    const std::string from = fmt::format("FROM {} WHERE filename IN ({})", name, list);
    WALBROOK_TRY(const std::string path, own_file_path(record.folder, record.schema->id.oid));
    // A file that cannot be read is this table's trouble alone.
    const auto query = [&](const std::string& sql) -> Result<QueryResult> {
        auto result = lake_.session().query(sql, stop);
        if (result || result.error().code() != ErrorCode::internal || lake_.is_broken()) {
            return result;
        }
        return std::move(result).error().with_table(record.schema->id.oid);
    };
    const auto work = [&]() -> Result<Note> {
        WALBROOK_RETURN_IF_ERROR(lake_.new_files().watch(record.folder));
        WALBROOK_TRY(const QueryResult written,
                     query(fmt::format("COPY (SELECT * {}) TO {} ({})", from, quote_literal(path),
                                       parquet_options(*record.schema))));
        WALBROOK_TRY(const QueryResult removed, query("DELETE " + from));
        std::int64_t live = 0;
        for (const DataFile& file : files) live += file.rows - file.deleted;
        const auto expected = static_cast<std::uint64_t>(live);
        if (written.rows_changed() != expected || removed.rows_changed() != expected) {
            return Error(ErrorCode::internal,
                         fmt::format("merge files of {}.{}: {} rows in the catalog, {} written, {} "
                                     "removed",
                                     record.lake_schema, record.lake_table, expected,
                                     written.rows_changed(), removed.rows_changed()))
                .with_table(record.schema->id.oid);
        }
        if (live == 0) {
            remove_file(path);
        } else {
            WALBROOK_RETURN_IF_ERROR(
                register_files(lake_.session(), record.lake_schema, record.lake_table, {path}));
        }
        return note;
    };
    Status status = lake_.transact("maintain", work, stop);
    if (!may_be_there(status)) remove_file(path);
    return status;
}

}  // namespace walbrook::ducklake
