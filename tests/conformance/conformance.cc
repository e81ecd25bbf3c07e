#include "walbrook/testing/conformance.h"

#include "world.h"

namespace walbrook::testing {
namespace {

std::vector<CaseEntry> all_cases() {
    std::vector<CaseEntry> all;
    for (const auto list : {copy_cases(), change_cases(), value_cases(), table_cases(),
                            schema_cases(), random_schema_cases(), position_cases()}) {
        all.insert(all.end(), list.begin(), list.end());
    }
    return all;
}

class CaseTest final : public ::testing::Test {
 public:
    CaseTest(CaseEntry entry, MakeHarness make) : entry_(entry), make_(std::move(make)) {}

    void TestBody() override {
        std::unique_ptr<DestinationHarness> harness = make_();
        for (const Limit& limit : harness->limits()) {
            if (limit.conformance_case == entry_.description.name) {
                GTEST_SKIP() << "declared limit: " << limit.reason;
            }
        }
        World world(std::move(harness));
        if (!HasFailure()) entry_.run(world);
    }

 private:
    CaseEntry entry_;
    MakeHarness make_;
};

// A limit that names no case would be a limit of nothing.
class LimitsTest final : public ::testing::Test {
 public:
    explicit LimitsTest(MakeHarness make) : make_(std::move(make)) {}

    void TestBody() override {
        for (const Limit& limit : make_()->limits()) {
            bool is_case = false;
            for (const ConformanceCase& known : conformance_cases()) {
                is_case = is_case || known.name == limit.conformance_case;
            }
            EXPECT_TRUE(is_case) << "no case " << limit.conformance_case;
            EXPECT_FALSE(limit.reason.empty()) << limit.conformance_case;
        }
    }

 private:
    MakeHarness make_;
};

}  // namespace

std::vector<ConformanceCase> conformance_cases() {
    std::vector<ConformanceCase> out;
    for (const CaseEntry& entry : all_cases()) out.push_back(entry.description);
    return out;
}

bool register_conformance(const std::string& name, const MakeHarness& make) {
    const auto add = [&](std::string_view test, auto factory) {
        ::testing::RegisterTest("conformance", (name + "/" + std::string(test)).c_str(), nullptr,
                                nullptr, __FILE__, __LINE__, std::move(factory));
    };
    for (const CaseEntry& entry : all_cases()) {
        add(entry.description.name,
            [entry, make]() -> ::testing::Test* { return new CaseTest(entry, make); });
    }
    add("declared_limits", [make]() -> ::testing::Test* { return new LimitsTest(make); });
    return true;
}

}  // namespace walbrook::testing
