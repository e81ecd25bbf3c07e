#pragma once

#include "walbrook/testing/conformance.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace walbrook::testing {

// Turns cases into tests of gtest: SUITE.NAME/CASE.
class Suite {
 public:
    Suite(std::string suite, std::string name, std::vector<Limit> limits)
        : suite_(std::move(suite)), name_(std::move(name)), limits_(std::move(limits)) {}

    // `run` gets a harness of its own. A case that is a limit is left out.
    template <class MakeHarness, class Run>
    void add_case(const ConformanceCase& what, const MakeHarness& make, const Run& run) const {
        for (const Limit& limit : limits_) {
            if (limit.conformance_case == what.name) return;
        }
        add(what.name, [make, run] { run(make()); });
    }

    // A limit that names no case would be a limit of nothing.
    void add_limits_check(std::vector<ConformanceCase> known) const {
        add("declared_limits", [limits = limits_, known = std::move(known)] {
            for (const Limit& limit : limits) {
                bool is_case = false;
                for (const ConformanceCase& one : known) {
                    is_case = is_case || one.name == limit.conformance_case;
                }
                EXPECT_TRUE(is_case) << "no case " << limit.conformance_case;
                EXPECT_FALSE(limit.reason.empty()) << limit.conformance_case;
            }
        });
    }

 private:
    class Body final : public ::testing::Test {
     public:
        explicit Body(std::function<void()> run) : run_(std::move(run)) {}
        void TestBody() override { run_(); }

     private:
        std::function<void()> run_;
    };

    void add(std::string_view test, std::function<void()> run) const {
        ::testing::RegisterTest(
            suite_.c_str(), (name_ + "/" + std::string(test)).c_str(), nullptr, nullptr, __FILE__,
            __LINE__, [run = std::move(run)]() -> ::testing::Test* { return new Body(run); });
    }

    std::string suite_;
    std::string name_;
    std::vector<Limit> limits_;
};

}  // namespace walbrook::testing
