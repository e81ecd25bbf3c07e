#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace walbrook::internal {

// An integer in network byte order, as every number of the Postgres protocol is.
// `from` need not be aligned; sizeof(T) bytes must be there.
template <class T>
inline T load_big_endian(const void* from) {
    static_assert(std::is_integral_v<T>);
    std::make_unsigned_t<T> value;
    std::memcpy(&value, from, sizeof value);
    if constexpr (std::endian::native == std::endian::little) {
        if constexpr (sizeof(T) == 2) value = __builtin_bswap16(value);
        if constexpr (sizeof(T) == 4) value = __builtin_bswap32(value);
        if constexpr (sizeof(T) == 8) value = __builtin_bswap64(value);
    }
    return static_cast<T>(value);
}

}  // namespace walbrook::internal
