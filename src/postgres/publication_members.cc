#include "postgres/publication_members.h"

#include "postgres/quote.h"

#include <fmt/format.h>

#include <vector>

namespace walbrook {
namespace {

// What belongs to FOR ALL TABLES, and to a schema (is_publishable_class in pg_publication.c).
constexpr const char* kPublishable =
    "c.relkind in ('r', 'p') and c.relpersistence = 'p' and c.oid >= 16384";

// As GetAllTablesPublicationRelations: under via_root no partition at all, else no partitioned one.
std::string all_tables_sql(bool via_root) {
    return fmt::format("select c.oid as relid from pg_class c where {} and {}", kPublishable,
                       via_root ? "not c.relispartition" : "c.relkind = 'r'");
}

// What the publication names, itself or by its schema.
std::string named_sql(const Publication& publication, int major_version) {
    std::string sql =
        fmt::format("select pr.prrelid as oid from pg_publication_rel pr where pr.prpubid = {}",
                    publication.oid);
    if (major_version < 15) return sql;
    return sql + fmt::format(
                     " union select c.oid from pg_publication_namespace pn join pg_class c"
                     " on c.relnamespace = pn.pnnspid where pn.pnpubid = {} and {}",
                     publication.oid, kPublishable);
}

}  // namespace

std::string publication_members_sql(const Publication& publication, int major_version) {
    if (publication.all_tables) return all_tables_sql(publication.via_root);
    const std::string named = named_sql(publication, major_version);
    // Rows are sent under the topmost ancestor that is named (filter_partitions).
    if (publication.via_root) {
        return fmt::format(
            "with named as ({}) select n.oid as relid from named n except select n.oid"
            " from named n cross join lateral pg_partition_ancestors(n.oid) a"
            " join named above on above.oid = a.relid where above.oid <> n.oid",
            named);
    }
    // The leaves of partitioned ones, of whatever kind (GetPubPartitionOptionRelations), but for
    // those that are about to be detached.
    return fmt::format(
        "with recursive tree(oid, relkind) as (select c.oid, c.relkind from ({}) n"
        "  join pg_class c on c.oid = n.oid"
        " union select c.oid, c.relkind from tree t join pg_inherits i on i.inhparent = t.oid"
        "  and not i.inhdetachpending join pg_class c on c.oid = i.inhrelid where t.relkind = 'p')"
        " select t.oid as relid from tree t where t.relkind <> 'p'",
        named);
}

Result<std::map<TableId, std::string>> read_row_filters(Connection& connection,
                                                        const Deadline& deadline,
                                                        const Publication& publication,
                                                        const PublishedTable& table) {
    std::map<TableId, std::string> filters;
    if (!table.is_filtered) return filters;
    const bool by_leaf = table.relkind == 'p' && !table.via_root;
    std::vector<std::uint32_t> senders;
    for (const PhysicalTable& physical : table.physical) {
        senders.push_back(by_leaf ? physical.id.oid : table.id.oid);
    }
    WALBROOK_TRY(const Rows rows,
                 connection.query(deadline,
                                  "select pr.prrelid, pg_get_expr(pr.prqual, pr.prrelid)"
                                  " from pg_publication_rel pr where pr.prpubid = $1::oid"
                                  " and pr.prrelid = any($2::oid[]) and pr.prqual is not null"
                                  " and not exists (select from pg_publication_namespace pn"
                                  "  join pg_class c on c.relnamespace = pn.pnnspid"
                                  "  where pn.pnpubid = pr.prpubid and c.oid = pr.prrelid)",
                                  publication.oid, oid_array(senders)));
    for (std::size_t i = 0; i < rows.size(); ++i) {
        Fields fields(rows, i);
        const TableId sender{fields.u32()};
        const std::optional<std::string> filter = fields.optional_text();
        WALBROOK_RETURN_IF_ERROR(fields.finish("read row filters"));
        if (!filter) return Error(ErrorCode::aborted, "the table was dropped while it was read");
        if (by_leaf) {
            filters.emplace(sender, *filter);
            continue;
        }
        for (const PhysicalTable& physical : table.physical) filters.emplace(physical.id, *filter);
    }
    return filters;
}

}  // namespace walbrook
