#include "destinations/ducklake/compaction.h"

#include <gtest/gtest.h>

namespace walbrook::ducklake {
namespace {

std::vector<DataFile> files_of(std::size_t count, std::int64_t rows, std::int64_t deleted = 0,
                               std::int64_t bytes = 1'000) {
    return std::vector<DataFile>(count, DataFile{"f", rows, deleted, bytes});
}

std::vector<DataFile> operator+(std::vector<DataFile> left, const std::vector<DataFile>& right) {
    left.insert(left.end(), right.begin(), right.end());
    return left;
}

TEST(Compaction, TakesManyFilesOfOneSize) {
    EXPECT_EQ(choose_files({}).size(), 0U);
    EXPECT_EQ(choose_files(files_of(15, 10)).size(), 0U);
    EXPECT_EQ(choose_files(files_of(16, 10)).size(), 16U);
    // Large ones stay out of it, and files of different sizes are not many of one.
    EXPECT_EQ(choose_files(files_of(16, 10) + files_of(30, 1'000'000)).size(), 16U);
    EXPECT_EQ(choose_files(files_of(15, 10) + files_of(15, 5'000) + files_of(15, 40'000)).size(),
              0U);
}

TEST(Compaction, AStepIsSmall) {
    EXPECT_EQ(choose_files(files_of(20, 30'000)).size(), 3U);
    EXPECT_EQ(choose_files(files_of(20, 10, 0, 10 << 20)).size(), 3U);
    // Nothing to win with one file that fills a step alone.
    EXPECT_EQ(choose_files(files_of(16, 90'000)).size(), 0U);
    EXPECT_EQ(choose_files(files_of(20, 1'000'000, 600'000, 40 << 20)).size(), 2U);
}

TEST(Compaction, TakesFilesOfWhichATwentiethIsDeleted) {
    EXPECT_EQ(choose_files(files_of(3, 1'000'000, 49'999)).size(), 0U);
    EXPECT_EQ(choose_files(files_of(3, 1'000'000, 50'000)).size(), 3U);
    // However large one is, it can be written again.
    EXPECT_EQ(choose_files(files_of(3, 100'000'000, 50'000'000, 1LL << 32)).size(), 1U);
    // Those of which all is deleted cost nothing.
    EXPECT_EQ(choose_files(files_of(50, 1'000'000, 1'000'000, 40 << 20)).size(), 50U);
}

}  // namespace
}  // namespace walbrook::ducklake
