// RowBatch and TableSchema as structures of the Arrow C Data Interface. The format
// strings are those of its specification ("Data type description - format strings").

#include "walbrook/batch.h"

#include <fmt/format.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

namespace walbrook {
namespace {

std::string format_of(const ColumnType& type) {
    switch (type.kind) {
        case TypeKind::boolean:
            return "b";
        case TypeKind::int16:
            return "s";
        case TypeKind::int32:
            return "i";
        case TypeKind::int64:
            return "l";
        case TypeKind::uint32:
            return "I";
        case TypeKind::float32:
            return "f";
        case TypeKind::float64:
            return "g";
        case TypeKind::decimal:
            return fmt::format("d:{},{}", type.precision, type.scale);
        case TypeKind::text:
        case TypeKind::json:
            return "u";
        case TypeKind::bytes:
            return "z";
        case TypeKind::date:
            return "tdD";
        case TypeKind::time:
            return "ttu";
        case TypeKind::timestamp:
            return "tsu:";
        case TypeKind::timestamptz:
            return "tsu:UTC";
        case TypeKind::uuid:
            return "w:16";
        case TypeKind::list:
            return "+l";
    }
    return "u";
}

// Metadata is counted key/value pairs with native 32-bit lengths.
std::string extension_metadata(std::string_view extension) {
    std::string out;
    const auto number = [&](std::size_t n) {
        const auto value = static_cast<std::int32_t>(n);
        out.append(reinterpret_cast<const char*>(&value), sizeof value);
    };
    const std::string_view key = "ARROW:extension:name";
    const std::string_view key2 = "ARROW:extension:metadata";
    number(2);
    number(key.size());
    out += key;
    number(extension.size());
    out += extension;
    number(key2.size());
    out += key2;
    number(0);
    return out;
}

struct SchemaNode {
    std::string name;
    std::string format;
    std::string metadata;
    std::vector<ArrowSchema> children;
    std::vector<ArrowSchema*> child_pointers;
};

// A consumer may have moved a child out (its release is then null): skip it.
void release_schema(ArrowSchema* schema) {
    auto* node = static_cast<SchemaNode*>(schema->private_data);
    for (ArrowSchema& child : node->children) {
        if (child.release != nullptr) child.release(&child);
    }
    delete node;
    schema->release = nullptr;
}

void fill_schema(std::unique_ptr<SchemaNode> node, bool nullable, ArrowSchema* out) {
    for (ArrowSchema& child : node->children) node->child_pointers.push_back(&child);
    *out = ArrowSchema{};
    out->format = node->format.c_str();
    out->name = node->name.c_str();
    out->metadata = node->metadata.empty() ? nullptr : node->metadata.data();
    out->flags = nullable ? ARROW_FLAG_NULLABLE : 0;
    out->n_children = static_cast<std::int64_t>(node->children.size());
    out->children = node->child_pointers.data();
    out->release = release_schema;
    out->private_data = node.release();
}

void export_type(const std::string& name, const ColumnType& type, bool nullable, ArrowSchema* out) {
    auto node = std::make_unique<SchemaNode>();
    node->name = name;
    if (type.is_list) {
        node->format = "+l";
        ColumnType element = type;
        element.is_list = false;
        node->children.resize(1);
        export_type("item", element, true, node->children.data());
    } else {
        node->format = format_of(type);
        if (type.kind == TypeKind::uuid) node->metadata = extension_metadata("arrow.uuid");
        if (type.kind == TypeKind::json) node->metadata = extension_metadata("arrow.json");
    }
    fill_schema(std::move(node), nullable, out);
}

struct ArrayNode {
    std::array<const void*, 3> buffers{};
    std::vector<ArrowArray> children;
    std::vector<ArrowArray*> child_pointers;
};

void release_array(ArrowArray* array) {
    auto* node = static_cast<ArrayNode*>(array->private_data);
    for (ArrowArray& child : node->children) {
        if (child.release != nullptr) child.release(&child);
    }
    delete node;
    array->release = nullptr;
}

void fill_array(std::unique_ptr<ArrayNode> node, std::size_t length, std::size_t nulls,
                std::int64_t buffers, ArrowArray* out) {
    for (ArrowArray& child : node->children) node->child_pointers.push_back(&child);
    *out = ArrowArray{};
    out->length = static_cast<std::int64_t>(length);
    out->null_count = static_cast<std::int64_t>(nulls);
    out->n_buffers = buffers;
    out->buffers = node->buffers.data();
    out->n_children = static_cast<std::int64_t>(node->children.size());
    out->children = node->child_pointers.data();
    out->release = release_array;
    out->private_data = node.release();
}

void export_column(const Column& column, ArrowArray* out) {
    auto node = std::make_unique<ArrayNode>();
    node->buffers[0] = column.validity();
    std::int64_t buffers = 2;
    if (column.type().is_list) {
        node->buffers[1] = column.offsets().data();
        node->children.resize(1);
        export_column(column.element(), node->children.data());
    } else if (column.offsets().size() != 0) {
        node->buffers[1] = column.offsets().data();
        node->buffers[2] = column.values().data();
        buffers = 3;
    } else {
        node->buffers[1] = column.values().data();
    }
    fill_array(std::move(node), column.size(), column.null_count(), buffers, out);
}

}  // namespace

void export_arrow_schema(const TableSchema& schema, ArrowSchema* out) {
    auto node = std::make_unique<SchemaNode>();
    node->format = "+s";
    node->children.resize(schema.columns.size());
    for (std::size_t i = 0; i < schema.columns.size(); ++i) {
        const ColumnSchema& column = schema.columns[i];
        export_type(column.name, column.type, column.nullable, &node->children[i]);
    }
    fill_schema(std::move(node), false, out);
}

void RowBatch::export_arrow(ArrowArray* out) const {
    auto node = std::make_unique<ArrayNode>();
    node->children.resize(columns_.size());
    for (std::size_t i = 0; i < columns_.size(); ++i)
        export_column(columns_[i], &node->children[i]);
    fill_array(std::move(node), rows(), 0, 1, out);
}

}  // namespace walbrook
