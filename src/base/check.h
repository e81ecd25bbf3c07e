#pragma once

namespace walbrook::internal {

// Prints the failed condition and aborts. In release builds too: a wrong position
// that goes on is worse than a process that ends and is started again.
[[noreturn]] void check_failed(const char* condition, const char* file, int line);

}  // namespace walbrook::internal

// For our own mistakes only; no input may trigger it.
#define WALBROOK_CHECK(condition)                                                    \
    do {                                                                             \
        if (!(condition)) [[unlikely]]                                               \
            ::walbrook::internal::check_failed(#condition, __FILE__, __LINE__);      \
    } while (false)
