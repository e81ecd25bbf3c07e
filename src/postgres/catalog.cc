#include "postgres/catalog.h"

#include "postgres/merged_partitions.h"
#include "postgres/publication_members.h"
#include "postgres/quote.h"

#include <fmt/format.h>
#include <libpq-fe.h>

#include <algorithm>

namespace walbrook {
namespace {

Error no_such_table(TableId table) {
    return Error(ErrorCode::schema_mismatch,
                 fmt::format("the table with oid {} does not exist any more", table.oid))
        .with_table(table.oid);
}

// Columns that a publication sends of a table for which it has no column list. Before
// 18 generated columns are never sent (logicalrep_should_publish_column in proto.c).
std::string default_attnums_sql(const Publication& publication) {
    const std::string_view generated = publication.generated_stored ? "in ('', 's')" : "= ''";
    return fmt::format(
        "(select array_agg(a.attnum order by a.attnum) from pg_attribute a"
        " where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped"
        " and a.attgenerated {})",
        generated);
}

// What we write at the source ourselves, the store's tables and perhaps the lake's catalog, would
// have us follow our own writing for ever.
constexpr const char* kNotOurOwn =
    "n.nspname <> 'walbrook' and not (c.relname like 'ducklake\\_%' and exists (select from"
    " pg_class m where m.relnamespace = c.relnamespace and m.relname = 'ducklake_metadata'))";

// The topmost of the partitioned tables that the publication names, where it sends only their
// leaves.
std::string tops_sql(const Publication& publication, int major_version) {
    // The relation itself, its schema, or all.
    const auto is_named = [&](std::string_view relation) -> std::string {
        if (publication.all_tables) return "true";
        return fmt::format(
            "(exists (select from pg_publication_rel pr where pr.prpubid = {0}"
            " and pr.prrelid = {1}.oid){2})",
            publication.oid, relation,
            major_version >= 15
                ? fmt::format(" or exists (select from pg_publication_namespace pn where"
                              " pn.pnpubid = {} and pn.pnnspid = {}.relnamespace)",
                              publication.oid, relation)
                : "");
    };
    return fmt::format(
        "select p.oid as relid from pg_class p where p.relkind = 'p' and {}"
        " and not exists (select from pg_partition_ancestors(p.oid) a"
        " join pg_class ac on ac.oid = a.relid where a.relid <> p.oid and {})",
        is_named("p"), is_named("ac"));
}

// Columns: see published_table(). 14 has neither column lists nor row filters, and
// publications of schemas begin with 15.
std::string published_tables_sql(const Publication& publication, int major_version) {
    const bool lists = major_version >= 15;
    std::string relations = publication_members_sql(publication, major_version);
    if (!publication.via_root) {
        relations =
            fmt::format("({}) union all {}", relations, tops_sql(publication, major_version));
    }
    const std::string by_schema =
        lists ? " union all select 'ns:' || pn.oid || ':' || pn.xmin::text"
                " from pg_publication_namespace pn where pn.pnpubid = $1::oid and pn.pnnspid in"
                " (select f.relnamespace from family m join pg_class f on f.oid = m.oid)"
              : "";
    // Of what is published by its schema neither counts.
    const std::string own =
        lists ? " left join pg_publication_rel own on own.prpubid = $1::oid and own.prrelid = c.oid"
                " and not exists (select from pg_publication_namespace pn where"
                " pn.pnpubid = $1::oid and pn.pnnspid = c.relnamespace)"
              : "";
    return fmt::format(
        "select c.oid, n.nspname, c.relname, c.relkind, c.relfilenode,"
        " coalesce(pg_partition_root(c.oid)::oid, c.oid), {0}, coalesce({1}, {2}), {1},"
        " (with family(oid) as (select c.oid union select a.relid::oid"
        "    from pg_partition_ancestors(c.oid) a)"
        "  select string_agg(m.by, ',' order by m.by) from ("
        "    select 'rel:' || pr.oid || ':' || pr.xmin::text as by from pg_publication_rel pr"
        "    where pr.prpubid = $1::oid and pr.prrelid in (select oid from family){3}"
        "    union all select 'all' where $2::bool) m)"
        " from ({4}) g join pg_class c on c.oid = g.relid"
        " join pg_namespace n on n.oid = c.relnamespace{5} where {6} order by c.oid",
        lists ? "own.prqual is not null" : "false", lists ? "own.prattrs::int2[]" : "null::int2[]",
        default_attnums_sql(publication), by_schema, relations, own, kNotOurOwn);
}

PublishedTable published_table(Fields& fields) {
    PublishedTable table;
    table.id.oid = fields.u32();
    table.schema = fields.text();
    table.name = fields.text();
    table.relkind = fields.character();
    table.relfilenode = fields.u32();
    table.root.oid = fields.u32();
    table.is_filtered = fields.boolean();
    table.attnums = attnums_from(fields.text_or_empty());
    std::sort(table.attnums.begin(), table.attnums.end());
    if (const auto list = fields.optional_text()) {
        table.column_list = attnums_from(*list);
        std::sort(table.column_list->begin(), table.column_list->end());
    }
    table.membership = fields.text_or_empty();
    return table;
}

// Every table below the given ones that holds rows, by the transaction's snapshot and
// without a lock; of a plain table that is itself. One whose detachment is pending is none any
// more, for queries and for the stream (get_partition_ancestors in partition.c).
constexpr const char* kTreeSql =
    "with recursive tree(root, oid) as (select r.oid, r.oid from unnest($1::oid[]) r(oid)"
    " union all select t.root, i.inhrelid from tree t join pg_class p on p.oid = t.oid"
    "   join pg_inherits i on i.inhparent = t.oid and not i.inhdetachpending"
    "   where p.relkind = 'p')"
    " select t.root, c.oid, n.nspname, c.relname, c.relfilenode, c.relkind, c.relpersistence"
    " from tree t"
    " join pg_class c on c.oid = t.oid join pg_namespace n on n.oid = c.relnamespace"
    " where c.relkind <> 'p' order by t.root, c.oid";

struct TreeEntry {
    std::uint32_t root = 0;
    PhysicalTable leaf;
};

Result<std::vector<TreeEntry>> read_tree(Connection& connection, const Deadline& deadline,
                                         std::span<const std::uint32_t> oids) {
    WALBROOK_TRY(const Rows rows, connection.query(deadline, kTreeSql, oid_array(oids)));
    std::vector<TreeEntry> entries;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        Fields fields(rows, i);
        TreeEntry entry;
        entry.root = fields.u32();
        entry.leaf.id.oid = fields.u32();
        entry.leaf.schema = fields.text();
        entry.leaf.name = fields.text();
        entry.leaf.relfilenode = fields.u32();
        entry.leaf.relkind = fields.character();
        entry.leaf.persistence = fields.character();
        WALBROOK_RETURN_IF_ERROR(fields.finish("read partitions"));
        entries.push_back(std::move(entry));
    }
    return entries;
}

Status add_physical_tables(Connection& connection, const Deadline& deadline,
                           std::vector<PublishedTable>& tables) {
    std::map<std::uint32_t, PublishedTable*> partitioned;
    std::vector<std::uint32_t> oids;
    for (PublishedTable& table : tables) {
        if (table.relkind == 'p') {
            partitioned[table.id.oid] = &table;
            oids.push_back(table.id.oid);
        } else {
            table.physical = {{table.id, table.schema, table.name, table.relfilenode}};
        }
    }
    if (oids.empty()) return {};
    WALBROOK_TRY(auto entries, read_tree(connection, deadline, oids));
    for (TreeEntry& entry : entries) {
        const auto found = partitioned.find(entry.root);
        if (found == partitioned.end()) continue;
        PublishedTable& table = *found->second;
        if (entry.leaf.relkind != 'r' || entry.leaf.persistence != 'p') {
            table.problem = fmt::format(
                "its partition {}.{} is {}, whose changes are not in the source's log; {}",
                entry.leaf.schema, entry.leaf.name,
                entry.leaf.relkind != 'r' ? "a foreign table" : "not logged",
                entry.leaf.relkind != 'r' ? "detach it, or publish the other partitions alone"
                                          : "alter table … set logged, or detach it");
        }
        table.physical.push_back(std::move(entry.leaf));
    }
    return {};
}

// Before 18 old keys come without their generated columns, and the server does not mind (from 18
// on it refuses such updates and deletes): nobody can tell which row is meant.
Status refuse_generated_identities(Connection& connection, const Deadline& deadline,
                                   std::vector<PublishedTable>& tables) {
    // Whose identity is that of the rows that are sent.
    std::map<std::uint32_t, PublishedTable*> senders;
    std::vector<std::uint32_t> oids;
    for (PublishedTable& table : tables) {
        if (table.via_root) senders[table.id.oid] = &table;
        for (const PhysicalTable& physical : table.physical) {
            if (!table.via_root) senders[physical.id.oid] = &table;
        }
    }
    for (const auto& [oid, table] : senders) oids.push_back(oid);
    WALBROOK_TRY(
        const Rows rows,
        connection.query(deadline,
                         "select c.oid, a.attname from pg_class c"
                         " join pg_index i on i.indrelid = c.oid and case c.relreplident"
                         "   when 'd' then i.indisprimary and i.indimmediate"
                         "   when 'i' then i.indisreplident else false end"
                         " cross join lateral unnest(i.indkey::int2[]) with ordinality k(attnum, n)"
                         " join pg_attribute a on a.attrelid = c.oid and a.attnum = k.attnum"
                         " where c.oid = any($1::oid[]) and k.n <= i.indnkeyatts"
                         " and a.attgenerated <> ''",
                         oid_array(oids)));
    for (std::size_t i = 0; i < rows.size(); ++i) {
        Fields fields(rows, i);
        const auto sender = senders.find(fields.u32());
        const std::string column = fields.text();
        WALBROOK_RETURN_IF_ERROR(fields.finish("read generated columns of identities"));
        if (sender == senders.end() || !sender->second->problem.empty()) continue;
        sender->second->problem = fmt::format(
            "its replica identity has the generated column {}, which Postgres sends from 18 on "
            "only, so updates and deletes do not tell which row they mean; alter table … replica "
            "identity full, or using an index without it",
            column);
    }
    return {};
}

// What the three queries of read_table_schemas bring together.
struct ResolvedType {
    std::uint32_t base_oid = 0;
    std::int32_t base_typmod = -1;
    char base_class = 'b';
    std::uint32_t element_oid = 0;
    char element_delimiter = ',';
};

struct TableKeys {
    TableSchema schema;
    std::vector<std::int16_t> primary_key;
    bool has_late_key = false;           // Its primary key is deferrable.
    std::vector<std::int16_t> identity;  // Of 'd' and 'i'.
    std::vector<std::int16_t> attnums;   // Asked for; empty: all that are not generated.
};

// The identity under 'd' is the primary key only where that is valid and not deferrable
// (RelationGetIndexList in relcache.c); else updates and deletes carry no key.
constexpr const char* kTablesSql =
    "select c.oid, n.nspname, c.relname, obj_description(c.oid, 'pg_class'), c.relreplident,"
    " (select array_agg(k.attnum order by k.place) from pg_index i"
    "   cross join lateral unnest(i.indkey::int2[]) with ordinality k(attnum, place)"
    "   where i.indrelid = c.oid and i.indisprimary and k.place <= i.indnkeyatts),"
    " exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary"
    "   and not i.indimmediate),"
    " (select array_agg(k.attnum order by k.place) from pg_index i"
    "   cross join lateral unnest(i.indkey::int2[]) with ordinality k(attnum, place)"
    "   where i.indrelid = c.oid and k.place <= i.indnkeyatts and case c.relreplident"
    "     when 'd' then i.indisprimary and i.indimmediate and (i.indisvalid or c.relkind = 'p')"
    "     when 'i' then i.indisreplident and (i.indisvalid or c.relkind = 'p') else false end),"
    " c.relnatts"
    " from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = any($1::oid[])";

// From 18 attnotnull is set for NOT NULL … NOT VALID too, and such a column may hold nulls.
std::string columns_sql(int major_version) {
    return fmt::format(
        "select a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod,"
        " format_type(a.atttypid, a.atttypmod), a.attnotnull{}, a.attgenerated,"
        " col_description(a.attrelid, a.attnum) from pg_attribute a"
        " where a.attrelid = any($1::oid[]) and a.attnum > 0 and not a.attisdropped"
        " order by a.attrelid, a.attnum",
        major_version >= 18
            ? " and not exists (select from pg_constraint k where k.conrelid = a.attrelid"
              " and k.contype = 'n' and k.conkey = array[a.attnum] and not k.convalidated)"
            : "");
}

// Follows domains down, as getBaseTypeAndTypmod in lsyscache.c does: the modifier is that
// of the innermost domain. Only what array_out prints is an array here (int2vector and
// oidvector have elements too, but print without braces).
constexpr const char* kTypesSql =
    "with recursive used(oid) as (select distinct a.atttypid from pg_attribute a"
    "   where a.attrelid = any($1::oid[]) and a.attnum > 0 and not a.attisdropped),"
    " base(top, oid, typmod, depth) as (select u.oid, u.oid, -1, 0 from used u union all"
    "   select b.top, t.typbasetype, t.typtypmod, b.depth + 1 from base b"
    "   join pg_type t on t.oid = b.oid where t.typtype = 'd'),"
    " bottom as (select distinct on (top) top, oid, typmod from base order by top, depth desc),"
    " element(top, oid, depth) as (select b.top, t.typelem, 0 from bottom b"
    "   join pg_type t on t.oid = b.oid"
    "   where t.typelem <> 0 and t.typoutput = 'pg_catalog.array_out'::regproc union all"
    "   select e.top, t.typbasetype, e.depth + 1 from element e"
    "   join pg_type t on t.oid = e.oid where t.typtype = 'd'),"
    " last_element as (select distinct on (top) top, oid from element order by top, depth desc)"
    " select b.top, b.oid, b.typmod, t.typtype, e.oid, coalesce(et.typdelim, ',')"
    " from bottom b join pg_type t on t.oid = b.oid left join last_element e on e.top = b.top"
    " left join pg_type et on et.oid = e.oid";

Result<std::map<std::uint32_t, TableKeys>> read_keys(Connection& connection,
                                                     const Deadline& deadline,
                                                     const std::string& oids) {
    std::map<std::uint32_t, TableKeys> tables;
    WALBROOK_TRY(const Rows rows, connection.query(deadline, kTablesSql, oids));
    for (std::size_t i = 0; i < rows.size(); ++i) {
        Fields fields(rows, i);
        TableKeys table;
        table.schema.id.oid = fields.u32();
        table.schema.schema = fields.text();
        table.schema.name = fields.text();
        table.schema.comment = fields.text_or_empty();
        const char identity = fields.character();
        table.primary_key = attnums_from(fields.text_or_empty());
        table.has_late_key = fields.boolean();
        table.identity = attnums_from(fields.text_or_empty());
        table.schema.attnum_max = static_cast<std::int16_t>(fields.i32());
        WALBROOK_RETURN_IF_ERROR(fields.finish("read tables"));
        if (std::string_view("difn").find(identity) == std::string_view::npos) {
            return Error(ErrorCode::schema_mismatch, "unknown replica identity")
                .with_table(table.schema.id.oid);
        }
        table.schema.replica_identity = static_cast<ReplicaIdentity>(identity);
        const std::uint32_t oid = table.schema.id.oid;
        tables.emplace(oid, std::move(table));
    }
    return tables;
}

Result<std::map<std::uint32_t, ResolvedType>> read_types(Connection& connection,
                                                         const Deadline& deadline,
                                                         const std::string& oids) {
    std::map<std::uint32_t, ResolvedType> types;
    WALBROOK_TRY(const Rows rows, connection.query(deadline, kTypesSql, oids));
    for (std::size_t i = 0; i < rows.size(); ++i) {
        Fields fields(rows, i);
        ResolvedType& type = types[fields.u32()];
        type.base_oid = fields.u32();
        type.base_typmod = fields.i32();
        type.base_class = fields.character();
        type.element_oid = fields.u32_or_zero();
        type.element_delimiter = fields.character();
        WALBROOK_RETURN_IF_ERROR(fields.finish("read types"));
    }
    return types;
}

bool contains(const std::vector<std::int16_t>& numbers, std::int16_t number) {
    return std::find(numbers.begin(), numbers.end(), number) != numbers.end();
}

void place_in_keys(ColumnSchema& column, const TableKeys& table) {
    const auto& key = table.primary_key;
    const auto place = std::find(key.begin(), key.end(), column.attnum);
    if (place != key.end()) column.key_position = static_cast<int>(place - key.begin()) + 1;
    // Under FULL the RELATION message marks every column (logicalrep_write_attrs).
    column.in_identity = table.schema.replica_identity == ReplicaIdentity::full ||
                         contains(table.identity, column.attnum);
}

Status resolve_type(ColumnSchema& column, const std::map<std::uint32_t, ResolvedType>& types) {
    const auto type = types.find(column.type_oid);
    if (type == types.end()) {  // Dropped or made between two of our queries.
        return Error(ErrorCode::aborted,
                     fmt::format("the type of column {} changed while it was read", column.name));
    }
    const ResolvedType& resolved = type->second;
    column.base_type_oid = resolved.base_oid;
    const bool is_domain = resolved.base_oid != column.type_oid;
    column.base_typmod = is_domain ? resolved.base_typmod : column.typmod;
    column.base_type_class = resolved.base_class;
    column.element_type_oid = resolved.element_oid;
    column.element_delimiter = resolved.element_delimiter;
    return {};
}

Status add_columns(const Rows& rows, const std::map<std::uint32_t, ResolvedType>& types,
                   std::map<std::uint32_t, TableKeys>& tables) {
    for (std::size_t i = 0; i < rows.size(); ++i) {
        Fields fields(rows, i);
        const auto table = tables.find(fields.u32());
        ColumnSchema column;
        column.attnum = static_cast<std::int16_t>(fields.i32());
        column.name = fields.text();
        column.type_oid = fields.u32();
        column.typmod = fields.i32();
        column.type_name = fields.text();
        column.nullable = !fields.boolean();
        const bool generated = fields.character() != '\0';
        column.comment = fields.text_or_empty();
        WALBROOK_RETURN_IF_ERROR(fields.finish("read columns"));
        if (table == tables.end()) continue;
        const auto& wanted = table->second.attnums;
        if (wanted.empty() ? generated : !contains(wanted, column.attnum)) continue;
        WALBROOK_RETURN_IF_ERROR(resolve_type(column, types));
        place_in_keys(column, table->second);
        table->second.schema.columns.push_back(std::move(column));
    }
    return {};
}

// All columns of what would tell its rows apart are published.
bool has_whole_key(const TableKeys& table) {
    const bool is_full = table.schema.replica_identity == ReplicaIdentity::full;
    const auto& key = is_full ? table.primary_key : table.identity;
    return std::all_of(key.begin(), key.end(), [&](std::int16_t attnum) {
        const auto& columns = table.schema.columns;
        return std::any_of(columns.begin(), columns.end(),
                           [&](const ColumnSchema& column) { return column.attnum == attnum; });
    });
}

TableShape::Column shape_column(const PGresult* result, int index) {
    return {static_cast<std::int16_t>(PQftablecol(result, index)), PQfname(result, index),
            PQftype(result, index), PQfmod(result, index)};
}

// Filenodes by the server's caches. pg_partition_tree is empty for a plain table.
constexpr const char* kCurrentPhysicalSql =
    "select l.oid, coalesce(pg_relation_filenode(l.oid), 0) from ("
    " select t.relid::oid as oid from pg_partition_tree($1::oid) t where t.isleaf"
    " union select $1::oid where not exists (select from pg_partition_tree($1::oid))) l"
    " order by l.oid";

}  // namespace

Result<std::optional<Publication>> read_publication(Connection& connection,
                                                    const Deadline& deadline,
                                                    const std::string& name) {
    const std::string sql = fmt::format(
        "select p.oid, p.xmin::text, p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate,"
        " p.pubviaroot, p.puballtables, {} from pg_publication p where p.pubname = $1",
        connection.major_version() >= 18 ? "p.pubgencols = 's'" : "false");
    WALBROOK_TRY(const Rows rows, connection.query(deadline, sql, name));
    if (rows.empty()) return std::optional<Publication>();
    Fields fields(rows, 0);
    Publication publication;
    publication.name = name;
    publication.oid = fields.u32();
    publication.xmin = fields.text();
    publication.publish_insert = fields.boolean();
    publication.publish_update = fields.boolean();
    publication.publish_delete = fields.boolean();
    publication.publish_truncate = fields.boolean();
    publication.via_root = fields.boolean();
    publication.all_tables = fields.boolean();
    publication.generated_stored = fields.boolean();
    WALBROOK_RETURN_IF_ERROR(fields.finish("read the publication"));
    return std::optional(std::move(publication));
}

Result<std::vector<PublishedTable>> read_published_tables(Connection& connection,
                                                          const Deadline& deadline,
                                                          const Publication& publication) {
    const std::string sql = published_tables_sql(publication, connection.major_version());
    WALBROOK_TRY(const Rows rows,
                 connection.query(deadline, sql, publication.oid, publication.all_tables));
    std::vector<PublishedTable> tables;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        Fields fields(rows, i);
        tables.push_back(published_table(fields));
        tables.back().via_root = publication.via_root;
        tables.back().is_partly = !publication.publish_insert || !publication.publish_update ||
                                  !publication.publish_delete || !publication.publish_truncate;
        WALBROOK_RETURN_IF_ERROR(fields.finish("read the tables of the publication"));
    }
    WALBROOK_RETURN_IF_ERROR(add_physical_tables(connection, deadline, tables));
    if (!publication.via_root) {
        WALBROOK_RETURN_IF_ERROR(merge_partitions(connection, deadline, tables));
    }
    if (connection.major_version() < 18 &&
        (publication.publish_update || publication.publish_delete)) {
        WALBROOK_RETURN_IF_ERROR(refuse_generated_identities(connection, deadline, tables));
    }
    return tables;
}

Result<std::map<TableId, TableSchema>> read_table_schemas(Connection& connection,
                                                          const Deadline& deadline,
                                                          std::span<const TableColumns> tables) {
    std::vector<std::uint32_t> oids;
    for (const TableColumns& table : tables) oids.push_back(table.id.oid);
    const std::string array = oid_array(oids);
    WALBROOK_TRY(auto keys, read_keys(connection, deadline, array));
    for (const TableColumns& table : tables) {
        const auto found = keys.find(table.id.oid);
        if (found == keys.end()) continue;
        found->second.attnums = table.attnums;
        found->second.schema.partly_published = table.is_partly;
        if (!table.identity) continue;
        found->second.schema.replica_identity = table.identity->kind;
        found->second.identity = table.identity->attnums;
    }
    // Two rows may share such a key until a transaction ends, and a flush may end before that.
    for (auto& [oid, table] : keys) {
        const bool is_full = table.schema.replica_identity == ReplicaIdentity::full;
        if (table.has_late_key && (is_full || table.schema.partly_published)) {
            table.primary_key.clear();
        }
    }
    WALBROOK_TRY(const Rows columns,
                 connection.query(deadline, columns_sql(connection.major_version()), array));
    WALBROOK_TRY(const auto types, read_types(connection, deadline, array));
    WALBROOK_RETURN_IF_ERROR(add_columns(columns, types, keys));
    for (auto& [oid, table] : keys) table.schema.partial_key = !has_whole_key(table);
    std::map<TableId, TableSchema> schemas;
    for (auto& [oid, table] : keys) schemas.emplace(TableId{oid}, std::move(table.schema));
    return schemas;
}

Result<std::map<TableId, std::set<std::uint32_t>>> read_reordered_leaves(
    Connection& connection, const Deadline& deadline, std::span<const PublishedTable> tables) {
    std::map<TableId, std::set<std::uint32_t>> found;
    std::vector<std::uint32_t> leaves;
    std::vector<std::uint32_t> tops;
    for (const PublishedTable& table : tables) {
        for (const PhysicalTable& physical : table.physical) {
            if (physical.id == table.id) continue;
            leaves.push_back(physical.id.oid);
            tops.push_back(table.id.oid);
        }
    }
    if (leaves.empty()) return found;
    WALBROOK_TRY(
        const Rows rows,
        connection.query(deadline,
                         "select distinct s.top, s.leaf from (select l.top, l.leaf, t.attnum"
                         " < lag(t.attnum) over (partition by l.leaf order by c.attnum) as turns"
                         " from unnest($1::oid[], $2::oid[]) l(leaf, top)"
                         " join pg_attribute c on c.attrelid = l.leaf and c.attnum > 0"
                         " and not c.attisdropped join pg_attribute t on t.attrelid = l.top"
                         " and t.attname = c.attname and not t.attisdropped) s where s.turns",
                         oid_array(leaves), oid_array(tops)));
    for (std::size_t i = 0; i < rows.size(); ++i) {
        Fields fields(rows, i);
        const TableId top{fields.u32()};
        found[top].insert(fields.u32());
        WALBROOK_RETURN_IF_ERROR(fields.finish("read the columns of partitions"));
    }
    return found;
}

Result<std::map<TableId, TableHistory>> read_table_histories(Connection& connection,
                                                             const Deadline& deadline,
                                                             std::span<const std::uint32_t> oids) {
    // attmissingval is an array of one element, whose delimiter is not always a comma.
    WALBROOK_TRY(const Rows rows,
                 connection.query(
                     deadline,
                     "select a.attrelid, a.attnum, a.attisdropped, t.typdelim = ',',"
                     " (a.attmissingval::text::text[])[1] from pg_attribute a"
                     " left join pg_type t on t.oid = a.atttypid where a.attrelid = any($1::oid[])"
                     " and a.attnum > 0 and (a.attisdropped or a.atthasmissing)"
                     " order by a.attrelid, a.attnum",
                     oid_array(oids)));
    std::map<TableId, TableHistory> histories;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        Fields fields(rows, i);
        TableHistory& history = histories[{fields.u32()}];
        const auto attnum = static_cast<std::int16_t>(fields.i32());
        const bool is_dropped = fields.boolean();
        const bool is_readable = fields.optional_text() == "t";
        const std::optional<std::string> value = fields.optional_text();
        WALBROOK_RETURN_IF_ERROR(fields.finish("read the columns of tables"));
        if (is_dropped) {
            history.dropped.push_back(attnum);
        } else {
            history.missing.push_back({attnum, is_readable ? value : std::nullopt});
        }
    }
    return histories;
}

Result<TableSchema> read_table_schema(Connection& connection, const Deadline& deadline,
                                      const TableColumns& table) {
    WALBROOK_TRY(auto schemas, read_table_schemas(connection, deadline, std::span(&table, 1)));
    if (schemas.empty()) return no_such_table(table.id);
    return std::move(schemas.begin()->second);
}

Result<TableShape> read_shape(Connection& connection, const Deadline& deadline, TableId table) {
    TableShape shape;
    WALBROOK_TRY(const auto entries, read_tree(connection, deadline, std::span(&table.oid, 1)));
    for (const TreeEntry& entry : entries) {
        shape.physical.emplace_back(entry.leaf.id.oid, entry.leaf.relfilenode);
    }
    WALBROOK_TRY(const Rows rows,
                 connection.query(deadline,
                                  "select c.oid, a.attnum, a.attname, a.atttypid, a.atttypmod"
                                  " from pg_class c left join pg_attribute a on a.attrelid = c.oid"
                                  " and a.attnum > 0 and not a.attisdropped"
                                  " where c.oid = $1::oid order by a.attnum",
                                  table.oid));
    if (rows.empty()) return no_such_table(table);
    for (std::size_t i = 0; i < rows.size(); ++i) {
        if (rows.is_null(i, 1)) break;  // A table without columns.
        Fields fields(rows, i);
        fields.u32();
        TableShape::Column column;
        column.attnum = static_cast<std::int16_t>(fields.i32());
        column.name = fields.text();
        column.type_oid = fields.u32();
        column.typmod = fields.i32();
        WALBROOK_RETURN_IF_ERROR(fields.finish("read the shape of a table"));
        shape.columns.push_back(std::move(column));
    }
    return shape;
}

Result<TableShape> read_current_shape(Connection& connection, const Deadline& deadline,
                                      TableId table, const std::string& schema,
                                      const std::string& name) {
    TableShape shape;
    // The parser takes names, types and numbers from the relation cache, and the row
    // description hands them out (pg_attribute itself would be read by the snapshot).
    WALBROOK_TRY(const Rows rows,
                 connection.query(
                     deadline, "select * from only " + quote_qualified(schema, name) + " limit 0"));
    for (std::size_t i = 0; i < rows.columns(); ++i) {
        const int index = static_cast<int>(i);
        if (PQftable(rows.handle(), index) != table.oid) return no_such_table(table);
        shape.columns.push_back(shape_column(rows.handle(), index));
    }
    // Comes second: caches are brought up to date when a lock is taken (LockRelationOid).
    WALBROOK_TRY(const Rows physical, connection.query(deadline, kCurrentPhysicalSql, table.oid));
    for (std::size_t i = 0; i < physical.size(); ++i) {
        Fields fields(physical, i);
        const std::uint32_t oid = fields.u32();
        shape.physical.emplace_back(oid, fields.u32());
        WALBROOK_RETURN_IF_ERROR(fields.finish("read the shape of a table"));
    }
    return shape;
}

}  // namespace walbrook
