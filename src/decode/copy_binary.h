#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "decode/cell_decoder.h"
#include "decode/copy_limits.h"
#include "decode/value.h"
#include "walbrook/batch.h"
#include "walbrook/result.h"
#include "walbrook/schema.h"

// COPY … TO STDOUT (FORMAT binary) (Postgres manual, COPY, "Binary Format"), numbers in
// network order:
//
//     header   "PGCOPY\n\377\r\n\0", i32 flags, i32 size of an extension, extension
//     row      i16 fields, for each: i32 size or -1 for NULL, bytes
//     trailer  i16 -1
namespace walbrook {

// Rows out of a binary COPY that arrives in pieces of any size:
//
//     for (;;) {
//         WALBROOK_TRY(const std::size_t used, parser.consume(bytes, batch));
//         bytes.remove_prefix(used);
//         if (!parser.full()) break;  // The rest of `bytes` waits for more.
//         … take the rows away, batch.clear() …
//     }
//
// At the end of the COPY the parser must be done() and nothing may be left over.
// An error ends the COPY; the rows before the bad one stay in the batch.
class BinaryCopyParser {
 public:
    // One decoder a column, for what the query sends: where a type has no exact binary
    // decoder the query casts to text and decode is that of a text column.
    BinaryCopyParser(TableSchemaPtr schema, const std::vector<DecodeValue>& decoders,
                     CopyLimits limits);

    // Appends the complete rows of `bytes` until the batch is full, and returns how many
    // bytes it used. The next call begins with the first byte that was not used.
    Result<std::size_t> consume(std::string_view bytes, RowBatch& out);
    // The last call stopped because the batch had reached a limit.
    bool full() const { return full_; }
    // The trailer was read.
    bool done() const { return phase_ == Phase::done; }

 private:
    enum class Phase { header, rows, done };

    // How a row went that was begun.
    enum class Row { complete, incomplete, trailer };

    Result<std::size_t> read_header(std::string_view bytes);
    Result<std::size_t> read_rows(std::string_view bytes, RowBatch& out);
    Result<Row> read_row(const char*& at, const char* end, RowBatch& out);

    TableSchemaPtr schema_;
    std::vector<internal::CellDecoder> decoders_;
    internal::CopyGauge gauge_;
    Phase phase_ = Phase::header;
    bool full_ = false;
    // A row that came in part needs at least so many bytes: without this a large row in
    // small pieces would be decoded again with each piece.
    std::size_t bytes_needed_ = 0;
};

}  // namespace walbrook
