#include "pipeline/apply_core_testing.h"

// Single rules of the core. tests/sim tries all of them against each other.
namespace walbrook {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using walbrook::testing::TableMaker;

// A copy of t1 in two ranges of its key: up to 50, whose snapshot shows transactions below 2100,
// and from there on, whose snapshot shows those below 2200.
class ApplyCoreRanges : public ApplyCoreTest {
 protected:
    ApplyCoreRanges() {
        auto schema = std::make_shared<TableSchema>(
            *TableMaker(1, "t1").key("id").column("more", {TypeKind::int64}).make());
        for (ColumnSchema& column : schema->columns) {
            column.type_oid = column.base_type_oid = kInt8;
            EXPECT_TRUE(resolve_type(column));
        }
        schema->columns[0].in_identity = true;
        schema_ = schema;
        source_[1].schema = schema;
    }
    void hold() {
        start({});
        feed(input::Hold{.schema = schema_, .range_attnum = 1});
        relation(1, 2);
    }
    static CopySnapshots snapshots() {
        auto ranges = CopySnapshots::in_ranges_of(1);
        EXPECT_TRUE(ranges.add(point(50), *SnapshotXids::parse("2100:2100:")));
        EXPECT_TRUE(ranges.add(std::nullopt, *SnapshotXids::parse("2200:2200:")));
        return ranges;
    }
    static KeyPoint point(std::int64_t id) {
        Column column({TypeKind::int64});
        column.append_fixed(id);
        return *key_point(column, 0);
    }
    void copy_done() { feed(input::CopyDone{copy_of(schema_, 2200), snapshots()}); }
    void publish() {
        feed(input::Keepalive{{3000}});
        tick();
    }
    static Message& row(Message& message, char mark, int id, const std::string& more) {
        const std::string text = std::to_string(id);
        message.text(std::string(1, mark)).number(2, 2).text("t").number(text.size(), 4).text(text);
        if (more.size() == 1) return message.text(more);  // n or u
        return message.text("t").number(more.size(), 4).text(more);
    }
    void insert_row(std::uint32_t xid, int id) {
        begin(xid);
        Message message('I');
        send(row(message.number(1, 4), 'N', id, "70"));
        commit(xid);
    }
    void remove_row(std::uint32_t xid, int id) {
        begin(xid);
        Message message('D');
        send(row(message.number(1, 4), 'K', id, "n"));
        commit(xid);
    }
    void update_row(std::uint32_t xid, int id) {
        begin(xid);
        Message message('U');
        send(row(message.number(1, 4), 'N', id, "u"));
        commit(xid);
    }
    void move_row(std::uint32_t xid, int from, int to, const std::string& more = "70") {
        begin(xid);
        Message message('U');
        row(message.number(1, 4), 'K', from, "n");
        send(row(message, 'N', to, more));
        commit(xid);
    }
    void truncate(std::uint32_t xid) {
        begin(xid);
        send(Message('T').number(1, 4).number(0, 1).number(1, 4));
        commit(xid);
    }
    static std::vector<std::string> all_of_moves() {
        return {"t1' without 10", "t1' 11",       "t1' 12 to 13",
                "t1' 14 to 94",   "t1' 96 to 16", "publish t1"};
    }
    void moves() {
        move_row(2010, 15, 95);
        move_row(2110, 10, 90);
        move_row(2120, 91, 11);
        move_row(2130, 12, 13);
        move_row(2140, 92, 93);
        move_row(2310, 14, 94);
        move_row(2320, 96, 16, "u");
    }

    TableSchemaPtr schema_;
};

TEST_F(ApplyCoreTest, FlushesWholeTransactionsOnly) {
    start({table(1)});
    begin(2000);
    relation(1);
    insert(1, "7");
    tick();
    EXPECT_FALSE(flush_);
    EXPECT_FALSE(core_->is_at_boundary());
    commit(2000);
    tick();
    EXPECT_THAT(flushed(), ElementsAre("t1 7"));
    EXPECT_EQ(flush_->position(), Lsn{2005});
}

TEST_F(ApplyCoreTest, ConfirmsOnlyWhatIsDurableWhileSomethingWaits) {
    start({table(1)});
    feed(input::Keepalive{{1500}});
    EXPECT_EQ(core_->confirmable(), Lsn{1500});  // Nothing waits.
    begin(2000);
    relation(1);
    insert(1, "7");
    commit(2000);
    EXPECT_EQ(core_->confirmable(), Lsn{1000});
    tick();
    EXPECT_EQ(core_->confirmable(), Lsn{1000});
    ack();
    EXPECT_EQ(core_->confirmable(), Lsn{2005});
    EXPECT_TRUE(core_->is_idle());
}

TEST_F(ApplyCoreTest, HeldChangesDoNotHoldBackWhatIsConfirmed) {
    start({});
    feed(input::Hold{table(1)});
    begin(2000);
    relation(1);
    insert(1, "7");
    commit(2000);
    tick();
    EXPECT_FALSE(flush_);
    EXPECT_GT(core_->held_bytes({1}), 0U);
    EXPECT_EQ(core_->confirmable(), Lsn{2005});
}

TEST_F(ApplyCoreTest, ATableIsPublishedWithWhatItsSnapshotLacks) {
    const TableSchemaPtr t1 = table(1);
    start({});
    feed(input::Hold{t1});
    begin(2000);
    relation(1);
    insert(1, "7");
    commit(2000);
    insert_alone(2010, 1, "8");
    feed(input::CopyDone{copy_of(t1, 2100), *SnapshotXids::parse("2010:2011:2010")});
    tick();
    EXPECT_FALSE(flush_);  // The stream has not passed the snapshot.
    EXPECT_EQ(core_->wanted(), Lsn{2100});
    feed(input::Keepalive{{2100}});
    tick();
    EXPECT_THAT(flushed(), ElementsAre("t1' 8", "publish t1"));
    ack();
    EXPECT_THAT(said_, ElementsAre("holding 1", "published 1"));
    insert_alone(2200, 1, "9");
    tick();
    EXPECT_THAT(flushed(), ElementsAre("t1 9"));
}

TEST_F(ApplyCoreTest, ABrokenConnectionTakesBackHalfATransactionAlsoFromDisk) {
    options_.spill.memory_bytes_max = 0;
    options_.spill.chunk_bytes = 1;
    start({table(1)});
    feed(input::Hold{table(2)});
    begin(2000);
    relation(1);
    relation(2);
    insert(1, "7");
    insert(2, "70");
    feed(input::Disconnected{});
    begin(2000);
    relation(1);
    relation(2);
    insert(1, "7");
    insert(2, "70");
    commit(2000);
    feed(input::CopyDone{copy_of(table(2), 1000), *SnapshotXids::parse("2000:2000:")});
    tick();
    EXPECT_THAT(flushed(), ::testing::UnorderedElementsAre("t1 7", "t2' 70", "publish t2"));
}

TEST_F(ApplyCoreTest, WhatIsHereAlreadyIsSkippedWhenItComesAgain) {
    start({table(1)});
    begin(900);
    relation(1);
    insert(1, "7");
    commit(900);
    tick();
    EXPECT_FALSE(flush_);
    insert_alone(2000, 1, "8");
    tick();
    EXPECT_THAT(flushed(), ElementsAre("t1 8"));
}

// The server describes a table once, also in a streamed transaction that we skip.
TEST_F(ApplyCoreTest, RelationsOfASkippedStreamedTransactionStay) {
    start({table(1)});
    send(Message('S').number(900, 4).number(1, 1));
    relation(1, 1, 900);
    insert(1, "7", 900);
    send(Message('E'));
    stream_commit(900);
    insert_alone(2000, 1, "8");
    tick();
    EXPECT_THAT(flushed(), ElementsAre("t1 8"));
    EXPECT_THAT(said_, IsEmpty());
}

TEST_F(ApplyCoreTest, AbortedSubtransactionsOfAStreamLeaveNoRows) {
    start({table(1)});
    send(Message('S').number(2000, 4).number(1, 1));
    relation(1, 1, 2001);  // Sent in the part that aborts, and good for the rest.
    insert(1, "7", 2001);
    insert(1, "8", 2000);
    send(Message('E'));
    send(Message('A').number(2000, 4).number(2001, 4));
    tick();
    EXPECT_TRUE(core_->is_idle());
    stream_commit(2000);
    tick();
    EXPECT_THAT(flushed(), ElementsAre("t1 8"));
}

TEST_F(ApplyCoreTest, ARefusedTableStandsWhereItStoodBeforeTheFlush) {
    start({table(1), table(2)});
    begin(2000);
    relation(1);
    relation(2);
    insert(1, "7");
    commit(2000);
    tick();
    insert_alone(2010, 1, "8");
    insert_alone(2020, 2, "9");
    ack({{TableId{1}, Error(ErrorCode::unsupported_value, "no")}});
    EXPECT_THAT(said_, ElementsAre("stopped 1 at 1000"));
    tick();
    EXPECT_THAT(flushed(), ElementsAre("t2 9"));
}

// What it has is what it had before the flush, whatever was received until it stopped.
TEST_F(ApplyCoreTest, ATableThatStoppedWhileItsFlushWasUnderWayStandsBeforeThatIfItIsRefused) {
    for (const bool copy_again : {false, true}) {
        said_.clear();
        start({table(1), table(2)});
        relation(1);
        relation(2);
        insert_alone(2000, 1, "7");
        tick();
        insert_alone(2010, 1, "8");
        insert_alone(2020, 2, "9");
        feed(input::Stop{TableId{1}, copy_again, Error(ErrorCode::aborted, "paused")});
        ack({{TableId{1}, Error(ErrorCode::unsupported_value, "no")}});
        if (copy_again) {
            EXPECT_THAT(said_, ElementsAre("again 1 at 2025"));
        } else {
            EXPECT_THAT(said_, ElementsAre("stopped 1 at 2025", "stopped 1 at 1000"));
        }
        tick();
        EXPECT_THAT(flushed(), ElementsAre("t2 9", "freeze t1 at 1000"));
        ack();
    }
}

class ApplyCoreSlices : public ApplyCoreTest {
 protected:
    // The first slice of a copy of t1 is under way, the rest and the Publish wait behind it.
    void wait_behind_slice(const std::vector<TableSchemaPtr>& ready) {
        options_.slice_bytes = 200;
        const TableSchemaPtr t1 = table(1);
        start(ready);
        feed(input::Hold{t1});
        begin(2000);
        relation(1);
        for (int i = 0; i < 20; ++i) insert(1, std::to_string(i));
        commit(2000);
        feed(input::CopyDone{copy_of(t1, 1000), *SnapshotXids::parse("2000:2000:")});
        tick();
        ASSERT_FALSE(flushed().empty());
        tick();
    }
};

TEST_F(ApplyCoreSlices, ATableWhoseSliceWasRefusedIsNotPublished) {
    wait_behind_slice({});
    ack({{TableId{1}, Error(ErrorCode::unsupported_value, "no")}});
    tick();
    EXPECT_TRUE(core_->is_idle());
    EXPECT_THAT(said_, ElementsAre("holding 1", "stopped 1 at 0"));
}

// It stopped before it was visible, while nobody knew yet whether its copy would be whole.
TEST_F(ApplyCoreSlices, ATableThatStoppedBeforeItsPublishIsNotPublished) {
    for (const bool is_followed : {false, true}) {
        said_.clear();
        wait_behind_slice(is_followed ? std::vector{table(1)} : std::vector<TableSchemaPtr>{});
        feed(input::Stop{TableId{1}, false, Error(ErrorCode::unsupported_value, "no")});
        const std::string position = is_followed ? "1000" : "0";
        EXPECT_THAT(said_, ElementsAre("holding 1", "stopped 1 at " + position));
        ack({{TableId{1}, Error(ErrorCode::aborted, "lost")}});
        tick();
        if (is_followed) {
            EXPECT_THAT(flushed(), ElementsAre("freeze t1 at 1000"));
            ack();
        }
        EXPECT_TRUE(core_->is_idle());
        EXPECT_EQ(said_.size(), 2U);
    }
}

// What is remembered of transactions that do not fit is bounded: a million of them.
TEST_F(ApplyCoreTest, ACopyThatTooManyTransactionsDoNotFitIsLost) {
    source_[1].schema = table(1);
    source_[1].other_rows_in_copy = "its rows were rewritten";
    start({});
    feed(input::Hold{table(1)});
    relation(1);
    constexpr std::uint32_t kMax = 1'000'000;
    for (std::uint32_t i = 0; i < kMax; ++i) insert_alone(2000 + 10 * i, 1, "1");
    EXPECT_THAT(said_, ElementsAre("holding 1"));
    insert_alone(2000 + 10 * kMax, 1, "1");
    EXPECT_THAT(said_, ElementsAre("holding 1", "lost 1"));
}

// As is what is remembered of those that changed more than single rows.
TEST_F(ApplyCoreRanges, ACopyWithTooManyChangesOfTheWholeIsLost) {
    for (const std::uint32_t count : {65'536U, 65'537U}) {
        said_.clear();
        hold();
        for (std::uint32_t i = 0; i < count; ++i) {
            begin(3000 + 10 * i);
            send(Message('T').number(1, 4).number(0, 1).number(1, 4));
            commit(3000 + 10 * i);
        }
        copy_done();
        if (count > 65'536) {
            EXPECT_THAT(said_, ElementsAre("holding 1", "lost 1 in ranges"));
        } else {
            EXPECT_THAT(said_, ElementsAre("holding 1"));
        }
    }
}

TEST_F(ApplyCoreRanges, AChangeIsAskedByTheRangeOfItsKey) {
    hold();
    insert_row(2000, 1);
    insert_row(2010, 99);
    insert_row(2110, 50);
    insert_row(2120, 51);
    update_row(2130, -4);
    update_row(2140, 97);
    remove_row(2150, 5);
    remove_row(2160, 96);
    insert_row(2300, 6);
    insert_row(2310, 95);
    copy_done();
    EXPECT_EQ(core_->wanted(), Lsn{});  // 2310 is behind the snapshots.
    publish();
    EXPECT_THAT(flushed(),
                ElementsAre("t1' 50", "t1' -4", "t1' without 5", "t1' 6", "t1' 95", "publish t1"));
}

// The old key of an update is asked by its own range.
TEST_F(ApplyCoreRanges, ARowThatMovesLeavesOneRangeAndComesIntoAnother) {
    hold();
    moves();
    copy_done();
    publish();
    EXPECT_EQ(flushed(), all_of_moves());
    EXPECT_EQ(flushed(), all_of_moves());
    EXPECT_THAT(said_, ElementsAre("holding 1"));
}

TEST_F(ApplyCoreRanges, RowsThatMoveAreTheSameFromDisk) {
    options_.spill.memory_bytes_max = 0;
    options_.spill.chunk_bytes = 1;
    hold();
    moves();
    copy_done();
    publish();
    EXPECT_EQ(flushed(), all_of_moves());
    EXPECT_EQ(flushed(), all_of_moves());
}

TEST_F(ApplyCoreRanges, RowsThatMoveBehindTheCopyAreTheSame) {
    hold();
    copy_done();
    moves();
    publish();
    EXPECT_EQ(flushed(), all_of_moves());
}

// The row is in the range of its old key no more, and the value that is not sent is nowhere.
TEST_F(ApplyCoreRanges, AMoveWithoutAllValuesIntoAnEarlierRangeLosesTheCopy) {
    for (const bool is_before : {true, false}) {
        said_.clear();
        hold();
        if (!is_before) copy_done();
        move_row(2110, 10, 90, "u");  // Only leaves.
        move_row(2310, 14, 94, "u");  // Follows both snapshots.
        move_row(2130, 12, 13, "u");  // Stays in its range.
        if (is_before) copy_done();
        EXPECT_THAT(said_, ElementsAre("holding 1"));
        said_.clear();
        hold();
        if (!is_before) copy_done();
        move_row(2120, 91, 11, "u");
        if (is_before) copy_done();
        EXPECT_THAT(said_, ElementsAre("holding 1", "lost 1 in ranges"));
        publish();
        EXPECT_FALSE(flush_);
    }
}

TEST_F(ApplyCoreRanges, WhatConcernsAllRowsIsInAllSnapshotsOrInNone) {
    for (const std::uint32_t xid : {2000U, 2300U}) {
        said_.clear();
        flush_.reset();
        hold();
        truncate(xid);
        insert_row(2400, 7);
        copy_done();
        EXPECT_THAT(said_, ElementsAre("holding 1"));
        publish();
        EXPECT_THAT(flushed(), ElementsAre("t1' 7", "publish t1"));
    }
    for (const bool is_before : {true, false}) {
        said_.clear();
        flush_.reset();
        hold();
        if (!is_before) copy_done();
        truncate(2110);
        if (is_before) copy_done();
        EXPECT_THAT(said_, ElementsAre("holding 1", "lost 1"));
    }
}

TEST_F(ApplyCoreRanges, AVersionBetweenTheSnapshotsLosesTheCopy) {
    for (const std::uint32_t xid : {2110U, 2300U}) {
        said_.clear();
        hold();
        insert_row(2000, 1);
        auto wider = std::make_shared<TableSchema>(*schema_);
        wider->columns[1].name = "renamed";
        source_[1].schema = wider;
        begin(xid);
        Message message('R');
        message.number(1, 4).text(std::string("public\0", 7)).text("t1").number(0, 1).text("d");
        message.number(2, 2).number(1, 1).text("id").number(0, 1);
        message.number(kInt8, 4).number(0xFFFF'FFFF, 4);
        message.number(0, 1).text("renamed").number(0, 1);
        send(message.number(kInt8, 4).number(0xFFFF'FFFF, 4));
        Message inserted('I');
        send(row(inserted.number(1, 4), 'N', 60, "70"));
        commit(xid);
        source_[1].schema = schema_;
        copy_done();
        if (xid == 2300) {
            EXPECT_THAT(said_, ElementsAre("holding 1"));
        } else {
            EXPECT_THAT(said_, ElementsAre("holding 1", "lost 1"));
        }
    }
}

TEST_F(ApplyCoreRanges, SnapshotsLieNearEnoughToTellWhichXidIsBefore) {
    const auto parse = [](const char* text) { return *SnapshotXids::parse(text); };
    auto ranges = CopySnapshots::in_ranges_of(1);
    EXPECT_TRUE(ranges.add(point(10), parse("2000:2000:")));
    EXPECT_TRUE(ranges.add(point(20), parse("1073743824:1073743824:")));
    const Status late = ranges.add(point(30), parse("1073743825:1073743825:"));
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code(), ErrorCode::aborted);
}

TEST_F(ApplyCoreRanges, ALaterSnapshotShowsWhatAnEarlierOneShowed) {
    const auto parse = [](const char* text) { return *SnapshotXids::parse(text); };
    auto ranges = CopySnapshots::in_ranges_of(1);
    EXPECT_TRUE(ranges.add(point(10), parse("2000:2010:2000,2005")));
    EXPECT_TRUE(ranges.add(point(20), parse("2000:2010:2000,2005")));
    EXPECT_EQ(ranges.ranges(), 1U);  // The same again.
    EXPECT_FALSE(ranges.add(point(30), parse("2000:2009:2000,2005")));
    EXPECT_FALSE(ranges.add(point(30), parse("2000:2020:2000,2006")));
    EXPECT_FALSE(ranges.add(point(20), parse("2005:2020:2005,2012")));
    EXPECT_TRUE(ranges.add(point(30), parse("2005:2020:2005,2012")));
    EXPECT_FALSE(ranges.is_complete());
    EXPECT_TRUE(ranges.add(std::nullopt, parse("2030:2030:")));
    EXPECT_TRUE(ranges.is_complete());
    const auto by = [](std::uint32_t xid) { return Transaction{{xid}, {}, 0, xid}; };
    const auto shows = [&](std::uint32_t xid, std::int64_t key) {
        return ranges.shows(by(xid), point(key));
    };
    EXPECT_FALSE(shows(2000, 20));
    EXPECT_TRUE(shows(2000, 21));
    EXPECT_FALSE(shows(2005, 30));
    EXPECT_TRUE(shows(2005, 31));
    EXPECT_TRUE(shows(2001, -1));
    EXPECT_TRUE(ranges.is_torn(by(2005)));
    EXPECT_FALSE(ranges.is_torn(by(2001)));
    EXPECT_FALSE(ranges.is_torn(by(2030)));
}

// What the destination holds of the visible table is wrong: the copy that is under way heals that.
TEST_F(ApplyCoreTest, ARefusalOfATableThatIsCopiedAgainOnlyRepeatsTheCopy) {
    start({table(1)});
    feed(input::Hold{table(1)});
    relation(1);
    insert_alone(2000, 1, "7");
    tick();
    ASSERT_TRUE(flush_);
    ack({{TableId{1}, Error(ErrorCode::corrupt_state, "the lake holds 0 of them")}});
    EXPECT_THAT(said_, ElementsAre("holding 1", "again 1 at 1000"));
}

// A transaction is in the copy of a standby if it commits before the slot's consistent point,
// whatever its xid.
TEST_F(ApplyCoreTest, ACopyOfAStandbyHasWhatCommittedBeforeItsPosition) {
    start({});
    feed(input::Hold{table(1)});
    relation(1);
    insert_alone(2000, 1, "7");
    insert_alone(2010, 1, "8");
    insert_alone(2020, 1, "9");
    feed(input::CopyDone{copy_of(table(1), 2010), ShownTransactions::before({2010})});
    tick();
    EXPECT_THAT(flushed(), ElementsAre("t1' 8", "t1' 9", "publish t1"));
}

// Behind one address stand several servers, and the copy's lags behind the stream's: what the
// stream had passed before the hold is in neither.
TEST_F(ApplyCoreTest, ACopyThatIsOlderThanItsHoldIsLost) {
    start({});
    relation(1);
    insert_alone(2000, 1, "7");
    feed(input::Hold{table(1)});
    insert_alone(2010, 1, "8");
    feed(input::CopyDone{copy_of(table(1), 2000), ShownTransactions::before({2000})});
    EXPECT_THAT(said_, ElementsAre("holding 1", "lost 1"));
    tick();
    EXPECT_FALSE(flush_);
}

// Between a record that ends with its page and one that begins behind the header of the next
// nothing stands: a copy of either position has the same.
TEST_F(ApplyCoreTest, ACopyThatBeginsAtTheHeaderOfAPageIsNotOlderThanItsHold) {
    constexpr std::uint64_t segment = 1 << 20;
    for (const std::uint64_t received : {segment, segment + 40, segment + 8192 + 24}) {
        said_.clear();
        flush_.reset();
        start({});
        feed(input::Keepalive{{received}});
        feed(input::Hold{table(1)});
        feed(input::CopyDone{copy_of(table(1), received / 8192 * 8192),
                             *SnapshotXids::parse("9000:9000:")});
        tick();
        EXPECT_THAT(said_, ElementsAre("holding 1"));
        EXPECT_THAT(flushed(), ElementsAre("publish t1"));
    }
}

TEST_F(ApplyCoreTest, ATableThatStopsWhileItsPublishIsInFlightIsNotCalledPublished) {
    publish_copy_of(table(1));
    begin(2000);
    relation(1, 2);
    insert(1, "7");
    commit(2000);
    ack();
    EXPECT_THAT(said_, ElementsAre("holding 1", "again 1 at 1000"));
    tick();
    EXPECT_THAT(flushed(), ElementsAre("freeze t1 at 1000"));
}

TEST_F(ApplyCoreTest, ACopyThatIsRefusedAfterItsTableStoppedLeavesNoRecord) {
    publish_copy_of(table(1));
    feed(input::Stop{TableId{1}, true, Error(ErrorCode::aborted, "paused")});
    ack({{TableId{1}, Error(ErrorCode::unsupported_value, "no")}});
    tick();
    EXPECT_FALSE(flush_);
    EXPECT_TRUE(core_->is_idle());
}

// What keepalives told of behind the last transaction may be missing at a promoted standby.
TEST_F(ApplyCoreTest, ANewTimelineGoesOnBehindTheLastTransaction) {
    const TableSchemaPtr t2 = table(2);
    start({table(1)});
    feed(input::Hold{t2});
    relation(1);
    insert_alone(2000, 1, "7");
    feed(input::Keepalive{{9000}});
    tick();
    ASSERT_TRUE(flush_);
    EXPECT_EQ(flush_->position(), Lsn{2005});
    ack();
    EXPECT_EQ(core_->confirmable(), Lsn{9000});
    EXPECT_EQ(core_->continues_from(), Lsn{2005});
    feed(input::CopyDone{copy_of(t2, 8000), *SnapshotXids::parse("9000:9000:")});
    feed(input::Disconnected{});
    feed(input::TimelineChanged{});
    EXPECT_EQ(core_->received(), Lsn{2005});
    // The copy may have rows of transactions that are gone.
    EXPECT_THAT(said_, ElementsAre("holding 2", "lost 2"));
    relation(1);
    insert_alone(3000, 1, "8");
    tick();
    EXPECT_THAT(flushed(), ElementsAre("t1 8"));
}

TEST_F(ApplyCoreTest, ANewTimelineConfirmsNothingThatWaits) {
    start({table(1)});
    relation(1);
    insert_alone(2000, 1, "7");
    feed(input::Keepalive{{9000}});
    feed(input::Disconnected{});
    feed(input::TimelineChanged{});
    EXPECT_EQ(core_->received(), Lsn{2005});
    EXPECT_EQ(core_->confirmable(), Lsn{1000});
}

// A copy shows transactions that were not sent, too: of those that change nothing which is
// published, or wrote before the table was. A server that lacks them must not be gone on with.
TEST_F(ApplyCoreTest, ACopyBecomesVisibleAtAPositionThatItsSnapshotDoesNotPass) {
    start({table(1)});
    feed(input::Hold{table(2)});
    relation(1);
    insert_alone(2000, 1, "7");
    feed(input::Keepalive{{5000}});
    feed(input::CopyDone{copy_of(table(2), 4000), *SnapshotXids::parse("5000:5000:")});
    tick();
    EXPECT_THAT(flushed(), ElementsAre("t1 7", "publish t2"));
    EXPECT_GE(flush_->position(), Lsn{4000});
    EXPECT_GE(core_->continues_from(), Lsn{4000});
}

// The first is on its way and counts; the other waits, and nothing of it has been written.
TEST_F(ApplyCoreTest, AnotherServerEndsACopyThatWaitsToBecomeVisible) {
    start({table(3)});
    feed(input::Hold{table(2)});
    relation(3);
    insert_alone(2000, 3, "7");
    tick();
    ASSERT_EQ(flushed(), std::vector<std::string>{"t3 7"});
    feed(input::Hold{table(3)});
    feed(input::Keepalive{{5000}});
    for (const std::uint32_t oid : {2, 3}) {
        feed(input::CopyDone{copy_of(table(oid), 4000), *SnapshotXids::parse("5000:5000:")});
    }
    tick();
    feed(input::Disconnected{});
    feed(input::TimelineChanged{});
    EXPECT_EQ(core_->received(), Lsn{2005});
    EXPECT_THAT(said_, ElementsAre("holding 2", "holding 3", "again 2 at 0", "again 3 at 2005"));
    ack();
    tick();
    EXPECT_THAT(flushed(), ElementsAre("freeze t3 at 2005"));
    ack();
    EXPECT_THAT(said_, ::testing::SizeIs(4));
    EXPECT_TRUE(core_->is_idle());
}

// The source has been told that it may forget what holds nothing for us, and the destination stands
// before that: a standby may take over that has all of its transactions and not the rest.
TEST_F(ApplyCoreTest, WhoStartsOnAnIdleSourceGoesOnFromWhereTheDestinationStands) {
    options_.position = {5000};
    options_.last_commit = Lsn{1000};
    start({table(1)});
    EXPECT_EQ(core_->received(), Lsn{5000});
    EXPECT_EQ(core_->confirmable(), Lsn{5000});
    EXPECT_EQ(core_->durable(), Lsn{1000});
    EXPECT_EQ(core_->continues_from(), Lsn{1000});
    feed(input::Disconnected{});
    feed(input::TimelineChanged{});
    EXPECT_EQ(core_->received(), Lsn{1000});
    relation(1);
    insert_alone(3000, 1, "7");
    EXPECT_EQ(core_->confirmable(), Lsn{1000});
    tick();
    ASSERT_TRUE(flush_);
    EXPECT_EQ(flush_->position(), Lsn{3005});
    EXPECT_THAT(flushed(), ElementsAre("t1 7"));
    ack();
    EXPECT_EQ(core_->durable(), Lsn{3005});
}

// What was confirmed stays so, and a slice moves no position.
TEST_F(ApplyCoreTest, WhoStartsWithAnEmptyDestinationContinuesNothing) {
    options_.position = {5000};
    options_.last_commit = Lsn{};
    options_.slice_bytes = 1;
    start({});
    EXPECT_EQ(core_->continues_from(), Lsn{});
    feed(input::Hold{table(1)});
    relation(1);
    insert_alone(6000, 1, "7");
    insert_alone(6100, 1, "8");
    feed(input::CopyDone{copy_of(table(1), 5500), *SnapshotXids::parse("5500:5500:")});
    tick();
    ASSERT_TRUE(flush_);
    EXPECT_THAT(flushed(), ElementsAre("t1' 7", "t1' 8"));
    EXPECT_EQ(flush_->position(), Lsn{});
    EXPECT_EQ(core_->confirmable(), Lsn{5000});
    ack();
    tick();
    EXPECT_THAT(flushed(), ElementsAre("publish t1"));
    EXPECT_EQ(flush_->position(), Lsn{6105});
}

// Before 15 pgoutput goes by what a table was when it saw its first change.
TEST_F(ApplyCoreTest, AHoldThatNeedsANewStreamBeginsWithOneBehindItsLook) {
    start({table(1)});
    feed(input::Hold{.schema = table(2), .read_at = {3000}, .needs_new_stream = true});
    feed(input::Hold{.schema = table(3), .read_at = {3000}, .needs_new_stream = true});
    EXPECT_EQ(core_->wanted(), Lsn{3000});
    feed(input::Disconnected{});  // For another reason, and too early.
    feed(input::CopyAbandoned{{3}});
    relation(1);
    insert_alone(2000, 1, "7");
    EXPECT_THAT(said_, IsEmpty());
    feed(input::Keepalive{{3000}});
    tick();
    EXPECT_THAT(said_, ElementsAre("new stream"));
    EXPECT_FALSE(core_->wants_frames());
    feed(input::Disconnected{});
    EXPECT_THAT(said_, ElementsAre("new stream", "holding 2"));
    EXPECT_TRUE(core_->wants_frames());
}

TEST_F(ApplyCoreTest, TheCopyThatHoldsMostIsGivenUpAtTheLimit) {
    options_.held_bytes_max = 500;
    start({table(3)});
    feed(input::Hold{table(1)});
    feed(input::Hold{table(2)});
    begin(2000);
    relation(1);
    relation(2);
    insert(2, "7");
    for (int i = 0; i < 50; ++i) insert(1, std::to_string(i));
    commit(2000);
    EXPECT_THAT(said_, ElementsAre("holding 1", "holding 2", "lost 1"));
    EXPECT_GT(core_->held_bytes({2}), 0U);
}

TEST_F(ApplyCoreTest, AValueThatCannotBeReadStopsItsTableOnly) {
    start({table(1), table(2)});
    begin(2000);
    relation(1);
    relation(2);
    insert(1, "7");
    insert(2, "8");
    insert(1, "seven");
    insert(1, "9");
    commit(2000);
    tick();
    EXPECT_THAT(said_, ElementsAre("stopped 1 at 1000"));
    EXPECT_THAT(flushed(), ElementsAre("t2 8", "freeze t1 at 1000"));
}

}  // namespace
}  // namespace walbrook
