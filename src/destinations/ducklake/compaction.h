#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace walbrook::ducklake {

// A Parquet file that the newest snapshot of a table reads.
struct DataFile {
    std::string path;  // As `filename` shows it.
    std::int64_t rows = 0;
    std::int64_t deleted = 0;  // Of `rows`.
    std::int64_t bytes = 0;
};

// A table is worth looking at when so many files came, or so many rows were deleted.
inline constexpr std::size_t kFilesOfOneSize = 16;
inline constexpr std::size_t kDeletedRowsMax = 5'000;

// The files to write again as one, in the order of `files`: many of about one size, as in a
// log-structured merge tree, or else those of which a twentieth is deleted. Few enough that it
// takes about a second, unless a single file is larger than that. Empty: nothing to do.
std::vector<DataFile> choose_files(const std::vector<DataFile>& files);

}  // namespace walbrook::ducklake
