#include "postgres/table_content.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace walbrook {
namespace {

TableContent content() {
    TableContent content;
    content.columns = "c1";
    content.files = {{10, 100}, {11, 110}};
    content.labels = {{50, "7"}, {51, "8"}};
    return content;
}

std::string compared(const TableContent& before, const TableContent& now,
                     bool truncates_are_sent = true, std::set<std::uint32_t> born = {}) {
    return compare_contents(before, {now, "", std::move(born), {}}, truncates_are_sent);
}

TEST(TableContentText, ComesBackAsItWas) {
    EXPECT_EQ(parse_table_content(to_string(content())), content());
    EXPECT_EQ(to_string(TableContent()), "");
    const std::string text = to_string(content());
    for (std::size_t size = 0; size + 1 < text.size(); ++size) {
        const auto parsed = parse_table_content(text.substr(0, size));
        if (parsed) {
            EXPECT_NE(*parsed, content());
        }
    }
    for (const char* bad : {"", "2;a;p;;;", "1;a;pp;;;", "1;;p;;;", "1;a;p;;x:1,;", "1;a;p;;1,;"}) {
        EXPECT_FALSE(parse_table_content(bad)) << bad;
    }
}

TEST(TableContentText, HasGeneratedColumnsWhereThereAreAny) {
    TableContent with = content();
    with.generated = {2, 11};
    EXPECT_EQ(parse_table_content(to_string(with)), with);
    EXPECT_NE(to_string(with), to_string(content()));
    with.labels.clear();
    EXPECT_EQ(parse_table_content(to_string(with)), with);
    EXPECT_FALSE(parse_table_content("1;a;p;;;50:7,;x"));
    EXPECT_FALSE(parse_table_content("1;a;p;;;;70000"));
}

// Where it was written by a program that did not look at places.
TEST(TableContentText, HasPlacesWhereThereAreAny) {
    TableContent with = content();
    with.places = {{10, "735"}, {11, "736.740"}};
    EXPECT_EQ(parse_table_content(to_string(with)), with);
    EXPECT_EQ(to_string(content()), "1;c1;p;;10:100,11:110,;50:7,51:8,");
    EXPECT_EQ(compared(content(), with), "");
    EXPECT_EQ(compared(with, content()), "");
    with.generated = {2};
    EXPECT_EQ(parse_table_content(to_string(with)), with);
    EXPECT_FALSE(parse_table_content("1;a;p;;;;2,;10"));
    TableContent now = with;
    EXPECT_EQ(compared(with, now), "");
    now.places[1].second = "736.741";
    EXPECT_THAT(compared(with, now), ::testing::HasSubstr("left the publication"));
}

TEST(TableContentDifference, AColumnThatIsNotGeneratedAnyMoreHasValuesThatNobodySent) {
    TableContent before = content();
    before.generated = {3};
    TableLook now{content(), "", {}, {1, 2}};
    EXPECT_EQ(compare_contents(before, now, true), "");  // Dropped.
    now.common.insert(3);
    EXPECT_EQ(compare_contents(before, now, true), "a column is not generated any more");
    now.content.generated = {4};  // A new one.
    EXPECT_EQ(compare_contents(content(), now, true), "");
}

TEST(TableContentDifference, FilesAloneAreMaintenanceOrTruncates) {
    TableContent now = content();
    EXPECT_EQ(compared(content(), now), "");
    now.files[0].second = 101;
    EXPECT_EQ(compared(content(), now), "");
    EXPECT_THAT(compared(content(), now, false), ::testing::HasSubstr("truncated"));
    now.columns = "c2";
    EXPECT_THAT(compared(content(), now), ::testing::HasSubstr("rewritten"));
    now.files = content().files;
    EXPECT_EQ(compared(content(), now), "");
}

TEST(TableContentDifference, PartitionsThatComeWithRowsOrGo) {
    TableContent now = content();
    now.files.emplace_back(12, 120);
    EXPECT_THAT(compared(content(), now), ::testing::HasSubstr("attached"));
    EXPECT_EQ(compared(content(), now, true, {12}), "");
    now.files = {{10, 100}};
    EXPECT_THAT(compared(content(), now), ::testing::HasSubstr("detached or dropped"));
}

TEST(TableContentDifference, TypesWhoseValuesReadInAnotherWay) {
    TableContent now = content();
    now.labels.emplace_back(52, "9");  // A new label changes no row.
    EXPECT_EQ(compared(content(), now), "");
    now.labels[0].second = "10";
    EXPECT_THAT(compared(content(), now), ::testing::HasSubstr("renamed"));
    now = content();
    now.persistence = 'u';
    EXPECT_THAT(compared(content(), now), ::testing::HasSubstr("logged"));
    TableContent before = content();
    before.composites = "x";
    now = before;
    now.composites = "y";
    EXPECT_THAT(compared(before, now), ::testing::HasSubstr("composite"));
}

}  // namespace
}  // namespace walbrook
