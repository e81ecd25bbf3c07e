// A table as two sides have it, without servers: how much of it is in memory at once.

#include "verify/compare_table.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

namespace walbrook::verify {
namespace {

// Rows 0 to n, of which some have another content than on the other side.
class FakeSide final : public Side {
 public:
    explicit FakeSide(std::uint64_t rows, std::function<bool(std::uint64_t)> is_other = {})
        : rows_(rows), is_other_(std::move(is_other)) {}

    Result<Digest> digest(const ComparedTable&, unsigned groups, const std::stop_token&) override {
        Digest digest(groups);
        for (std::uint64_t i = 0; i < rows_; ++i) {
            Group& group = digest[i % groups];
            ++group.rows;
            group.sum += i + (is_other(i) ? 1 : 0);
        }
        if (++digests == 1 && is_other_at_first) ++digest.front().sum;
        return digest;
    }
    Result<std::vector<RowPrint>> rows(const ComparedTable& table, unsigned groups,
                                       const std::vector<unsigned>& wanted,
                                       const std::stop_token&) override {
        std::vector<RowPrint> prints;
        if (++scans > scans_max) return Error(ErrorCode::unavailable, "no more");
        for (std::uint64_t i = 0; i < rows_; ++i) {
            if (!std::binary_search(wanted.begin(), wanted.end(), i % groups)) continue;
            const std::string key = std::to_string(i);
            prints.push_back({key,
                              key + (is_other(i) ? "'" : ""),
                              std::string(8 * table.columns.size(), '0'),
                              {key}});
        }
        most_at_once = std::max(most_at_once, prints.size());
        return prints;
    }

    bool is_other_at_first = false;  // Its first digest is not that of its rows.
    int scans_max = 1000;
    int digests = 0;
    int scans = 0;
    std::size_t most_at_once = 0;

 private:
    bool is_other(std::uint64_t i) const { return is_other_ && is_other_(i); }
    const std::uint64_t rows_;
    const std::function<bool(std::uint64_t)> is_other_;
};

ComparedTable table_of(std::size_t columns) {
    ComparedTable table;
    for (std::size_t i = 0; i < columns; ++i) {
        table.columns.emplace_back().name = fmt::format("c{}", i);
    }
    table.key = {0};
    return table;
}

constexpr CompareLimits kLimits{.differences_max = 10, .rows_in_memory_max = 1000};

TEST(CompareTable, ReadsNothingTwiceThatIsEqual) {
    FakeSide source(50'000);
    FakeSide lake(50'000);
    const auto result = compare_table(source, lake, table_of(2), 0, kLimits, {});
    ASSERT_TRUE(result);
    EXPECT_EQ(result->result.outcome, Outcome::equal);
    EXPECT_EQ(result->result.rows_at_source, 50'000U);
    EXPECT_EQ(source.digests, 1);
    EXPECT_EQ(source.most_at_once, 0U);
}

// What the source knows of a table's size may be of a time when it was empty.
TEST(CompareTable, AnOldEstimateMakesNoLargeGroups) {
    FakeSide source(50'000);
    FakeSide lake(50'000, [](std::uint64_t i) { return i == 77; });
    const auto result = compare_table(source, lake, table_of(2), 0, kLimits, {});
    ASSERT_TRUE(result);
    EXPECT_EQ(result->result.outcome, Outcome::different);
    EXPECT_EQ(result->result.differing_rows, 1U);
    EXPECT_EQ(result->result.differences[0].key, std::vector<std::string>{"77"});
    EXPECT_LT(source.most_at_once, 100U);
    FakeSide known(50'000);
    ASSERT_TRUE(compare_table(known, lake, table_of(2), 50'000, kLimits, {}));
    EXPECT_EQ(known.digests, 1);
}

// Each portion is a scan of both sides.
TEST(CompareTable, FewDifferencesInManyGroupsAreNotCountedToTheEnd) {
    const auto compare = [](std::uint64_t rows, std::uint64_t step, FakeSide& source) {
        FakeSide lake(rows, [&](std::uint64_t i) { return i % step == 0; });
        auto result = compare_table(source, lake, table_of(2), rows, kLimits, {});
        EXPECT_EQ(lake.scans, source.scans);
        return result;
    };
    // 1024 groups of 49 rows, about ten in a portion; one row differs in each of 49 groups.
    FakeSide many(50'000);
    const auto result = compare(50'000, 1022, many);
    ASSERT_TRUE(result);
    EXPECT_LT(many.scans, 8);
    EXPECT_FALSE(result->result.has_more);
    EXPECT_EQ(result->result.differing_rows, 49U);
    FakeSide more(200'000);
    const auto bounded = compare(200'000, 1022, more);
    ASSERT_TRUE(bounded);
    EXPECT_EQ(more.scans, 8);
    EXPECT_TRUE(bounded->result.has_more);
    EXPECT_GT(bounded->result.differing_rows, 10U);
    EXPECT_LT(bounded->result.differing_rows, 196U);
    EXPECT_EQ(bounded->result.differences.size(), 10U);
}

// A side that says this and then that is no difference of which nobody can name a row.
TEST(CompareTable, WhatDiffersOnlyAtFirstIsAnError) {
    for (const std::uint64_t estimated : {0U, 50'000U}) {
        FakeSide source(50'000);
        FakeSide lake(50'000);
        lake.is_other_at_first = true;
        const auto result = compare_table(source, lake, table_of(2), estimated, kLimits, {});
        EXPECT_EQ(lake.digests, estimated == 0 ? 2 : 1);
        ASSERT_FALSE(result);
        EXPECT_EQ(result.error().code(), ErrorCode::internal);
    }
}

TEST(CompareTable, ThatItDiffersStaysKnownWhereItsRowsCannotBeRead) {
    for (const int scans_max : {0, 2}) {
        FakeSide source(50'000);
        source.scans_max = scans_max;
        FakeSide lake(50'000, [](std::uint64_t i) { return i % 1022 == 0; });
        const auto found = compare_table(source, lake, table_of(2), 50'000, kLimits, {});
        ASSERT_TRUE(found);
        EXPECT_EQ(found->result.outcome, Outcome::different);
        EXPECT_TRUE(found->result.has_more);
        EXPECT_EQ(found->result.differing_rows > 0, scans_max == 2);
        ASSERT_FALSE(found->named);
        EXPECT_EQ(found->named.error().message(), "no more");
    }
}

// Each print has eight digits of each column.
TEST(CompareTable, TablesOfManyColumnsHaveFewerRowsInMemory) {
    const auto most_at_once = [](std::size_t columns) {
        FakeSide source(3'000);
        FakeSide lake(3'000, [](std::uint64_t) { return true; });
        const auto result = compare_table(source, lake, table_of(columns), 3'000, kLimits, {});
        EXPECT_TRUE(result);
        EXPECT_TRUE(columns == 300 ? result->result.has_more
                                   : result->result.differing_rows == 3'000U);
        EXPECT_EQ(result->result.differences.size(), 10U);
        return source.most_at_once;
    };
    // Of each side the half.
    EXPECT_LE(most_at_once(2), 500U);
    EXPECT_GT(most_at_once(2), 300U);
    EXPECT_LE(most_at_once(300), 100U);
}

}  // namespace
}  // namespace walbrook::verify
