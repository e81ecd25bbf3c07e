#pragma once

#include "walbrook/testing/conformance.h"
#include "walbrook/testing/faulty_destination.h"
#include "walbrook/testing/store_conformance.h"

#include <string>
#include <string_view>

namespace walbrook::testing {

// Runs the cases one after the other until one fails, and returns its name; "" if none does. The
// failures are not those of the test that runs.
std::string first_failed_case(const MakeHarness& make);
std::string first_failed_store_case(const MakeStoreHarness& make);

// Runs one case as a part of the test that runs.
void run_conformance_case(std::string_view name, const MakeHarness& make);
// Whether it fails, which is no failure of the test that runs.
bool fails_conformance_case(std::string_view name, const MakeHarness& make);

}  // namespace walbrook::testing
