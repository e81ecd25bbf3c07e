#pragma once

#include <cstdint>

namespace walbrook::internal {

// What became of one value. The decoders of single types return this instead of a
// Status, so that only the column's decoder has to know names and messages.
enum class Fit : std::uint8_t {
    ok,
    malformed,    // Bytes that Postgres does not send for the type.
    unsupported,  // A value of the type that the column's kind cannot hold exactly.
};

}  // namespace walbrook::internal
