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
        ++digests;
        return digest;
    }
    Result<std::vector<RowPrint>> rows(const ComparedTable& table, unsigned groups,
                                       const std::vector<unsigned>& wanted,
                                       const std::stop_token&) override {
        std::vector<RowPrint> prints;
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

    int digests = 0;
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
    EXPECT_EQ(result->outcome, Outcome::equal);
    EXPECT_EQ(result->rows_at_source, 50'000U);
    EXPECT_EQ(source.digests, 1);
    EXPECT_EQ(source.most_at_once, 0U);
}

// What the source knows of a table's size may be of a time when it was empty.
TEST(CompareTable, AnOldEstimateMakesNoLargeGroups) {
    FakeSide source(50'000);
    FakeSide lake(50'000, [](std::uint64_t i) { return i == 77; });
    const auto result = compare_table(source, lake, table_of(2), 0, kLimits, {});
    ASSERT_TRUE(result);
    EXPECT_EQ(result->outcome, Outcome::different);
    EXPECT_EQ(result->differing_rows, 1U);
    EXPECT_EQ(result->differences[0].key, std::vector<std::string>{"77"});
    EXPECT_LT(source.most_at_once, 100U);
    FakeSide known(50'000);
    ASSERT_TRUE(compare_table(known, lake, table_of(2), 50'000, kLimits, {}));
    EXPECT_EQ(known.digests, 1);
}

// Each print has eight digits of each column.
TEST(CompareTable, TablesOfManyColumnsHaveFewerRowsInMemory) {
    const auto most_at_once = [](std::size_t columns) {
        FakeSide source(5'000);
        FakeSide lake(5'000, [](std::uint64_t) { return true; });
        const auto result = compare_table(source, lake, table_of(columns), 5'000, kLimits, {});
        EXPECT_TRUE(result);
        EXPECT_EQ(result->differing_rows, 5'000U);
        EXPECT_EQ(result->differences.size(), 10U);
        return source.most_at_once;
    };
    // Of each side the half.
    EXPECT_LE(most_at_once(2), 500U);
    EXPECT_GT(most_at_once(2), 300U);
    EXPECT_LE(most_at_once(300), 100U);
}

}  // namespace
}  // namespace walbrook::verify
