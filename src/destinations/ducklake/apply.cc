#include "destinations/ducklake/apply.h"

#include "base/check.h"
#include "destinations/duckdb_engine/sql.h"
#include "destinations/ducklake/data_folder.h"
#include "destinations/ducklake/floats.h"
#include "destinations/ducklake/own_files.h"
#include "destinations/ducklake/table_ddl.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

namespace walbrook::ducklake {

using duckdb_engine::ColumnsSource;
using duckdb_engine::NamedScan;
using duckdb_engine::QueryResult;
using duckdb_engine::quote_identifier;
using duckdb_engine::quote_literal;
using duckdb_engine::same_name;
using duckdb_engine::ScanColumn;

namespace {

// Of batches that are folded and not written yet.
constexpr std::size_t kFoldedBytesMax = 32ULL << 20;

// Rows that change or delete must find what they change: the source has them. That
// the lake does not is the sign of a loss, and going on would hide it.
Status expect_rows(const Target& target, const char* what, std::size_t expected,
                   std::uint64_t found) {
    if (found == expected) return {};
    return Error(ErrorCode::corrupt_state,
                 fmt::format("{} rows of {} in the lake: the source changed {} and the lake holds "
                             "{} of them; copy the table again, and compare with `walbrook verify`",
                             what, target.schema->display_name(), expected, found))
        .with_table(target.schema->id.oid);
}

// The same for rows that were to be found there: of a table that is partly published some are not.
Status expect_found(const Target& target, std::size_t expected, std::uint64_t found) {
    if (target.schema->partly_published && found < expected) return {};
    return expect_rows(target, "update or delete", expected, found);
}

// `bytes`: of the rows; nothing where they are the lake's own, which nobody has counted. Whoever
// tries again has more memory for them, until there is no more to be had.
Error in_table(const Lake& lake, const Error& error, const Target& target,
               std::optional<std::size_t> bytes = {}) {
    const auto database = lake.database();
    if (duckdb_engine::is_out_of_memory(error) &&
        (!bytes || duckdb_engine::is_large(*database, *bytes)) && !database->give_more()) {
        return duckdb_engine::too_large(*database, bytes.value_or(0))
            .with_context("write to " + target.schema->display_name())
            .with_table(target.schema->id.oid);
    }
    Error result = of_lost_file(lake, error, *target.schema)
                       .with_context("write to " + target.schema->display_name());
    // Values that do not fit are the table's own trouble.
    if (error.code() == ErrorCode::unsupported_value ||
        error.code() == ErrorCode::schema_mismatch) {
        return std::move(result).with_table(target.schema->id.oid);
    }
    return result;
}

std::string column_list(const TableSchema& schema) {
    std::string list;
    for (const ColumnSchema& column : schema.columns) {
        list += (list.empty() ? "" : ", ") + quote_identifier(column.name);
    }
    return list;
}

// Columns of a batch under plain names, prefix and index, which nothing can clash with.
struct PlainColumns {
    std::vector<ScanColumn> columns;
    std::vector<const Column*> values;

    void add(std::string name, const Column& column) {
        columns.push_back({std::move(name), column.type()});
        values.push_back(&column);
    }
};

}  // namespace

Status FlushWriter::write(Flush& flush) {
    WALBROOK_RETURN_IF_ERROR(changes_.settle_names());
    for (;;) {
        if (stop_.stop_requested()) return Error(ErrorCode::cancelled, "stopped");
        WALBROOK_TRY(const FlushItem* item, flush.next());
        if (item == nullptr) return write_all_folded();
        WALBROOK_RETURN_IF_ERROR(write_item(*item));
    }
}

std::string FlushWriter::kind() const {
    if (has_published_) return "publish";
    return has_written() && !has_visible_ ? "slice" : "flush";
}

void FlushWriter::remove_files() {
    for (const std::string& path : files_) remove_file(path);
    files_.clear();
}

void FlushWriter::report_to(Upkeep& upkeep) const {
    for (const Written& written : written_) {
        upkeep.count_change(written.oid, written.has_inserted, written.deleted);
    }
}

Status FlushWriter::write_item(const FlushItem& item) {
    if (const auto* batch = std::get_if<ChangeBatch>(&item)) {
        has_visible_ = has_visible_ || !batch->copy;
        return fold(*batch);
    }
    if (const auto* change = std::get_if<SchemaChange>(&item)) {
        has_visible_ = has_visible_ || !change->copy;
        WALBROOK_RETURN_IF_ERROR(write_folded_of(change->to->id));
        return changes_.follow(*change);
    }
    const auto* const emptied = std::get_if<Truncate>(&item);
    has_visible_ = has_visible_ || emptied == nullptr || !emptied->copy;
    if (emptied != nullptr) {
        WALBROOK_RETURN_IF_ERROR(write_all_folded());
        for (const TableSchemaPtr& table : emptied->tables) {
            WALBROOK_RETURN_IF_ERROR(changes_.truncate(table, emptied->copy));
        }
        return {};
    }
    if (const auto* publish = std::get_if<Publish>(&item)) {
        has_published_ = true;
        WALBROOK_RETURN_IF_ERROR(write_folded_of(publish->copy->schema->id));
        return changes_.publish(*publish);
    }
    if (const auto* freeze = std::get_if<Freeze>(&item)) {
        WALBROOK_RETURN_IF_ERROR(write_folded_of(freeze->schema->id));
        return changes_.freeze(*freeze);
    }
    if (const auto* rows = std::get_if<Replace>(&item)) return replace(*rows);
    const auto& retire = std::get<Retire>(item);
    WALBROOK_RETURN_IF_ERROR(write_folded_of(retire.table));
    return changes_.retire(retire.table);
}

Status FlushWriter::fold(const ChangeBatch& batch) {
    if (batch.changes.empty()) return {};
    const Key key{batch.schema()->id.oid, batch.copy != nullptr};
    auto found = folded_.find(key);
    const bool is_other = found != folded_.end() && found->second.schema != batch.schema() &&
                          *found->second.schema != *batch.schema();
    if (is_other || folded_bytes_ > kFoldedBytesMax) {
        WALBROOK_RETURN_IF_ERROR(is_other ? write_folded_of({key.first}) : write_all_folded());
        found = folded_.end();
    }
    if (found == folded_.end()) {
        Folded fresh{batch.schema(), batch.copy, std::make_unique<NetChangeBuilder>(batch.schema()),
                     0};
        found = folded_.emplace(key, std::move(fresh)).first;
    }
    found->second.bytes += batch.bytes();
    folded_bytes_ += batch.bytes();
    return found->second.builder->add(batch);
}

Status FlushWriter::write_folded_of(TableId table) {
    for (const bool is_shadow : {false, true}) {
        const auto found = folded_.find({table.oid, is_shadow});
        if (found == folded_.end()) continue;
        WALBROOK_RETURN_IF_ERROR(write_folded(found->second));
        folded_bytes_ -= found->second.bytes;
        folded_.erase(found);
    }
    return {};
}

Status FlushWriter::write_all_folded() {
    for (auto& [key, folded] : folded_) WALBROOK_RETURN_IF_ERROR(write_folded(folded));
    folded_.clear();
    folded_bytes_ = 0;
    return {};
}

Status FlushWriter::write_folded(Folded& folded) {
    WALBROOK_TRY(const Target target, changes_.resolve(folded.schema, folded.copy));
    WALBROOK_TRY(const NetChange change, folded.builder->finish());
    if (change.empty()) return {};
    has_written_ = true;
    // Of a table that lacks what was not published a delete may find nothing.
    may_cancel_out_ = may_cancel_out_ || folded.schema->partly_published ||
                      std::any_of(written_.begin(), written_.end(), [&](const Written& earlier) {
                          return earlier.oid == folded.schema->id.oid;
                      });
    std::uint64_t deleted = 0;
    const bool has_key = !folded.schema->key_columns().empty();
    // In the order that net_change.h asks for.
    if (change.merges.rows() != 0) WALBROOK_RETURN_IF_ERROR(merge(target, change));
    if (change.deletes.rows() != 0) {
        WALBROOK_TRY(deleted, has_key ? remove_by_key(target, change.deletes)
                                      : remove_whole_rows(target, change.deletes));
    }
    written_.push_back(
        {folded.schema->id.oid, change.inserts.rows() + change.merges.rows() != 0, deleted});
    if (change.inserts.rows() != 0) WALBROOK_RETURN_IF_ERROR(insert(target, change.inserts));
    if (change.merges.rows() == 0) return {};
    WALBROOK_RETURN_IF_ERROR(insert_merged(target));
    return lake_.session().run("DROP TABLE temp.walbrook_merged");
}

// Completes the merged rows from those that stand in the lake, into a temporary table
// (DuckDB lets a transaction write to one database and to temporary tables beside it).
Status FlushWriter::merge(const Target& target, const NetChange& change) {
    const std::vector<std::size_t> keys = target.schema->key_columns();
    PlainColumns plain;
    std::vector<Column> flags;
    flags.reserve(target.schema->columns.size());
    std::string values;
    std::string same_key;
    for (std::size_t i = 0; i < target.schema->columns.size(); ++i) {
        plain.add(fmt::format("v{}", i), change.merges.columns()[i]);
        const bool is_kept_somewhere =
            i < change.merge_unchanged.size() && !change.merge_unchanged[i].empty();
        const std::string name = quote_identifier(target.schema->columns[i].name);
        values += values.empty() ? "" : ", ";
        if (!is_kept_somewhere) {
            values += fmt::format("s.v{0} AS v{0}", i);
            continue;
        }
        Column& flag = flags.emplace_back(ColumnType{TypeKind::boolean});
        for (std::size_t row = 0; row < change.merges.rows(); ++row) {
            flag.append_bool(row < change.merge_unchanged[i].size() &&
                             change.merge_unchanged[i][row]);
        }
        plain.add(fmt::format("u{}", i), flag);
        values += fmt::format("CASE WHEN s.u{0} THEN t.{1} ELSE s.v{0} END AS v{0}", i, name);
    }
    for (const std::size_t i : keys) {
        plain.add(fmt::format("k{}", i), change.merge_keys.columns()[i]);
        same_key += fmt::format("{}t.{} = s.k{}", same_key.empty() ? "" : " AND ",
                                quote_identifier(target.schema->columns[i].name), i);
    }
    ColumnsSource source(std::move(plain.columns), std::move(plain.values));
    const NamedScan scan(lake_.scans(), source);
    const Result<std::uint64_t> made = lake_.session().change(
        fmt::format(
            "CREATE TEMP TABLE walbrook_merged AS SELECT {} FROM {} AS t JOIN {} AS s ON {}",
            values, target.name, scan.sql(), same_key),
        source, stop_);
    if (!made) return in_table(lake_, made.error(), target);
    WALBROOK_TRY(const QueryResult found,
                 lake_.session().query("SELECT count(*) FROM temp.walbrook_merged"));
    return expect_found(target, change.merges.rows(),
                        static_cast<std::uint64_t>(found.number(0, 0).value_or(0)));
}

// However many rows are under the keys.
Result<std::uint64_t> FlushWriter::remove_found(const Target& target, const RowBatch& rows) {
    PlainColumns plain;
    std::string same_key;
    for (const std::size_t i : target.schema->key_columns()) {
        plain.add(fmt::format("k{}", i), rows.columns()[i]);
        same_key += fmt::format("{}t.{} = s.k{}", same_key.empty() ? "" : " AND ",
                                quote_identifier(target.schema->columns[i].name), i);
    }
    ColumnsSource source(std::move(plain.columns), std::move(plain.values));
    const NamedScan scan(lake_.scans(), source);
    const Result<std::uint64_t> found =
        lake_.session().change(fmt::format("DELETE FROM {} AS t USING {} AS s WHERE {}",
                                           target.name, scan.sql(), same_key),
                               source, stop_);
    if (!found) return in_table(lake_, found.error(), target, rows.bytes());
    return *found;
}

Result<std::uint64_t> FlushWriter::remove_by_key(const Target& target, const RowBatch& rows) {
    WALBROOK_TRY(const std::uint64_t found, remove_found(target, rows));
    WALBROOK_RETURN_IF_ERROR(expect_found(target, rows.rows(), found));
    return found;
}

Status FlushWriter::replace(const Replace& replace) {
    has_visible_ = true;
    WALBROOK_RETURN_IF_ERROR(write_folded_of(replace.schema->id));
    WALBROOK_TRY(const Target target, changes_.resolve(replace.schema, nullptr));
    has_written_ = true;
    may_cancel_out_ = true;
    std::uint64_t removed = 0;
    if (replace.keys->rows() != 0) {
        WALBROOK_TRY(removed, remove_found(target, *replace.keys));
    }
    written_.push_back({replace.schema->id.oid, replace.rows->rows() != 0, removed});
    return replace.rows->rows() == 0 ? Status() : insert(target, *replace.rows);
}

// Equal rows are told apart by a number, on both sides: of five equal rows in the lake
// the first two go when two are to be removed.
Result<std::uint64_t> FlushWriter::remove_whole_rows(const Target& target, const RowBatch& rows) {
    PlainColumns plain;
    std::string lake_columns;
    std::string group;
    std::string same_row;
    for (std::size_t i = 0; i < rows.columns().size(); ++i) {
        const std::string name = quote_identifier(target.schema->columns[i].name);
        if (same_name(target.schema->columns[i].name, "rowid")) {
            return Error(
                       ErrorCode::schema_mismatch,
                       target.schema->display_name() +
                           " has no key and a column named rowid, by which DuckDB tells rows apart")
                .with_table(target.schema->id.oid);
        }
        plain.add(fmt::format("c{}", i), rows.columns()[i]);
        std::vector<std::string> of{"{}"};
        // Zero and minus zero are equal to DuckDB, and different values here.
        if (is_float(target.schema->columns[i].type)) of.emplace_back("{}::VARCHAR");
        for (std::size_t form = 0; form < of.size(); ++form) {
            const std::string alias = fmt::format("g{}_{}", i, form);
            const std::string comma = group.empty() ? "" : ", ";
            lake_columns += comma + fmt::format(fmt::runtime(of[form]), name) + " AS " + alias;
            group += comma + alias;
            same_row += fmt::format(" AND t.{0} IS NOT DISTINCT FROM s.{0}", alias);
        }
    }
    std::string scan_columns;
    for (std::size_t i = 0; i < rows.columns().size(); ++i) {
        scan_columns += fmt::format("{}c{} AS g{}_0", i == 0 ? "" : ", ", i, i);
        if (is_float(target.schema->columns[i].type)) {
            scan_columns += fmt::format(", c{}::VARCHAR AS g{}_1", i, i);
        }
    }
    ColumnsSource source(std::move(plain.columns), std::move(plain.values));
    const NamedScan scan(lake_.scans(), source);
    const std::string sql = fmt::format(
        "DELETE FROM {target} WHERE rowid IN (SELECT t.row_id FROM (SELECT *, row_number() OVER "
        "(PARTITION BY {group}) AS n FROM (SELECT rowid AS row_id, {lake} FROM {target})) AS t "
        "JOIN "
        "(SELECT *, row_number() OVER (PARTITION BY {group}) AS n FROM (SELECT {scanned} FROM "
        "{scan})) AS s ON t.n = s.n{same_row})",
        fmt::arg("target", target.name), fmt::arg("group", group), fmt::arg("lake", lake_columns),
        fmt::arg("scanned", scan_columns), fmt::arg("scan", scan.sql()),
        fmt::arg("same_row", same_row));
    const Result<std::uint64_t> found = lake_.session().change(sql, source, stop_);
    if (!found) return in_table(lake_, found.error(), target, rows.bytes());
    WALBROOK_RETURN_IF_ERROR(expect_found(target, rows.rows(), *found));
    return *found;
}

Status FlushWriter::insert(const Target& target, const RowBatch& rows) {
    const std::unique_ptr<ColumnsSource> source = ColumnsSource::create(rows, nullptr);
    const NamedScan scan(lake_.scans(), *source);
    if (has_minus_zero(rows)) {
        WALBROOK_TRY(const std::string path, new_file(target));
        const Result<std::uint64_t> copied = lake_.session().change(
            fmt::format("COPY (SELECT * FROM {}) TO {} ({})", scan.sql(), quote_literal(path),
                        parquet_options(*target.schema)),
            *source, stop_);
        if (!copied) return in_table(lake_, copied.error(), target, rows.bytes());
        WALBROOK_RETURN_IF_ERROR(expect_rows(target, "insert", rows.rows(), *copied));
        return add_file(target, path);
    }
    const Result<std::uint64_t> written =
        lake_.session().change(fmt::format("INSERT INTO {} ({}) SELECT * FROM {}", target.name,
                                           column_list(*target.schema), scan.sql()),
                               *source, stop_);
    if (!written) return in_table(lake_, written.error(), target, rows.bytes());
    return expect_rows(target, "insert", rows.rows(), *written);
}

// The rows that merge() completed.
Status FlushWriter::insert_merged(const Target& target) {
    // Columns are v0, v1 … there.
    TableSchema plain = *target.schema;
    for (std::size_t i = 0; i < plain.columns.size(); ++i) {
        plain.columns[i].name = fmt::format("v{}", i);
    }
    WALBROOK_TRY(const bool is_special,
                 has_minus_zero(lake_.session(), plain, "temp.walbrook_merged", stop_));
    if (!is_special) {
        const Status written = lake_.session().run(
            fmt::format("INSERT INTO {} ({}) SELECT * FROM temp.walbrook_merged", target.name,
                        column_list(*target.schema)),
            stop_);
        return written ? Status() : in_table(lake_, written.error(), target);
    }
    WALBROOK_TRY(const std::string path, new_file(target));
    std::string columns;
    for (std::size_t i = 0; i < plain.columns.size(); ++i) {
        columns += fmt::format("{}v{} AS {}", i == 0 ? "" : ", ", i,
                               quote_identifier(target.schema->columns[i].name));
    }
    WALBROOK_RETURN_IF_ERROR(lake_.session().run(
        fmt::format("COPY (SELECT {} FROM temp.walbrook_merged) TO {} ({})", columns,
                    quote_literal(path), parquet_options(*target.schema)),
        stop_));
    return add_file(target, path);
}

Result<std::string> FlushWriter::new_file(const Target& target) {
    WALBROOK_TRY(std::string path, own_file_path(target.folder, target.schema->id.oid));
    files_.push_back(path);
    return path;
}

Status FlushWriter::add_file(const Target& target, const std::string& path) {
    return register_files(lake_.session(), target.lake_schema, target.lake_table, {path});
}

}  // namespace walbrook::ducklake
