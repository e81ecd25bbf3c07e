#include "cli/comparisons.h"

#include "base/backoff.h"
#include "base/clock.h"
#include "cli/comparison.h"

#include <fmt/format.h>

#include <algorithm>

namespace walbrook {
namespace {

#ifdef WALBROOK_WITH_DUCKLAKE

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kLookInterval{1000};
// After an error, twice as long after each further one.
constexpr seconds kRetryFirst{10};
constexpr seconds kRetryMax{3600};
// While somebody else compares.
constexpr seconds kRetryBusy{60};
// Tables that are being copied are waited for, so that they are compared, too; not for ever.
constexpr std::int64_t kCopiesAwaitedSecs = 3600;
// Named of each table, in the log.
constexpr std::size_t kRowsNamed = 10;
// Beside a pipeline, which has divided what memory there is: little.
constexpr std::uint64_t kMemoryMin = 64ULL << 20;
constexpr std::uint64_t kMemoryMax = 256ULL << 20;
constexpr std::uint64_t kMemoryShare = 8;
constexpr std::uint64_t kRowsInMemory = 50'000;

std::int64_t now_secs() { return unix_time_us() / 1'000'000; }

VerifiedTable verified_table(const verify::TableVerdict& table) {
    return {table.schema,
            table.name,
            std::string(name_of(table.outcome)),
            table.reason,
            table.position,
            table.differing_rows,
            table.has_more,
            table.is_copied_again,
            table.at_secs};
}

void fill(VerifyStatus& status, const verify::History& history) {
    status.began_at_secs = history.began_at_secs;
    status.took_ms = history.took_ms;
    status.position = history.position;
    status.equal = history.count(verify::Outcome::equal);
    status.different = history.count(verify::Outcome::different);
    status.not_compared = history.count(verify::Outcome::not_compared);
    for (const verify::TableVerdict& table : history.tables) {
        if (table.outcome != verify::Outcome::equal) status.tables.push_back(verified_table(table));
    }
}

// What an operator should look at.
void add_problems(const VerifyStatus& status, std::vector<std::string>& problems) {
    for (const VerifiedTable& table : status.tables) {
        if (table.outcome != name_of(verify::Outcome::different)) continue;
        problems.push_back(fmt::format(
            "{}.{} differs from the source in {}{} rows, as compared at {}; {}", table.schema,
            table.name, table.has_more ? "more than " : "", table.differing_rows,
            to_string(table.position),
            table.copied_again
                ? "it is copied again, and the next comparison will tell"
                : "`walbrook verify` names them, `walbrook verify --repair` puts them right"));
    }
    if (status.error.empty()) return;
    problems.push_back(
        "the last comparison that verify.schedule asks for did not end, and is "
        "tried again: " +
        status.error);
}

#endif

}  // namespace

Comparisons::Comparisons(const ProgramConfig& config, verify::Cutter& pipeline, PipelineState state,
                         Logger log)
    : config_(config),
      pipeline_(pipeline),
      state_(std::move(state)),
      log_(std::move(log)),
      schedule_(Schedule::parse(config.verify.schedule)) {}

Comparisons::~Comparisons() { stop(); }

#ifdef WALBROOK_WITH_DUCKLAKE

void Comparisons::start() {
    if (schedule_) thread_ = std::jthread([this] { run(ending_.get_token()); });
}

// The file is read again only when it is another one.
verify::History Comparisons::history() {
    const std::lock_guard lock(mutex_);
    std::error_code absent;
    const auto written =
        std::filesystem::last_write_time(verify::history_path(config_.pipeline.work_dir), absent);
    if (absent) {
        history_ = {};
        read_at_ = {};
    } else if (written != read_at_) {
        history_ = verify::load_history(config_.pipeline.work_dir);
        read_at_ = written;
    }
    return history_;
}

void Comparisons::add_to(StatusReport& report) {
    VerifyStatus& status = report.verify;
    fill(status, history());
    {
        const std::lock_guard lock(mutex_);
        if (schedule_) status.schedule = config_.verify.schedule;
        status.running = is_running_;
        status.next_at_secs = next_at_;
        status.failures = failures_;
        status.error = error_;
    }
    add_problems(status, report.pipeline.problems);
}

// At an interval what was missed is made up for, and the first comes at once. Moments of the
// calendar were chosen for what else is going on then: only those are taken.
std::int64_t Comparisons::due_at(std::int64_t started_at) {
    std::int64_t last = history().whole_at_secs;
    {
        const std::lock_guard lock(mutex_);
        last = std::max(last, whole_at_secs_);
    }
    // The clock may have gone back.
    last = std::min(last, now_secs());
    if (!schedule_->is_interval()) return schedule_->next_after(std::max(last, started_at));
    return last == 0 ? 0 : schedule_->next_after(last);
}

bool Comparisons::is_ready(std::int64_t due) const {
    const std::optional<PipelineStatus> pipeline = state_();
    if (!pipeline || pipeline->state != "streaming") return false;
    const auto copies = copies_of(*pipeline);
    return std::none_of(copies.begin(), copies.end(),
                        [](const auto& one) { return one.second.is_under_way; }) ||
           now_secs() - due >= kCopiesAwaitedSecs;
}

void Comparisons::run(const std::stop_token& stop) {
    const std::int64_t started_at = now_secs();
    std::int64_t not_before = 0;
    do {
        const std::int64_t due = due_at(started_at);
        const std::int64_t next = std::max(due == 0 ? started_at : due, not_before);
        {
            const std::lock_guard lock(mutex_);
            next_at_ = next;
        }
        if (now_secs() < next || !is_ready(next)) continue;
        not_before = now_secs() + compare(due, stop).count();
    } while (sleep_for(kLookInterval, stop));
}

seconds Comparisons::compare(std::int64_t due, const std::stop_token& stop) {
    std::uint64_t memory = kMemoryMax;
    if (const auto pipeline = state_(); pipeline && pipeline->memory_limit_bytes != 0) {
        memory = std::clamp(pipeline->memory_limit_bytes / kMemoryShare, kMemoryMin, kMemoryMax);
    }
    ComparisonOptions how;
    how.tables = config_.verify.tables;
    how.rows_per_second_max = config_.verify.max_rows_per_second;
    how.repair = config_.verify.repair;
    how.memory_bytes_max = memory;
    how.rows_in_memory_max = kRowsInMemory;
    // Goes on with one that was due at the same time, and that a stop or an error ended.
    how.progress_file = "verify.scheduled";
    how.resume = true;
    how.resume_from_secs = due;
    {
        const std::lock_guard lock(mutex_);
        is_running_ = true;
    }
    const std::int64_t began_at = now_secs();
    const auto report = run_comparison(config_, pipeline_, how, log_, stop);
    const std::lock_guard lock(mutex_);
    is_running_ = false;
    if (report) tell(*report);
    if (report && !report->error) {
        whole_at_secs_ = began_at;
        error_.clear();
        failures_in_row_ = 0;
        return seconds(0);
    }
    const Error& error = report ? *report->error : report.error();
    if (stop.stop_requested()) return seconds(0);
    if (error.code() == ErrorCode::conflict) {
        log_.failed(LogLevel::info, "the scheduled comparison waits", error);
        return kRetryBusy;
    }
    const seconds delay = std::min(kRetryMax, kRetryFirst * (1 << std::min(failures_in_row_, 9U)));
    ++failures_in_row_;
    ++failures_;
    error_ = error.message();
    log_.failed(LogLevel::warn, "the scheduled comparison did not end", error,
                {{"next_try_secs", delay.count()}});
    return delay;
}

void Comparisons::tell(const verify::Report& report) const {
    for (const verify::TableResult& table : report.tables) {
        const std::string name = table.schema + "." + table.name;
        if (table.outcome == verify::Outcome::not_compared) {
            log_.info("not compared with the source", {{"table", name}, {"reason", table.reason}});
        }
        if (table.repaired_rows != 0) {
            log_.error("rows differed from the source and were put right",
                       {{"table", name}, {"rows", table.repaired_rows}});
        }
        if (table.outcome != verify::Outcome::different) continue;
        log_.error("a table differs from the source", {{"table", name},
                                                       {"position", table.position},
                                                       {"differing_rows", table.differing_rows},
                                                       {"copied_again", table.is_copied_again},
                                                       {"rows", rows_text(table, kRowsNamed)}});
    }
    if (report.error) return;
    log_.info("compared with the source",
              {{"equal", report.count(verify::Outcome::equal)},
               {"different", report.count(verify::Outcome::different)},
               {"not_compared", report.count(verify::Outcome::not_compared)}});
}

#else

// There is nothing that could be compared.
void Comparisons::start() {}
void Comparisons::add_to(StatusReport&) {}

#endif

}  // namespace walbrook
