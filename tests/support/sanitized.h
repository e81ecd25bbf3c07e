#pragma once

namespace walbrook::testing {

// Sanitizers make everything several times slower. What only counts repetitions does fewer there;
// the plain build of the same run does them all.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace walbrook::testing
