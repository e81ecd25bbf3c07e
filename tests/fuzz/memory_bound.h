#pragma once

#include "fuzz/fuzz.h"

namespace walbrook::fuzz {

// run(), and the most bytes that it had allocated at once, as far as a sanitizer's allocator
// knows; 0 in builds without one.
std::size_t run_and_count(std::string_view input);

// Whether this build has one.
bool counts_memory();

// What the target may have at once for an input of so many bytes: what it needs for any (buffers
// of one size, one large numeric; the most that was seen is 0.8 MiB), and a multiple of the input.
inline std::size_t memory_bound(std::size_t input_bytes) {
    return (std::size_t{1} << 20) + memory_factor() * input_bytes;
}

}  // namespace walbrook::fuzz
