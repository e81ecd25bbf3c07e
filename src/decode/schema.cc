#include "walbrook/schema.h"

#include "base/json_number.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace walbrook {

std::string_view name_of(TypeKind kind) {
    switch (kind) {
        case TypeKind::boolean:
            return "boolean";
        case TypeKind::int16:
            return "int16";
        case TypeKind::int32:
            return "int32";
        case TypeKind::int64:
            return "int64";
        case TypeKind::uint32:
            return "uint32";
        case TypeKind::float32:
            return "float32";
        case TypeKind::float64:
            return "float64";
        case TypeKind::decimal:
            return "decimal";
        case TypeKind::text:
            return "text";
        case TypeKind::bytes:
            return "bytes";
        case TypeKind::date:
            return "date";
        case TypeKind::time:
            return "time";
        case TypeKind::timestamp:
            return "timestamp";
        case TypeKind::timestamptz:
            return "timestamptz";
        case TypeKind::uuid:
            return "uuid";
        case TypeKind::json:
            return "json";
        case TypeKind::list:
            return "list";
    }
    return "text";
}

std::string to_string(const ColumnType& type) {
    std::string base(name_of(type.kind));
    if (type.kind == TypeKind::decimal) {
        base = fmt::format("decimal({},{})", type.precision, type.scale);
    }
    return type.is_list ? "list<" + base + ">" : base;
}

bool TableSchema::operator==(const TableSchema& other) const {
    return id == other.id && schema == other.schema && name == other.name &&
           comment == other.comment && replica_identity == other.replica_identity &&
           partial_key == other.partial_key && columns == other.columns;
}

std::vector<std::size_t> TableSchema::key_columns() const {
    std::vector<std::size_t> key;
    if (partial_key) return key;
    const bool by_identity = replica_identity == ReplicaIdentity::default_key ||
                             replica_identity == ReplicaIdentity::index;
    for (std::size_t i = 0; i < columns.size(); ++i) {
        const bool in_key =
            by_identity ? columns[i].in_identity
                        : replica_identity == ReplicaIdentity::full && columns[i].key_position > 0;
        if (in_key) key.push_back(i);
    }
    return key;
}

namespace {

using nlohmann::json;

constexpr int kSchemaFormat = 1;

json column_to_json(const ColumnSchema& column) {
    return {{"name", column.name},
            {"attnum", column.attnum},
            {"type_oid", column.type_oid},
            {"typmod", column.typmod},
            {"type_name", column.type_name},
            {"base_type_oid", column.base_type_oid},
            {"base_typmod", column.base_typmod},
            {"element_type_oid", column.element_type_oid},
            {"element_delimiter", std::string(1, column.element_delimiter)},
            {"base_type_class", std::string(1, column.base_type_class)},
            {"kind", name_of(column.type.kind)},
            {"is_list", column.type.is_list},
            {"precision", column.type.precision},
            {"scale", column.type.scale},
            {"nullable", column.nullable},
            {"key_position", column.key_position},
            {"in_identity", column.in_identity},
            {"comment", column.comment}};
}

TypeKind kind_from_name(const std::string& name) {
    for (int i = 0; i <= static_cast<int>(TypeKind::list); ++i) {
        if (name_of(static_cast<TypeKind>(i)) == name) return static_cast<TypeKind>(i);
    }
    throw std::invalid_argument("unknown kind " + name);
}

char letter_of(const json& in) {
    const auto& text = in.get_ref<const std::string&>();
    if (text.size() != 1) throw std::invalid_argument("one letter was expected");
    return text[0];
}

ColumnSchema column_from_json(const json& in) {
    ColumnSchema column;
    column.name = in.at("name").get<std::string>();
    column.attnum = number_of<std::int16_t>(in.at("attnum"));
    column.type_oid = number_of<std::uint32_t>(in.at("type_oid"));
    column.typmod = number_of<std::int32_t>(in.at("typmod"));
    column.type_name = in.at("type_name").get<std::string>();
    column.base_type_oid = number_of<std::uint32_t>(in.at("base_type_oid"));
    column.base_typmod = number_of<std::int32_t>(in.at("base_typmod"));
    column.element_type_oid = number_of<std::uint32_t>(in.at("element_type_oid"));
    column.element_delimiter = letter_of(in.at("element_delimiter"));
    column.base_type_class = letter_of(in.at("base_type_class"));
    column.type.kind = kind_from_name(in.at("kind").get<std::string>());
    column.type.is_list = in.at("is_list").get<bool>();
    column.type.precision = number_of<std::uint8_t>(in.at("precision"));
    column.type.scale = number_of<std::int8_t>(in.at("scale"));
    column.nullable = in.at("nullable").get<bool>();
    column.key_position = number_of<int>(in.at("key_position"));
    column.in_identity = in.at("in_identity").get<bool>();
    column.comment = in.at("comment").get<std::string>();
    return column;
}

}  // namespace

std::string to_json(const TableSchema& schema) {
    json columns = json::array();
    for (const ColumnSchema& column : schema.columns) columns.push_back(column_to_json(column));
    json out = {{"format", kSchemaFormat},
                {"oid", schema.id.oid},
                {"schema", schema.schema},
                {"name", schema.name},
                {"comment", schema.comment},
                {"replica_identity", std::string(1, static_cast<char>(schema.replica_identity))},
                {"columns", columns}};
    if (!schema.membership.empty()) out["membership"] = schema.membership;
    if (!schema.content.empty()) out["content"] = schema.content;
    if (schema.attempt != 0) out["attempt"] = schema.attempt;
    if (schema.attnum_max != 0) out["attnum_max"] = schema.attnum_max;
    if (schema.partly_published) out["partly_published"] = true;
    if (schema.partial_key) out["partial_key"] = true;
    return out.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<TableSchema> table_schema_from_json(std::string_view text) {
    try {
        const json in = json::parse(text);
        if (const int format = number_of<int>(in.at("format")); format != kSchemaFormat) {
            throw std::invalid_argument(fmt::format(
                "it has format {}, this program knows {}; a newer walbrook wrote it: use "
                "that one",
                format, kSchemaFormat));
        }
        TableSchema schema;
        schema.id.oid = number_of<std::uint32_t>(in.at("oid"));
        schema.schema = in.at("schema").get<std::string>();
        schema.name = in.at("name").get<std::string>();
        schema.comment = in.at("comment").get<std::string>();
        schema.membership = in.value("membership", "");
        schema.content = in.value("content", "");
        schema.attempt = number_of<std::uint32_t>(in.value("attempt", json(0)));
        schema.attnum_max = number_of<std::int16_t>(in.value("attnum_max", json(0)));
        schema.partly_published = in.value("partly_published", false);
        schema.partial_key = in.value("partial_key", false);
        const char identity = letter_of(in.at("replica_identity"));
        if (std::string_view("difn").find(identity) == std::string_view::npos) {
            throw std::invalid_argument("unknown replica identity");
        }
        schema.replica_identity = static_cast<ReplicaIdentity>(identity);
        for (const json& column : in.at("columns")) {
            schema.columns.push_back(column_from_json(column));
        }
        return schema;
    } catch (const std::exception& problem) {
        return Error(ErrorCode::corrupt_state,
                     fmt::format("read a stored table schema: {}", problem.what()));
    }
}

}  // namespace walbrook
