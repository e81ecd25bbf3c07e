#pragma once

#include <cstdlib>

namespace walbrook::testing {

// Sanitizers make everything several times slower. What only counts repetitions does fewer there;
// the plain build of the same run does them all.
inline bool is_address_sanitized() {
#ifdef __SANITIZE_ADDRESS__
    return true;
#else
    // The program that this one starts (walbrook_driver_test).
    return std::getenv("WALBROOK_TEST_SANITIZED") != nullptr;
#endif
}

inline bool is_sanitized() {
#ifdef __SANITIZE_THREAD__
    return true;
#else
    return is_address_sanitized();
#endif
}

}  // namespace walbrook::testing
