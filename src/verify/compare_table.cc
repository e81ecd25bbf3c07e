#include "verify/compare_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <thread>
#include <utility>

namespace walbrook::verify {
namespace {

constexpr std::uint64_t kRowsOfGroup = 64;
constexpr unsigned kGroupsMin = 16;
constexpr unsigned kGroupsMax = 65'536;
// Groups that are so many times as large as meant are not fetched, but made smaller.
constexpr unsigned kMuchLarger = 4;
// Whoever differs in more rows than this, or whose groups that differ fill more portions, is not
// counted to the end: each portion is one more scan of both sides, under one snapshot.
constexpr std::uint64_t kDifferingRowsMax = 1'000'000;
constexpr int kPortionsMax = 8;
// About what a print takes, and what each column adds to it.
constexpr std::uint64_t kPrintBytes = 300;
constexpr std::uint64_t kPrintBytesOfColumn = 8;

unsigned groups_for(std::uint64_t rows) {
    return std::clamp(static_cast<unsigned>(
                          std::bit_ceil(std::min<std::uint64_t>(rows / kRowsOfGroup, kGroupsMax))),
                      kGroupsMin, kGroupsMax);
}

std::uint64_t rows_in(const Digest& digest) {
    std::uint64_t rows = 0;
    for (const Group& group : digest) rows += group.rows;
    return rows;
}

struct Digests {
    Digest source;
    Digest destination;
};

Result<Digests> digest_both(Side& source, Side& destination, const ComparedTable& table,
                            unsigned groups, const std::stop_token& stop) {
    // Each side is a process of its own, and waits for nobody.
    Result<Digest> theirs = Digest();
    std::jthread other([&] { theirs = destination.digest(table, groups, stop); });
    Result<Digest> ours = source.digest(table, groups, stop);
    other.join();
    if (!ours) return std::move(ours).error();
    if (!theirs) return std::move(theirs).error();
    return Digests{*std::move(ours), *std::move(theirs)};
}

Error unlike_before(const ComparedTable& table) {
    return Error(ErrorCode::internal,
                 fmt::format("compare {}: both sides were read twice, and what differed at first "
                             "did not any more; compare it again, and report it if this stays",
                             table.display_name()));
}

// The rows of groups that differ, portion by portion; false if there is a portion in which no row
// does.
Result<bool> name_differences(Side& source, Side& destination, const ComparedTable& table,
                              const Digests& both, const CompareLimits& limits,
                              const std::stop_token& stop, TableResult& result) {
    const auto groups = static_cast<unsigned>(both.source.size());
    const std::uint64_t rows_max = limits.rows_in_memory_max * kPrintBytes /
                                   (kPrintBytes + kPrintBytesOfColumn * table.columns.size());
    const std::vector<unsigned> differing = differing_groups(both.source, both.destination);
    if (differing.empty()) return false;
    std::size_t from = 0;
    for (int portion = 0; portion < kPortionsMax && from < differing.size(); ++portion) {
        const std::vector<unsigned> wanted =
            next_groups(differing, from, both.source, both.destination, rows_max);
        from += wanted.size();
        WALBROOK_TRY(const std::vector<RowPrint> at_source,
                     source.rows(table, groups, wanted, stop));
        WALBROOK_TRY(const std::vector<RowPrint> there,
                     destination.rows(table, groups, wanted, stop));
        std::vector<Difference> found = compare_rows(table, at_source, there);
        if (found.empty()) return false;
        result.differing_rows += found.size();
        for (Difference& difference : found) {
            if (result.differences.size() == limits.differences_max) break;
            result.differences.push_back(std::move(difference));
        }
        if (result.differing_rows >= kDifferingRowsMax) break;
    }
    result.has_more = from < differing.size();
    return true;
}

}  // namespace

Result<Comparison> compare_table(Side& source, Side& destination, const ComparedTable& table,
                                 std::uint64_t estimated_rows, const CompareLimits& limits,
                                 const std::stop_token& stop) {
    const unsigned groups = groups_for(estimated_rows);
    WALBROOK_TRY(Digests both, digest_both(source, destination, table, groups, stop));
    Comparison comparison;
    TableResult& result = comparison.result;
    result.table = table.id;
    result.schema = table.schema;
    result.name = table.name;
    for (const std::size_t i : table.key) result.key.push_back(table.columns[i].name);
    result.rows_at_source = rows_in(both.source);
    result.rows_in_destination = rows_in(both.destination);
    if (both.source == both.destination) {
        result.outcome = Outcome::equal;
        return comparison;
    }
    result.outcome = Outcome::different;
    const unsigned better = groups_for(std::max(result.rows_at_source, result.rows_in_destination));
    if (better >= groups * kMuchLarger) {
        Result<Digests> finer = digest_both(source, destination, table, better, stop);
        if (finer) {
            both = *std::move(finer);
        } else {
            comparison.named = std::move(finer).error();
        }
    }
    if (comparison.named) {
        const Result<bool> named =
            name_differences(source, destination, table, both, limits, stop, result);
        if (!named) comparison.named = named.error();
        if (named && !*named) {
            if (result.differing_rows == 0) return unlike_before(table);
            comparison.named = unlike_before(table);
        }
    }
    if (!comparison.named) result.has_more = true;
    return comparison;
}

}  // namespace walbrook::verify
