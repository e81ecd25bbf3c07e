#include "verify/source_side.h"

#include "decode/type_table.h"
#include "postgres/publication_members.h"
#include "postgres/quote.h"
#include "postgres/snapshot_lock.h"
#include "source/unit_reader.h"
#include "verify/prints_sql.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

namespace walbrook::verify {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds kCatalogDeadline{60};
// One statement reads about as much as a lock may be kept for; a loaded server may take longer.
constexpr seconds kStatementDeadline{600};
// How long a lock is asked for again and again before the table is left for later.
constexpr seconds kLockPatience{60};
constexpr std::uint64_t kFirstStepBlocks = 512;
constexpr std::uint64_t kFirstStepBytes = 32ULL << 20;  // With what its rows have elsewhere.
constexpr std::uint64_t kStepMin = 1;
constexpr std::uint64_t kRowsOfBlock = 100;  // Of a table of which nothing else is known.
constexpr std::uint64_t kStepMax = 131'072;

// The table, or a column, has another name or type by now.
constexpr std::string_view kUndefinedTable = "42P01";
constexpr std::string_view kUndefinedColumn = "42703";
constexpr std::string_view kInvalidSchemaName = "3F000";

constexpr const char* kSourceAlias = "walbrook_row";

std::string source_column(const ComparedTable& table, std::size_t i) {
    return fmt::format("{}.{}", kSourceAlias, quote_identifier(table.columns[i].name));
}

PrintsDialect prints_dialect(const PostgresDialect& dialect) {
    return {
        .canonical =
            [&dialect](const ComparedTable& table, std::size_t i) {
                return canonical_in_postgres(dialect, table.columns[i], source_column(table, i));
            },
        .digest = [&dialect](const std::string& text) { return digest_in_postgres(dialect, text); },
        .number = number_in_postgres,
        .group = group_in_postgres,
        .display = [](const ComparedTable& table,
                      std::size_t i) { return fmt::format("concat({})", source_column(table, i)); },
        .place = fmt::format("min({}.ctid)::text", kSourceAlias),
    };
}

}  // namespace

SourceSide::SourceSide(const PgConnectionConfig& config, Purpose purpose, SnapshotHolder& holder,
                       SourceLoad load)
    : config_(config),
      purpose_(std::move(purpose)),
      holder_(holder),
      load_(load),
      pace_(load.rows_per_second_max) {}

Result<Connection*> SourceSide::session(const std::stop_token& stop) {
    if (session_ && session_->is_open() && catalog_ && catalog_->is_open()) return &*session_;
    const Deadline deadline = within(kCatalogDeadline, stop);
    WALBROOK_TRY(catalog_, Connection::open(config_, purpose_, deadline));
    WALBROOK_TRY(session_, Connection::open(config_, purpose_, deadline));
    WALBROOK_TRY(const Rows encoding,
                 session_->query(deadline, "select current_setting('server_encoding')"));
    // One process of the server is enough, and none of its statements is worth compiling.
    WALBROOK_RETURN_IF_ERROR(
        session_->exec(deadline, "set jit = off; set max_parallel_workers_per_gather = 0"));
    dialect_.is_utf8 = encoding.text(0, 0) == "UTF8" || encoding.text(0, 0) == "SQL_ASCII";
    return &*session_;
}

Result<std::map<TableId, PublishedTable>> SourceSide::published(const std::string& publication,
                                                                const std::stop_token& stop) {
    const Deadline deadline = within(kCatalogDeadline, stop);
    Connection& connection = holder_.connection();
    WALBROOK_TRY(publication_, read_publication(connection, deadline, publication));
    if (!publication_) {
        return Error(ErrorCode::config,
                     fmt::format("the source has no publication {}", publication));
    }
    WALBROOK_TRY(std::vector<PublishedTable> tables,
                 read_published_tables(connection, deadline, *publication_));
    published_.clear();
    filters_.clear();
    for (PublishedTable& table : tables) {
        const TableId id = table.id;
        published_.emplace(id, std::move(table));
    }
    return published_;
}

Result<TableSchema> SourceSide::schema(const PublishedTable& table, const std::stop_token& stop) {
    WALBROOK_TRY(TableSchema schema,
                 read_table_schema(holder_.connection(), within(kCatalogDeadline, stop),
                                   {table.id, table.attnums, table.identity, table.is_partly}));
    for (ColumnSchema& column : schema.columns) WALBROOK_RETURN_IF_ERROR(resolve_type(column));
    return schema;
}

Result<std::uint64_t> SourceSide::estimated_rows(const ComparedTable& table,
                                                 const std::stop_token& stop) {
    std::vector<std::uint32_t> oids;
    for (const PhysicalTable& physical : published_.at(table.id).physical) {
        oids.push_back(physical.id.oid);
    }
    // Not in the holder's transaction, which would end when a lock is not to be had.
    WALBROOK_TRY(Connection* const connection, session(stop));
    WALBROOK_TRY(
        const Rows rows,
        connection->query(
            within(kCatalogDeadline, stop),
            // As dense as it was when it was analysed, and as large as it is now.
            "select coalesce(sum(coalesce(pg_relation_size(oid), 0) * case when reltuples > 0 and "
            "relpages > 0 then reltuples::float8 / relpages / current_setting('block_size')::int "
            "else 1.0 / 128 end), 0)::int8 from pg_class where oid = any($1::oid[])",
            oid_array(oids)));
    Fields fields(rows, 0);
    const std::uint64_t estimate = fields.u64();
    WALBROOK_RETURN_IF_ERROR(fields.finish("size of a table"));
    return estimate;
}

Result<Digest> SourceSide::digest(const ComparedTable& table, unsigned groups,
                                  const std::stop_token& stop) {
    Digest digest(groups);
    for (const PhysicalTable& physical : published_.at(table.id).physical) {
        counts_.erase(physical.id);
    }
    const Statement statement = [&](const std::string& from) {
        return digest_sql(prints_dialect(dialect_), table, groups, from);
    };
    const Take take = [&](const Rows& rows) -> Result<std::uint64_t> {
        std::uint64_t seen = 0;
        for (std::size_t i = 0; i < rows.size(); ++i) {
            Fields fields(rows, i);
            const std::uint64_t group = fields.u64();
            const std::uint64_t count = fields.u64();
            const std::string sum = fields.text();
            WALBROOK_RETURN_IF_ERROR(fields.finish("digests of a table"));
            if (group >= groups) return Error(ErrorCode::internal, "a group beyond the last");
            digest[group].rows += count;
            digest[group].sum += number_modulo(sum);
            seen += count;
        }
        return seen;
    };
    WALBROOK_RETURN_IF_ERROR(read(table, statement, take, stop));
    return digest;
}

Result<std::vector<RowPrint>> SourceSide::rows(const ComparedTable& table, unsigned groups,
                                               const std::vector<unsigned>& wanted,
                                               const std::stop_token& stop) {
    std::vector<RowPrint> prints;
    std::unordered_map<std::string, std::size_t> places;  // In prints, by digest of the row.
    const Statement statement = [&](const std::string& from) {
        return rows_sql(prints_dialect(dialect_), table, groups, wanted, from);
    };
    const Take take = [&](const Rows& rows) -> Result<std::uint64_t> {
        for (std::size_t i = 0; i < rows.size(); ++i) {
            RowPrint print;
            print.key_digest = rows.text(i, 0);
            print.row_digest = rows.text(i, 1);
            print.column_digests = rows.text(i, 2);
            const std::size_t last = rows.columns() - 1;
            for (std::size_t c = 3; c < last; ++c) print.key_text.emplace_back(rows.text(i, c));
            print.count = number_modulo(rows.text(i, last));
            // Those of other blocks.
            if (table.key.empty()) {
                const auto [found, is_new] = places.emplace(print.row_digest, prints.size());
                if (!is_new) {
                    prints[found->second].count += print.count;
                    continue;
                }
            }
            prints.push_back(std::move(print));
        }
        return std::uint64_t{0};
    };
    WALBROOK_RETURN_IF_ERROR(read(table, statement, take, stop));
    return prints;
}

Status SourceSide::read(const ComparedTable& table, const Statement& statement, const Take& take,
                        const std::stop_token& stop) {
    const PublishedTable& published = published_.at(table.id);
    for (const PhysicalTable& physical : published.physical) {
        Status status = read_filters(published, stop);
        if (status) {
            const std::string filter = filters_[published.id][physical.id];
            status = read_physical(physical, filter, statement, take, stop);
        }
        if (status) continue;
        // The transaction, if one is open.
        if (session_ && session_->is_open()) {
            session_->exec(within(kCatalogDeadline), "rollback").ignore();
        }
        const std::string& state = status.error().sqlstate();
        const bool has_changed =
            state == kUndefinedTable || state == kUndefinedColumn || state == kInvalidSchemaName;
        return Error(has_changed ? changed_since_snapshot(physical) : status.error())
            .with_context(fmt::format("read {}.{}", physical.schema, physical.name));
    }
    return {};
}

// Not in the holder's transaction, which would end where a lock is not to be had.
Status SourceSide::read_filters(const PublishedTable& table, const std::stop_token& stop) {
    if (!table.is_filtered || filters_.contains(table.id)) return {};
    const Deadline deadline = within(kCatalogDeadline, stop);
    WALBROOK_TRY(Connection* const connection, session(stop));
    WALBROOK_RETURN_IF_ERROR(import_snapshot(*connection, deadline, holder_.name()));
    WALBROOK_TRY(auto filters, read_row_filters(*connection, deadline, *publication_, table));
    filters_[table.id] = std::move(filters);
    return connection->exec(deadline, "commit");
}

Status SourceSide::read_physical(const PhysicalTable& physical, const std::string& filter,
                                 const Statement& statement, const Take& take,
                                 const std::stop_token& stop) {
    const Deadline catalog = within(kCatalogDeadline, stop);
    WALBROOK_TRY(const TableShape shape, read_shape(holder_.connection(), catalog, physical.id));
    WALBROOK_TRY(Connection* const connection, session(stop));
    WALBROOK_TRY(const bool by_range, has_tid_range_scan(*connection, physical, catalog));
    WALBROOK_TRY(
        const Rows size,
        connection->query(
            catalog,
            "select coalesce(pg_relation_size($1::oid), 0) / current_setting('block_size')::int8, "
            "coalesce(pg_table_size($1::oid), 0), coalesce((select ceil(reltuples / relpages)"
            "::int8 from pg_class where oid = $1::oid and reltuples > 0 and relpages > 0), 0)",
            physical.id.oid));
    Fields fields(size, 0);
    const std::uint64_t blocks = fields.u64();
    const std::uint64_t bytes = fields.u64();
    const std::uint64_t known_rows_of_block = fields.u64();
    WALBROOK_RETURN_IF_ERROR(fields.finish("size of a table"));

    // The source reads those, too, that a filter leaves out.
    const std::uint64_t rows_of_block = filter.empty()             ? 0
                                        : known_rows_of_block == 0 ? kRowsOfBlock
                                                                   : known_rows_of_block;
    // Of a scan that counts no rows, as the one that did has found them.
    const bool is_counted = counts_.contains(physical.id);
    const std::uint64_t counted = is_counted ? counts_[physical.id] : 0;
    std::uint64_t all_seen = 0;
    const std::uint64_t rows_max = pace_.statement_rows();
    const std::uint64_t block_bytes =
        std::max<std::uint64_t>(bytes / std::max<std::uint64_t>(blocks, 1), 1);
    std::uint64_t step = std::clamp(kFirstStepBytes / block_bytes, kStepMin, kFirstStepBlocks);
    if (rows_max != 0) step = std::clamp(rows_max / kRowsOfBlock, kStepMin, step);
    for (std::uint64_t first = 0;;) {
        WALBROOK_RETURN_IF_ERROR(begin(physical, shape, stop));
        const bool is_last = !by_range || first + step >= blocks;
        std::string from =
            fmt::format("from only {} as {} where ",
                        quote_qualified(physical.schema, physical.name), kSourceAlias);
        from += !by_range ? "true" : fmt::format("{}.ctid >= '({},0)'::tid", kSourceAlias, first);
        // The end stays open: rows may have come behind the size.
        if (!is_last) {
            from += fmt::format(" and {}.ctid < '({},0)'::tid", kSourceAlias, first + step);
        }
        if (!filter.empty()) from += " and (" + filter + ")";
        const Instant began = now();
        auto rows = connection->query(within(kStatementDeadline, stop), statement(from));
        if (!rows) return std::move(rows).error();
        const milliseconds took = std::chrono::duration_cast<milliseconds>(now() - began);
        WALBROOK_TRY(std::uint64_t seen, take(*rows));
        WALBROOK_RETURN_IF_ERROR(connection->exec(within(kCatalogDeadline, stop), "commit"));
        const std::uint64_t read = is_last ? blocks - std::min(first, blocks) : step;
        seen = std::max(seen, read * rows_of_block);
        if (is_counted) seen = blocks == 0 ? counted : counted * read / blocks;
        all_seen += seen;
        if (is_last && !is_counted) counts_[physical.id] = all_seen;
        WALBROOK_RETURN_IF_ERROR(rest_after(seen, stop));
        if (is_last) return {};
        first += step;
        const bool too_many = rows_max != 0 && seen > rows_max;
        const bool few = rows_max == 0 || seen * 2 <= rows_max;
        if (took > load_.lock_max / 2 || too_many) {
            step = std::max(step / 2, kStepMin);
        } else if (took < load_.lock_max / 4 && few) {
            step = std::min(step * 2, kStepMax);
        }
    }
}

// A transaction with the snapshot and the lock, in which the table is what it was.
Status SourceSide::begin(const PhysicalTable& physical, const TableShape& shape,
                         const std::stop_token& stop) {
    return lock_patiently(physical, kLockPatience, stop, [&]() -> Result<bool> {
        const Deadline deadline = within(kCatalogDeadline, stop);
        WALBROOK_TRY(Connection* const connection, session(stop));
        WALBROOK_RETURN_IF_ERROR(import_snapshot(*connection, deadline, holder_.name()));
        return lock_as_in_snapshot(*connection, *catalog_, deadline, physical, shape);
    });
}

Status SourceSide::rest_after(std::uint64_t rows, const std::stop_token& stop) {
    rows_read_ += rows;
    const milliseconds rest = pace_.rest_after(rows, now());
    if (rest.count() == 0 || sleep_for(rest, stop)) return {};
    return Error(ErrorCode::cancelled, "stopped between two reads");
}

}  // namespace walbrook::verify
