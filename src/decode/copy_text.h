#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "decode/copy_limits.h"
#include "decode/value.h"
#include "walbrook/batch.h"
#include "walbrook/result.h"
#include "walbrook/schema.h"

// COPY … TO STDOUT (FORMAT text) (Postgres manual, COPY, "Text Format"): a line a row,
// ended by \n, fields between tabs, \N for NULL, and in fields the escapes that
// CopyAttributeOutText() writes: \\ \b \f \n \r \t \v. Perhaps a line \. at the end.
// Anything else behind a backslash is malformed, and so is a bare carriage return:
// the server writes neither.
namespace walbrook {

// Rows out of a text COPY; to be used exactly as BinaryCopyParser. At the end of the
// COPY nothing may be left over; done() only says that there was a line \. at the end.
class TextCopyParser {
 public:
    // One text decoder a column.
    TextCopyParser(TableSchemaPtr schema, std::vector<DecodeValue> decoders, CopyLimits limits);

    Result<std::size_t> consume(std::string_view bytes, RowBatch& out);
    bool full() const { return full_; }
    bool done() const { return done_; }

 private:
    Status read_line(std::string_view line, RowBatch& out);
    Error wrong_field_count() const;
    Status read_field(std::string_view field, std::size_t index, RowBatch& out);

    TableSchemaPtr schema_;
    std::vector<DecodeValue> decoders_;
    internal::CopyGauge gauge_;
    bool full_ = false;
    bool done_ = false;
    // So many bytes of the line that came in part have no line end.
    std::size_t bytes_searched_ = 0;
    std::string unescaped_;  // Of one field; kept for its room.
};

}  // namespace walbrook
