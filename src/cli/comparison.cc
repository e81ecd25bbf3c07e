#include "cli/comparison.h"

#include "base/clock.h"
#include "verify/history.h"
#include "verify/progress.h"
#include "verify/verify.h"

#include <algorithm>
#include <filesystem>

namespace walbrook {

std::map<TableId, verify::TableCopies> copies_of(const PipelineStatus& status) {
    std::map<TableId, verify::TableCopies> copies;
    for (const TableStatus& table : status.tables) {
        const bool stands =
            table.phase == TablePhase::ready || table.phase == TablePhase::errored || table.paused;
        copies[table.table] = {table.copies, !stands};
    }
    return copies;
}

#ifdef WALBROOK_WITH_DUCKLAKE

namespace {

// Of one table; one in which more differ is copied again.
constexpr std::size_t kRepairedRowsMax = 10'000;

// What was compared before is no news any more, and compared again.
constexpr std::int64_t kResumedSecsMax = 24 * 3600;

// DuckDB's files, which go whatever happens; those of a process that was killed go at the next.
class TempFolder {
 public:
    explicit TempFolder(std::string path) : path_(std::move(path)) { remove(); }
    ~TempFolder() { remove(); }
    TempFolder(const TempFolder&) = delete;
    TempFolder& operator=(const TempFolder&) = delete;
    const std::string& path() const { return path_; }

 private:
    void remove() const {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    const std::string path_;
};

}  // namespace

Result<verify::Report> run_comparison(const ProgramConfig& config, verify::Cutter& pipeline,
                                      const ComparisonOptions& options, const Logger& log,
                                      const std::stop_token& stop) {
    const std::string& work_dir = config.pipeline.work_dir;
    WALBROOK_TRY(const verify::ComparisonLock lock, verify::ComparisonLock::take(work_dir));
    const TempFolder temp(work_dir + "/verify-temp");
    verify::Progress progress(work_dir + "/" + options.progress_file);
    verify::VerifyOptions how;
    how.tables = options.tables;
    how.rows_per_second_max = options.rows_per_second_max;
    how.repair = options.repair;
    how.differences_max = options.repair ? std::max(kRepairedRowsMax, options.differences_max)
                                         : options.differences_max;
    how.memory_bytes_max = options.memory_bytes_max;
    how.rows_in_memory_max = options.rows_in_memory_max;
    how.temp_directory = temp.path();
    if (config.pipeline.max_snapshot_age_secs != 0) {
        how.snapshot_age_max = std::chrono::seconds(config.pipeline.max_snapshot_age_secs);
    }
    verify::History history = verify::load_history(work_dir);
    const std::int64_t began_at = unix_time_us() / 1'000'000;
    if (options.resume) {
        how.done =
            progress.load(std::max(options.resume_from_secs, began_at - kResumedSecsMax), began_at);
        std::erase_if(how.done,
                      [&](const verify::TableResult& done) { return history.has_newer(done); });
    }
    how.on_table = [&](const verify::TableResult& table) { progress.add(table); };
    progress.begin(how.done);
    const Instant began = now();
    auto report = verify::verify(config.pipeline, config.ducklake, pipeline, how, log, stop);
    if (!report) return report;
    const std::int64_t ms =
        std::chrono::duration_cast<std::chrono::milliseconds>(now() - began).count();
    if (report->error) {
        history.add_different(*report, began_at, ms);
    } else {
        progress.end();
        history.add(*report, options.tables,
                    options.tables.empty() || options.tables == config.verify.tables, began_at, ms);
    }
    if (const Status stored = verify::store_history(work_dir, history); !stored) {
        log.failed(LogLevel::warn, "status will not show this comparison", stored.error());
    }
    return report;
}

#endif

}  // namespace walbrook
