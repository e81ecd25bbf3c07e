#pragma once

#include "pipeline/apply_core.h"
#include "sim/lake.h"
#include "sim/random.h"
#include "walbrook/destinations.h"

#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace walbrook::sim {

struct WriterFaults {
    std::uint64_t unavailable_per_mille = 0;  // Nothing landed; tried again.
    std::uint64_t lost_answer_per_mille = 0;  // Landed or not: the answer did not come.
    std::uint64_t refusal_per_mille = 0;      // One table's changes are refused.
};

// Does what FlushWriter does, a step at a time and without a thread.
class Writer {
 public:
    enum class Step { nothing, landed, done, must_restart };

    Writer(Random& random, Destination& destination, LakeView& lake, Lsn start, Bug bug)
        : random_(random), destination_(destination), lake_(lake), bug_(bug),
          applied_(start) {}

    void submit(std::shared_ptr<Flush> flush, FlushKind kind);
    // Calls of copies come between flushes, in the order in which they were asked for.
    bool is_free() const { return !job_ || job_->has_landed; }
    bool has_job() const { return job_.has_value(); }
    // `landed` comes once for a flush, `done` when it may be acknowledged.
    Step step(const WriterFaults& faults);
    // Of the flush that is done.
    std::vector<std::pair<TableId, Error>> take_refused();
    // Asked about a refusal that nobody planned: true if the table's copy is gone.
    std::function<bool(TableId)> is_copy_gone;

 private:
    struct Job {
        std::shared_ptr<Flush> flush;
        FlushKind kind;
        bool has_landed = false;
        std::vector<std::pair<TableId, Error>> refused;
    };

    Step land();
    Step lose_answer();
    void refuse(TableId table, Error error);
    std::vector<TableId> tables_of(Flush& flush) const;

    Random& random_;
    Destination& destination_;
    LakeView& lake_;
    const Bug bug_;
    Lsn applied_;
    std::optional<Job> job_;
};

}  // namespace walbrook::sim
