#include "pipeline/schema_follow.h"

#include "postgres/table_content.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

namespace walbrook {

StreamRelation::StreamRelation(const RelationMessage& message)
    : oid(message.oid),
      schema(message.schema),
      name(message.name),
      replica_identity(message.replica_identity) {
    RelationColumn column;
    for (auto each = message.columns.columns(); each.next(column);) {
        columns.push_back(
            {std::string(column.name), column.type_oid, column.typmod, column.in_identity});
    }
}

namespace {

using Attnums = std::set<std::int16_t>;

const ColumnSchema* find_column(const TableSchema& table, std::int16_t attnum) {
    for (const ColumnSchema& column : table.columns) {
        if (column.attnum == attnum) return &column;
    }
    return nullptr;
}

bool has_key(const TableSchema& schema) {
    return schema.replica_identity == ReplicaIdentity::default_key ||
           schema.replica_identity == ReplicaIdentity::index;
}

// What comes of old rows. A partition without any sends inserts only, and says nothing of how
// the others of its table send theirs; whether the key is the primary one or another does not
// matter.
enum class OldRows { none, key, full };

OldRows old_rows_of(const StreamRelation& relation) {
    if (relation.replica_identity == ReplicaIdentity::full) return OldRows::full;
    const bool has_key = std::any_of(relation.columns.begin(), relation.columns.end(),
                                     [](const auto& column) { return column.in_identity; });
    return has_key ? OldRows::key : OldRows::none;
}

OldRows old_rows_of(const TableSchema& table) {
    if (table.replica_identity == ReplicaIdentity::full) return OldRows::full;
    const bool is_key = std::any_of(table.columns.begin(), table.columns.end(),
                                    [](const auto& column) { return column.in_identity; });
    return has_key(table) && is_key ? OldRows::key : OldRows::none;
}

Attnums attnums_of(const TableSchema& table) {
    Attnums all;
    for (const ColumnSchema& column : table.columns) all.insert(column.attnum);
    return all;
}

std::int16_t highest_attnum(const TableSchema& table) {
    std::int16_t highest = table.attnum_max;
    for (const ColumnSchema& column : table.columns) highest = std::max(highest, column.attnum);
    return highest;
}

// Which columns the relation has, by attribute number; nothing if that is in doubt.
std::optional<Attnums> columns_at(const StreamRelation& relation, const TableSchema& known,
                                  const SourceTable& now, const Attnums* told) {
    const Attnums before = attnums_of(known);
    const Attnums after = attnums_of(*now.schema);
    Attnums certain;
    std::set_intersection(before.begin(), before.end(), after.begin(), after.end(),
                          std::inserter(certain, certain.end()));
    Attnums possible = before;
    possible.insert(after.begin(), after.end());
    for (const std::int16_t gone : now.dropped) {
        if (gone > highest_attnum(known)) possible.insert(gone);
    }
    if (told != nullptr) {
        // It names columns that are not published, too, and anybody may have written it.
        Attnums published;
        std::set_intersection(told->begin(), told->end(), possible.begin(), possible.end(),
                              std::inserter(published, published.end()));
        if (published.size() == relation.columns.size() &&
            std::includes(published.begin(), published.end(), certain.begin(), certain.end())) {
            return published;
        }
    }
    if (relation.columns.size() == certain.size()) return certain;
    if (relation.columns.size() == possible.size()) return possible;
    return std::nullopt;
}

bool same_key(const TableSchema& a, const TableSchema& b) {
    const auto keys = [](const TableSchema& table) {
        std::set<std::pair<std::int16_t, int>> places;
        for (const ColumnSchema& column : table.columns) {
            if (column.key_position > 0) places.emplace(column.attnum, column.key_position);
        }
        return places;
    };
    return keys(a) == keys(b);
}

Followed lost(std::string why) { return {Followed::Kind::lost, nullptr, nullptr, std::move(why)}; }

// From `known` to `next`: what the new columns hold in older rows must be known. Types may
// only change where the rows did not (SourceTable::other_rows has been looked at).
Followed change_to(const TableSchema& known, TableSchema next, const SourceTable& now) {
    next.membership = known.membership;
    next.partly_published = known.partly_published;
    next.attempt = known.attempt;
    next.attnum_max = std::max(known.attnum_max, now.schema->attnum_max);
    next.content = now.schema->content;
    if (known == next) return {};
    // A release that did not know of such keys let rows take each other's place.
    if (next.partial_key && !known.key_columns().empty()) {
        return lost("its rows were told apart by a part of its key");
    }
    for (const ColumnSchema& column : next.columns) {
        if (find_column(known, column.attnum) != nullptr) continue;
        const bool is_unknown = std::find(now.existing_unknown.begin(), now.existing_unknown.end(),
                                          column.attnum) != now.existing_unknown.end();
        if (is_unknown || find_column(*now.schema, column.attnum) == nullptr) {
            return lost(
                fmt::format("what column {} holds in older rows is not known", column.name));
        }
        // A value that could not be read into the column is not in `existing` either.
    }
    auto schema = std::make_shared<const TableSchema>(std::move(next));
    std::shared_ptr<const RowBatch> existing;
    if (now.existing) {
        auto row = std::make_shared<RowBatch>(schema);
        bool has_value = false;
        for (std::size_t i = 0; i < schema->columns.size(); ++i) {
            const std::int16_t attnum = schema->columns[i].attnum;
            Column& out = row->columns()[i];
            const bool is_new = find_column(known, attnum) == nullptr;
            bool is_set = false;
            for (std::size_t k = 0; is_new && k < now.schema->columns.size(); ++k) {
                const Column& in = now.existing->columns()[k];
                if (now.schema->columns[k].attnum != attnum || in.type() != out.type()) continue;
                is_set = !in.is_null(0);
                if (is_set) out.append_from(in, 0);
            }
            if (!is_set) out.append_null();
            has_value = has_value || is_set;
        }
        if (has_value) existing = std::move(row);
    }
    return {Followed::Kind::change, std::move(schema), std::move(existing), {}};
}

// Rows from before the catalog's key became whole may share it: follow_catalog() knows when that
// was. Where old rows come as that key it is whole.
bool is_still_partial(const TableSchema& known, const TableSchema& next) {
    const bool is_full = known.replica_identity == ReplicaIdentity::full;
    return known.partial_key && next.replica_identity == known.replica_identity &&
           (is_full || known.partly_published);
}

// No column was altered between two contents (TableContent).
bool same_columns(const std::string& before, const std::string& after) {
    const auto one = parse_table_content(before);
    const auto other = parse_table_content(after);
    return one && other && one->columns == other->columns;
}

bool is_called(const TableSchema& table, std::int16_t attnum, const std::string& name) {
    const ColumnSchema* const column = find_column(table, attnum);
    return column != nullptr && column->name == name;
}

// In the order of the table's own columns.
std::optional<StreamRelation> in_order_of(const StreamRelation& relation,
                                          const TableSchema& schema) {
    StreamRelation ordered = relation;
    ordered.columns.clear();
    for (const ColumnSchema& column : schema.columns) {
        for (const StreamRelation::Column& sent : relation.columns) {
            if (sent.name == column.name) ordered.columns.push_back(sent);
        }
    }
    if (ordered.columns.size() != relation.columns.size()) return std::nullopt;
    return ordered;
}

// The column as the relation has it: by what the catalog says now, or said before.
std::optional<ColumnSchema> column_at(const StreamRelation::Column& sent, std::int16_t attnum,
                                      const TableSchema& known, const TableSchema& now) {
    const ColumnSchema* const versions[] = {find_column(now, attnum), find_column(known, attnum)};
    for (const ColumnSchema* version : versions) {
        if (version == nullptr || version->type_oid != sent.type_oid ||
            version->typmod != sent.typmod) {
            continue;
        }
        ColumnSchema column = *version;
        column.name = sent.name;
        column.in_identity = sent.in_identity;
        return column;
    }
    return std::nullopt;
}

}  // namespace

std::string difference(const StreamRelation& relation, const TableSchema& schema) {
    if (relation.columns.size() != schema.columns.size()) {
        return fmt::format("it has {} columns instead of {}", relation.columns.size(),
                           schema.columns.size());
    }
    const bool is_partition = relation.oid != schema.id.oid;
    const OldRows sent = old_rows_of(relation);
    if (is_partition ? sent != OldRows::none && sent != old_rows_of(schema)
                     : relation.replica_identity != schema.replica_identity) {
        return "its replica identity changed";
    }
    const bool compares_key = has_key(schema) && (!is_partition || sent == OldRows::key);
    for (std::size_t i = 0; i < schema.columns.size(); ++i) {
        const ColumnSchema& known = schema.columns[i];
        const StreamRelation::Column* now = &relation.columns[i];
        if (is_partition) {
            const auto found =
                std::find_if(relation.columns.begin(), relation.columns.end(),
                             [&](const auto& column) { return column.name == known.name; });
            if (found == relation.columns.end()) return "a partition lacks column " + known.name;
            now = &*found;
        }
        if (now->name != known.name) {
            return fmt::format("column {} is now called {}", known.name, now->name);
        }
        if (now->type_oid != known.type_oid || now->typmod != known.typmod) {
            return fmt::format("column {} has another type", known.name);
        }
        if (compares_key && now->in_identity != known.in_identity) {
            return fmt::format("column {} entered or left the key", known.name);
        }
    }
    if (!is_partition && (relation.schema != schema.schema || relation.name != schema.name)) {
        return "it was renamed";
    }
    return {};
}

Followed follow_relation(const StreamRelation& message, const TableSchema& known,
                         const SourceTable& now, const Attnums* told) {
    const std::string other = difference(message, known);
    if (now.schema == nullptr) {
        // It will be gone soon; what it has until then may still fit.
        return other.empty() ? Followed{} : lost("it changed before it was dropped: " + other);
    }
    if (!now.other_rows.empty()) return lost(now.other_rows);
    std::optional<StreamRelation> relation = message;
    const bool is_partition = message.oid != known.id.oid;
    if (is_partition && now.reordered.contains(message.oid)) {
        relation = in_order_of(message, known);
        if (!relation || !same_columns(known.content, now.schema->content)) {
            return lost(
                fmt::format("the columns of partition {} stand in another order than those "
                            "of its table",
                            message.name));
        }
    }
    const std::optional<Attnums> attnums = columns_at(*relation, known, now, told);
    if (!attnums) {
        return lost("columns came and went, and the stream does not tell which are which");
    }
    TableSchema next = *now.schema;
    next.columns.clear();
    const OldRows sent_rows = old_rows_of(*relation);
    const bool is_silent = is_partition && sent_rows == OldRows::none;
    if (is_silent) {
        next.replica_identity = known.replica_identity;
    } else if (!is_partition || sent_rows != old_rows_of(*now.schema)) {
        next.replica_identity = relation->replica_identity;
    }
    next.partial_key = next.partial_key || is_still_partial(known, next);
    if (!is_partition) {
        next.schema = relation->schema;
        next.name = relation->name;
    } else if (known.schema != now.schema->schema || known.name != now.schema->name) {
        // Partitions do not tell when their table was renamed: follow_catalog() does.
        next.schema = known.schema;
        next.name = known.name;
    }
    std::size_t i = 0;
    for (const std::int16_t attnum : *attnums) {
        const StreamRelation::Column& sent = relation->columns[i++];
        auto column = column_at(sent, attnum, known, *now.schema);
        if (!column) return lost(fmt::format("column {} has another type", sent.name));
        if (is_partition && !is_called(known, attnum, sent.name) &&
            !is_called(*now.schema, attnum, sent.name)) {
            return lost(fmt::format("partition {} has another column at the place of {}",
                                    message.name, sent.name));
        }
        if (is_silent) {
            const ColumnSchema* const before = find_column(known, attnum);
            column->in_identity = before != nullptr && before->in_identity;
        }
        next.columns.push_back(std::move(*column));
    }
    // Under FULL rows are told apart by the primary key, of which the message says nothing.
    if (!has_key(next) && !same_key(known, *now.schema)) {
        for (ColumnSchema& column : next.columns) column.key_position = 0;
    }
    return change_to(known, std::move(next), now);
}

Followed follow_catalog(const TableSchema& known, const SourceTable& now) {
    // Whoever looked has told of these in another way.
    if (now.schema == nullptr || !now.other_rows.empty()) return {};
    return change_to(known, *now.schema, now);
}

}  // namespace walbrook
