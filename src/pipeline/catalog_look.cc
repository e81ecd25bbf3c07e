#include "pipeline/catalog_look.h"

#include "decode/type_table.h"
#include "decode/value.h"
#include "postgres/slots.h"

#include <fmt/format.h>

#include <algorithm>

namespace walbrook {
namespace {

// The text of the values that columns got when they were added, as one row.
void read_existing(const TableHistory& history, SourceTable& source) {
    source.dropped = history.dropped;
    auto row = std::make_shared<RowBatch>(source.schema);
    bool has_value = false;
    for (std::size_t i = 0; i < source.schema->columns.size(); ++i) {
        const ColumnSchema& column = source.schema->columns[i];
        Column& out = row->columns()[i];
        const auto missing = std::find_if(history.missing.begin(), history.missing.end(),
                                          [&](const auto& m) { return m.attnum == column.attnum; });
        if (missing == history.missing.end()) {
            out.append_null();
            continue;
        }
        const bool is_read =
            missing->value && decoder_for(column, Format::text)(column, *missing->value, out).ok();
        if (is_read) {
            has_value = true;
            continue;
        }
        out.truncate(0);
        out.append_null();
        source.existing_unknown.push_back(column.attnum);
    }
    if (has_value) source.existing = std::move(row);
}

Status read_sources(Connection& connection, const Deadline& deadline,
                    std::vector<CatalogLook::Table*>& wanted) {
    if (wanted.empty()) return {};
    std::vector<TableColumns> columns;
    std::vector<std::uint32_t> oids;
    for (const CatalogLook::Table* table : wanted) {
        columns.push_back({table->published.id, table->published.attnums, table->published.identity,
                           table->published.is_partly});
        oids.push_back(table->published.id.oid);
    }
    WALBROOK_TRY(auto schemas, read_table_schemas(connection, deadline, columns));
    WALBROOK_TRY(const auto histories, read_table_histories(connection, deadline, oids));
    std::vector<PublishedTable> published;
    for (const CatalogLook::Table* table : wanted) published.push_back(table->published);
    WALBROOK_TRY(auto reordered, read_reordered_leaves(connection, deadline, published));
    for (CatalogLook::Table* table : wanted) {
        const auto found = schemas.find(table->published.id);
        if (found == schemas.end()) continue;  // Dropped a moment ago.
        TableSchema& schema = found->second;
        for (ColumnSchema& column : schema.columns) {
            Status resolved = resolve_type(column);
            if (!resolved) table->problem = resolved.error().message();
        }
        if (!table->problem.empty()) continue;
        schema.membership = table->membership;
        schema.content = to_string(table->look.content);
        table->source.schema = std::make_shared<const TableSchema>(std::move(schema));
        table->source.reordered = std::move(reordered[table->published.id]);
        const auto history = histories.find(table->published.id);
        read_existing(history == histories.end() ? TableHistory() : history->second, table->source);
    }
    return {};
}

Status look(Connection& connection, const Deadline& deadline, const std::string& publication,
            const std::function<bool(const CatalogLook::Table&)>& wants, CatalogLook& out) {
    // The position is read after the snapshot: what that sees stands before it.
    WALBROOK_TRY(const Rows rows,
                 connection.query(deadline,
                                  "select pg_current_snapshot()::text, case when r then l else "
                                  "pg_current_wal_insert_lsn() end, case when r then l else "
                                  "pg_current_wal_flush_lsn() end from (select "
                                  "pg_is_in_recovery() as r, pg_last_wal_replay_lsn() as l) s"));
    Fields fields(rows, 0);
    const std::string xids = fields.text();
    out.position = before_page_header(fields.lsn());
    out.flushed = std::min(out.position, fields.lsn());
    WALBROOK_RETURN_IF_ERROR(fields.finish("look at the catalog"));
    WALBROOK_TRY(out.xids, SnapshotXids::parse(xids));
    WALBROOK_TRY(out.publication, read_publication(connection, deadline, publication));
    if (!out.publication) return {};
    WALBROOK_TRY(const std::vector<PublishedTable> published,
                 read_published_tables(connection, deadline, *out.publication));
    WALBROOK_TRY(auto looks, look_at_tables(connection, deadline, published));
    std::vector<CatalogLook::Table*> wanted;
    for (const PublishedTable& table : published) {
        const auto found = looks.find(table.id);
        if (found == looks.end()) continue;
        CatalogLook::Table& entry = out.tables[table.id];
        entry.published = table;
        entry.look = std::move(found->second);
        entry.membership = membership_of(*out.publication, table);
        entry.problem = table.problem;
        if (wants(entry)) wanted.push_back(&entry);
    }
    return read_sources(connection, deadline, wanted);
}

}  // namespace

std::vector<std::uint32_t> CatalogLook::Table::partitions() const {
    std::vector<std::uint32_t> oids;
    for (const PhysicalTable& physical : published.physical) {
        if (physical.id != published.id) oids.push_back(physical.id.oid);
    }
    return oids;
}

Result<CatalogLook> look_at_catalog(Connection& connection, const Deadline& deadline,
                                    const std::string& publication,
                                    const std::function<bool(const CatalogLook::Table&)>& wants) {
    CatalogLook out;
    WALBROOK_TRY(out.in_recovery, is_in_recovery(connection, deadline));
    WALBROOK_RETURN_IF_ERROR(
        connection.exec(deadline, "begin isolation level repeatable read read only"));
    Status status = look(connection, deadline, publication, wants, out);
    if (connection.is_open()) {
        // What reading wrote to the log (hint bits under checksums, pruning) is flushed soon after
        // a commit, but not after a rollback: the stream would not reach our insert position.
        const Status ended = connection.exec(deadline, "commit");
        if (status) status = ended;
    }
    WALBROOK_RETURN_IF_ERROR(std::move(status));
    if (!out.in_recovery) return out;
    WALBROOK_TRY(const bool still, is_in_recovery(connection, deadline));
    if (!still) return Error(ErrorCode::aborted, "the standby was promoted meanwhile");
    return out;
}

std::string membership_of(const Publication& publication, const PublishedTable& table) {
    const auto flag = [](bool is_set, char letter) { return is_set ? letter : '-'; };
    return fmt::format("{} of {}:{} {}{}{}{}", table.membership, publication.oid, publication.xmin,
                       flag(publication.publish_insert, 'i'), flag(publication.publish_update, 'u'),
                       flag(publication.publish_delete, 'd'),
                       flag(publication.publish_truncate, 't'));
}

bool truncates_are_sent(const PublishedTable& table) {
    return table.relkind != 'p' || !table.via_root;
}

}  // namespace walbrook
