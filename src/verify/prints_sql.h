#pragma once

#include "verify/side.h"

#include <functional>
#include <string>

namespace walbrook::verify {

// What differs between the two dialects.
struct PrintsDialect {
    std::function<std::string(const ComparedTable&, std::size_t column)> canonical;
    std::function<std::string(const std::string& text)> digest;
    std::function<std::string(const std::string& digest)> number;
    std::function<std::string(const std::string& digest, unsigned groups)> group;
    // A key's value as people read it.
    std::function<std::string(const ComparedTable&, std::size_t column)> display;
    // Where the first of some rows lies, for people; empty: nothing tells.
    std::string place;
};

// SELECT group, count, sum of a table's rows. `from`: FROM and WHERE.
std::string digest_sql(const PrintsDialect& dialect, const ComparedTable& table, unsigned groups,
                       const std::string& from);
// SELECT key_digest, row_digest, column_digests, key_text…, count of the rows of some groups: those
// that are the same are one.
std::string rows_sql(const PrintsDialect& dialect, const ComparedTable& table, unsigned groups,
                     const std::vector<unsigned>& wanted, const std::string& from);

}  // namespace walbrook::verify
