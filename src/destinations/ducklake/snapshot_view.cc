#include "destinations/ducklake/snapshot_view.h"

#include "destinations/duckdb_engine/sql.h"
#include "destinations/ducklake/catalog.h"
#include "destinations/ducklake/data_folder.h"
#include "destinations/ducklake/note.h"

#include <fmt/format.h>

#include <utility>

namespace walbrook::ducklake {

using duckdb_engine::Connection;
using duckdb_engine::Database;
using duckdb_engine::DatabaseOptions;
using duckdb_engine::QueryResult;
using duckdb_engine::quote_identifier;
using duckdb_engine::quote_literal;

Result<std::vector<Snapshot>> read_snapshots(Connection& session) {
    WALBROOK_TRY(const QueryResult rows,
                 session.query(fmt::format(
                     "SELECT s.snapshot_id, epoch_us(s.snapshot_time::TIMESTAMPTZ), CASE WHEN "
                     "c.author = 'walbrook' THEN c.commit_extra_info END FROM "
                     "{0}.ducklake_snapshot AS s LEFT JOIN {0}.ducklake_snapshot_changes AS c "
                     "USING (snapshot_id) ORDER BY s.snapshot_id",
                     Lake::metadata())));
    std::vector<Snapshot> snapshots;
    for (std::size_t i = 0; i < rows.rows(); ++i) {
        Snapshot snapshot{rows.number(i, 0).value_or(0), rows.number(i, 1).value_or(0)};
        if (const auto note = parse_note(rows.text(i, 2).value_or(""))) {
            snapshot.position = note->position;
        }
        snapshots.push_back(snapshot);
    }
    return snapshots;
}

Result<std::unique_ptr<SnapshotView>> SnapshotView::open(const DuckLakeConfig& config, Lsn position,
                                                         const Options& options) {
    const Catalog catalog = parse_catalog(config.catalog);
    DatabaseOptions database;
    database.memory_bytes_max = options.memory_bytes_max;
    database.threads = options.threads;
    database.temp_directory = options.temp_directory;
    database.extensions = extensions_of(catalog.kind);
    database.secrets = catalog.secrets();
    std::unique_ptr<SnapshotView> view(new SnapshotView());
    WALBROOK_TRY(view->database_, Database::create(database));
    WALBROOK_TRY(view->session_, view->database_->connect());
    WALBROOK_RETURN_IF_ERROR(view->session_->run("SET TimeZone = 'UTC'"));
    WALBROOK_RETURN_IF_ERROR(view->session_->run(
        fmt::format("ATTACH {} AS lake (READ_ONLY)", quote_literal(catalog.attach_uri()))));
    WALBROOK_TRY(view->lake_id_, read_lake_id(*view->session_));
    WALBROOK_TRY(const std::vector<Snapshot> snapshots, read_snapshots(*view->session_));
    const auto found = find_snapshot(snapshots, position);
    if (!found) {
        return Error(
            ErrorCode::corrupt_state,
            fmt::format("the lake has no snapshot that shows position {}", to_string(position)));
    }
    view->snapshot_ = snapshots[found->last].id;
    WALBROOK_TRY(view->records_, records_at(*view->session_, view->snapshot_));
    return view;
}

std::string SnapshotView::from(const TableRecord& record) const {
    return fmt::format("lake.{}.{} AT (VERSION => {})", quote_identifier(record.lake_schema),
                       quote_identifier(record.lake_table), snapshot_);
}

}  // namespace walbrook::ducklake
