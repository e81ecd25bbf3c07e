#include "pipeline/table_registry.h"

#include "pipeline/stopped_tables.h"
#include "walbrook/stores.h"
#include "walbrook/testing/faulty_store.h"

#include <gtest/gtest.h>

#include <chrono>

namespace walbrook {
namespace {

using std::chrono::milliseconds;

class TableRegistryTest : public ::testing::Test {
 protected:
    TableRegistryTest() : store_(make_memory_store()), gate_(*store_) {
        EXPECT_TRUE(store_->open({1, "memory"}));
    }
    static TableState state(std::uint32_t oid, TablePhase phase = TablePhase::queued) {
        TableState state;
        state.table = {oid};
        state.schema = "public";
        state.name = "t" + std::to_string(oid);
        state.phase = phase;
        return state;
    }
    TableState stored(std::uint32_t oid) {
        const auto tables = store_->load_tables();
        EXPECT_TRUE(tables);
        for (const TableState& each : *tables) {
            if (each.table.oid == oid) return each;
        }
        ADD_FAILURE() << "table " << oid << " is not stored";
        return {};
    }

    std::unique_ptr<Store> store_;
    StoreGate gate_;
};

TEST_F(TableRegistryTest, EveryMoveIsStoredBeforeItIsSeen) {
    TableRegistry tables(gate_, {});
    ASSERT_TRUE(tables.begin_with({state(1)}));
    ASSERT_TRUE(tables.move({1}, PhaseEvent::copy_started));
    EXPECT_EQ(stored(1).phase, TablePhase::copying);
    EXPECT_EQ(stored(1).attempt, 1U);
    ASSERT_TRUE(tables.move({1}, PhaseEvent::copy_finished));
    ASSERT_TRUE(tables.move({1}, PhaseEvent::published));
    EXPECT_EQ(stored(1), tables.get({1}));
    EXPECT_EQ(tables.get({1}).phase, TablePhase::ready);
    EXPECT_TRUE(tables.is_settled());
}

// People ask for a table by what it is called now, also when nobody runs.
TEST_F(TableRegistryTest, ANewNameIsStored) {
    TableRegistry tables(gate_, {});
    ASSERT_TRUE(tables.begin_with({state(1)}));
    ASSERT_TRUE(tables.rename({1}, "archive", "old"));
    EXPECT_EQ(tables.get({1}).schema, "archive");
    EXPECT_EQ(tables.get({1}).name, "old");
    EXPECT_EQ(stored(1), tables.get({1}));
}

// A queued table has the number of the copy that is visible, or was given up: none is under way.
TEST_F(TableRegistryTest, OnlyACopyThatIsUnderWayHasContent) {
    TableRegistry tables(gate_, {});
    ASSERT_TRUE(tables.begin_with({state(1)}));
    EXPECT_EQ(tables.contents({1}).attempt_in_copy, 0U);
    ASSERT_TRUE(tables.move({1}, PhaseEvent::copy_started));
    tables.set_copy_content({1}, "of the copy");
    ASSERT_TRUE(tables.move({1}, PhaseEvent::copy_finished));
    EXPECT_EQ(tables.contents({1}).attempt_in_copy, 1U);
    EXPECT_EQ(tables.contents({1}).copy, "of the copy");
    ASSERT_TRUE(tables.move({1}, PhaseEvent::published));
    EXPECT_EQ(tables.contents({1}).attempt_in_copy, 0U);
    EXPECT_EQ(tables.contents({1}).visible, "of the copy");
    EXPECT_EQ(tables.contents({1}).attempt_visible, 1U);
    ASSERT_TRUE(tables.request_copy({1}, "its rows were rewritten"));
    EXPECT_EQ(tables.contents({1}).attempt_in_copy, 0U);
    // The next has none before it is read.
    ASSERT_TRUE(tables.move({1}, PhaseEvent::copy_started));
    EXPECT_EQ(tables.contents({1}).attempt_in_copy, 2U);
    EXPECT_EQ(tables.contents({1}).copy, "");
}

// A flush that was under way when the table stopped is refused besides: why it stopped, and
// whether it is tried again, is settled.
TEST_F(TableRegistryTest, ATableThatIsErroredKeepsItsReason) {
    TableRegistry tables(gate_, {});
    ASSERT_TRUE(tables.begin_with({state(1, TablePhase::ready)}));
    CopyEvents copies;
    const auto stop = [&](ErrorCode code, const char* why, std::uint64_t position) {
        const auto settled = settle_stopped({TableId{1}, false, Lsn{position}, Error(code, why)},
                                            SchemaChangePolicy::stop, copies, tables);
        return settled && *settled;
    };
    ASSERT_TRUE(stop(ErrorCode::schema_mismatch, "a column came", 2000));
    const TableState before = tables.get({1});
    EXPECT_EQ(before.next_retry_unix_ms, 0);
    ASSERT_TRUE(stop(ErrorCode::unsupported_value, "a value", 1000));
    TableState expected = before;
    expected.position = Lsn{1000};
    EXPECT_EQ(tables.get({1}), expected);
}

// A resync that waits, and a copy that has failed, leave what is visible followed: whoever follows
// it is told in every phase, and what it answers changes nothing that an operator is to read.
TEST_F(TableRegistryTest, WhoeverFollowsATableIsToldOfItsNewPlaceInEveryPhase) {
    TableRegistry tables(gate_, {std::chrono::hours(1), 1});
    ASSERT_TRUE(tables.begin_with(
        {state(1), state(2, TablePhase::ready), state(3, TablePhase::ready), state(4)}));
    const Error broken(ErrorCode::malformed, "no");
    ASSERT_TRUE(tables.fail({2}, broken, Lsn{}));
    ASSERT_TRUE(tables.set_paused({4}, true));
    const std::string why = "its place has changed";
    for (const std::uint32_t oid : {1U, 2U, 3U, 4U}) {
        SCOPED_TRACE(oid);
        EXPECT_TRUE(tables.rejoin({oid}, "second", why));
        const TableState before = tables.get({oid});
        CopyEvents copies;
        ASSERT_TRUE(settle_stopped({TableId{oid}, true, Lsn{1000}, Error(ErrorCode::aborted, why)},
                                   SchemaChangePolicy::stop, copies, tables));
        const TableState now = tables.get({oid});
        if (before.phase == TablePhase::queued) {
            EXPECT_EQ(now, before);
        }
        EXPECT_EQ(now.phase, TablePhase::queued);
        EXPECT_EQ(now.reason, why);
        EXPECT_EQ(now.remedy, "");
        EXPECT_EQ(now.next_retry_unix_ms, 0);
        EXPECT_EQ(now.retries, oid == 2 ? 1U : 0U);
        EXPECT_EQ(now.paused, oid == 4);
    }
}

// An operator who asks for a new copy while the one before is on its way, or while its rows turn
// out to be wrong, has asked for the remedy.
TEST_F(TableRegistryTest, WhatStopsAnOlderCopyIsNoErrorOfTheOneUnderWay) {
    TableRegistry tables(gate_, {});
    TableState copied = state(1);
    copied.attempt = 1;
    ASSERT_TRUE(tables.begin_with({copied}));
    ASSERT_TRUE(tables.move({1}, PhaseEvent::copy_started));
    const auto told_of = [&](std::uint32_t attempt) {
        CopyEvents copies;
        copies.open({1});
        const Error why(ErrorCode::schema_mismatch, "it is not there");
        EXPECT_TRUE(settle_stopped({TableId{1}, false, Lsn{}, why, attempt},
                                   SchemaChangePolicy::stop, copies, tables));
        return copies.lost({1})->code();
    };
    EXPECT_EQ(told_of(1), ErrorCode::aborted);
    EXPECT_EQ(told_of(2), ErrorCode::schema_mismatch);
}

TEST_F(TableRegistryTest, APauseHidesNoError) {
    TableRegistry tables(gate_, {});
    ASSERT_TRUE(tables.begin_with({state(1, TablePhase::ready), state(2, TablePhase::ready)}));
    ASSERT_TRUE(tables.fail({1}, Error(ErrorCode::unsupported_value, "no such date"), Lsn{1000}));
    const std::string why = tables.get({1}).reason;
    ASSERT_TRUE(tables.set_paused({1}, true));
    EXPECT_EQ(tables.get({1}).reason, why);
    ASSERT_TRUE(tables.set_paused({2}, true));
    EXPECT_EQ(tables.get({2}).reason, "paused by the operator");
    ASSERT_TRUE(tables.set_paused({1}, false));
    EXPECT_EQ(tables.get({1}).reason, why);
}

TEST_F(TableRegistryTest, AttemptsGrowWithEveryCopy) {
    TableRegistry tables(gate_, {});
    ASSERT_TRUE(tables.begin_with({state(1)}));
    for (std::uint32_t attempt = 1; attempt < 4; ++attempt) {
        ASSERT_TRUE(tables.move({1}, PhaseEvent::copy_started));
        EXPECT_EQ(stored(1).attempt, attempt);
        ASSERT_TRUE(tables.move({1}, PhaseEvent::copy_again, "its ground moved"));
        EXPECT_EQ(stored(1).reason, "its ground moved");
    }
}

TEST_F(TableRegistryTest, AFailedTableIsTriedAgainUntilItsAttemptsAreUsedUp) {
    TableRegistry tables(gate_, {milliseconds(0), 2});
    ASSERT_TRUE(tables.begin_with({state(1)}));
    const Error error(ErrorCode::malformed, "a value cannot be read");
    for (int i = 0; i < 2; ++i) {
        ASSERT_TRUE(tables.fail({1}, error, Lsn{100}));
        EXPECT_NE(stored(1).next_retry_unix_ms, 0);
        EXPECT_FALSE(tables.is_settled());
        const auto taken = tables.take_queued({});  // Due at once.
        ASSERT_TRUE(taken);
        EXPECT_EQ(taken->phase, TablePhase::queued);
        tables.give_back({1}, milliseconds(0));
    }
    ASSERT_TRUE(tables.fail({1}, error, Lsn{100}));
    const TableState last = stored(1);
    EXPECT_EQ(last.phase, TablePhase::errored);
    EXPECT_EQ(last.next_retry_unix_ms, 0);
    EXPECT_EQ(last.position, Lsn{100});
    EXPECT_EQ(last.reason, "a value cannot be read (malformed)");
    EXPECT_FALSE(last.remedy.empty());
    EXPECT_TRUE(tables.is_settled());
    EXPECT_TRUE(tables.has_errored());
}

TEST_F(TableRegistryTest, PublishingForgetsEarlierFailures) {
    TableRegistry tables(gate_, {milliseconds(0), 1});
    ASSERT_TRUE(tables.begin_with({state(1)}));
    ASSERT_TRUE(tables.fail({1}, Error(ErrorCode::malformed, "no"), Lsn{100}));
    for (const PhaseEvent event : {PhaseEvent::resync, PhaseEvent::copy_started,
                                   PhaseEvent::copy_finished, PhaseEvent::published}) {
        ASSERT_TRUE(tables.move({1}, event));
    }
    const TableState now = stored(1);
    EXPECT_EQ(now.retries, 0U);
    EXPECT_EQ(now.position, Lsn{});
    EXPECT_TRUE(now.reason.empty());
}

TEST_F(TableRegistryTest, ATableIsTakenByOneAtATime) {
    TableRegistry tables(gate_, {});
    ASSERT_TRUE(tables.begin_with({state(1), state(2), state(3, TablePhase::ready)}));
    const auto first = tables.take_queued({});
    const auto second = tables.take_queued({});
    ASSERT_TRUE(first && second);
    EXPECT_NE(first->table, second->table);
    EXPECT_FALSE(tables.is_settled());
    // Nothing is left: a stop ends the wait.
    std::stop_source stop;
    stop.request_stop();
    EXPECT_FALSE(tables.take_queued(stop.get_token()));
    tables.give_back(first->table, milliseconds(0));
    const auto again = tables.take_queued({});
    ASSERT_TRUE(again);
    EXPECT_EQ(again->table, first->table);
}

TEST_F(TableRegistryTest, PausedTablesAndThoseThatRestAreNotTaken) {
    TableRegistry tables(gate_, {});
    TableState paused = state(1);
    paused.paused = true;
    ASSERT_TRUE(tables.begin_with({paused, state(2), state(3)}));
    const auto resting = tables.take_queued({});
    ASSERT_TRUE(resting);
    EXPECT_EQ(resting->table, TableId{2});
    tables.give_back({2}, std::chrono::hours(1));
    const auto next = tables.take_queued({});
    ASSERT_TRUE(next);
    EXPECT_EQ(next->table, TableId{3});
}

// Whoever pauses a table, removes it or finds it published in another way may come before the copy
// can be told.
TEST_F(TableRegistryTest, ACopyIsWantedAsTheTableIsPublishedNow) {
    TableRegistry tables(gate_, {});
    TableState first = state(1);
    first.membership = "first";
    ASSERT_TRUE(tables.begin_with({first}));
    EXPECT_EQ(tables.check_wanted({2}, "").error().code(), ErrorCode::aborted);
    ASSERT_TRUE(tables.take_due());
    EXPECT_TRUE(tables.check_wanted({1}, "first"));
    EXPECT_TRUE(tables.rejoin({1}, "second", "its place has changed"));
    EXPECT_EQ(tables.check_wanted({1}, "first").error().code(), ErrorCode::aborted);
    EXPECT_TRUE(tables.check_wanted({1}, "second"));
    ASSERT_TRUE(tables.move({1}, PhaseEvent::copy_started));
    EXPECT_TRUE(tables.rejoin({1}, "third", "its place has changed"));
    EXPECT_FALSE(tables.check_wanted({1}, "second"));
    ASSERT_TRUE(tables.set_paused({1}, true));
    EXPECT_EQ(tables.check_wanted({1}, "third").error().code(), ErrorCode::aborted);
    ASSERT_TRUE(tables.set_paused({1}, false));
    EXPECT_TRUE(tables.check_wanted({1}, "third"));
    tables.begin_removal({1});
    EXPECT_EQ(tables.check_wanted({1}, "third").error().code(), ErrorCode::aborted);
    ASSERT_TRUE(tables.remove({1}));
    EXPECT_EQ(tables.check_wanted({1}, "third").error().code(), ErrorCode::aborted);
}

TEST_F(TableRegistryTest, ProgressBeginsAnewWithEveryCopy) {
    TableRegistry tables(gate_, {});
    ASSERT_TRUE(tables.begin_with({state(1)}));
    ASSERT_TRUE(tables.move({1}, PhaseEvent::copy_started));
    tables.expect_rows({1}, 100);
    tables.add_rows({1}, 40);
    tables.note({1}, "session 7");
    EXPECT_EQ(tables.progress({1}).rows_copied, 40U);
    EXPECT_EQ(tables.progress({1}).rows_estimated, 100U);
    EXPECT_EQ(tables.progress({1}).waiting_for, "session 7");
    ASSERT_TRUE(tables.move({1}, PhaseEvent::copy_again));
    ASSERT_TRUE(tables.move({1}, PhaseEvent::copy_started));
    EXPECT_EQ(tables.progress({1}).rows_copied, 0U);
    EXPECT_TRUE(tables.progress({1}).waiting_for.empty());
    EXPECT_EQ(tables.progress({9}).rows_copied, 0U);
}

// Done without an answer is for whoever asks the same as not done.
TEST(SettleFailedCopy, IsAskedAgainWhereTheStoreDoesNotAnswer) {
    using testing::FaultyStore;
    for (const auto kind : {FaultyStore::Kind::before, FaultyStore::Kind::after}) {
        for (const auto code : {ErrorCode::unavailable, ErrorCode::unsupported_value}) {
            // After open(), begin_with() and the copy's start.
            const auto has_struck = std::make_shared<std::atomic<bool>>(false);
            FaultyStore store(make_memory_store(), 4, kind, has_struck);
            ASSERT_TRUE(store.open({1, "memory"}));
            StoreGate gate(store);
            TableRegistry tables(gate, {});
            TableState state;
            state.table = {1};
            ASSERT_TRUE(tables.begin_with({state}));
            ASSERT_TRUE(tables.move({1}, PhaseEvent::copy_started));
            const Error why(code, "its copy failed");
            EXPECT_FALSE(settle_failed_copy({1}, why, tables));
            EXPECT_TRUE(*has_struck);
            EXPECT_EQ(tables.get({1}).phase, TablePhase::copying);
            ASSERT_TRUE(settle_failed_copy({1}, why, tables));
            const bool again = code == ErrorCode::unavailable;
            EXPECT_EQ(tables.get({1}).phase, again ? TablePhase::queued : TablePhase::errored);
            EXPECT_EQ(tables.get({1}).retries, again ? 0U : 1U);
            EXPECT_EQ(store.load_tables()->front(), tables.get({1}));
        }
    }
}

}  // namespace
}  // namespace walbrook
