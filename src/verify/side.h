#pragma once

#include "walbrook/result.h"
#include "walbrook/schema.h"

#include <cstddef>
#include <cstdint>
#include <stop_token>
#include <string>
#include <vector>

namespace walbrook::verify {

// A table as both sides are asked for it. The columns have the source's names and types.
struct ComparedTable {
    TableId id;
    std::string schema;
    std::string name;
    std::vector<ColumnSchema> columns;
    std::vector<std::string> lake_columns;  // What each is called in the lake.
    std::vector<std::size_t> key;           // Indexes into columns; empty: rows have no name.

    std::string display_name() const { return schema + "." + name; }
};

// Rows go to groups by a digest of their key, or of all of it where there is no key. A group's
// sum is that of 60 bits of each row's digest, modulo 2^64: the order does not matter, and a row
// that is there twice counts twice. Another row passes unseen with a probability of 2^-60.
struct Group {
    std::uint64_t rows = 0;
    std::uint64_t sum = 0;
    bool operator==(const Group&) const = default;
};
using Digest = std::vector<Group>;

// One row, without its values, or several that are the same.
struct RowPrint {
    std::string key_digest;             // MD5 in hexadecimal; without a key that of the row.
    std::string row_digest;             // The same of all columns.
    std::string column_digests;         // Eight digits of each column's.
    std::vector<std::string> key_text;  // The key's values, for people; or where the row lies.
    std::uint64_t count = 1;
};

// One of the two that are compared, at one position.
class Side {
 public:
    virtual ~Side() = default;
    // ErrorCode::aborted: the table is not any more what it was at the position; at another one
    // it can be compared.
    virtual Result<Digest> digest(const ComparedTable& table, unsigned groups,
                                  const std::stop_token& stop) = 0;
    // All rows of some groups out of so many. Those that are the same may be one print, or some.
    virtual Result<std::vector<RowPrint>> rows(const ComparedTable& table, unsigned groups,
                                               const std::vector<unsigned>& wanted,
                                               const std::stop_token& stop) = 0;
};

// "12345678901234567890123" modulo 2^64.
std::uint64_t number_modulo(std::string_view digits);

}  // namespace walbrook::verify
