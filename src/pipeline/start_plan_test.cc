#include "pipeline/start_plan.h"

#include "walbrook/testing/rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace walbrook {
namespace {

class StartPlanTest : public ::testing::Test {
 protected:
    StartPlanTest() {
        auto schema = std::make_shared<TableSchema>(*testing::TableMaker(1, "t").key("id").make());
        schema->attempt = 3;
        visible_ = std::move(schema);
        look_.published.id = {1};
        look_.published.schema = "public";
        look_.published.name = "t";
        look_.membership = "all";
        look_.look.content = *parse_table_content("1;c1;p;;1:10,;");
        known_.table = {1};
        known_.phase = TablePhase::ready;
        known_.attempt = 3;
        known_.membership = "all";
        known_.content = "1;c1;p;;1:10,;";
    }
    TablePlan plan() const { return plan_table(look_, &known_, visible_, true); }

    TableSchemaPtr visible_;
    CatalogLook::Table look_;
    TableState known_;
};

TEST_F(StartPlanTest, WhatIsReadyGoesOn) {
    const TablePlan planned = plan();
    EXPECT_EQ(planned.state.phase, TablePhase::ready);
    EXPECT_TRUE(planned.visible && !planned.stands_still);
}

TEST_F(StartPlanTest, ACopyThatWasAskedForIsStillDue) {
    known_.phase = TablePhase::queued;
    EXPECT_EQ(plan().state.phase, TablePhase::queued);
    known_.phase = TablePhase::copying;
    known_.attempt = 4;
    EXPECT_EQ(plan().state.phase, TablePhase::queued);
    EXPECT_TRUE(plan().visible && !plan().stands_still);
}

TEST_F(StartPlanTest, APausedTableStandsStill) {
    known_.paused = true;
    EXPECT_TRUE(plan().stands_still);
}

TEST_F(StartPlanTest, RewrittenRowsAreCopiedAgainWhileTheOldOnesGoOn) {
    look_.look.content = *parse_table_content("1;c2;p;;1:11,;");
    EXPECT_EQ(plan().state.phase, TablePhase::queued);
    EXPECT_TRUE(plan().visible && !plan().stands_still);
    EXPECT_EQ(plan().state.content, known_.content);
}

// The stream may be behind the catalog.
TEST_F(StartPlanTest, ALeafThatHasGoneIsItsTablesUntilTheStreamIsThere) {
    known_.content = "1;c1;p;;11:10,12:10,;";
    look_.look.content = *parse_table_content("1;c1;p;;11:10,;");
    const TablePlan planned = plan();
    EXPECT_EQ(planned.state.phase, TablePhase::queued);
    ASSERT_TRUE(planned.visible && !planned.stands_still);
    EXPECT_THAT(planned.visible->partitions_gone, ::testing::Contains(12U));
}

// As above: it may be another one's until then.
TEST_F(StartPlanTest, ALeafThatHasComeWithRowsIsNotYetItsTables) {
    for (const std::uint32_t oid : {11U, 12U}) {
        look_.published.physical.emplace_back().id = {oid};
    }
    known_.content = "1;c1;p;;11:10,;";
    look_.look.content = *parse_table_content("1;c1;p;;11:10,12:10,;");
    const TablePlan planned = plan();
    EXPECT_EQ(planned.state.phase, TablePhase::queued);
    ASSERT_TRUE(planned.visible && !planned.stands_still);
    EXPECT_THAT(planned.visible->partitions, ::testing::ElementsAre(11U));
    EXPECT_THAT(planned.visible->partitions_new, ::testing::ElementsAre(12U));
    // One that was made there came with all of its rows.
    look_.look.born_here = {12};
    EXPECT_THAT(plan().visible->partitions, ::testing::ElementsAre(11U, 12U));
}

// The process died between the publication of a copy and the store's hearing of it: the rows that
// are visible are those that the destination says.
TEST_F(StartPlanTest, RowsOfACopyThatTheStoreHasNotHeardOfAreComparedAsTheDestinationSays) {
    auto schema = std::make_shared<TableSchema>(*visible_);
    schema->content = known_.content;
    visible_ = std::move(schema);
    known_.phase = TablePhase::catching_up;
    for (const char* stored : {"", "1;c0;p;;1:9,;"}) {
        known_.content = stored;
        look_.look.content = *parse_table_content("1;c1;p;;1:10,;");
        EXPECT_EQ(plan().state.phase, TablePhase::ready);
        look_.look.content = *parse_table_content("1;c2;p;;1:11,;");
        EXPECT_EQ(plan().state.phase, TablePhase::queued);
        EXPECT_EQ(plan().state.content, visible_->content);
    }
}

TEST_F(StartPlanTest, AnotherPlaceInThePublicationMayLackChanges) {
    look_.membership = "another";
    EXPECT_TRUE(plan().stands_still && plan().is_late);
}

// The store may have been told of the place by a process whose copy still waited.
TEST_F(StartPlanTest, OnlyWhatIsVisibleShowsThatNothingFromBeforeItsPlaceIsMissing) {
    EXPECT_FALSE(plan().is_late);
    known_.phase = TablePhase::queued;
    EXPECT_FALSE(plan().is_late);
    EXPECT_TRUE(plan_table(look_, &known_, nullptr, false).is_late);
    EXPECT_TRUE(plan_table(look_, nullptr, nullptr, false).is_late);
    auto schema = std::make_shared<TableSchema>(*visible_);
    schema->membership = "all";
    visible_ = schema;
    EXPECT_FALSE(plan_table(look_, nullptr, visible_, true).is_late);
    look_.membership = "another";
    known_.membership = "another";
    known_.paused = true;
    EXPECT_TRUE(plan().is_late);
    known_.paused = false;
    look_.problem = "its leaves contradict each other";
    EXPECT_TRUE(plan().is_late);
}

// The store is new: the copies before have taken their numbers in the destination.
TEST_F(StartPlanTest, ACopyGetsANumberThatTheVisibleOneDoesNotHave) {
    known_ = plan_table(look_, nullptr, visible_, true).state;
    EXPECT_EQ(known_.attempt, 3U);
    known_.phase = TablePhase::copying;
    ++known_.attempt;
    EXPECT_EQ(plan().state.phase, TablePhase::queued);
    known_.attempt = 7;
    EXPECT_EQ(plan().state.attempt, 7U);
}

}  // namespace
}  // namespace walbrook
