#include "postgres/merged_partitions.h"

#include "postgres/quote.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <string_view>

namespace walbrook {
namespace {

// How a leaf sends old rows: its identity's index, and the index of the partitioned table that
// this is a part of, with its columns there.
constexpr const char* kIdentitySql =
    "select l.leaf, c.relreplident, x.oid, x.top, x.is_primary,"
    " (select array_agg(k.attnum order by k.place) from pg_index i"
    "   cross join lateral unnest(i.indkey::int2[]) with ordinality k(attnum, place)"
    "   where i.indexrelid = x.top and k.place <= i.indnkeyatts)"
    " from unnest($1::oid[], $2::oid[]) l(leaf, top) join pg_class c on c.oid = l.leaf"
    " left join lateral (select i.indexrelid as oid, p.indexrelid as top,"
    "   p.indisprimary as is_primary from pg_index i"
    "   left join lateral (select t.indexrelid, t.indisprimary"
    "     from pg_partition_ancestors(i.indexrelid) a join pg_index t on t.indexrelid = a.relid"
    "     where t.indrelid = l.top) p on true"
    "   where i.indrelid = l.leaf and i.indisvalid and case c.relreplident"
    "     when 'd' then i.indisprimary and i.indimmediate when 'i' then i.indisreplident"
    "     else false end limit 1) x on true";

struct LeafIdentity {
    enum class Kind {
        none,  // Updates and deletes are refused by the server.
        full,
        shared,  // A part of an index of the partitioned table.
        own,
    };
    Kind kind = Kind::none;
    std::uint32_t index = 0;  // Of the partitioned table.
    SentIdentity sent;
};

Result<std::map<TableId, LeafIdentity>> read_identities(Connection& connection,
                                                        const Deadline& deadline,
                                                        const std::vector<std::uint32_t>& leaves,
                                                        const std::vector<std::uint32_t>& tops) {
    std::map<TableId, LeafIdentity> identities;
    if (leaves.empty()) return identities;
    WALBROOK_TRY(const Rows rows,
                 connection.query(deadline, kIdentitySql, oid_array(leaves), oid_array(tops)));
    for (std::size_t i = 0; i < rows.size(); ++i) {
        Fields fields(rows, i);
        LeafIdentity& leaf = identities[{fields.u32()}];
        const char letter = fields.character();
        const std::uint32_t own_index = fields.u32_or_zero();
        leaf.index = fields.u32_or_zero();
        const bool is_primary = fields.optional_text() == "t";
        leaf.sent.attnums = attnums_from(fields.text_or_empty());
        WALBROOK_RETURN_IF_ERROR(fields.finish("read the replica identities of partitions"));
        if (letter == 'f') {
            leaf.kind = LeafIdentity::Kind::full;
            leaf.sent.kind = ReplicaIdentity::full;
        } else if (leaf.index != 0) {
            leaf.kind = LeafIdentity::Kind::shared;
            leaf.sent.kind = is_primary ? ReplicaIdentity::default_key : ReplicaIdentity::index;
        } else if (own_index != 0) {
            leaf.kind = LeafIdentity::Kind::own;
        }
    }
    return identities;
}

void add_parts(std::string_view membership, std::set<std::string, std::less<>>& parts) {
    while (!membership.empty()) {
        const std::size_t end = std::min(membership.find(','), membership.size());
        parts.emplace(membership.substr(0, end));
        membership.remove_prefix(std::min(end + 1, membership.size()));
    }
}

// False where the leaves do not fit into one table.
bool merge(PublishedTable& top, const std::map<TableId, const PublishedTable*>& published,
           const std::map<TableId, LeafIdentity>& identities) {
    std::set<std::string, std::less<>> parts;
    add_parts(top.membership, parts);
    const PhysicalTable* of_identity = nullptr;  // The first leaf that has one.
    top.identity = top.physical.empty() ? std::nullopt : std::optional(SentIdentity());
    std::uint32_t index = 0;
    for (const PhysicalTable& physical : top.physical) {
        const auto leaf = published.find(physical.id);
        if (leaf == published.end()) {
            if (top.problem.empty()) {
                top.problem = fmt::format("its partition {}.{} is not published", physical.schema,
                                          physical.name);
            }
            continue;
        }
        if (leaf->second->column_list) return false;
        top.is_filtered = top.is_filtered || leaf->second->is_filtered;
        add_parts(leaf->second->membership, parts);
        const auto found = identities.find(physical.id);
        if (found == identities.end()) continue;  // Dropped a moment ago.
        const LeafIdentity& identity = found->second;
        if (identity.kind == LeafIdentity::Kind::own) return false;
        if (identity.kind == LeafIdentity::Kind::none) continue;
        if (of_identity == nullptr) {
            of_identity = &physical;
            top.identity = identity.sent;
            index = identity.index;
        } else if (identity.index != index && top.problem.empty()) {
            top.problem = fmt::format(
                "its partitions {}.{} and {}.{} have different replica identities; make them "
                "equal: alter table … replica identity …",
                of_identity->schema, of_identity->name, physical.schema, physical.name);
        }
    }
    top.membership = fmt::format("{}", fmt::join(parts, ","));
    return true;
}

}  // namespace

Status merge_partitions(Connection& connection, const Deadline& deadline,
                        std::vector<PublishedTable>& tables) {
    std::map<TableId, const PublishedTable*> published;
    std::vector<std::uint32_t> leaves;
    std::vector<std::uint32_t> tops;
    for (const PublishedTable& table : tables) {
        if (table.relkind != 'p') {
            published[table.id] = &table;
            continue;
        }
        for (const PhysicalTable& leaf : table.physical) {
            leaves.push_back(leaf.id.oid);
            tops.push_back(table.id.oid);
        }
    }
    WALBROOK_TRY(const auto identities, read_identities(connection, deadline, leaves, tops));
    std::set<TableId> replaced;
    for (PublishedTable& table : tables) {
        if (table.relkind != 'p') continue;
        if (!merge(table, published, identities)) {
            replaced.insert(table.id);
            continue;
        }
        for (const PhysicalTable& leaf : table.physical) replaced.insert(leaf.id);
    }
    std::erase_if(tables, [&](const PublishedTable& table) { return replaced.contains(table.id); });
    return {};
}

}  // namespace walbrook
