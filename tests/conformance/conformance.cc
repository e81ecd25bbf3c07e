#include "walbrook/testing/conformance.h"

#include "register.h"
#include "world.h"

namespace walbrook::testing {

std::vector<CaseEntry> all_cases() {
    std::vector<CaseEntry> all;
    for (const auto list :
         {copy_cases(), change_cases(), value_cases(), table_cases(), schema_cases(),
          random_schema_cases(), position_cases(), failure_cases()}) {
        all.insert(all.end(), list.begin(), list.end());
    }
    return all;
}

void run_case(const CaseEntry& entry, std::unique_ptr<DestinationHarness> harness) {
    World world(std::move(harness));
    if (!::testing::Test::HasFailure()) entry.run(world);
}

std::vector<ConformanceCase> conformance_cases() {
    std::vector<ConformanceCase> out;
    for (const CaseEntry& entry : all_cases()) out.push_back(entry.description);
    return out;
}

bool register_conformance(const std::string& name, const MakeHarness& make,
                          const std::vector<Limit>& limits) {
    const Suite suite("conformance", name, limits);
    for (const CaseEntry& entry : all_cases()) {
        suite.add_case(entry.description, make,
                       [entry](auto harness) { run_case(entry, std::move(harness)); });
    }
    suite.add_limits_check(conformance_cases());
    return true;
}

}  // namespace walbrook::testing
