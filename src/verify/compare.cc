#include "verify/compare.h"

#include "base/check.h"

#include <algorithm>
#include <map>
#include <tuple>

namespace walbrook::verify {
namespace {

constexpr std::size_t kColumnDigits = 8;

// What has one key digest.
struct SameKey {
    std::vector<const RowPrint*> source;
    std::vector<const RowPrint*> destination;
};

std::uint64_t count_of(const std::vector<const RowPrint*>& rows) {
    std::uint64_t count = 0;
    for (const RowPrint* row : rows) count += row->count;
    return count;
}

// Leaves on each side what is there more often than on the other one.
void drop_equal(SameKey& rows) {
    // At the source, less those in the destination, modulo 2^64: only zero and sign matter.
    std::map<std::string_view, std::uint64_t> more;
    for (const RowPrint* row : rows.source) more[row->row_digest] += row->count;
    for (const RowPrint* row : rows.destination) more[row->row_digest] -= row->count;
    std::erase_if(rows.source, [&](const RowPrint* row) {
        return static_cast<std::int64_t>(more[row->row_digest]) <= 0;
    });
    std::erase_if(rows.destination, [&](const RowPrint* row) {
        return static_cast<std::int64_t>(more[row->row_digest]) >= 0;
    });
}

std::vector<std::string> differing_columns(const ComparedTable& table, const RowPrint& a,
                                           const RowPrint& b) {
    std::vector<std::string> names;
    for (std::size_t i = 0; i < table.columns.size(); ++i) {
        const std::size_t at = i * kColumnDigits;
        if (a.column_digests.compare(at, kColumnDigits, b.column_digests, at, kColumnDigits) != 0) {
            names.push_back(table.columns[i].name);
        }
    }
    return names;
}

}  // namespace

std::string_view name_of(DifferenceKind kind) {
    switch (kind) {
        case DifferenceKind::changed:
            return "changed";
        case DifferenceKind::missing:
            return "missing";
        case DifferenceKind::extra:
            return "extra";
    }
    return "?";
}

std::vector<unsigned> differing_groups(const Digest& source, const Digest& destination) {
    WALBROOK_CHECK(source.size() == destination.size());
    std::vector<unsigned> differing;
    for (std::size_t i = 0; i < source.size(); ++i) {
        if (source[i] != destination[i]) differing.push_back(static_cast<unsigned>(i));
    }
    return differing;
}

std::vector<unsigned> next_groups(const std::vector<unsigned>& differing, std::size_t from,
                                  const Digest& source, const Digest& destination,
                                  std::uint64_t rows_max) {
    std::vector<unsigned> groups;
    std::uint64_t rows = 0;
    for (std::size_t i = from; i < differing.size(); ++i) {
        const unsigned group = differing[i];
        rows += source[group].rows + destination[group].rows;
        if (!groups.empty() && rows > rows_max) break;
        groups.push_back(group);
    }
    return groups;
}

std::vector<Difference> compare_rows(const ComparedTable& table,
                                     const std::vector<RowPrint>& source,
                                     const std::vector<RowPrint>& destination) {
    std::map<std::string_view, SameKey> by_key;
    for (const RowPrint& row : source) by_key[row.key_digest].source.push_back(&row);
    for (const RowPrint& row : destination) by_key[row.key_digest].destination.push_back(&row);
    std::vector<Difference> differences;
    for (auto& [digest, rows] : by_key) {
        const std::uint64_t at_source = count_of(rows.source);
        const std::uint64_t in_destination = count_of(rows.destination);
        drop_equal(rows);
        if (rows.source.empty() && rows.destination.empty()) continue;
        const RowPrint& print =
            rows.source.empty() ? *rows.destination.front() : *rows.source.front();
        Difference difference;
        difference.at_source = at_source;
        difference.in_destination = in_destination;
        difference.key = print.key_text;
        if (table.key.empty()) difference.row_digest = print.row_digest;
        if (at_source != in_destination) {
            difference.kind =
                at_source > in_destination ? DifferenceKind::missing : DifferenceKind::extra;
        } else {
            difference.columns =
                differing_columns(table, *rows.source.front(), *rows.destination.front());
        }
        differences.push_back(std::move(difference));
    }
    std::sort(differences.begin(), differences.end(), [](const Difference& a, const Difference& b) {
        return std::tie(a.kind, a.key, a.row_digest) < std::tie(b.kind, b.key, b.row_digest);
    });
    return differences;
}

}  // namespace walbrook::verify
