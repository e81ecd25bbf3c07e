#include "decode/value.h"

#include "decode/decoders.h"
#include "decode/type_table.h"

#include <fmt/format.h>

namespace walbrook {
namespace internal {
namespace {

constexpr std::uint32_t kCharOid = 18;
constexpr std::uint32_t kNumericOid = 1700;

}  // namespace

Error unfit(Fit fit, const ColumnSchema& column) {
    if (fit == Fit::unsupported) {
        return Error(ErrorCode::unsupported_value,
                     fmt::format("decode column {} ({}): a value does not fit {}; change the "
                                 "value or the column's type at the source, or leave the column "
                                 "out of the publication by a column list",
                                 column.name, column.type_name, to_string(column.type)));
    }
    return Error(ErrorCode::malformed,
                 fmt::format("decode column {} ({}): the bytes are not what Postgres sends for "
                             "the type",
                             column.name, column.type_name));
}

Error column_full(const ColumnSchema& column) {
    return Error(ErrorCode::unsupported_value,
                 fmt::format("decode column {} ({}): more than 2 GiB in one batch; use smaller "
                             "batches",
                             column.name, column.type_name));
}

DecodeValue text_decoder(std::uint32_t type_oid, TypeKind kind) {
    switch (kind) {
        case TypeKind::boolean:
            return decode_bool_text;
        case TypeKind::int16:
            return decode_int2_text;
        case TypeKind::int32:
            return decode_int4_text;
        case TypeKind::int64:
            return decode_int8_text;
        case TypeKind::uint32:
            return decode_oid_text;
        case TypeKind::float32:
            return decode_float4_text;
        case TypeKind::float64:
            return decode_float8_text;
        case TypeKind::decimal:
            return decode_decimal_text;
        case TypeKind::text:
            return type_oid == kCharOid ? decode_char_text : decode_verbatim;
        case TypeKind::bytes:
            return decode_bytea_text;
        case TypeKind::date:
            return decode_date_text;
        case TypeKind::time:
            return decode_time_text;
        case TypeKind::timestamp:
            return decode_timestamp_text;
        case TypeKind::timestamptz:
            return decode_timestamptz_text;
        case TypeKind::uuid:
            return decode_uuid_text;
        case TypeKind::json:
            return decode_verbatim;
        case TypeKind::list:
            return decode_array_text;
    }
    return decode_verbatim;
}

DecodeValue binary_decoder(std::uint32_t type_oid, TypeKind kind) {
    const TypeRow* row = find_type(type_oid);
    if (row == nullptr) return nullptr;
    if (row->kind == kind) return row->binary;
    // A numeric that no decimal128 can hold, and any column that was told to be text.
    return type_oid == kNumericOid && kind == TypeKind::text ? decode_numeric_as_text : nullptr;
}

}  // namespace internal

DecodeValue decoder_for(const ColumnSchema& column, Format format) {
    const ColumnType& type = column.type;
    if (format == Format::text) {
        return type.is_list ? internal::decode_array_text
                            : internal::text_decoder(column.base_type_oid, type.kind);
    }
    if (type.is_list) {
        const bool readable =
            internal::binary_decoder(column.element_type_oid, type.kind) != nullptr;
        return readable ? internal::decode_array_binary : nullptr;
    }
    // enum_send() sends the label.
    if (column.base_type_class == 'e' && type.kind == TypeKind::text) {
        return internal::decode_verbatim;
    }
    return internal::binary_decoder(column.base_type_oid, type.kind);
}

}  // namespace walbrook
