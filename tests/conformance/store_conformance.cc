#include "walbrook/testing/store_conformance.h"

#include "register.h"
#include "store_world.h"

namespace walbrook::testing {

std::vector<StoreCaseEntry> all_store_cases() {
    std::vector<StoreCaseEntry> all;
    for (const auto list : {store_record_cases(), store_life_cases()}) {
        all.insert(all.end(), list.begin(), list.end());
    }
    return all;
}

void run_case(const StoreCaseEntry& entry, std::unique_ptr<StoreHarness> harness) {
    StoreWorld world(std::move(harness));
    if (!::testing::Test::HasFailure()) entry.run(world);
}

std::vector<ConformanceCase> store_conformance_cases() {
    std::vector<ConformanceCase> out;
    for (const StoreCaseEntry& entry : all_store_cases()) out.push_back(entry.description);
    return out;
}

bool register_store_conformance(const std::string& name, const MakeStoreHarness& make,
                                const std::vector<Limit>& limits) {
    const Suite suite("store_conformance", name, limits);
    for (const StoreCaseEntry& entry : all_store_cases()) {
        suite.add_case(entry.description, make,
                       [entry](auto harness) { run_case(entry, std::move(harness)); });
    }
    suite.add_limits_check(store_conformance_cases());
    return true;
}

}  // namespace walbrook::testing
