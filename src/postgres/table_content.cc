#include "postgres/table_content.h"

#include "postgres/quote.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>

namespace walbrook {
namespace {

// Labels of enums are listed and not digested: a new label changes no row. What counts is every
// type that a value of the table can be made of, however deep: elements, bases of domains,
// attributes, subtypes of ranges. Only made ones (FirstNormalObjectId) can change.
constexpr const char* kLookSql =
    "with recursive used(root, oid) as ("
    " select a.attrelid, a.atttypid from pg_attribute a where a.attrelid = any($1::oid[])"
    "  and a.attnum > 0 and a.atttypid >= 16384"
    " union select u.root, p.oid from used u join pg_type t on t.oid = u.oid cross join lateral ("
    "   select t.typelem as oid union all select t.typbasetype"
    "   union all select b.atttypid from pg_attribute b where t.typtype = 'c'"
    "     and b.attrelid = t.typrelid and b.attnum > 0"
    "   union all select r.rngsubtype from pg_range r where r.rngtypid = t.oid"
    "   union all select r.rngtypid from pg_range r where r.rngmultitypid = t.oid"
    "  ) p where p.oid >= 16384),"
    " composites as (select r.root, md5(string_agg(b.attrelid || ':' || b.attnum || ':' ||"
    "   b.xmin::text, ',' order by b.attrelid, b.attnum)) as digest"
    "  from (select distinct u.root, t.typrelid from used u join pg_type t on t.oid = u.oid"
    "    where t.typtype = 'c') r"
    "  join pg_attribute b on b.attrelid = r.typrelid and b.attnum > 0 group by r.root),"
    " labels as (select u.root, string_agg(e.oid || ':' || e.xmin::text, ',') as list"
    "  from used u join pg_enum e on e.enumtypid = u.oid group by u.root)"
    " select c.oid, c.relpersistence,"
    " (select md5(string_agg(a.attnum || ':' || a.xmin::text, ',' order by a.attnum))"
    "   from pg_attribute a where a.attrelid = c.oid and a.attnum > 0),"
    " md5(concat_ws('.', n.nspname, c.relname, c.relreplident, c.relnatts,"
    "   (select string_agg(i.indexrelid || ':' || i.xmin::text, ',' order by i.indexrelid)"
    "    from pg_index i where i.indrelid = c.oid and (i.indisprimary or i.indisreplident)))),"
    " composites.digest, labels.list,"
    " (select string_agg(a.attnum || a.attgenerated::text, ',') from pg_attribute a"
    "   where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped)"
    " from pg_class c join pg_namespace n on n.oid = c.relnamespace"
    " left join composites on composites.root = c.oid left join labels on labels.root = c.oid"
    " where c.oid = any($1::oid[])";

// A partition is born where the row of its place in the tree (pg_inherits, written anew by
// ATTACH) is as old as the table itself (its system columns never change), and so on for
// each of its ancestors up to the top.
constexpr const char* kBornSql =
    "with recursive up(leaf, oid, born) as (select l.oid, l.oid, true from unnest($1::oid[]) l(oid)"
    " union all select u.leaf, i.inhparent, u.born and i.xmin::text = (select a.xmin::text"
    "   from pg_attribute a where a.attrelid = u.oid and a.attnum = -6)"
    "   from up u join pg_inherits i on i.inhrelid = u.oid)"
    " select leaf from up group by leaf having bool_and(born)";

// From each physical table up to the one by which it is published: what was detached, and attached
// again, has another row in pg_inherits, and what went to another schema, and came back, another
// one in pg_depend. Neither is touched by anything else; those of pg_class are, all the time.
constexpr const char* kPlacesSql =
    "with recursive up(leaf, id, top, by_schema, oid, depth) as ("
    " select l.leaf, l.id, l.top, l.by_schema, l.leaf, 0"
    "  from unnest($1::oid[], $2::oid[], $3::oid[], $4::bool[]) l(leaf, id, top, by_schema)"
    " union all select u.leaf, u.id, u.top, u.by_schema, i.inhparent, u.depth + 1"
    "  from up u join pg_inherits i on i.inhrelid = u.oid where u.oid <> u.top)"
    " select s.id, s.leaf, string_agg(s.xmin, '.' order by s.depth, s.kind) from ("
    "  select u.id, u.leaf, u.depth, 1 as kind, i.xmin::text as xmin"
    "   from up u join pg_inherits i on i.inhrelid = u.oid where u.oid <> u.top"
    "  union all select u.id, u.leaf, u.depth, 0, d.xmin::text from up u"
    "   join pg_depend d on d.classid = 'pg_class'::regclass and d.objid = u.oid"
    "    and d.objsubid = 0 and d.refclassid = 'pg_namespace'::regclass"
    "   where u.by_schema and (u.oid = u.top or u.leaf = u.id)) s group by s.id, s.leaf";

// The stream may wait for the look that this belongs to.
constexpr std::chrono::seconds kPartitionDeadline{5};

template <class Number>
bool read_number(std::string_view text, Number& into) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), into);
    return error == std::errc() && end == text.data() + text.size();
}

std::vector<std::string_view> split(std::string_view text, char at) {
    std::vector<std::string_view> parts;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find(at), text.size());
        parts.push_back(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return parts;
}

// "12:34" as a number and what follows the colon.
bool read_pair(std::string_view text, std::uint32_t& first, std::string_view& second) {
    const std::size_t colon = text.find(':');
    if (colon == std::string_view::npos) return false;
    second = text.substr(colon + 1);
    return read_number(text.substr(0, colon), first);
}

// What of the texts below is a list of "12:34,".
bool read_pairs(std::string_view text, std::vector<std::pair<std::uint32_t, std::string>>& into) {
    for (const std::string_view part : split(text, ',')) {
        std::uint32_t oid = 0;
        std::string_view rest;
        if (!read_pair(part, oid, rest)) return false;
        into.emplace_back(oid, rest);
    }
    return true;
}

Result<std::vector<std::pair<std::uint32_t, std::string>>> labels_from(std::string_view text) {
    std::vector<std::pair<std::uint32_t, std::string>> labels;
    if (!read_pairs(text, labels)) return Error(ErrorCode::internal, "read enum labels");
    std::sort(labels.begin(), labels.end());
    return labels;
}

// "1,2,3s": the third is generated.
Status read_columns(std::string_view text, TableLook& look) {
    for (std::string_view part : split(text, ',')) {
        const bool is_generated = part.back() > '9';
        if (is_generated) part.remove_suffix(1);
        std::int16_t attnum = 0;
        if (!read_number(part, attnum)) return Error(ErrorCode::internal, "read columns");
        if (is_generated) {
            look.content.generated.push_back(attnum);
        } else {
            look.common.insert(attnum);
        }
    }
    std::sort(look.content.generated.begin(), look.content.generated.end());
    return {};
}

Status read_places(Connection& connection, const Deadline& deadline,
                   std::span<const PublishedTable> tables, std::map<TableId, TableLook>& looks) {
    std::vector<std::uint32_t> leaves;
    std::vector<std::uint32_t> ids;
    std::vector<std::uint32_t> tops;
    std::string by_schema;
    for (const PublishedTable& table : tables) {
        const bool by_a_schema = table.membership.find("ns:") != std::string::npos;
        for (const PhysicalTable& physical : table.physical) {
            // A leaf that stands alone may be published by a table above it.
            const TableId top = physical.id == table.id ? table.root : table.id;
            if (physical.id == top && !by_a_schema) continue;
            leaves.push_back(physical.id.oid);
            ids.push_back(table.id.oid);
            tops.push_back(top.oid);
            by_schema += by_schema.empty() ? "{" : ",";
            by_schema += by_a_schema ? 't' : 'f';
        }
    }
    if (leaves.empty()) return {};
    WALBROOK_TRY(const Rows rows,
                 connection.query(deadline, kPlacesSql, oid_array(leaves), oid_array(ids),
                                  oid_array(tops), by_schema + "}"));
    for (std::size_t i = 0; i < rows.size(); ++i) {
        Fields fields(rows, i);
        const auto look = looks.find({fields.u32()});
        const std::uint32_t leaf = fields.u32();
        const std::string place = fields.text();
        WALBROOK_RETURN_IF_ERROR(fields.finish("look at places"));
        if (look != looks.end()) look->second.content.places.emplace_back(leaf, place);
    }
    for (auto& [id, look] : looks) {
        std::sort(look.content.places.begin(), look.content.places.end());
    }
    return {};
}

// A row's command is older than the one that made its table a partition.
Result<bool> has_older_rows(Connection& connection, const Deadline& deadline,
                            const PhysicalTable& partition) {
    if (now() >= deadline.at) return Error(ErrorCode::timed_out, "there was no time left for it");
    const Deadline soon{std::min(deadline.at, now() + kPartitionDeadline), deadline.stop};
    WALBROOK_TRY(
        const Rows rows,
        connection.query(soon,
                         fmt::format("select exists (select from only {} t, pg_inherits i where"
                                     " i.inhrelid = $1::oid and t.xmin = i.xmin"
                                     " and t.cmin::text::int8 < i.cmin::text::int8)",
                                     quote_qualified(partition.schema, partition.name)),
                         partition.id.oid));
    Fields fields(rows, 0);
    const bool is_older = fields.boolean();
    WALBROOK_RETURN_IF_ERROR(fields.finish("look into a new partition"));
    return is_older;
}

// It was renamed or dropped after the look, or somebody has cancelled the query.
bool may_pass_at_once(const Error& error) {
    return error.sqlstate() == "42P01" || error.sqlstate() == "57014";
}

}  // namespace

bool TableContent::has_file(std::uint32_t oid) const {
    return std::any_of(files.begin(), files.end(),
                       [&](const auto& file) { return file.first == oid; });
}

std::string to_string(const TableContent& content) {
    if (content.columns.empty()) return {};
    std::string out =
        fmt::format("1;{};{};{};", content.columns, content.persistence, content.composites);
    for (const auto& [oid, file] : content.files) out += fmt::format("{}:{},", oid, file);
    out += ';';
    for (const auto& [oid, xmin] : content.labels) out += fmt::format("{}:{},", oid, xmin);
    if (!content.generated.empty() || !content.places.empty()) out += ';';
    for (const std::int16_t attnum : content.generated) out += fmt::format("{},", attnum);
    if (!content.places.empty()) out += ';';
    for (const auto& [oid, place] : content.places) out += fmt::format("{}:{},", oid, place);
    return out;
}

std::optional<TableContent> parse_table_content(std::string_view text) {
    std::vector<std::string_view> parts;
    for (int i = 0; i < 5; ++i) {
        const std::size_t end = text.find(';');
        if (end == std::string_view::npos) return std::nullopt;
        parts.push_back(text.substr(0, end));
        text.remove_prefix(end + 1);
    }
    TableContent content;
    if (parts[0] != "1" || parts[1].empty() || parts[2].size() != 1) return std::nullopt;
    content.columns = parts[1];
    content.persistence = parts[2].front();
    content.composites = parts[3];
    for (const std::string_view part : split(parts[4], ',')) {
        std::uint32_t oid = 0;
        std::uint32_t file = 0;
        std::string_view rest;
        if (!read_pair(part, oid, rest) || !read_number(rest, file)) return std::nullopt;
        content.files.emplace_back(oid, file);
    }
    // Parts that came later are missing in what older programs wrote.
    const auto next_part = [&text] {
        const std::string_view part = text.substr(0, std::min(text.find(';'), text.size()));
        text.remove_prefix(std::min(part.size() + 1, text.size()));
        return part;
    };
    if (!read_pairs(next_part(), content.labels)) return std::nullopt;
    for (const std::string_view part : split(next_part(), ',')) {
        std::int16_t attnum = 0;
        if (!read_number(part, attnum)) return std::nullopt;
        content.generated.push_back(attnum);
    }
    if (!read_pairs(next_part(), content.places) || !text.empty()) return std::nullopt;
    return content;
}

Result<std::map<TableId, TableLook>> look_at_tables(Connection& connection,
                                                    const Deadline& deadline,
                                                    std::span<const PublishedTable> tables) {
    std::map<TableId, TableLook> looks;
    if (tables.empty()) return looks;
    std::vector<std::uint32_t> oids;
    std::vector<std::uint32_t> partitions;
    for (const PublishedTable& table : tables) {
        oids.push_back(table.id.oid);
        for (const PhysicalTable& physical : table.physical) {
            if (physical.id != table.id) partitions.push_back(physical.id.oid);
        }
    }
    WALBROOK_TRY(const Rows rows, connection.query(deadline, kLookSql, oid_array(oids)));
    for (std::size_t i = 0; i < rows.size(); ++i) {
        Fields fields(rows, i);
        TableLook& look = looks[{fields.u32()}];
        look.content.persistence = fields.character();
        look.content.columns = fields.optional_text().value_or("none");
        look.definition = fields.text();
        look.content.composites = fields.text_or_empty();
        WALBROOK_TRY(look.content.labels, labels_from(fields.text_or_empty()));
        WALBROOK_RETURN_IF_ERROR(read_columns(fields.text_or_empty(), look));
        WALBROOK_RETURN_IF_ERROR(fields.finish("look at tables"));
    }
    std::set<std::uint32_t> born;
    if (!partitions.empty()) {
        WALBROOK_TRY(const Rows found, connection.query(deadline, kBornSql, oid_array(partitions)));
        for (std::size_t i = 0; i < found.size(); ++i) {
            Fields fields(found, i);
            born.insert(fields.u32());
            WALBROOK_RETURN_IF_ERROR(fields.finish("look at partitions"));
        }
    }
    for (const PublishedTable& table : tables) {
        const auto look = looks.find(table.id);
        if (look == looks.end()) continue;
        for (const PhysicalTable& physical : table.physical) {
            look->second.content.files.emplace_back(physical.id.oid, physical.relfilenode);
            if (born.contains(physical.id.oid)) look->second.born_here.insert(physical.id.oid);
        }
    }
    WALBROOK_RETURN_IF_ERROR(read_places(connection, deadline, tables, looks));
    return looks;
}

Status check_new_partitions(Connection& connection, const Deadline& deadline,
                            const PublishedTable& table, const TableContent& before,
                            TableLook& look) {
    for (const PhysicalTable& partition : table.physical) {
        const std::uint32_t oid = partition.id.oid;
        if (before.has_file(oid) || !look.born_here.contains(oid)) continue;
        const auto is_older = has_older_rows(connection, deadline, partition);
        if (!is_older && (!connection.is_open() || deadline.stop.stop_requested() ||
                          may_pass_at_once(is_older.error()))) {
            return is_older.error();
        }
        if (!is_older) look.not_seen = is_older.error().message();
        if (!is_older || *is_older) look.born_here.erase(oid);
    }
    return {};
}

std::string compare_contents(const TableContent& before, const TableLook& look,
                             bool truncates_are_sent) {
    const TableContent& now = look.content;
    const bool columns_changed = before.columns != now.columns;
    const std::map<std::uint32_t, std::uint32_t> then(before.files.begin(), before.files.end());
    const std::map<std::uint32_t, std::uint32_t> files(now.files.begin(), now.files.end());
    for (const auto& [oid, file] : then) {
        const auto found = files.find(oid);
        if (found == files.end()) return "a partition was detached or dropped";
        if (found->second == file) continue;
        // ALTER TABLE … TYPE, a volatile default: new files, and columns that changed. New
        // files alone come from VACUUM FULL, CLUSTER, SET TABLESPACE, and from TRUNCATE.
        if (columns_changed) return "its rows were rewritten (ALTER TABLE)";
        if (!truncates_are_sent) return "it, or a partition, was truncated or rewritten";
    }
    for (const auto& [oid, file] : files) {
        if (then.contains(oid) || look.born_here.contains(oid)) continue;
        if (look.not_seen.empty()) return "a partition was attached";
        return "a new partition could not be looked into: " + look.not_seen;
    }
    const std::map<std::uint32_t, std::string> places(now.places.begin(), now.places.end());
    for (const auto& [oid, place] : before.places) {
        const auto found = places.find(oid);
        if (found != places.end() && found->second != place) {
            return "it, or a partition of it, left the publication for a while";
        }
    }
    for (const std::int16_t attnum : before.generated) {
        if (look.common.contains(attnum)) return "a column is not generated any more";
    }
    if (before.persistence != now.persistence) return "it became logged or unlogged";
    if (before.composites != now.composites && !before.composites.empty()) {
        return "a composite type that it uses changed";
    }
    const std::map<std::uint32_t, std::string> labels(now.labels.begin(), now.labels.end());
    for (const auto& [oid, xmin] : before.labels) {
        const auto found = labels.find(oid);
        if (found != labels.end() && found->second != xmin) {
            return "a value of an enum that it uses was renamed";
        }
    }
    return {};
}

}  // namespace walbrook
