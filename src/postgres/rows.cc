#include "postgres/rows.h"

#include "base/narrow.h"

#include <fmt/format.h>
#include <libpq-fe.h>

#include <algorithm>
#include <charconv>

namespace walbrook {

void Rows::Clear::operator()(pg_result* result) const { PQclear(result); }

std::size_t Rows::size() const {
    return result_ ? static_cast<std::size_t>(PQntuples(result_.get())) : 0;
}

std::size_t Rows::columns() const {
    return result_ ? static_cast<std::size_t>(PQnfields(result_.get())) : 0;
}

std::uint64_t Rows::affected() const {
    const std::string_view digits = result_ ? PQcmdTuples(result_.get()) : "";
    std::uint64_t count = 0;
    std::from_chars(digits.data(), digits.data() + digits.size(), count);
    return count;
}

bool Rows::is_null(std::size_t row, std::size_t column) const {
    return PQgetisnull(result_.get(), narrow<int>(row), narrow<int>(column)) != 0;
}

std::string_view Rows::text(std::size_t row, std::size_t column) const {
    const int r = narrow<int>(row);
    const int c = narrow<int>(column);
    const char* value = PQgetvalue(result_.get(), r, c);
    if (value == nullptr) return {};
    return {value, static_cast<std::size_t>(PQgetlength(result_.get(), r, c))};
}

bool Fields::null_here() const { return column_ < rows_.columns() && rows_.is_null(row_, column_); }

std::string_view Fields::next() {
    const std::size_t column = column_++;
    if (!failure_.empty()) return {};
    if (row_ >= rows_.size() || column >= rows_.columns()) {
        failure_ = fmt::format("column {} is missing", column + 1);
        return {};
    }
    if (rows_.is_null(row_, column)) {
        failure_ = fmt::format("column {} is null", column + 1);
        return {};
    }
    return rows_.text(row_, column);
}

std::string Fields::text() { return std::string(next()); }

std::optional<std::string> Fields::optional_text() {
    if (!null_here()) return text();
    ++column_;
    return std::nullopt;
}

std::string Fields::text_or_empty() { return optional_text().value_or(""); }

template <class T>
T Fields::number() {
    const std::string_view digits = next();
    if (!failure_.empty()) return 0;
    T value = 0;
    const char* end = digits.data() + digits.size();
    const auto [stop, error] = std::from_chars(digits.data(), end, value);
    if (error == std::errc() && stop == end) return value;
    failure_ = fmt::format("column {} is not the number that was expected", column_);
    return 0;
}

std::uint32_t Fields::u32() { return number<std::uint32_t>(); }
std::uint64_t Fields::u64() { return number<std::uint64_t>(); }
std::int32_t Fields::i32() { return number<std::int32_t>(); }
std::int64_t Fields::i64() { return number<std::int64_t>(); }

std::uint32_t Fields::u32_or_zero() {
    if (!null_here()) return u32();
    ++column_;
    return 0;
}

std::int64_t Fields::i64_or_zero() {
    if (!null_here()) return i64();
    ++column_;
    return 0;
}

bool Fields::boolean() {
    const std::string_view value = next();
    if (failure_.empty() && value != "t" && value != "f") {
        failure_ = fmt::format("column {} is not a boolean", column_);
    }
    return value == "t";
}

char Fields::character() {
    const std::string_view value = next();
    if (failure_.empty() && value.size() > 1) {
        failure_ = fmt::format("column {} is not one character", column_);
    }
    return value.empty() ? '\0' : value.front();
}

Lsn Fields::lsn() {
    const std::string_view value = next();
    if (!failure_.empty()) return {};
    const auto lsn = parse_lsn(value);
    if (!lsn) failure_ = fmt::format("column {} is not a WAL position", column_);
    return lsn.value_or(Lsn{});
}

Lsn Fields::lsn_or_zero() {
    if (!null_here()) return lsn();
    ++column_;
    return {};
}

Status Fields::finish(std::string_view what) const {
    if (!failure_.empty()) {
        return Error(ErrorCode::internal, fmt::format("{}: {}", what, failure_));
    }
    if (column_ != rows_.columns()) {
        return Error(ErrorCode::internal, fmt::format("{}: {} columns came, {} were read", what,
                                                      rows_.columns(), column_));
    }
    return {};
}

std::vector<std::int16_t> attnums_from(std::string_view text) {
    text.remove_prefix(std::min(text.find('=') + 1, text.size()));
    std::vector<std::int16_t> out;
    const char* at = text.data();
    const char* const end = at + text.size();
    while (at < end) {
        std::int16_t number = 0;
        const auto [stop, error] = std::from_chars(at, end, number);
        if (error == std::errc()) out.push_back(number);
        at = stop == at ? at + 1 : stop;
    }
    return out;
}

}  // namespace walbrook
