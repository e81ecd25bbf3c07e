#include "integration/fault_trial.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <iterator>
#include <stdexcept>
#include <unistd.h>
#include <utility>

namespace walbrook::testing {
namespace {

using nlohmann::json;
using std::chrono::steady_clock;

struct Counts {
    std::uint64_t equal_tables = 0;
    std::uint64_t lost = 0;
    std::uint64_t doubled = 0;
};

// Throws when the report is not one of verify, or says that a table was not compared.
Counts counts_of(const json& report) {
    Counts counts;
    if (report.contains("error")) throw std::runtime_error("it did not come to its end");
    for (const json& table : report.at("tables")) {
        const std::string outcome = table.at("outcome");
        if (outcome == "equal") {
            ++counts.equal_tables;
            continue;
        }
        if (outcome != "different") throw std::runtime_error("a table was not compared");
        for (const json& one : table.at("differences")) {
            const auto here = one.at("at_source").get<std::uint64_t>();
            const auto there = one.at("in_destination").get<std::uint64_t>();
            if (one.at("kind") == "changed") {
                ++counts.lost;
            } else if (here > there) {
                counts.lost += here - there;
            } else {
                counts.doubled += there - here;
            }
        }
        // More than it lists: all that is sure is that they differ.
        const auto all = table.at("differing_rows").get<std::uint64_t>();
        const std::size_t listed = table.at("differences").size();
        if (all > listed) counts.lost += all - listed;
    }
    return counts;
}

}  // namespace

FaultTrial::FaultTrial(std::string fault, std::string_view how)
    : fault_(std::move(fault)), how_(how) {}

FaultTrial::~FaultTrial() {
    try {
        report();
    } catch (const std::exception& problem) {
        ADD_FAILURE() << "write the report of " << fault_ << ": " << problem.what();
    }
}

void FaultTrial::is_over(int times) {
    tried_ += times;
    since_recovery_ = times;
    over_since_ = steady_clock::now();
}

void FaultTrial::expect_recovery(Replica& replica) {
    const bool is_there = replica.catches_up(std::chrono::minutes(5)) && replica.is_running();
    EXPECT_TRUE(is_there) << "no recovery from: " << fault_;
    if (is_there) has_recovered();
}

void FaultTrial::has_recovered() {
    if (!over_since_) return;
    recovered_ += std::exchange(since_recovery_, 0);
    seconds_.push_back(
        std::chrono::duration<double>(steady_clock::now() - *std::exchange(over_since_, {}))
            .count());
}

void FaultTrial::expect_equal(Replica& replica) {
    is_equal_ = false;
    const Finished ran = replica.run({"verify", "--json", "--max-differences", "10000"});
    // The report is printed in lines, the log is not.
    const std::size_t begin = std::min(ran.output.find("{\n"), ran.output.size());
    const json report = json::parse(ran.output.substr(begin), nullptr, false);
    try {
        const Counts found = counts_of(report);
        ++verified_;
        equal_tables_ += found.equal_tables;
        lost_ += found.lost;
        doubled_ += found.doubled;
        is_equal_ = ran.exit.code == 0 && found.equal_tables != 0;
    } catch (const std::exception& problem) {
        ADD_FAILURE() << "verify gave no comparison: " << problem.what();
    }
    EXPECT_TRUE(is_equal_) << "after " << fault_ << " verify ended with " << ran.exit.code << ":\n"
                           << ran.output;
}

void FaultTrial::expect_equal(const std::vector<std::string>& at_source,
                              const std::vector<std::string>& in_destination) {
    std::vector<std::string> lost;
    std::vector<std::string> doubled;
    std::set_difference(at_source.begin(), at_source.end(), in_destination.begin(),
                        in_destination.end(), std::back_inserter(lost));
    std::set_difference(in_destination.begin(), in_destination.end(), at_source.begin(),
                        at_source.end(), std::back_inserter(doubled));
    ++compared_;
    lost_ += lost.size();
    doubled_ += doubled.size();
    is_equal_ = lost.empty() && doubled.empty();
    equal_tables_ += is_equal_ ? 1 : 0;
    EXPECT_TRUE(is_equal_) << "after " << fault_ << ": " << difference(at_source, in_destination);
}

void FaultTrial::report() const {
    const char* const path = std::getenv("WALBROOK_TEST_FAULT_REPORT");
    if (path == nullptr) return;
    const auto* const test = ::testing::UnitTest::GetInstance()->current_test_info();
    const std::string line =
        json({{"fault", fault_},
              {"how", how_},
              {"test",
               test == nullptr ? "" : fmt::format("{}.{}", test->test_suite_name(), test->name())},
              // A test that ended before it was over has tried it all the same.
              {"tried", std::max(tried_, 1)},
              {"recovered", recovered_},
              {"seconds", seconds_},
              {"verified", verified_},
              {"compared", compared_},
              {"equal_tables", equal_tables_},
              {"is_equal", is_equal_},
              {"lost", lost_},
              {"doubled", doubled_}})
            .dump() +
        "\n";
    // In one write: programs of several shards append to it.
    const int file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    const bool is_written =
        file >= 0 && write(file, line.data(), line.size()) == static_cast<ssize_t>(line.size());
    const std::string reason = std::strerror(errno);
    if (file >= 0) close(file);
    if (!is_written) throw std::runtime_error(fmt::format("append to {}: {}", path, reason));
}

}  // namespace walbrook::testing
