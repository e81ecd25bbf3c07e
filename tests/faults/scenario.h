#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "support/database.h"
#include "support/temp_dir.h"
#include "walbrook/pipeline.h"
#include "walbrook/testing/faulty_destination.h"

namespace walbrook::testing {

// A source with two tables, of which one has no key, and what happens to it while a
// pipeline in this process copies and follows it: changes during the copy, so that there
// is something to catch up with, then changes, a key change and a truncate. Run again and
// again, each time with a pipeline, store and destination of its own.
class Scenario {
 public:
    explicit Scenario(Database& source);

    // What is made anew for each run, and again for each start within a run; `folder` is
    // the run's own.
    struct Parts {
        std::function<std::unique_ptr<Destination>(const std::string& folder)> destination;
        std::function<std::unique_ptr<Store>(const std::string& folder)> store;
        // Rows of a visible table, as table_rows() has them.
        std::function<std::vector<std::string>(const std::string& folder,
                                               const std::string& table)>
            rows;
    };
    struct Outcome {
        bool has_struck = false;
        int starts = 0;
        std::string problem;  // Empty: the destination equals the source.
        std::vector<std::string> errors;  // Why a start or a pipeline ended.
    };
    Outcome run(const Parts& parts, const std::optional<Fault>& fault);

 private:
    struct Running;

    bool start(Running& running);
    void follow(Running& running, const std::function<void()>& change);
    void change_during_copy();
    void change_after_copy();
    std::string difference_of(const Running& running);

    Database& source_;
    int round_ = 0;
};

}  // namespace walbrook::testing
