#include "verify/source_side.h"

#include "base/backoff.h"
#include "decode/type_table.h"
#include "postgres/quote.h"
#include "postgres/snapshot_lock.h"
#include "source/unit_reader.h"
#include "verify/prints_sql.h"

#include <fmt/format.h>

#include <algorithm>

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
constexpr std::uint64_t kStepMin = 16;
constexpr std::uint64_t kStepMax = 131'072;

// The table, or a column, has another name or type by now.
constexpr std::string_view kUndefinedTable = "42P01";
constexpr std::string_view kUndefinedColumn = "42703";

constexpr const char* kAlias = "walbrook_row";

std::string column_of(const ComparedTable& table, std::size_t i) {
    return fmt::format("{}.{}", kAlias, quote_identifier(table.columns[i].name));
}

PrintsDialect prints_dialect(const PostgresDialect& dialect) {
    return {
        .canonical =
            [&dialect](const ComparedTable& table, std::size_t i) {
                return canonical_in_postgres(dialect, table.columns[i], column_of(table, i));
            },
        .digest = [&dialect](const std::string& text) { return digest_in_postgres(dialect, text); },
        .number = number_in_postgres,
        .group = group_in_postgres,
        .display = [](const ComparedTable& table,
                      std::size_t i) { return fmt::format("concat({})", column_of(table, i)); },
        .place = fmt::format("{}.ctid::text", kAlias),
    };
}

}  // namespace

SourceSide::SourceSide(const PgConnectionConfig& config, Purpose purpose, SnapshotHolder& holder,
                       SourceLoad load)
    : config_(config), purpose_(std::move(purpose)), holder_(holder), load_(load) {}

Result<Connection*> SourceSide::session(const std::stop_token& stop) {
    if (session_ && session_->is_open()) return &*session_;
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
    WALBROOK_TRY(const auto found, read_publication(connection, deadline, publication));
    if (!found) {
        return Error(ErrorCode::config,
                     fmt::format("the source has no publication {}", publication));
    }
    WALBROOK_TRY(std::vector<PublishedTable> tables,
                 read_published_tables(connection, deadline, *found));
    published_.clear();
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
    WALBROOK_TRY(
        const Rows rows,
        holder_.connection().query(
            within(kCatalogDeadline, stop),
            "select coalesce(sum(greatest(reltuples, 0)), 0)::int8 from pg_class where oid = "
            "any($1::oid[])",
            oid_array(oids)));
    Fields fields(rows, 0);
    const std::uint64_t estimate = fields.u64();
    WALBROOK_RETURN_IF_ERROR(fields.finish("size of a table"));
    return estimate;
}

Result<Digest> SourceSide::digest(const ComparedTable& table, unsigned groups,
                                  const std::stop_token& stop) {
    Digest digest(groups);
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
    const Statement statement = [&](const std::string& from) {
        return rows_sql(prints_dialect(dialect_), table, groups, wanted, from);
    };
    const Take take = [&](const Rows& rows) -> Result<std::uint64_t> {
        for (std::size_t i = 0; i < rows.size(); ++i) {
            RowPrint print;
            print.key_digest = rows.text(i, 0);
            print.row_digest = rows.text(i, 1);
            print.column_digests = rows.text(i, 2);
            for (std::size_t c = 3; c < rows.columns(); ++c) {
                print.key_text.emplace_back(rows.text(i, c));
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
        const std::string filter = physical.row_filter.value_or(published.row_filter.value_or(""));
        Status status = read_physical(physical, filter, statement, take, stop);
        if (status) continue;
        // The transaction, if one is open.
        if (session_ && session_->is_open()) {
            session_->exec(within(kCatalogDeadline), "rollback").ignore();
        }
        return Error(status.error())
            .with_context(fmt::format("read {}.{}", physical.schema, physical.name));
    }
    return {};
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
            "select coalesce(pg_relation_size($1::oid), 0) / current_setting('block_size')::int8",
            physical.id.oid));
    Fields fields(size, 0);
    const std::uint64_t blocks = fields.u64();
    WALBROOK_RETURN_IF_ERROR(fields.finish("size of a table"));

    std::uint64_t step = kFirstStepBlocks;
    for (std::uint64_t first = 0;;) {
        WALBROOK_RETURN_IF_ERROR(begin(physical, shape, stop));
        const bool is_last = !by_range || first + step >= blocks;
        std::string from = fmt::format("from only {} as {} where ",
                                       quote_qualified(physical.schema, physical.name), kAlias);
        from += !by_range ? "true" : fmt::format("{}.ctid >= '({},0)'::tid", kAlias, first);
        // The end stays open: rows may have come behind the size.
        if (!is_last) from += fmt::format(" and {}.ctid < '({},0)'::tid", kAlias, first + step);
        if (!filter.empty()) from += " and (" + filter + ")";
        const Instant began = now();
        auto rows = connection->query(within(kStatementDeadline, stop), statement(from));
        if (!rows) {
            const std::string& state = rows.error().sqlstate();
            if (state == kUndefinedTable || state == kUndefinedColumn) {
                return changed_since_snapshot(physical);
            }
            return std::move(rows).error();
        }
        const milliseconds took = std::chrono::duration_cast<milliseconds>(now() - began);
        WALBROOK_TRY(const std::uint64_t seen, take(*rows));
        WALBROOK_RETURN_IF_ERROR(connection->exec(within(kCatalogDeadline, stop), "commit"));
        WALBROOK_RETURN_IF_ERROR(pace(seen, stop));
        if (is_last) return {};
        first += step;
        // A second's worth of rows at most, so that the pace is even.
        const bool too_many =
            load_.rows_per_second_max != 0 && seen > load_.rows_per_second_max / 2;
        const bool few =
            load_.rows_per_second_max == 0 || seen * 2 <= load_.rows_per_second_max / 2;
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
    Backoff backoff({milliseconds(20), milliseconds(1000)});
    const Instant patience = now() + kLockPatience;
    for (;;) {
        const Deadline deadline = within(kCatalogDeadline, stop);
        WALBROOK_TRY(Connection* const connection, session(stop));
        WALBROOK_RETURN_IF_ERROR(import_snapshot(*connection, deadline, holder_.name()));
        WALBROOK_TRY(const bool is_locked,
                     lock_as_in_snapshot(*connection, *catalog_, deadline, physical, shape));
        if (is_locked) return {};
        if (now() >= patience) {
            return Error(ErrorCode::aborted,
                         fmt::format("{} is locked by somebody else, for more than {} s",
                                     physical.name, kLockPatience.count()));
        }
        if (!sleep_for(backoff.next(), stop)) {
            return Error(ErrorCode::cancelled, "stopped while a lock was not to be had");
        }
    }
}

Status SourceSide::pace(std::uint64_t rows, const std::stop_token& stop) {
    rows_read_ += rows;
    if (load_.rows_per_second_max == 0 || rows == 0) return {};
    const auto worth = std::chrono::duration_cast<Instant::duration>(std::chrono::duration<double>(
        static_cast<double>(rows) / static_cast<double>(load_.rows_per_second_max)));
    paced_until_ = std::max(paced_until_, now()) + worth;
    const auto wait = std::chrono::duration_cast<milliseconds>(paced_until_ - now());
    if (sleep_for(wait, stop)) return {};
    return Error(ErrorCode::cancelled, "stopped between two reads");
}

}  // namespace walbrook::verify
