#pragma once

#include "postgres/wait.h"
#include "walbrook/result.h"

#include <chrono>
#include <stdexcept>
#include <utility>

namespace walbrook::testing {

// For what takes moments.
inline Deadline soon() { return within(std::chrono::seconds(60)); }

// Asserts success and gives the value.
template <class T>
T value_of(Result<T> result) {
    if (!result) throw std::runtime_error(result.error().message());
    return *std::move(result);
}

}  // namespace walbrook::testing
