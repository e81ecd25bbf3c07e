#include "verify/progress.h"

#include "base/private_files.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <sys/file.h>
#include <unistd.h>
#include <utility>

namespace walbrook::verify {

Result<ComparisonLock> ComparisonLock::take(const std::string& work_dir) {
    const std::string path = work_dir + "/verify.lock";
    const int file = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0) {
        return Error(ErrorCode::permission, fmt::format("open {}: {}", path, std::strerror(errno)));
    }
    // Ends with the process, however that ends.
    if (flock(file, LOCK_EX | LOCK_NB) == 0) return ComparisonLock(file);
    close(file);
    return Error(ErrorCode::conflict,
                 "another comparison of source and destination is under way in this "
                 "pipeline.work_dir; try again when it has ended");
}

ComparisonLock::~ComparisonLock() {
    if (file_ >= 0) close(file_);
}

ComparisonLock::ComparisonLock(ComparisonLock&& other) noexcept
    : file_(std::exchange(other.file_, -1)) {}

std::vector<TableResult> Progress::load(std::int64_t from_secs, std::int64_t to_secs) const {
    std::vector<TableResult> tables;
    std::ifstream in(path_);
    for (std::string line; std::getline(in, line);) {
        // The last line may be half a one. Those of another version are compared again.
        auto table = table_result_from_json(line);
        if (!table) continue;
        // What a repair, or a later look, made of it stands further behind.
        std::erase_if(tables,
                      [&](const TableResult& before) { return before.table == table->table; });
        const bool is_in_time = table->at_secs >= from_secs && table->at_secs <= to_secs;
        if (is_in_time && table->outcome != Outcome::not_compared) {
            tables.push_back(*std::move(table));
        }
    }
    return tables;
}

void Progress::begin(const std::vector<TableResult>& done) {
    make_private_file(path_).ignore();  // It names keys of rows. Without it nothing is lost.
    out_.open(path_, std::ios::trunc);
    for (const TableResult& table : done) add(table);
}

void Progress::add(const TableResult& table) { out_ << to_json(table) << std::flush; }

void Progress::end() {
    out_.close();
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
}

}  // namespace walbrook::verify
