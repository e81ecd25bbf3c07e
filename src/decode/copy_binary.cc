#include "decode/copy_binary.h"

#include "base/check.h"
#include "decode/endian.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace walbrook {
namespace {

using internal::load_big_endian;

constexpr std::string_view kSignature("PGCOPY\n\377\r\n\0", 11);
constexpr std::size_t kHeaderSize = 19;  // Signature, flags, size of the extension.
// Postgres sends no extension; the limit keeps a lying size from making us wait.
constexpr std::size_t kExtensionMax = 65'536;
constexpr std::uint32_t kCriticalFlags = 0xFFFF0000;

Error malformed_binary(const TableSchema& schema, std::string_view what) {
    return Error(ErrorCode::malformed,
                 fmt::format("read a binary COPY of {}: {}", schema.display_name(), what));
}

}  // namespace

BinaryCopyParser::BinaryCopyParser(TableSchemaPtr schema, const std::vector<DecodeValue>& decoders,
                                   CopyLimits limits)
    : schema_(std::move(schema)), gauge_(limits) {
    WALBROOK_CHECK(decoders.size() == schema_->columns.size());
    decoders_.reserve(decoders.size());
    for (const DecodeValue decode : decoders) {
        WALBROOK_CHECK(decode != nullptr);
        decoders_.emplace_back(decode);
    }
}

Result<std::size_t> BinaryCopyParser::consume(std::string_view bytes, RowBatch& out) {
    full_ = false;
    std::size_t used = 0;
    if (phase_ == Phase::header) {
        WALBROOK_TRY(used, read_header(bytes));
        bytes.remove_prefix(used);
    }
    if (phase_ == Phase::rows && bytes.size() >= bytes_needed_) {
        WALBROOK_TRY(const std::size_t row_bytes, read_rows(bytes, out));
        used += row_bytes;
        bytes.remove_prefix(row_bytes);
    }
    if (phase_ == Phase::done && !bytes.empty()) {
        return malformed_binary(*schema_, "bytes follow the trailer");
    }
    return used;
}

Result<std::size_t> BinaryCopyParser::read_header(std::string_view bytes) {
    const std::size_t known = std::min(bytes.size(), kSignature.size());
    if (bytes.substr(0, known) != kSignature.substr(0, known)) {
        return malformed_binary(*schema_, "the signature is wrong");
    }
    if (bytes.size() < kHeaderSize) return std::size_t{0};
    if ((load_big_endian<std::uint32_t>(bytes.data() + 11) & kCriticalFlags) != 0) {
        return malformed_binary(*schema_, "the header has flags that we do not know");
    }
    const std::size_t extension = load_big_endian<std::uint32_t>(bytes.data() + 15);
    if (extension > kExtensionMax) {
        return malformed_binary(*schema_, "the header's extension is too long");
    }
    if (bytes.size() < kHeaderSize + extension) return std::size_t{0};
    phase_ = Phase::rows;
    return kHeaderSize + extension;
}

Result<std::size_t> BinaryCopyParser::read_rows(std::string_view bytes, RowBatch& out) {
    const char* const start = bytes.data();
    const char* const end = start + bytes.size();
    const char* row_start = start;
    bytes_needed_ = 0;
    for (;;) {
        const std::size_t rows = out.rows();
        const char* at = row_start;
        auto row = read_row(at, end, out);
        if (!row || *row != Row::complete) [[unlikely]] {
            internal::truncate_columns(out, rows);
            if (!row) return std::move(row).error();
            if (*row == Row::trailer) {
                phase_ = Phase::done;
                row_start = at;
            }
            break;
        }
        const auto row_bytes = static_cast<std::size_t>(at - row_start);
        row_start = at;
        if (gauge_.reached_limit(out, row_bytes)) {
            full_ = true;
            break;
        }
    }
    return static_cast<std::size_t>(row_start - start);
}

// The hottest loop of the program. `at` ends behind the row where it is complete.
Result<BinaryCopyParser::Row> BinaryCopyParser::read_row(const char*& at, const char* end,
                                                         RowBatch& out) {
    const char* const start = at;
    const auto left = [&] { return static_cast<std::size_t>(end - at); };
    if (left() < sizeof(std::int16_t)) return Row::incomplete;
    const int fields = load_big_endian<std::int16_t>(at);
    at += sizeof(std::int16_t);
    if (fields == -1) return Row::trailer;
    const std::size_t columns = decoders_.size();
    if (fields != static_cast<int>(columns)) {
        return Error(ErrorCode::schema_mismatch,
                     fmt::format("read a binary COPY of {}: a row has {} fields for {} columns",
                                 schema_->display_name(), fields, columns));
    }
    if (columns == 0) out.append_empty_row();
    Column* column = out.columns().data();
    const ColumnSchema* column_schema = schema_->columns.data();
    for (const internal::CellDecoder& decoder : decoders_) {
        if (left() < sizeof(std::int32_t)) return Row::incomplete;
        const auto size = load_big_endian<std::int32_t>(at);
        at += sizeof(std::int32_t);
        if (size >= 0) {
            const auto field_bytes = static_cast<std::size_t>(size);
            if (left() < field_bytes) {
                bytes_needed_ = static_cast<std::size_t>(at - start) + field_bytes;
                return Row::incomplete;
            }
            const std::string_view field(at, field_bytes);
            if (!decoder.append_fast(*column_schema, field, *column)) {
                WALBROOK_RETURN_IF_ERROR(decoder.append(*column_schema, field, *column));
            }
            at += field_bytes;
        } else if (size == -1) {
            column->append_null();
        } else {
            return malformed_binary(*schema_, "a field has a negative size");
        }
        ++column;
        ++column_schema;
    }
    return Row::complete;
}

}  // namespace walbrook
