#pragma once

#include "walbrook/lsn.h"
#include "walbrook/result.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

struct pg_result;

namespace walbrook {

// What a query returned, as text. Owns libpq's result: views into it live as long as it.
class Rows {
 public:
    Rows() = default;
    explicit Rows(pg_result* result) : result_(result) {}

    std::size_t size() const;
    std::size_t columns() const;
    bool empty() const { return size() == 0; }
    // Rows that an INSERT, UPDATE, DELETE … changed; 0 for other statements.
    std::uint64_t affected() const;
    bool is_null(std::size_t row, std::size_t column) const;
    // Empty where the value is null.
    std::string_view text(std::size_t row, std::size_t column) const;
    // libpq's own, for what is not wrapped here (PQftable …); nullptr without a result.
    pg_result* handle() const { return result_.get(); }

 private:
    struct Clear {
        void operator()(pg_result* result) const;
    };
    std::unique_ptr<pg_result, Clear> result_;
};

// Reads one row from left to right. Remembers its first failure and yields zeros
// after it; finish() tells. A null is a failure except where said.
class Fields {
 public:
    Fields(const Rows& rows, std::size_t row) : rows_(rows), row_(row) {}

    std::string text();
    std::optional<std::string> optional_text();
    std::string text_or_empty();  // Null: "".
    std::uint32_t u32();
    std::uint32_t u32_or_zero();  // Null: 0.
    std::uint64_t u64();
    std::int32_t i32();
    std::int64_t i64();
    std::int64_t i64_or_zero();  // Null: 0.
    bool boolean();
    char character();  // Exactly one byte ("char" columns); an empty one is '\0'.
    Lsn lsn();
    Lsn lsn_or_zero();  // Null: 0.

    // ErrorCode::internal when a value was not of the kind asked for: the query and its
    // reader disagree. Also when columns are left.
    [[nodiscard]] Status finish(std::string_view what) const;

 private:
    template <class T>
    T number();
    bool null_here() const;
    std::string_view next();

    const Rows& rows_;
    std::size_t row_;
    std::size_t column_ = 0;
    std::string failure_;
};

// Attribute numbers out of "{1,2,5}", or of "[0:2]={1,2,5}" where an int2vector became an array.
std::vector<std::int16_t> attnums_from(std::string_view text);

}  // namespace walbrook
