// The pages for people who write destinations and stores show examples that are compiled, and
// list the cases that are run.

#include "support/temp_dir.h"
#include "walbrook/testing/conformance.h"
#include "walbrook/testing/store_conformance.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace walbrook::testing {
namespace {

std::string in_tree(const std::string& path) {
    return read_file(std::string(WALBROOK_SOURCE_DIR) + "/" + path);
}

std::string table_of(const std::vector<ConformanceCase>& cases) {
    std::string out = "| case | what it promises |\n|---|---|\n";
    for (const ConformanceCase& one : cases) {
        out += "| `" + std::string(one.name) + "` | " + std::string(one.promise) + " |\n";
    }
    return out;
}

// What is between the two marks is to be `wanted`.
void expect_part(const std::string& page, const std::string& mark, const std::string& wanted) {
    const std::string text = in_tree(page);
    const std::string begin = "<!-- " + mark + " -->\n";
    const std::string end = "<!-- end -->\n";
    const std::size_t from = text.find(begin);
    ASSERT_NE(from, std::string::npos) << page << " has no " << begin;
    const std::size_t to = text.find(end, from);
    ASSERT_NE(to, std::string::npos) << page << " has no " << end;
    const std::string found = text.substr(from + begin.size(), to - from - begin.size());
    if (found == wanted) return;
    const std::string path = ::testing::TempDir() + mark + ".md";
    write_file(path, wanted);
    ADD_FAILURE() << page << " is not current: put what is in " << path << " behind " << begin;
}

std::string code(const std::string& example) { return "```cpp\n" + in_tree(example) + "```\n"; }

TEST(Documents, ShowTheExamplesThatAreCompiled) {
    expect_part("docs/writing-a-destination.md", "example",
                code("examples/destination_conformance.cc"));
    expect_part("docs/writing-a-store.md", "example", code("examples/store_conformance.cc"));
}

TEST(Documents, ListEveryCase) {
    expect_part("docs/writing-a-destination.md", "cases", table_of(conformance_cases()));
    expect_part("docs/writing-a-store.md", "cases", table_of(store_conformance_cases()));
}

}  // namespace
}  // namespace walbrook::testing
