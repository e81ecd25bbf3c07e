// The destination of the examples against the suite.

#include "journal_harness.h"

namespace walbrook::testing {
namespace {

[[maybe_unused]] const bool registered = register_conformance(
    "journal", [] { return std::make_unique<JournalHarness>(); }, JournalHarness::limits());

}  // namespace
}  // namespace walbrook::testing
