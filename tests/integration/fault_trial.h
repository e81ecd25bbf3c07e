#pragma once

#include "integration/replica.h"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace walbrook::testing {

// One way of going wrong, tried once or several times, and what came of it: a line in the file
// that WALBROOK_TEST_FAULT_REPORT names, of which scripts/fault_report makes the table of all.
// Without that variable only the expectations count.
//
//     FaultTrial trial("disk of the lake full");
//     …                              // It goes wrong, and then it is over:
//     trial.is_over();               // the disk has room, the process was started again.
//     trial.expect_recovery(replica);
//     …                              // Perhaps again, and again.
//     trial.expect_equal(replica);   // Nothing is lost, nothing doubled, by `walbrook verify`.
class FaultTrial {
 public:
    // `how` is for faults that can be made in several ways; the report says how often each was.
    explicit FaultTrial(std::string fault, std::string_view how = {});
    // A trial whose tables were not found equal counts as one that nothing was proven by.
    ~FaultTrial();
    FaultTrial(const FaultTrial&) = delete;
    FaultTrial& operator=(const FaultTrial&) = delete;

    // It was tried so often; from here on the time to recover is counted. Without a recovery
    // before the next one, or before the end, what was tried was not recovered from.
    void is_over(int times = 1);
    // Waits until the destination holds all that the source has committed by now. The first time
    // after is_over() that is the recovery.
    void expect_recovery(Replica& replica);
    // What waits in another way says when it is there.
    void has_recovered();
    // `walbrook verify` compares all tables row for row, beside the process or, when none runs,
    // with a pipeline of its own. It must find every one of them equal.
    void expect_equal(Replica& replica);
    // The same where verify cannot look: rows, sorted, of a destination in memory.
    void expect_equal(const std::vector<std::string>& at_source,
                      const std::vector<std::string>& in_destination);

 private:
    void report() const;

    const std::string fault_;
    const std::string how_;
    std::optional<std::chrono::steady_clock::time_point> over_since_;
    int tried_ = 0;
    int since_recovery_ = 0;  // Of those.
    int recovered_ = 0;
    std::vector<double> seconds_;  // Of each recovery.
    int verified_ = 0;             // Comparisons by verify that came to their ends,
    int compared_ = 0;             // and of rows in memory.
    std::uint64_t equal_tables_ = 0;
    std::uint64_t lost_ = 0;     // Rows that are missing or have other values.
    std::uint64_t doubled_ = 0;  // Rows that the source does not have, or not so often.
    bool is_equal_ = false;      // By the last comparison.
};

}  // namespace walbrook::testing
