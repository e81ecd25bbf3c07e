#include "first_failure.h"

#include "store_world.h"
#include "world.h"

#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

namespace walbrook::testing {

namespace {

template <class Run>
bool fails(const Run& run) {
    ::testing::TestPartResultArray results;
    {
        const ::testing::ScopedFakeTestPartResultReporter reporter(
            ::testing::ScopedFakeTestPartResultReporter::INTERCEPT_ALL_THREADS, &results);
        run();
    }
    for (int i = 0; i < results.size(); ++i) {
        if (results.GetTestPartResult(i).failed()) return true;
    }
    return false;
}

}  // namespace

std::string first_failed_case(const MakeHarness& make) {
    for (const CaseEntry& entry : all_cases()) {
        if (fails([&] { run_case(entry, make()); })) return std::string(entry.description.name);
    }
    return "";
}

std::string first_failed_store_case(const MakeStoreHarness& make) {
    for (const StoreCaseEntry& entry : all_store_cases()) {
        if (fails([&] { run_case(entry, make()); })) return std::string(entry.description.name);
    }
    return "";
}

void run_conformance_case(std::string_view name, const MakeHarness& make) {
    for (const CaseEntry& entry : all_cases()) {
        if (entry.description.name == name) run_case(entry, make());
    }
}

bool fails_conformance_case(std::string_view name, const MakeHarness& make) {
    return fails([&] { run_conformance_case(name, make); });
}

}  // namespace walbrook::testing
