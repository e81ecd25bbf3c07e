// The blackhole keeps nothing, so little can be asked of it; that little it must do.

#include "walbrook/destinations.h"
#include "walbrook/testing/conformance.h"

#include <gtest/gtest.h>

#include <set>

namespace walbrook {
namespace {

struct BlackholeHarness final : testing::DestinationHarness {
    std::unique_ptr<Destination> create() override { return BlackholeDestination::create(); }
    std::optional<std::vector<testing::TextRow>> read(const TableSchema&) override { return {}; }
};

// What says something without readers and without a second life: calls are answered, errors come
// through, the position moves, a stop is heard. That it takes every value is in memory_test.cc.
std::vector<testing::Limit> limits() {
    const std::set<std::string_view> asked = {
        "insert_update_delete",
        "truncate",
        "large_values",
        "parallel_units",
        "unit_is_whole_or_nothing",
        "flushes_beside_a_copy",
        "copies_stop_promptly",
        "flushes_at_the_same_position",
        "flushes_stop_promptly",
        "every_call_stops",
        "names_that_differ_in_case",
    };
    std::vector<testing::Limit> limits;
    for (const testing::ConformanceCase& one : testing::conformance_cases()) {
        if (!asked.contains(one.name))
            limits.push_back({std::string(one.name), "it keeps nothing"});
    }
    return limits;
}

[[maybe_unused]] const bool registered = testing::register_conformance(
    "blackhole", [] { return std::make_unique<BlackholeHarness>(); }, limits());

}  // namespace
}  // namespace walbrook
