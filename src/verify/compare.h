#pragma once

#include "verify/side.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace walbrook::verify {

enum class DifferenceKind : std::uint8_t {
    changed,  // The key is there on both sides, other columns are not the same.
    missing,  // More often at the source than in the destination: there not at all, as a rule.
    extra,    // More often in the destination.
};
std::string_view name_of(DifferenceKind kind);  // "changed"

// A row, or several with the same key (without a key: the same content).
struct Difference {
    DifferenceKind kind = DifferenceKind::changed;
    std::uint64_t at_source = 0;  // How often it is there.
    std::uint64_t in_destination = 0;
    std::vector<std::string> key;      // Values of the key's columns; without a key where it lies.
    std::string row_digest;            // Of a row without a key: what it is named by.
    std::vector<std::string> columns;  // changed: names of those that are not the same.
};

// Groups that are not the same on both sides.
std::vector<unsigned> differing_groups(const Digest& source, const Digest& destination);
// So many groups from `from` on that both sides together have about so many rows there at most.
std::vector<unsigned> next_groups(const std::vector<unsigned>& differing, std::size_t from,
                                  const Digest& source, const Digest& destination,
                                  std::uint64_t rows_max);

// All rows of some groups, as both sides have them; in order of kind and key.
std::vector<Difference> compare_rows(const ComparedTable& table,
                                     const std::vector<RowPrint>& source,
                                     const std::vector<RowPrint>& destination);

}  // namespace walbrook::verify
