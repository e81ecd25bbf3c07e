#include "pipeline/apply_core_testing.h"

namespace walbrook {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// What the destination has when the cut is reached is what committed before it.
class ApplyCoreCut : public ApplyCoreTest {
 protected:
    ApplyCoreCut() {
        start({table(1)});
        begin(2000);
        relation(1);
        insert(1, "1");
        commit(2000);
    }
    void pause() { feed(input::Pause{Instant{} + std::chrono::hours(1)}); }
    static Replace repair_of(const TableSchemaPtr& schema) {
        const auto rows = std::make_shared<RowBatch>(schema);
        rows->append_null_row();
        return {schema, rows, rows};
    }
};

TEST_F(ApplyCoreCut, EndsAFlushBeforeTheFirstTransactionBehindIt) {
    pause();
    EXPECT_FALSE(core_->wants_frames());
    feed(input::Cut{{2100}});
    EXPECT_TRUE(core_->wants_frames());
    insert_alone(2050, 1, "2");
    begin(2100);
    EXPECT_FALSE(core_->wants_frames());
    tick();
    EXPECT_THAT(flushed(), ElementsAre("t1 1", "t1 2"));
    EXPECT_EQ(flush_->position(), Lsn{2055});
    tick();
    EXPECT_THAT(said_, IsEmpty()) << "the flush is not durable";
    ack();
    tick();
    EXPECT_THAT(said_, ElementsAre("cut 2100"));
    EXPECT_TRUE(core_->wants_frames());
    insert(1, "3");
    commit(2100);
    tick();
    EXPECT_THAT(flushed(), ElementsAre("t1 3"));
}

TEST_F(ApplyCoreCut, WaitsForAFlushThatIsUnderWay) {
    tick();
    pause();
    feed(input::Cut{{2100}});
    insert_alone(2050, 1, "2");
    feed(input::Keepalive{{2300}});
    tick();
    ack();
    tick();
    EXPECT_THAT(said_, IsEmpty());
    EXPECT_THAT(flushed(), ElementsAre("t1 2"));
    ack();
    tick();
    EXPECT_THAT(said_, ElementsAre("cut 2100"));
}

// What was there before the cut is under the rows that are put right, what commits behind it is
// not.
TEST_F(ApplyCoreCut, RowsArePutRightJustBeforeIt) {
    pause();
    feed(input::Cut{{2100}, {repair_of(table(1)), repair_of(table(7))}});
    tick();
    EXPECT_THAT(flushed(), ElementsAre("t1 1")) << "not all has come that is before the cut";
    insert_alone(2050, 1, "2");
    begin(2100);
    ack();
    tick();
    EXPECT_THAT(flushed(), ElementsAre("t1 2", "replace 1 in t1"));
    EXPECT_THAT(said_, IsEmpty());
    ack();
    tick();
    EXPECT_THAT(said_, ElementsAre("cut 2100", "not 7: it is not followed at present"));
    insert(1, "3");
    commit(2100);
    tick();
    EXPECT_THAT(flushed(), ElementsAre("t1 3"));
}

// They belong to a position that is not reached any more.
TEST_F(ApplyCoreCut, RowsAreNotPutRightWithoutIt) {
    pause();
    feed(input::Cut{{2100}, {repair_of(table(1))}});
    feed(input::Disconnected{});
    tick();
    EXPECT_THAT(said_, ElementsAre("no cut"));
    EXPECT_THAT(flushed(), ElementsAre("t1 1"));
}

// Named by a server that another one took over from while nobody was connected.
TEST_F(ApplyCoreCut, RowsOfAServerThatIsGoneAreNotPutRight) {
    feed(input::Disconnected{});
    feed(input::Cut{{2100}, {repair_of(table(1))}});
    feed(input::TimelineChanged{});
    EXPECT_THAT(said_, ElementsAre("no cut"));
    feed(input::Keepalive{{2100}});
    tick();
    EXPECT_THAT(flushed(), ElementsAre("t1 1"));
}

// Of other columns, or beside a copy that takes the table's place.
// Another server may have named it, which has not what was received of the one before.
TEST_F(ApplyCoreCut, IsNotReachedBeforeAnythingHasComeOnTheConnection) {
    feed(input::Keepalive{{2300}});
    tick();
    ack();
    feed(input::Disconnected{});
    pause();
    feed(input::Cut{{2200}});
    tick();
    EXPECT_THAT(said_, IsEmpty());
    feed(input::Keepalive{{2300}});
    tick();
    EXPECT_THAT(said_, ElementsAre("cut 2200"));
}

TEST_F(ApplyCoreCut, RowsOfWhatTheTableIsNotAreRefused) {
    feed(input::Keepalive{{2090}});
    pause();
    auto wider = std::make_shared<TableSchema>(*table(1));
    wider->columns.push_back(wider->columns.front());
    wider->columns.back().attnum = 2;
    feed(input::Cut{{2100}, {repair_of(wider)}});
    feed(input::Keepalive{{2100}});
    tick();
    ack();
    tick();
    EXPECT_THAT(said_, ElementsAre("cut 2100", "not 1: its columns have changed"));
    said_.clear();
    feed(input::Hold{.schema = table(1)});
    feed(input::Cut{{2100}, {repair_of(table(1))}});
    tick();
    EXPECT_THAT(said_, ElementsAre("holding 1", "cut 2100", "not 1: it is being copied again"));
}

TEST_F(ApplyCoreCut, IsReachedAtOnceWhereNothingCommitted) {
    tick();
    ack();
    feed(input::Keepalive{{2300}});
    pause();
    feed(input::Cut{{2200}});
    tick();
    EXPECT_THAT(said_, ElementsAre("cut 2200"));
}

TEST_F(ApplyCoreCut, IsNotToBeHadBehindTheStream) {
    pause();
    feed(input::Cut{{2000}});
    EXPECT_THAT(said_, ElementsAre("no cut"));
    begin(2400);
    feed(input::Cut{{2300}});
    insert(1, "2");
    commit(2400);
    tick();
    EXPECT_THAT(said_, ElementsAre("no cut", "no cut"));
    EXPECT_THAT(flushed(), ElementsAre("t1 1", "t1 2"));
}

// Which committed before anybody could name a position. It is read to its end even if none is named
// yet: a copy's Hold, behind which the Cut may wait, comes only then.
TEST_F(ApplyCoreCut, EndsWithTheTransactionThatWasHalfReceived) {
    begin(2050);
    insert(1, "2");
    pause();
    tick();
    EXPECT_TRUE(core_->wants_frames());
    insert(1, "3");
    commit(2050);
    EXPECT_FALSE(core_->wants_frames());
    feed(input::Cut{{2100}});
    feed(input::Keepalive{{2100}});
    tick();
    EXPECT_THAT(flushed(), ElementsAre("t1 1", "t1 2", "t1 3"));
    ack();
    tick();
    EXPECT_THAT(said_, ElementsAre("cut 2100"));
}

// It commits behind the cut, though most of it came before.
TEST_F(ApplyCoreCut, LeavesOutAStreamedTransactionThatCommitsBehindIt) {
    send(Message('S').number(2200, 4).number(1, 1));
    insert(1, "5", 2200);
    send(Message('E'));
    pause();
    feed(input::Cut{{2100}});
    stream_commit(2200);
    tick();
    EXPECT_THAT(flushed(), ElementsAre("t1 1"));
    ack();
    tick();
    EXPECT_THAT(said_, ElementsAre("cut 2100"));
    tick();
    EXPECT_THAT(flushed(), ElementsAre("t1 5"));
}

TEST_F(ApplyCoreCut, PausesNoLongerThanWasAsked) {
    pause();
    for (int i = 0; i < 361; ++i) tick();
    EXPECT_TRUE(core_->wants_frames());
    EXPECT_THAT(said_, ElementsAre("no cut"));
}

TEST_F(ApplyCoreCut, IsLostWithTheConnectionAndLosesNothing) {
    pause();
    feed(input::Cut{{2100}});
    begin(2200);
    feed(input::Disconnected{});
    EXPECT_THAT(said_, ElementsAre("no cut"));
    begin(2200);
    relation(1);
    insert(1, "2");
    commit(2200);
    tick();
    EXPECT_THAT(flushed(), ElementsAre("t1 1", "t1 2"));
}

TEST_F(ApplyCoreCut, AnotherOneTakesItsPlaceAndLosesNothing) {
    pause();
    feed(input::Cut{{2100}});
    begin(2200);
    pause();
    EXPECT_THAT(said_, ElementsAre("no cut"));
    feed(input::Cut{{2300}});
    insert(1, "2");
    commit(2200);
    begin(2300);
    tick();
    EXPECT_THAT(flushed(), ElementsAre("t1 1", "t1 2"));
    ack();
    tick();
    EXPECT_THAT(said_, ElementsAre("no cut", "cut 2300"));
}

}  // namespace
}  // namespace walbrook
