#pragma once

#include <cstdlib>

namespace walbrook::testing {

// Sanitizers make everything several times slower. What only counts repetitions does fewer there;
// the plain build of the same run does them all.
inline bool is_sanitized() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return true;
#else
    // The program that this one starts (walbrook_driver_test).
    return std::getenv("WALBROOK_TEST_SANITIZED") != nullptr;
#endif
}

}  // namespace walbrook::testing
