#pragma once

#include <utility>

#include "base/check.h"

namespace walbrook {

// An integer conversion that must not change the value.
template <class To, class From>
constexpr To narrow(From from) {
    WALBROOK_CHECK(std::in_range<To>(from));
    return static_cast<To>(from);
}

}  // namespace walbrook
