// WALBROOK_TEST_SHARED=1: what runs on several versions runs on one of them, the next case on the
// next one, so that each version has its share; but for the suites that ask what the versions
// differ in. WALBROOK_TEST_SHARED=wholly: these, too.

#include "support/run_form.h"
#include "support/sanitized.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace {

// What a publication sends, and what roles may.
constexpr std::array kOnAllVersions =
    std::to_array<std::string_view>({"Pg/Publications", "Pg/SourceRole"});

// What is large, or about the order of things, and shows nothing more under AddressSanitizer.
constexpr std::array kOnPlainBuilds = std::to_array<std::string_view>(
    {"Pg/ManyTables.", "Pg/LargeOnce.", "Pg/Readers.", "Pg/Copy.MigrationsWait"});

bool is_on_plain_builds_only(std::string_view name) {
    return std::any_of(kOnPlainBuilds.begin(), kOnPlainBuilds.end(),
                       [&](std::string_view prefix) { return name.starts_with(prefix); });
}

// "Suite.Case/Pg15:Suite.Case/Pg17:…".
std::string what_others_have() {
    const bool is_second = walbrook::testing::is_shared_wholly();
    std::map<std::string, std::vector<std::string>> versions_of;
    const testing::UnitTest& program = *testing::UnitTest::GetInstance();
    for (int s = 0; s < program.total_test_suite_count(); ++s) {
        const testing::TestSuite& suite = *program.GetTestSuite(s);
        const std::string_view name = suite.name();
        // The versions share its places.
        if (name == "Pg/Failpoints") continue;
        if (!is_second &&
            std::find(kOnAllVersions.begin(), kOnAllVersions.end(), name) != kOnAllVersions.end()) {
            continue;
        }
        for (int c = 0; c < suite.total_test_count(); ++c) {
            const std::string full = std::string(name) + "." + suite.GetTestInfo(c)->name();
            const std::size_t version = full.rfind("/Pg");
            if (version == std::string::npos) continue;
            const std::size_t rest = full.find_first_not_of("0123456789", version + 3);
            versions_of[full.substr(0, version) +
                        (rest == std::string::npos ? "" : full.substr(rest))]
                .push_back(full);
        }
    }
    std::string names;
    std::size_t turn = 0;
    for (const auto& [name, cases] : versions_of) {
        // All but these have run under sanitizers: every fourth one is enough.
        const bool is_thinned = is_second && !is_on_plain_builds_only(name);
        const bool is_left_out = is_thinned && turn % 4 != 0;
        const std::size_t mine = (is_thinned ? turn / 4 : turn) % cases.size();
        ++turn;
        for (std::size_t i = 0; i < cases.size(); ++i) {
            if (is_left_out || i != mine) names += cases[i] + ":";
        }
    }
    return names;
}

}  // namespace

int main(int count, char** arguments) {
    testing::InitGoogleTest(&count, arguments);
    std::string without;
    if (walbrook::testing::is_address_sanitized()) {
        for (const std::string_view prefix : kOnPlainBuilds) without += std::string(prefix) + "*:";
    }
    if (walbrook::testing::is_shared_by_versions()) without += what_others_have();
    if (!without.empty()) {
        const std::string given = GTEST_FLAG_GET(filter);
        GTEST_FLAG_SET(filter,
                       given + (given.find('-') == std::string::npos ? "-" : ":") + without);
    }
    return RUN_ALL_TESTS();
}
