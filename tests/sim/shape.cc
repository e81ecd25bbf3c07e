#include "sim/shape.h"

#include "base/check.h"
#include "decode/type_table.h"
#include "walbrook/testing/rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace walbrook::sim {
namespace {

constexpr std::uint32_t kInt8 = 20;
constexpr std::uint32_t kInt4 = 23;
constexpr std::uint32_t kText = 25;
constexpr std::uint32_t kVarchar = 1043;
constexpr std::size_t kExtrasMax = 4;
constexpr std::size_t kLeavesMax = 5;
constexpr unsigned kRowBits = 32;    // Of a RowId, below its leaf.
constexpr std::int32_t kShort = 24;  // varchar(20), as atttypmod has it.
constexpr std::int32_t kLong = 44;

ColumnSchema make_column(std::string name, std::uint32_t type, std::size_t number, bool is_key,
                         std::int32_t typmod = -1) {
    ColumnSchema column;
    column.name = std::move(name);
    column.attnum = static_cast<std::int16_t>(number);
    column.type_oid = column.base_type_oid = type;
    column.typmod = column.base_typmod = typmod;
    column.type_name = type == kInt8   ? "bigint"
                       : type == kInt4 ? "integer"
                       : type == kText ? "text"
                                       : fmt::format("character varying({})", typmod - 4);
    column.nullable = !is_key;
    column.in_identity = is_key;
    WALBROOK_CHECK(resolve_type(column).ok());
    return column;
}

bool is_rewriting(AlterKind kind) {
    return kind == AlterKind::add_volatile || kind == AlterKind::retype ||
           kind == AlterKind::vacuum_full;
}

void set_identity(std::size_t table, TableSchema& schema, ReplicaIdentity identity) {
    schema.replica_identity = identity;
    const auto key = key_column(table);
    for (std::size_t i = 0; i < schema.columns.size(); ++i) {
        schema.columns[i].in_identity = identity == ReplicaIdentity::full || key == i;
    }
}

// Few names, so that a column often comes back under one that was there before.
std::optional<std::string> free_name(Random& random, const TableSchema& schema) {
    const std::string name = fmt::format("x{}", random.below(4));
    const bool is_taken = std::any_of(schema.columns.begin(), schema.columns.end(),
                                      [&](const auto& column) { return column.name == name; });
    return is_taken ? std::nullopt : std::optional(name);
}

}  // namespace

std::uint32_t leaf_of(RowId row) { return static_cast<std::uint32_t>(row >> kRowBits); }
RowId row_in(std::uint32_t leaf, std::uint64_t number) {
    return (static_cast<RowId>(leaf) << kRowBits) + number;
}

TableId id_of(std::size_t table) { return {static_cast<std::uint32_t>(16'384 + table)}; }

std::int64_t number(const std::optional<std::string>& text) {
    std::int64_t value = 0;
    if (text) std::from_chars(text->data(), text->data() + text->size(), value);
    return value;
}

std::optional<std::size_t> key_column(std::size_t table) {
    switch (table) {
        case kLedger:
        case kBag:
            return std::nullopt;
        case kPairs:
            return 1;
        default:
            return 0;
    }
}

std::size_t first_extra(std::size_t table) { return table == kBag ? 2 : 3; }

VersionPtr first_version(std::size_t table, ReplicaIdentity ledger_identity, bool has_leaves) {
    struct Shape {
        const char* name;
        ReplicaIdentity identity;
        std::vector<std::pair<const char*, std::uint32_t>> columns;
    };
    using enum ReplicaIdentity;
    static const std::array<Shape, kTables> shapes{{
        {"checking", default_key, {{"id", kInt8}, {"balance", kInt8}}},
        {"savings", default_key, {{"id", kInt8}, {"balance", kInt8}}},
        {"ledger", default_key, {{"client", kInt8}, {"n", kInt8}, {"amount", kInt8}}},
        {"items", default_key, {{"id", kInt8}, {"v", kInt8}, {"blob", kText}}},
        {"bag", full, {{"a", kInt8}, {"b", kText}}},
        {"pairs", index, {{"v", kInt8}, {"code", kInt8}, {"blob", kText}}},
    }};
    TableSchema schema;
    schema.id = {static_cast<std::uint32_t>(16'384 + table)};
    schema.schema = "public";
    schema.name = shapes[table].name;
    schema.replica_identity = table == kLedger ? ledger_identity : shapes[table].identity;
    const auto key = key_column(table);
    for (const auto& [name, type] : shapes[table].columns) {
        const std::size_t i = schema.columns.size();
        schema.columns.push_back(make_column(name, type, i + 1, key == i));
        if (schema.replica_identity == default_key && key == i) {
            schema.columns.back().key_position = 1;
        }
        if (schema.replica_identity == full) schema.columns.back().in_identity = true;
    }
    schema.attnum_max = static_cast<std::int16_t>(schema.columns.size());
    Version version;
    version.file = version.columns = table + 1;
    for (std::uint32_t i = 0; has_leaves && i < 3; ++i) {
        version.leaves[19'000 + 10 * static_cast<std::uint32_t>(table) + i] = version.file;
    }
    version.schema = std::make_shared<const TableSchema>(schema);
    schema.content = content_of(version);
    version.schema = std::make_shared<const TableSchema>(std::move(schema));
    return std::make_shared<const Version>(std::move(version));
}

VersionPtr with_file(const Version& version, std::uint64_t file, std::uint32_t leaf) {
    Version next = version;
    next.file = file;
    for (auto& [oid, its_file] : next.leaves) {
        if (leaf == 0 || leaf == oid) its_file = file;
    }
    TableSchema schema = *version.schema;
    schema.content = content_of(next);
    next.schema = std::make_shared<const TableSchema>(std::move(schema));
    return std::make_shared<const Version>(std::move(next));
}

std::optional<Alter> some_alter(Random& random, std::size_t table, const Version& version) {
    const TableSchema& schema = *version.schema;
    const std::size_t extras = schema.columns.size() - first_extra(table);
    Alter alter;
    alter.kind = static_cast<AlterKind>(random.below(version.leaves.empty() ? 10 : 16));
    if (alter.kind > AlterKind::drop_leaf) alter.kind = AlterKind::add_leaf;
    switch (alter.kind) {
        case AlterKind::add:
        case AlterKind::add_default:
        case AlterKind::add_volatile:
            alter.column = schema.columns.size();
            if (extras == kExtrasMax) return std::nullopt;
            return alter;
        case AlterKind::drop:
        case AlterKind::widen:
        case AlterKind::retype: {
            if (extras == 0) return std::nullopt;
            alter.column = first_extra(table) + random.below(extras);
            const ColumnSchema& column = schema.columns[alter.column];
            const bool is_short = column.type_oid == kVarchar && column.typmod == kShort;
            if (alter.kind == AlterKind::widen && !is_short) return std::nullopt;
            if (alter.kind == AlterKind::retype && column.type_oid == kText) return std::nullopt;
            return alter;
        }
        case AlterKind::rename:
            alter.column = random.below(schema.columns.size());
            return alter;
        case AlterKind::change_identity:
            if (table == kBag) return std::nullopt;
            return alter;
        case AlterKind::vacuum_full:
            // One leaf at a time does it.
            if (!version.leaves.empty()) return std::nullopt;
            return alter;
        case AlterKind::rename_table:
            return alter;
        case AlterKind::add_leaf:
            if (version.leaves.size() == kLeavesMax) return std::nullopt;
            return alter;
        case AlterKind::drop_leaf: {
            if (version.leaves.size() < 2) return std::nullopt;
            alter.leaf = some_leaf(random, version);
            return alter;
        }
    }
    return std::nullopt;
}

VersionPtr altered(Random& random, std::size_t table, const Version& version, const Alter& alter,
                   std::uint64_t number) {
    Version next = version;
    TableSchema schema = *version.schema;
    ColumnSchema* const column =
        alter.column < schema.columns.size() ? &schema.columns[alter.column] : nullptr;
    if (is_rewriting(alter.kind)) {
        next.file = number;
        for (auto& [oid, file] : next.leaves) file = number;
        next.missing.clear();
    }
    switch (alter.kind) {
        case AlterKind::add:
        case AlterKind::add_default:
        case AlterKind::add_volatile: {
            static constexpr std::array types{kInt8, kInt4, kVarchar};
            const std::uint32_t type = types[random.below(types.size())];
            const std::string name = free_name(random, schema).value_or(fmt::format("y{}", number));
            ++schema.attnum_max;
            schema.columns.push_back(make_column(name, type,
                                                 static_cast<std::size_t>(schema.attnum_max), false,
                                                 type == kVarchar ? kShort : -1));
            schema.columns.back().in_identity = schema.replica_identity == ReplicaIdentity::full;
            if (alter.kind == AlterKind::add_default) next.missing[schema.attnum_max] = "7";
            break;
        }
        case AlterKind::drop:
            next.dropped.push_back(column->attnum);
            next.missing.erase(column->attnum);
            schema.columns.erase(schema.columns.begin() +
                                 static_cast<std::ptrdiff_t>(alter.column));
            break;
        case AlterKind::rename:
            column->name = free_name(random, schema).value_or(fmt::format("y{}", number));
            break;
        case AlterKind::widen:
        case AlterKind::retype: {
            const bool is_widened = alter.kind == AlterKind::widen;
            const ColumnSchema before = *column;
            *column = make_column(before.name, is_widened ? kVarchar : kText,
                                  static_cast<std::size_t>(before.attnum), false,
                                  is_widened ? kLong : -1);
            column->in_identity = before.in_identity;
            break;
        }
        case AlterKind::rename_table:
            schema.name =
                fmt::format("{}_{}", schema.name.substr(0, schema.name.find('_')), number);
            break;
        case AlterKind::change_identity:
            set_identity(table, schema,
                         schema.replica_identity != ReplicaIdentity::full ? ReplicaIdentity::full
                         : table == kPairs                                ? ReplicaIdentity::index
                                           : ReplicaIdentity::default_key);
            break;
        case AlterKind::vacuum_full:
            break;
        case AlterKind::add_leaf:
            next.leaves[alter.leaf] = number;
            break;
        case AlterKind::drop_leaf:
            next.leaves.erase(alter.leaf);
            break;
    }
    // VACUUM FULL writes attributes anew whose values in older rows it has written into the rows
    // (RelationClearMissing in src/backend/catalog/heap.c).
    const bool is_of_columns =
        alter.kind == AlterKind::vacuum_full
            ? !version.missing.empty()
            : alter.kind != AlterKind::rename_table && alter.kind != AlterKind::change_identity &&
                  alter.kind != AlterKind::add_leaf && alter.kind != AlterKind::drop_leaf;
    if (is_of_columns) next.columns = number;
    schema.content = content_of(next);
    next.schema = std::make_shared<const TableSchema>(std::move(schema));
    return std::make_shared<const Version>(std::move(next));
}

std::uint32_t some_leaf(Random& random, const Version& version) {
    if (version.leaves.empty()) return 0;
    auto leaf = version.leaves.begin();
    std::advance(leaf, static_cast<std::ptrdiff_t>(random.below(version.leaves.size())));
    return leaf->first;
}

void erase_rows(Rows& rows, std::uint32_t leaf) {
    std::erase_if(rows, [&](const auto& row) { return leaf == 0 || leaf_of(row.first) == leaf; });
}

void reshape(const Alter& alter, RowId row, Values& values) {
    const auto at = values.begin() + static_cast<std::ptrdiff_t>(alter.column);
    switch (alter.kind) {
        case AlterKind::add:
            values.emplace_back();
            break;
        case AlterKind::add_default:
            values.emplace_back("7");
            break;
        case AlterKind::add_volatile:
            values.emplace_back(std::to_string(row % 7));
            break;
        case AlterKind::drop:
            values.erase(at);
            break;
        case AlterKind::retype:
            if (*at) *at = "t" + **at;
            break;
        case AlterKind::rename:
        case AlterKind::widen:
        case AlterKind::rename_table:
        case AlterKind::change_identity:
        case AlterKind::vacuum_full:
        case AlterKind::add_leaf:
        case AlterKind::drop_leaf:
            break;
    }
}

std::string content_of(const Version& version) {
    std::string files;
    for (const auto& [oid, file] : version.leaves) files += fmt::format("{}:{},", oid, file);
    if (files.empty()) files = fmt::format("{}:{},", version.schema->id.oid, version.file);
    return fmt::format("1;c{};p;;{};", version.columns, files);
}

std::string definition_of(const Version& version) {
    return fmt::format("{} {} {}", version.schema->name,
                       static_cast<char>(version.schema->replica_identity),
                       version.schema->attnum_max);
}

std::shared_ptr<const RowBatch> existing_of(const Version& version) {
    if (version.missing.empty()) return nullptr;
    auto row = std::make_shared<RowBatch>(version.schema);
    for (std::size_t i = 0; i < version.schema->columns.size(); ++i) {
        const auto found = version.missing.find(version.schema->columns[i].attnum);
        testing::append_text(row->columns()[i], found == version.missing.end()
                                                    ? std::nullopt
                                                    : std::optional(found->second));
    }
    return row;
}

}  // namespace walbrook::sim
