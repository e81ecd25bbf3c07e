#pragma once

// What every store must do, as tests. A store passes by building one file and linking
// walbrook_testing and gtest_main:
//
//     class MyHarness : public walbrook::testing::StoreHarness { … };
//
//     const bool registered = walbrook::testing::register_store_conformance(
//         "mine", [] { return std::make_unique<MyHarness>(); });
//
// Each case becomes the test store_conformance.mine/<case> and gets a harness of its own.

#include "walbrook/store.h"
#include "walbrook/testing/conformance.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace walbrook::testing {

// One place for records, empty at first, with stores that come and go over it.
class StoreHarness {
 public:
    virtual ~StoreHarness() = default;

    // A store over the place, not opened. Called again after the last one was destroyed, for
    // several at the same time, and in a fork of this process, which is then killed and this
    // harness's copy with it.
    virtual std::unique_ptr<Store> create() = 0;
    // False where everything is gone with the object; the cases that open again are its limits.
    virtual bool keeps_records() const { return true; }

    // For two cases that need a hand. False: it cannot be done here, so the case fails; declare
    // it as a limit.
    //   a_newer_format_is_refused: makes the place look as a newer program left it.
    virtual bool write_newer_format() { return false; }
    //   a_failed_save_changes_nothing: lets every write of this table's state fail from now on;
    //   writes of others must go through again once create() is called.
    virtual bool refuse_table(TableId) { return false; }
};

using MakeStoreHarness = std::function<std::unique_ptr<StoreHarness>()>;

// As register_conformance() for destinations.
bool register_store_conformance(const std::string& name, const MakeStoreHarness& make,
                                const std::vector<Limit>& limits = {});

std::vector<ConformanceCase> store_conformance_cases();

}  // namespace walbrook::testing
