#pragma once

#include "integration/fault_trial.h"
#include "support/database.h"
#include "walbrook/pipeline.h"
#include "walbrook/testing/faulty_destination.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace walbrook::testing {

// A source with two tables, of which one has no key, and what happens to it while a
// pipeline in this process copies and follows it: changes during the copy, so that there
// is something to catch up with, then changes, a key change and a truncate. Run again and
// again, each time with a pipeline, store and destination of its own.
class Scenario {
 public:
    explicit Scenario(Database& source);

    // What is made anew for each run, and again for each start within a run; `folder` is
    // the run's own, laid out as a Replica's.
    struct Parts {
        std::function<std::unique_ptr<Destination>(const std::string& folder)> destination;
        std::function<std::unique_ptr<Store>(const std::string& work_dir)> store;
        // Whether a fault of these parts has struck; none: only that of the destination counts.
        std::function<bool()> has_struck;
        // At lake/ in the folder: `walbrook verify` can compare. A process of it each time costs as
        // much as all the rest, so in the short form it does every third time.
        bool is_lake = false;
        // Rows of a visible table, as table_rows() has them.
        std::function<std::vector<std::string>(const std::string& folder, const std::string& table)>
            rows;
    };
    struct Outcome {
        bool has_struck = false;
        int starts = 0;
        std::string problem;              // Empty: the destination caught up.
        std::vector<std::string> errors;  // Why a start or a pipeline ended.
    };
    // `trial` is told what came of the fault, if it struck, and compares.
    Outcome run(const Parts& parts, const std::optional<Fault>& fault, FaultTrial& trial);

 private:
    struct Running;

    bool start(Running& running);
    void follow(Running& running, const std::function<void()>& change);
    void change_during_copy();
    void change_after_copy();
    void expect_equal(Running& running);

    Database& source_;
    int round_ = 0;
};

}  // namespace walbrook::testing
