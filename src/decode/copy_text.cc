#include "decode/copy_text.h"

#include "base/check.h"

#include <fmt/format.h>

#include <utility>

namespace walbrook {
namespace {

Error malformed_text(const TableSchema& schema, std::string_view what) {
    return Error(ErrorCode::malformed,
                 fmt::format("read a text COPY of {}: {}", schema.display_name(), what));
}

// What stands for a letter behind a backslash, or 0.
char unescape(char letter) {
    switch (letter) {
        case '\\':
            return '\\';
        case 'b':
            return '\b';
        case 'f':
            return '\f';
        case 'n':
            return '\n';
        case 'r':
            return '\r';
        case 't':
            return '\t';
        case 'v':
            return '\v';
        default:
            return 0;
    }
}

// False if an escape is none of the server's.
bool unescape(std::string_view field, std::string& out) {
    out.clear();
    for (;;) {
        const std::size_t n = field.find('\\');
        out.append(field.substr(0, n));
        if (n == std::string_view::npos) return true;
        const char meant = n + 1 < field.size() ? unescape(field[n + 1]) : char{0};
        if (meant == 0) return false;
        out.push_back(meant);
        field.remove_prefix(n + 2);
    }
}

}  // namespace

TextCopyParser::TextCopyParser(TableSchemaPtr schema, std::vector<DecodeValue> decoders,
                               CopyLimits limits)
    : schema_(std::move(schema)), decoders_(std::move(decoders)), gauge_(limits) {
    WALBROOK_CHECK(decoders_.size() == schema_->columns.size());
}

Result<std::size_t> TextCopyParser::consume(std::string_view bytes, RowBatch& out) {
    full_ = false;
    std::size_t used = 0;
    while (!full_ && !done_) {
        const std::size_t end = bytes.find('\n', used + bytes_searched_);
        if (end == std::string_view::npos) {
            bytes_searched_ = bytes.size() - used;
            return used;
        }
        bytes_searched_ = 0;
        const std::string_view line = bytes.substr(used, end - used);
        used = end + 1;
        if (line == "\\.") {
            done_ = true;
            break;
        }
        const std::size_t rows = out.rows();
        if (Status status = read_line(line, out); !status) {
            internal::truncate_columns(out, rows);
            return std::move(status).error();
        }
        full_ = gauge_.reached_limit(out, line.size());
    }
    if (done_ && used != bytes.size()) return malformed_text(*schema_, "bytes follow the end line");
    return used;
}

Status TextCopyParser::read_line(std::string_view line, RowBatch& out) {
    if (line.find('\r') != std::string_view::npos) {
        return malformed_text(*schema_, "a line has a bare carriage return");
    }
    const std::size_t columns = decoders_.size();
    if (columns == 0) {
        if (!line.empty()) return malformed_text(*schema_, "a row without columns is not empty");
        out.append_empty_row();
        return {};
    }
    std::size_t fields = 1;
    for (;; ++fields) {
        const std::size_t tab = line.find('\t');
        WALBROOK_RETURN_IF_ERROR(read_field(line.substr(0, tab), fields - 1, out));
        if (tab == std::string_view::npos) break;
        // One field too many ends the loop too, before it is read.
        if (fields == columns) return wrong_field_count();
        line.remove_prefix(tab + 1);
    }
    return fields == columns ? Status() : wrong_field_count();
}

Error TextCopyParser::wrong_field_count() const {
    return Error(ErrorCode::schema_mismatch,
                 fmt::format("read a text COPY of {}: a row does not have {} fields",
                             schema_->display_name(), schema_->columns.size()));
}

Status TextCopyParser::read_field(std::string_view field, std::size_t index, RowBatch& out) {
    Column& column = out.columns()[index];
    // Before the escapes: "\\N" is the text "\N".
    if (field == "\\N") {
        column.append_null();
        return {};
    }
    if (field.find('\\') != std::string_view::npos) {
        if (!unescape(field, unescaped_)) return malformed_text(*schema_, "an escape is unknown");
        field = unescaped_;
    }
    return decoders_[index](schema_->columns[index], field, column);
}

}  // namespace walbrook
