#include "destinations/ducklake/upkeep.h"

#include "destinations/duckdb_engine/sql.h"
#include "destinations/ducklake/floats.h"
#include "destinations/ducklake/table_ddl.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <utility>

namespace walbrook::ducklake {

using duckdb_engine::QueryResult;
using duckdb_engine::quote_literal;
using duckdb_engine::same_name;

namespace {

using std::chrono::minutes;

// Rows of one statement up to this number go into the catalog (lake.cc).
constexpr std::size_t kInlinedStatementRows = 100;
// When they leave it again: 12,000 of them took 50 CPU-ms to move and made a query of
// the table three times as slow.
constexpr std::size_t kInlinedRowsMax = 2'000;
constexpr std::size_t kInlinedDeletesMax = 10'000;

constexpr std::size_t kCommitsBetweenThinnings = 500;
constexpr minutes kTimeBetweenThinnings{10};
constexpr std::size_t kExpiredAtOnceMax = 2'000;

// A query that began on a snapshot may go on for so long after the snapshot went.
constexpr minutes kDeletionGrace{10};

// Files are merged when so many of about one size have come together, as in a
// log-structured merge tree: each row is written again once for each size.
constexpr std::size_t kFilesOfOneSize = 32;
constexpr auto kSizes = std::to_array<std::int64_t>({4'096, 32'768, 262'144});  // Rows.
// What one step may write: about a second.
constexpr std::int64_t kStepRows = 100'000;
constexpr std::int64_t kStepBytes = 32LL << 20;
// A file with a larger share of deleted rows is written anew.
constexpr double kDeletedShare = 0.5;

std::string table_arguments(const TableRecord& record) {
    return fmt::format("'lake', {}, schema => {}", quote_literal(record.lake_table),
                       quote_literal(record.lake_schema));
}

bool has_column(const TableSchema& schema, std::string_view name) {
    return std::any_of(schema.columns.begin(), schema.columns.end(),
                       [&](const ColumnSchema& column) { return same_name(column.name, name); });
}

}  // namespace

void Upkeep::count_change(std::uint32_t oid, std::size_t inserted, std::size_t deleted) {
    // What an earlier process left is not counted; half of the limit stands for it.
    const auto [found, is_new] = due_.try_emplace(
        oid, Due{kInlinedRowsMax / 2, kInlinedDeletesMax / 2, kFilesOfOneSize / 2});
    Due& due = found->second;
    if (inserted > kInlinedStatementRows) {
        ++due.files;
    } else {
        due.inlined_rows += inserted;
    }
    // Of more than that some may still be inlined: the limit is for each file.
    due.inlined_deletes += deleted;
}

Status Upkeep::step(const Tables& tables, const Note& note, const std::stop_token& stop) {
    const Instant present = now();
    if (commits_ >= kCommitsBetweenThinnings ||
        (commits_ != 0 && present - thinned_ >= kTimeBetweenThinnings)) {
        return thin(stop);
    }
    for (auto& [oid, due] : due_) {
        const bool is_due = due.inlined_rows >= kInlinedRowsMax ||
                            due.inlined_deletes >= kInlinedDeletesMax ||
                            due.files >= kFilesOfOneSize || due.has_dead_files;
        if (!is_due) continue;
        const auto record = tables.records.find(oid);
        if (record == tables.records.end() || record->second.lake_table.empty()) {
            due = {};
            continue;
        }
        return step_of(record->second, due, note, stop);
    }
    if (quiet_flushes_ >= kInlinedRowsMax) return flush_records(note, stop);
    if (present - cleaned_ >= kDeletionGrace) return clean(stop);
    return {};
}

// A step that fails is not tried again before its time has come once more.
Status Upkeep::step_of(const TableRecord& record, Due& due, const Note& note,
                       const std::stop_token& stop) {
    if (due.has_dead_files) {
        due.has_dead_files = false;
        WALBROOK_TRY(const bool is_fixed, has_fixed_files(record, stop));
        return is_fixed ? Status() : rewrite_dead(record, note, stop);
    }
    // Deletes leave the catalog before their files are merged: of files that are gone
    // DuckLake would still write them out later, a small file for each.
    const bool is_full =
        due.inlined_rows >= kInlinedRowsMax || due.inlined_deletes >= kInlinedDeletesMax;
    if (is_full || (due.files >= kFilesOfOneSize && !due.is_flushed)) {
        due.is_flushed = true;
        return flush_inlined(record, due, note, stop);
    }
    due.is_flushed = false;
    WALBROOK_TRY(const bool is_fixed, has_fixed_files(record, stop));
    if (!is_fixed) return compact(record, due, note, stop);
    due.files = 0;
    return {};
}

// Written anew by DuckLake, minus zeros would be zeros (floats.h). Inlined rows have none.
Result<bool> Upkeep::has_fixed_files(const TableRecord& record, const std::stop_token& stop) {
    return has_minus_zero(lake_.session(), *record.schema,
                          lake_name(record.lake_schema, record.lake_table), stop);
}

Status Upkeep::flush_inlined(const TableRecord& record, Due& due, const Note& note,
                             const std::stop_token& stop) {
    if (due.inlined_rows >= kInlinedStatementRows) ++due.files;
    due.inlined_rows = 0;
    due.inlined_deletes = 0;
    due.has_dead_files = true;
    return lake_.transact(
        "maintain",
        [&]() -> Result<Note> {
            WALBROOK_RETURN_IF_ERROR(lake_.new_files().watch(record.folder));
            WALBROOK_RETURN_IF_ERROR(renew_schema_version(record));
            WALBROOK_RETURN_IF_ERROR(lake_.session().run(
                fmt::format("CALL ducklake_flush_inlined_data('lake', table_name => {}, "
                            "schema_name => {})",
                            quote_literal(record.lake_table), quote_literal(record.lake_schema)),
                stop));
            return note;
        },
        stop);
}

// A rename or a change of columns gives a table a second place for inlined rows; the flush
// then drops the first one. Readers remember the places by the lake's schema version, and
// those that stayed attached would look for the dropped one for ever: so the flush comes
// with a new version. DuckLake makes one when any view changes.
Status Upkeep::renew_schema_version(const TableRecord& record) {
    WALBROOK_TRY(const QueryResult places,
                 lake_.session().query(fmt::format(
                     "SELECT count(*) FROM {0}.ducklake_inlined_data_tables AS i JOIN "
                     "{0}.ducklake_table AS t ON t.table_id = i.table_id AND t.end_snapshot IS "
                     "NULL AND t.table_name = {1} JOIN {0}.ducklake_schema AS s ON s.schema_id = "
                     "t.schema_id AND s.end_snapshot IS NULL AND s.schema_name = {2}",
                     Lake::metadata(), quote_literal(record.lake_table),
                     quote_literal(record.lake_schema))));
    if (places.number(0, 0).value_or(0) < 2) return {};
    return lake_.session().run(
        fmt::format("CREATE OR REPLACE VIEW lake._walbrook.upkeep AS SELECT {} AS moved_at_us",
                    unix_time_us()));
}

Status Upkeep::thin(const std::stop_token& stop) {
    commits_ = 0;
    thinned_ = now();
    WALBROOK_TRY(
        const QueryResult rows,
        lake_.session().query(fmt::format(
            "SELECT s.snapshot_id, epoch_us(s.snapshot_time::TIMESTAMPTZ), "
            "(c.author IS NOT DISTINCT FROM 'walbrook')::INTEGER FROM "
            "{0}.ducklake_snapshot AS s LEFT JOIN {0}.ducklake_snapshot_changes AS c USING "
            "(snapshot_id) ORDER BY s.snapshot_id",
            Lake::metadata())));
    std::vector<Snapshot> snapshots;
    for (std::size_t i = 0; i < rows.rows(); ++i) {
        snapshots.push_back({rows.number(i, 0).value_or(0), rows.number(i, 1).value_or(0),
                             rows.number(i, 2).value_or(0) != 0});
    }
    std::vector<std::int64_t> expired = choose_expired(snapshots, unix_time_us(), {});
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
    return lake_.session().run(
        fmt::format("CALL ducklake_cleanup_old_files('lake', older_than => now() - INTERVAL {} "
                    "MINUTE)",
                    kDeletionGrace.count()),
        stop);
}

Status Upkeep::flush_records(const Note& note, const std::stop_token& stop) {
    quiet_flushes_ = 0;
    return lake_.transact(
        "maintain",
        [&]() -> Result<Note> {
            WALBROOK_RETURN_IF_ERROR(
                lake_.new_files().watch(lake_.options().data_path + "_walbrook/pipeline"));
            WALBROOK_RETURN_IF_ERROR(lake_.session().run(
                "CALL ducklake_flush_inlined_data('lake', table_name => 'pipeline', schema_name => "
                "'_walbrook')"));
            return note;
        },
        stop);
}

Result<std::vector<Upkeep::File>> Upkeep::files_of(const TableRecord& record) {
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
    std::vector<File> files;
    for (std::size_t i = 0; i < rows.rows(); ++i) {
        files.push_back({record.folder + "/" + rows.text(i, 0).value_or(""),
                         rows.number(i, 1).value_or(0), rows.number(i, 2).value_or(0),
                         rows.number(i, 3).value_or(0)});
    }
    return files;
}

Status Upkeep::compact(const TableRecord& record, Due& due, const Note& note,
                       const std::stop_token& stop) {
    due.files = 0;
    WALBROOK_TRY(const std::vector<File> files, files_of(record));
    std::int64_t rows_min = 0;
    for (const std::int64_t rows_max : kSizes) {
        std::vector<File> chosen;
        std::size_t count = 0;
        std::int64_t rows = 0;
        std::int64_t bytes = 0;
        bool has_deletions = false;
        for (const File& file : files) {
            if (file.rows < rows_min || file.rows >= rows_max) continue;
            ++count;
            if (rows + file.rows > kStepRows || bytes + file.bytes > kStepBytes) continue;
            rows += file.rows;
            bytes += file.bytes;
            has_deletions = has_deletions || file.deleted != 0;
            chosen.push_back(file);
        }
        rows_min = rows_max;
        if (count < kFilesOfOneSize || chosen.size() < 2) continue;
        due.files = kFilesOfOneSize / 2;
        due.has_dead_files = true;
        if (has_deletions && !has_column(*record.schema, "filename")) {
            return write_again(record, chosen, note, stop);
        }
        const std::int64_t largest =
            std::max_element(chosen.begin(), chosen.end(), [](const File& a, const File& b) {
                return a.bytes < b.bytes;
            })->bytes;
        return call(record, note, "ducklake_merge_adjacent_files",
                    fmt::format("max_compacted_files => {}, max_file_size => {}", chosen.size(),
                                largest + 1),
                    stop);
    }
    return {};
}

// The number of rows must be the same at every stage, or nothing happens.
Status Upkeep::write_again(const TableRecord& record, const std::vector<File>& files,
                           const Note& note, const std::stop_token& stop) {
    const std::string name = lake_name(record.lake_schema, record.lake_table);
    std::string list;
    for (const File& file : files) {
        list += (list.empty() ? "" : ", ") + quote_literal(file.path);
    }
    return lake_.transact(
        "maintain",
        [&]() -> Result<Note> {
            WALBROOK_RETURN_IF_ERROR(lake_.new_files().watch(record.folder));
            WALBROOK_RETURN_IF_ERROR(lake_.use_inlining(can_inline(*record.schema)));
            WALBROOK_RETURN_IF_ERROR(lake_.session().run(
                fmt::format(
                    "CREATE TEMP TABLE walbrook_files AS SELECT * FROM {} WHERE filename IN "
                    "({})",
                    name, list),
                stop));
            WALBROOK_TRY(const QueryResult count,
                         lake_.session().query("SELECT count(*) FROM temp.walbrook_files"));
            WALBROOK_TRY(
                const QueryResult removed,
                lake_.session().query(
                    fmt::format("DELETE FROM {} WHERE filename IN ({})", name, list), stop));
            WALBROOK_TRY(
                const QueryResult added,
                lake_.session().query(
                    fmt::format("INSERT INTO {} SELECT * FROM temp.walbrook_files", name), stop));
            WALBROOK_RETURN_IF_ERROR(lake_.session().run("DROP TABLE temp.walbrook_files"));
            const auto expected = static_cast<std::uint64_t>(count.number(0, 0).value_or(-1));
            if (removed.rows_changed() != expected || added.rows_changed() != expected) {
                return Error(
                    ErrorCode::internal,
                    fmt::format("merge files of {}.{}: {} rows read, {} removed, {} written",
                                record.lake_schema, record.lake_table, expected,
                                removed.rows_changed(), added.rows_changed()));
            }
            return note;
        },
        stop);
}

Status Upkeep::rewrite_dead(const TableRecord& record, const Note& note,
                            const std::stop_token& stop) {
    WALBROOK_TRY(std::vector<File> files, files_of(record));
    const auto share = [](const File& file) {
        return static_cast<double>(file.deleted) /
               static_cast<double>(std::max<std::int64_t>(file.rows, 1));
    };
    std::sort(files.begin(), files.end(),
              [&](const File& a, const File& b) { return share(a) > share(b); });
    // As far down as one step's work allows, but at least one file. What is deleted
    // wholly costs nothing.
    double threshold = 2;
    std::int64_t bytes = 0;
    for (const File& file : files) {
        if (share(file) < kDeletedShare) break;
        bytes += static_cast<std::int64_t>(static_cast<double>(file.bytes) * (1 - share(file)));
        if (threshold <= 1 && bytes > kStepBytes) break;
        threshold = share(file);
    }
    if (threshold > 1) return {};
    return call(record, note, "ducklake_rewrite_data_files",
                fmt::format("delete_threshold => {:.6f}", std::max(threshold - 1e-6, 0.0)), stop);
}

Status Upkeep::call(const TableRecord& record, const Note& note, const std::string& function,
                    const std::string& more, const std::stop_token& stop) {
    return lake_.transact(
        "maintain",
        [&]() -> Result<Note> {
            WALBROOK_RETURN_IF_ERROR(lake_.new_files().watch(record.folder));
            WALBROOK_RETURN_IF_ERROR(lake_.session().run(
                fmt::format("CALL {}({}, {})", function, table_arguments(record), more), stop));
            return note;
        },
        stop);
}

}  // namespace walbrook::ducklake
