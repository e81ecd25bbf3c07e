#pragma once

#include <string_view>

#include "walbrook/column.h"
#include "walbrook/result.h"
#include "walbrook/schema.h"

namespace walbrook {

// The two forms in which Postgres sends a value (pgoutput's column marks).
enum class Format : char {
    text = 't',
    binary = 'b',
};

// Appends one value that is not NULL to a column of the schema's type.
//   malformed          the bytes are not what Postgres sends for the type
//   unsupported_value  the column cannot hold the value exactly
// Messages name the column and its type, never the value. After an error a list
// column may hold elements without their list: RowBatch::truncate takes them back.
// Text is expected under our session settings: DateStyle ISO, IntervalStyle postgres,
// TimeZone UTC, extra_float_digits 3, bytea_output hex, xmlbinary base64.
using DecodeValue = Status (*)(const ColumnSchema& column, std::string_view bytes, Column& out);

// The decoder for a column whose `type` is resolved (type_table.h). Text always has
// one. nullptr only for binary, where the type has no exact binary decoder: then its
// binary form cannot be turned into exactly the text that Postgres would print.
DecodeValue decoder_for(const ColumnSchema& column, Format format);

}  // namespace walbrook
