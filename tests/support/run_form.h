#pragma once

#include <cstdlib>
#include <string_view>

namespace walbrook::testing {

// `make soak` asks for the long forms of tests that have one: all of it instead of a share, and
// twenty million instead of one.
inline bool is_long_form() { return std::getenv("WALBROOK_TEST_LONG_FORM") != nullptr; }

// What runs on several versions runs on one of them in turn (tools/pg_main.cc).
inline bool is_shared_by_versions() { return std::getenv("WALBROOK_TEST_SHARED") != nullptr; }

// WALBROOK_TEST_SHARED=wholly: without exceptions.
inline bool is_shared_wholly() {
    return is_shared_by_versions() &&
           std::string_view(std::getenv("WALBROOK_TEST_SHARED")) == "wholly";
}

}  // namespace walbrook::testing
