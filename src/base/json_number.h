#pragma once

#include <concepts>
#include <cstdint>
#include <stdexcept>
#include <utility>

namespace walbrook {

// `Json` is nlohmann::json or its ordered form.

// Whether the value is a whole number that T holds. nlohmann's get<T>() does not ask: it makes some
// other number of 5000000000 or 1e100.
template <std::integral T, class Json>
bool is_number_of(const Json& in) {
    if (in.is_number_unsigned()) return std::in_range<T>(in.template get<std::uint64_t>());
    return in.is_number_integer() && std::in_range<T>(in.template get<std::int64_t>());
}

// The number. Throws std::out_of_range unless is_number_of().
template <std::integral T, class Json>
T number_of(const Json& in) {
    if (!is_number_of<T>(in)) throw std::out_of_range("a number is none, or out of range");
    return in.template get<T>();
}

}  // namespace walbrook
