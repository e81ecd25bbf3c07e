#include "destinations/ducklake/compaction.h"

#include <algorithm>
#include <array>

namespace walbrook::ducklake {

namespace {

// Each row is written again some times for each size.
constexpr auto kSizes = std::to_array<std::int64_t>({4'096, 32'768, 262'144});  // Rows.
// What one step may write.
constexpr std::int64_t kStepRows = 100'000;
constexpr std::int64_t kStepBytes = 32LL << 20;
// Each flush of random keys reads and writes again the deletions of all files that it meets,
// so they are kept few; with less, more is written than is saved.
constexpr double kDeletedShare = 0.05;

double deleted_share(const DataFile& file) {
    return static_cast<double>(file.deleted) /
           static_cast<double>(std::max<std::int64_t>(file.rows, 1));
}

std::vector<DataFile> choose_small(const std::vector<DataFile>& files) {
    std::int64_t rows_min = 0;
    for (const std::int64_t rows_max : kSizes) {
        std::vector<DataFile> chosen;
        std::size_t count = 0;
        std::int64_t rows = 0;
        std::int64_t bytes = 0;
        for (const DataFile& file : files) {
            if (file.rows < rows_min || file.rows >= rows_max) continue;
            ++count;
            if (rows + file.rows > kStepRows || bytes + file.bytes > kStepBytes) continue;
            rows += file.rows;
            bytes += file.bytes;
            chosen.push_back(file);
        }
        rows_min = rows_max;
        if (count >= kFilesOfOneSize && chosen.size() >= 2) return chosen;
    }
    return {};
}

// What is deleted wholly costs nothing to write.
std::vector<DataFile> choose_dead(const std::vector<DataFile>& files) {
    std::vector<DataFile> chosen;
    double bytes = 0;
    for (const DataFile& file : files) {
        if (deleted_share(file) < kDeletedShare) continue;
        const double live = static_cast<double>(file.bytes) * (1 - deleted_share(file));
        if (!chosen.empty() && bytes + live > static_cast<double>(kStepBytes)) continue;
        bytes += live;
        chosen.push_back(file);
    }
    return chosen;
}

}  // namespace

std::vector<DataFile> choose_files(const std::vector<DataFile>& files) {
    std::vector<DataFile> chosen = choose_small(files);
    return chosen.empty() ? choose_dead(files) : chosen;
}

}  // namespace walbrook::ducklake
