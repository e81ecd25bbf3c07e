#include "pipeline/stored_commands.h"

#include "pipeline/table_selection.h"

#include <gmock/gmock.h>

namespace walbrook {
namespace {

using ::testing::HasSubstr;

TableState table(std::string name, TablePhase phase) {
    TableState state;
    state.schema = "public";
    state.name = std::move(name);
    state.phase = phase;
    return state;
}

TEST(NamedTables, AreThoseOfNamesAndPatterns) {
    const std::vector<TableState> all{table("a", TablePhase::ready), table("b", TablePhase::ready),
                                      table("bb", TablePhase::queued)};
    const auto names = [&](const std::vector<std::string>& patterns) {
        std::string out;
        const auto found = named_tables(all, patterns);
        if (!found) return found.error().message();
        for (const TableState& each : *found) out += each.name + " ";
        return out;
    };
    EXPECT_EQ(names({}), "a b bb ");
    EXPECT_EQ(names({"public.b*"}), "b bb ");
    EXPECT_EQ(names({"public.a", "public.*"}), "a b bb ");
    EXPECT_THAT(names({"public.a", "public.c"}), HasSubstr("is called public.c"));
    EXPECT_THAT(names({"other.*"}), HasSubstr("is called other.*"));
}

// Whoever means one table must not name others by it.
TEST(NamedTables, APatternOfOneTableMeansNoOther) {
    const std::vector<TableState> all{table("a*", TablePhase::ready),
                                      table("ab", TablePhase::ready),
                                      table("a[b]\\?", TablePhase::ready)};
    for (const TableState& each : all) {
        const auto found = named_tables(all, {pattern_of(each.schema, each.name)});
        ASSERT_TRUE(found) << found.error().message();
        ASSERT_EQ(found->size(), 1U);
        EXPECT_EQ((*found)[0].name, each.name);
    }
}

TEST(AfterCommand, AResyncIsACopyOfWhateverPhase) {
    for (const TablePhase phase : {TablePhase::queued, TablePhase::copying, TablePhase::catching_up,
                                   TablePhase::ready, TablePhase::errored}) {
        TableState before = table("a", phase);
        before.paused = true;
        before.retries = 3;
        before.next_retry_unix_ms = 7;
        before.remedy = "do something";
        const TableState after = after_command(before, TableCommand::resync);
        EXPECT_EQ(after.phase, TablePhase::queued);
        EXPECT_EQ(after.reason, "a new copy was asked for");
        EXPECT_EQ(after.remedy, "");
        EXPECT_EQ(after.retries, 0U);
        EXPECT_EQ(after.next_retry_unix_ms, 0);
        EXPECT_TRUE(after.paused);
    }
}

TEST(AfterCommand, APauseIsTakenBackWithoutACopy) {
    const TableState ready = table("a", TablePhase::ready);
    const TableState paused = after_command(ready, TableCommand::pause);
    EXPECT_TRUE(paused.paused);
    EXPECT_EQ(paused.phase, TablePhase::ready);
    EXPECT_EQ(after_command(paused, TableCommand::pause), paused);
    EXPECT_EQ(after_command(paused, TableCommand::resume), ready);
    EXPECT_EQ(after_command(ready, TableCommand::resume), ready);
}

TEST(AfterCommand, AResumeCopiesAnErroredTable) {
    TableState errored = table("a", TablePhase::errored);
    errored.reason = "a value did not fit";
    EXPECT_EQ(after_command(errored, TableCommand::resume).phase, TablePhase::queued);
    errored.paused = true;
    const TableState resumed = after_command(errored, TableCommand::resume);
    EXPECT_EQ(resumed.phase, TablePhase::queued);
    EXPECT_FALSE(resumed.paused);
}

}  // namespace
}  // namespace walbrook
