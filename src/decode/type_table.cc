#include "decode/type_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "decode/decoders.h"

namespace walbrook {
namespace {

using namespace internal;  // NOLINT(google-build-using-namespace): the table is all names.

// Oids: src/include/catalog/pg_type.dat. They are part of the wire protocol and do
// not change between versions.
constexpr TypeRow kTypes[] = {
    {16, "boolean", 1000, TypeKind::boolean, decode_bool_binary, ""},
    {17, "bytea", 1001, TypeKind::bytes, decode_bytea_binary, ""},
    {18, "\"char\"", 1002, TypeKind::text, decode_char_binary, "bytes above 127 as `\\ooo`"},
    {19, "name", 1003, TypeKind::text, decode_verbatim, ""},
    {20, "bigint", 1016, TypeKind::int64, decode_int8_binary, ""},
    {21, "smallint", 1005, TypeKind::int16, decode_int2_binary, ""},
    {22, "int2vector", 1006, TypeKind::text, nullptr, "not an array: `1 2 3`"},
    {23, "integer", 1007, TypeKind::int32, decode_int4_binary, ""},
    {24, "regproc", 1008, TypeKind::text, nullptr, "the name as it was then, not the oid"},
    {25, "text", 1009, TypeKind::text, decode_verbatim, ""},
    {26, "oid", 1028, TypeKind::uint32, decode_int4_binary, ""},
    {27, "tid", 1010, TypeKind::text, decode_tid_binary, ""},
    {28, "xid", 1011, TypeKind::text, decode_xid_binary, ""},
    {29, "cid", 1012, TypeKind::text, decode_xid_binary, ""},
    {30, "oidvector", 1013, TypeKind::text, nullptr, "not an array: `1 2 3`"},
    {114, "json", 199, TypeKind::json, decode_verbatim, "byte for byte, never parsed"},
    {142, "xml", 143, TypeKind::text, decode_verbatim, ""},
    {600, "point", 1017, TypeKind::text, nullptr, ""},
    {601, "lseg", 1018, TypeKind::text, nullptr, ""},
    {602, "path", 1019, TypeKind::text, nullptr, ""},
    {603, "box", 1020, TypeKind::text, nullptr, ""},
    {604, "polygon", 1027, TypeKind::text, nullptr, ""},
    {628, "line", 629, TypeKind::text, nullptr, ""},
    {650, "cidr", 651, TypeKind::text, decode_cidr_binary, ""},
    {700, "real", 1021, TypeKind::float32, decode_float4_binary, "every NaN is the same NaN"},
    {701, "double precision", 1022, TypeKind::float64, decode_float8_binary,
     "every NaN is the same NaN"},
    {718, "circle", 719, TypeKind::text, nullptr, ""},
    {774, "macaddr8", 775, TypeKind::text, decode_macaddr8_binary, ""},
    {790, "money", 791, TypeKind::text, nullptr, "as printed under the source's lc_monetary"},
    {829, "macaddr", 1040, TypeKind::text, decode_macaddr_binary, ""},
    {869, "inet", 1041, TypeKind::text, decode_inet_binary, ""},
    {1033, "aclitem", 1034, TypeKind::text, nullptr, ""},
    {1042, "character", 1014, TypeKind::text, decode_verbatim, "padding kept"},
    {1043, "character varying", 1015, TypeKind::text, decode_verbatim, ""},
    {1082, "date", 1182, TypeKind::date, decode_date_binary,
     "all dates; ±infinity are the ends of 32 bits"},
    {1083, "time without time zone", 1183, TypeKind::time, decode_time_binary, "24:00:00 included"},
    {1114, "timestamp without time zone", 1115, TypeKind::timestamp, decode_timestamp_binary,
     "to 294247-01-10 04:00:54.775806, later is refused; ±infinity are the ends of 64 bits"},
    {1184, "timestamp with time zone", 1185, TypeKind::timestamptz, decode_timestamp_binary,
     "as timestamp, in UTC"},
    {1186, "interval", 1187, TypeKind::text, decode_interval_binary,
     "as printed: the lake's interval would lose microseconds"},
    {1266, "time with time zone", 1270, TypeKind::text, decode_timetz_binary, ""},
    {1560, "bit", 1561, TypeKind::text, decode_bit_binary, ""},
    {1562, "bit varying", 1563, TypeKind::text, decode_bit_binary, ""},
    {1700, "numeric", 1231, TypeKind::decimal, decode_decimal_binary,
     "numeric(p,s) with p ≤ 38 and 0 ≤ s ≤ p, where NaN and ±Infinity are refused; "
     "any other numeric is text with every digit and its scale"},
    {1790, "refcursor", 2201, TypeKind::text, decode_verbatim, ""},
    {2202, "regprocedure", 2207, TypeKind::text, nullptr, "the name as it was then, not the oid"},
    {2203, "regoper", 2208, TypeKind::text, nullptr, "the name as it was then, not the oid"},
    {2204, "regoperator", 2209, TypeKind::text, nullptr, "the name as it was then, not the oid"},
    {2205, "regclass", 2210, TypeKind::text, nullptr, "the name as it was then, not the oid"},
    {2206, "regtype", 2211, TypeKind::text, nullptr, "the name as it was then, not the oid"},
    {2950, "uuid", 2951, TypeKind::uuid, decode_uuid_binary, ""},
    {2970, "txid_snapshot", 2949, TypeKind::text, nullptr, ""},
    {3220, "pg_lsn", 3221, TypeKind::text, decode_pg_lsn_binary, ""},
    {3614, "tsvector", 3643, TypeKind::text, nullptr, ""},
    {3615, "tsquery", 3645, TypeKind::text, nullptr, ""},
    {3734, "regconfig", 3735, TypeKind::text, nullptr, "the name as it was then, not the oid"},
    {3769, "regdictionary", 3770, TypeKind::text, nullptr, "the name as it was then, not the oid"},
    {3802, "jsonb", 3807, TypeKind::json, decode_jsonb_binary, "byte for byte as printed"},
    {3904, "int4range", 3905, TypeKind::text, nullptr, ""},
    {3906, "numrange", 3907, TypeKind::text, nullptr, ""},
    {3908, "tsrange", 3909, TypeKind::text, nullptr, ""},
    {3910, "tstzrange", 3911, TypeKind::text, nullptr, ""},
    {3912, "daterange", 3913, TypeKind::text, nullptr, ""},
    {3926, "int8range", 3927, TypeKind::text, nullptr, ""},
    {4072, "jsonpath", 4073, TypeKind::text, decode_jsonb_binary, ""},
    {4089, "regnamespace", 4090, TypeKind::text, nullptr, "the name as it was then, not the oid"},
    {4096, "regrole", 4097, TypeKind::text, nullptr, "the name as it was then, not the oid"},
    {4191, "regcollation", 4192, TypeKind::text, nullptr, "the name as it was then, not the oid"},
    {4451, "int4multirange", 6150, TypeKind::text, nullptr, ""},
    {4532, "nummultirange", 6151, TypeKind::text, nullptr, ""},
    {4533, "tsmultirange", 6152, TypeKind::text, nullptr, ""},
    {4534, "tstzmultirange", 6153, TypeKind::text, nullptr, ""},
    {4535, "datemultirange", 6155, TypeKind::text, nullptr, ""},
    {4536, "int8multirange", 6157, TypeKind::text, nullptr, ""},
    {5038, "pg_snapshot", 5039, TypeKind::text, nullptr, ""},
    {5069, "xid8", 271, TypeKind::text, decode_xid8_binary, ""},
};

constexpr std::uint32_t kNumericOid = 1700;

struct NumericSize {
    int precision;
    int scale;
};

// numeric_typmod_precision() and numeric_typmod_scale(): precision above, and a
// scale of 11 bits that is signed since 15. Before, it is at most 1000, which reads
// the same. Nothing if a decimal128 cannot hold every value of the type.
std::optional<NumericSize> decimal_size(std::int32_t typmod) {
    if (typmod < 4) return std::nullopt;
    const int packed = typmod - 4;
    const int precision = packed >> 16 & 0xFFFF;
    const int scale = ((packed & 0x7FF) ^ 1024) - 1024;
    if (precision < 1 || precision > 38 || scale < 0 || scale > precision) return std::nullopt;
    return NumericSize{precision, scale};
}

const TypeRow* find_array_element(std::uint32_t array_oid) {
    const auto* found = std::find_if(std::begin(kTypes), std::end(kTypes), [&](const TypeRow& row) {
        return row.array_oid == array_oid;
    });
    return found == std::end(kTypes) ? nullptr : found;
}

}  // namespace

std::span<const TypeRow> type_table() { return kTypes; }

const TypeRow* find_type(std::uint32_t oid) {
    const auto* found =
        std::lower_bound(std::begin(kTypes), std::end(kTypes), oid,
                         [](const TypeRow& row, std::uint32_t wanted) { return row.oid < wanted; });
    return found != std::end(kTypes) && found->oid == oid ? found : nullptr;
}

Status resolve_type(ColumnSchema& column) {
    if (column.base_type_oid == 0) {
        return Error(
            ErrorCode::schema_mismatch,
            fmt::format("resolve the type of column {}: the catalog names none", column.name));
    }
    const TypeRow* scalar = find_type(column.base_type_oid);
    if (scalar != nullptr) {
        // pg_type.typelem is also set for name, point and their like.
        column.element_type_oid = 0;
    } else if (const TypeRow* element = find_array_element(column.base_type_oid)) {
        // The catalog says the same where it was asked.
        column.element_type_oid = element->oid;
    }
    column.type = ColumnType{};
    column.type.is_list = column.element_type_oid != 0;
    const TypeRow* row = column.type.is_list ? find_type(column.element_type_oid) : scalar;
    if (row == nullptr) return {};
    column.type.kind = row->kind;
    if (row->oid != kNumericOid) return {};
    if (const auto size = decimal_size(column.base_typmod)) {
        column.type.precision = static_cast<std::uint8_t>(size->precision);
        column.type.scale = static_cast<std::int8_t>(size->scale);
    } else {
        column.type.kind = TypeKind::text;
    }
    return {};
}

}  // namespace walbrook
