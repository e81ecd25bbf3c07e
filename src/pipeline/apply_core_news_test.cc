#include "pipeline/apply_core_testing.h"

#include <tuple>

namespace walbrook {
namespace {

// What the catalog says may be ahead of the stream.
class ApplyCoreNews : public ApplyCoreTest {
 protected:
    // t1 once it has a second column.
    static TableSchemaPtr wider(std::uint32_t attempt = 0) {
        auto schema = std::make_shared<TableSchema>(
            *testing::TableMaker(1, "t1").key("id").column("more", {TypeKind::int64}).make());
        for (ColumnSchema& column : schema->columns) {
            column.type_oid = column.base_type_oid = kInt8;
            EXPECT_TRUE(resolve_type(column));
        }
        schema->attempt = attempt;
        return schema;
    }
    static TableSchemaPtr as_attempt(std::uint32_t attempt) {
        auto schema = std::make_shared<TableSchema>(*table(1));
        schema->attempt = attempt;
        return schema;
    }
    // Versions that the flush in flight brings to the visible table.
    std::vector<std::size_t> new_widths() {
        std::vector<std::size_t> widths;
        if (!flush_) return widths;
        flush_->rewind();
        for (;;) {
            const auto item = flush_->next();
            if (!item || *item == nullptr) return widths;
            if (const auto* change = std::get_if<SchemaChange>(*item)) {
                widths.push_back(change->to->columns.size());
            }
        }
    }
    // To the first row of t1, in a transaction that stays open.
    void answer_with(SourceTable now, Lsn position, int columns = 1) {
        begin(1100);
        relation(1, columns);
        insert(1, "1");
        ASSERT_TRUE(question_);
        const action::Describe asked = *std::exchange(question_, std::nullopt);
        feed(input::Described{asked.request, TableId{1}, std::move(now), position});
    }
    // t1 is followed, with these leaves.
    void start_with(const std::vector<std::uint32_t>& leaves) {
        answers_ = false;
        start({table(1)});
        SourceTable now;
        now.schema = table(1);
        now.seen = 6;
        feed(input::Changed{TableId{1}, now, leaves, Lsn{900}});
        tick();
    }
    void hold_with(const std::vector<std::uint32_t>& leaves) {
        input::Hold hold;
        hold.schema = table(1);
        hold.partitions = leaves;
        hold.read_at = Lsn{1500};
        feed(hold);
    }
    // A row of that leaf, in a transaction that stays open, and what the catalog says of it.
    void insert_into(std::uint32_t leaf, std::optional<TableId> table, const SourceTable& now,
                     const std::vector<std::uint32_t>& leaves = {}) {
        insert(leaf, "1");
        ASSERT_TRUE(question_);
        const action::Describe asked = *std::exchange(question_, std::nullopt);
        feed(input::Described{asked.request, table, now, Lsn{1500}, leaves});
    }
};

// The look that answered for the old version knew the new one already, and no row of that ever
// comes. What an earlier look told is no reason to forget it.
TEST_F(ApplyCoreNews, AVersionWithoutRowsIsFollowedThoughItWasSeenTooEarly) {
    answers_ = false;
    start({table(1)});
    SourceTable now;
    now.schema = wider();
    now.seen = 7;
    feed(input::Changed{TableId{1}, now, {}, Lsn{1500}});
    now.seen = 8;
    answer_with(now, Lsn{1600});
    commit(1100);
    tick();
    EXPECT_EQ(new_widths(), std::vector<std::size_t>());
    ack();
    feed(input::Keepalive{Lsn{1550}});
    tick();
    EXPECT_EQ(new_widths(), std::vector<std::size_t>());
    feed(input::Keepalive{Lsn{1600}});
    tick();
    EXPECT_EQ(new_widths(), std::vector<std::size_t>{2});
}

// News wait for the end of a transaction, an answer does not: what was seen before it comes later.
TEST_F(ApplyCoreNews, NewsOfAnEarlierLookDoNotTakeThePlaceOfAnAnswer) {
    answers_ = false;
    start({table(1)});
    SourceTable now;
    now.schema = wider();
    now.seen = 8;
    answer_with(now, Lsn{1600});
    commit(1100);
    now.seen = 7;
    feed(input::Changed{TableId{1}, now, {}, Lsn{1500}});
    feed(input::Keepalive{Lsn{1600}});
    tick();
    EXPECT_EQ(new_widths(), std::vector<std::size_t>{2});
}

// The store hears of a published copy later than the core: until then the look compares the rows
// of the copy before.
TEST_F(ApplyCoreNews, RowsOfAPublishedCopyAreComparedThoughTheStoreKnowsTheOnesBefore) {
    answers_ = false;
    start({as_attempt(2)});
    SourceTable now;
    now.schema = wider();
    now.seen = 7;
    now.attempt_in_copy = 2;
    now.other_rows_in_copy = "its rows were rewritten";
    answer_with(now, Lsn{1200}, 2);
    EXPECT_EQ(said_, std::vector<std::string>{"again 1 at 1000"});
}

// Somebody asked for another copy just then: the store has not heard of this one, and never will.
TEST_F(ApplyCoreNews, RowsOfAPublishedCopyThatNobodyComparedAreNotFollowed) {
    answers_ = false;
    publish_copy_of(as_attempt(2));
    ack();
    SourceTable now;
    now.schema = wider();
    now.seen = 7;
    now.attempt_in_copy = 3;
    feed(input::Changed{TableId{1}, now, {}, Lsn{1500}});
    feed(input::Keepalive{Lsn{1600}});
    tick();
    EXPECT_EQ(new_widths(), std::vector<std::size_t>());
    now.attempt_visible = 2;
    feed(input::Changed{TableId{1}, now, {}, Lsn{1600}});
    tick();
    EXPECT_EQ(new_widths(), std::vector<std::size_t>{2});
}

// The copy that is under way heals it: no operator is to be waited for.
TEST_F(ApplyCoreNews, ACopyThatIsUnderWayHealsWhatCannotBeFollowed) {
    options_.copies_again_on_change = false;
    answers_ = false;
    publish_copy_of(as_attempt(2));
    ack();
    feed(input::Hold{as_attempt(3)});
    said_.clear();
    SourceTable now;
    now.schema = as_attempt(0);
    now.seen = 7;
    now.attempt_in_copy = 3;
    answer_with(now, Lsn{1200});
    commit(1100);
    tick();
    EXPECT_EQ(said_, std::vector<std::string>{});
    EXPECT_EQ(flushed(), std::vector<std::string>{"freeze t1 at 1000"});
}

// An answer that takes the place of news brings the partitions of its own look.
TEST_F(ApplyCoreNews, ALeafThatCameIsKnownThoughAnAnswerTookThePlaceOfTheNews) {
    start_with({11});
    SourceTable now;
    now.schema = wider();
    now.seen = 7;
    feed(input::Changed{TableId{1}, now, {11, 12}, Lsn{1500}});
    begin(1100);
    relation(11);
    insert_into(11, TableId{1}, now, {11, 12});
    commit(1100);
    feed(input::Keepalive{Lsn{1600}});
    tick();
    begin(1700);
    send(Message('T').number(1, 4).number(0, 1).number(12, 4));
    commit(1700);
    EXPECT_EQ(said_, std::vector<std::string>{"again 1 at 1600"});
}

// A copy looks at the catalog, which is ahead.
TEST_F(ApplyCoreNews, ALeafThatHasGoneByThenIsTheVisibleTablesUntilTheStreamIsThere) {
    start_with({11, 12});
    hold_with({11});
    begin(1100);
    relation(12);
    insert_into(12, std::nullopt, {});
    commit(1100);
    tick();
    EXPECT_EQ(flushed(), std::vector<std::string>{"t1 1"});
}

// The stream has only come to a look before the one of the copy, or one that was made meanwhile:
// it may have read the catalog earlier.
TEST_F(ApplyCoreNews, OlderNewsDoNotTakeAwayTheLeavesOfACopy) {
    using Case = std::tuple<std::uint32_t, std::uint64_t>;
    for (const auto& [truncated, seen] : {Case(11, 5), Case(12, 5), Case(12, 7)}) {
        start({});
        said_.clear();
        SourceTable now;
        now.schema = table(1);
        now.seen = seen;
        feed(input::Changed{TableId{1}, now, {11}, Lsn{1500}});
        input::Hold hold;
        hold.schema = table(1);
        hold.partitions = {11, 12};
        hold.seen = 6;
        hold.ended = 8;
        feed(hold);
        feed(input::Keepalive{Lsn{1500}});
        tick();
        begin(1600);
        send(Message('T').number(1, 4).number(0, 1).number(truncated, 4));
        commit(1600);
        feed(input::CopyDone{copy_of(table(1), 1550), *SnapshotXids::parse("1560:1560:"), 6});
        tick();
        EXPECT_EQ(said_, (std::vector<std::string>{"holding 1", "lost 1"})) << seen;
        EXPECT_FALSE(flush_);
    }
}

// The copy before knew it, and the next one does not.
TEST_F(ApplyCoreNews, RowsOfALeafThatTheNextCopyDoesNotHaveAreAskedForAnew) {
    start_with({11, 12});
    SourceTable now;
    now.schema = table(1);
    begin(1100);
    relation(12);
    insert_into(12, TableId{1}, now, {11, 12});
    commit(1100);
    feed(input::Stop{TableId{1}, true, Error(ErrorCode::aborted, "again")});
    hold_with({11});
    begin(1200);
    insert_into(12, std::nullopt, {});
    commit(1200);
    tick();
    EXPECT_EQ(flushed(), (std::vector<std::string>{"t1 1", "freeze t1 at 1105"}));
}

// It is a table of its own by now, and was perhaps already when the row came.
TEST_F(ApplyCoreNews, ALeafThatIsAnotherTablesStopsTheTableBefore) {
    start_with({11, 12});
    SourceTable now;
    now.schema = table(12);
    begin(1100);
    relation(12);
    insert_into(12, TableId{12}, now);
    commit(1100);
    tick();
    EXPECT_EQ(said_, std::vector<std::string>{"again 1 at 1000"});
    EXPECT_EQ(flushed(), std::vector<std::string>{"freeze t1 at 1000"});
}

// The leaf is a table of its own by the look of its copy: its rows are held, and whoever had them
// is told so, or has stopped already.
TEST_F(ApplyCoreNews, ALeafThatIsCopiedAsATableOfItsOwnIsNoLongerTheTablesBefore) {
    for (const bool has_stopped : {false, true}) {
        said_.clear();
        flush_.reset();
        start_with({11, 12});
        if (has_stopped) feed(input::Stop{TableId{1}, false, Error(ErrorCode::aborted, "unfit")});
        feed(input::Hold{.schema = table(12), .seen = 7});
        EXPECT_EQ(said_, (std::vector<std::string>{
                             has_stopped ? "stopped 1 at 1000" : "again 1 at 1000", "holding 12"}));
        SourceTable now;
        now.schema = table(12);
        now.seen = 8;
        begin(1100);
        relation(12);
        insert_into(12, TableId{12}, now);
        commit(1100);
        feed(input::CopyDone{copy_of(table(12), 1000), *SnapshotXids::parse("1000:1000:"), 7});
        tick();
        EXPECT_EQ(flushed(),
                  (std::vector<std::string>{"freeze t1 at 1000", "t12' 1", "publish t12"}));
    }
}

// Its row was asked about when it was the table's.
TEST_F(ApplyCoreNews, RowsOfALeafThatIsCopiedAsATableOfItsOwnAreAskedForAnew) {
    start_with({11, 12});
    SourceTable now;
    now.schema = table(1);
    now.seen = 6;
    begin(1050);
    relation(12);
    insert_into(12, TableId{1}, now, {11, 12});
    commit(1050);
    feed(input::Hold{.schema = table(12), .seen = 7});
    begin(1100);
    now.schema = table(12);
    now.seen = 8;
    insert_into(12, TableId{12}, now);
    commit(1100);
    feed(input::CopyDone{copy_of(table(12), 1060), *SnapshotXids::parse("1060:1060:"), 7});
    tick();
    EXPECT_EQ(flushed(),
              (std::vector<std::string>{"t1 1", "freeze t1 at 1055", "t12' 1", "publish t12"}));
}

// Until the stream has come to the look of the copy its rows may be the table's before.
TEST_F(ApplyCoreNews, ACopyOfALeafThatAnotherTableFollowsIsHeldWhereItsLookWas) {
    start_with({11, 12});
    SourceTable now;
    now.schema = table(1);
    now.seen = 7;
    feed(input::Changed{TableId{1}, now, {11}, Lsn{1500}});
    feed(input::Hold{.schema = table(12), .read_at = {1500}, .seen = 8});
    EXPECT_EQ(core_->wanted(), Lsn{1500});
    begin(1100);
    relation(12);
    insert_into(12, TableId{1}, now, {11, 12});
    commit(1100);
    tick();
    EXPECT_EQ(said_, std::vector<std::string>{});
    EXPECT_EQ(flushed(), std::vector<std::string>{"t1 1"});
    feed(input::Keepalive{Lsn{1500}});
    tick();
    EXPECT_EQ(said_, std::vector<std::string>{"holding 12"});
    ack();
    now.schema = table(12);
    now.seen = 9;
    begin(1600);
    insert_into(12, TableId{12}, now);
    commit(1600);
    feed(input::CopyDone{copy_of(table(12), 1550), *SnapshotXids::parse("1550:1550:"), 8});
    tick();
    EXPECT_EQ(flushed(), (std::vector<std::string>{"t12' 1", "publish t12"}));
}

// A table that became a leaf, and of which nobody says that it is none of its own any more: it
// was detached before the next look.
TEST_F(ApplyCoreNews, ATableThatACopyHasAsALeafIsCopiedAgain) {
    answers_ = false;
    start({table(11)});
    input::Hold hold;
    hold.schema = table(1);
    hold.partitions = {11, 12};
    hold.seen = 7;
    feed(hold);
    EXPECT_EQ(said_, (std::vector<std::string>{"again 11 at 1000", "holding 1"}));
    feed(input::Hold{.schema = table(11), .seen = 8});
    EXPECT_EQ(said_,
              (std::vector<std::string>{"again 11 at 1000", "holding 1", "lost 1", "holding 11"}));
}

// Its table before is to be copied again, and waits for that, while it is followed itself already.
TEST_F(ApplyCoreNews, ALeafThatHasGoneAndIsFollowedByItselfIsSoFromTheStart) {
    core_.emplace(options_,
                  std::vector<ReadyTable>{{.schema = table(1), .partitions_gone = {11, 12}},
                                          {.schema = table(2), .partitions = {12}},
                                          {.schema = table(11)}});
    begin(1100);
    relation(11);
    insert(11, "1");
    relation(12);
    answers_ = false;
    SourceTable now;
    now.schema = table(2);
    insert_into(12, TableId{2}, now);
    commit(1100);
    tick();
    EXPECT_EQ(said_, std::vector<std::string>{});
    EXPECT_EQ(flushed(), (std::vector<std::string>{"t11 1", "t2 1"}));
}

// The other one has stood still since before it came, and lacks the rows that it had then: whose
// the row is nobody can say. Of a table that has had it since its copy it is.
TEST_F(ApplyCoreNews, ALeafThatHasGoneToATableWithoutItsRowsStopsBothAtItsFirstRow) {
    answers_ = false;
    const auto is_asked_of = [&](ReadyTable taker) {
        said_.clear();
        flush_.reset();
        core_.emplace(options_,
                      std::vector<ReadyTable>{{.schema = table(1), .partitions_gone = {11, 12}},
                                              std::move(taker)});
        SourceTable now;
        now.schema = table(2);
        now.seen = 7;
        now.other_rows = "a partition was attached";
        begin(1100);
        relation(12);
        insert_into(12, TableId{2}, now, {12, 21});
        commit(1100);
        tick();
        return flushed();
    };
    EXPECT_EQ(is_asked_of({.schema = table(2), .partitions = {21}, .partitions_new = {12}}),
              (std::vector<std::string>{"freeze t1 at 1000", "freeze t2 at 1000"}));
    EXPECT_EQ(said_, (std::vector<std::string>{"again 1 at 1000", "again 2 at 1000"}));
    // Rewritten since, which is its own matter.
    EXPECT_EQ(is_asked_of({.schema = table(2), .partitions = {12, 21}}),
              std::vector<std::string>{"freeze t2 at 1000"});
}

// By the latest look nothing has changed: the attachment is not told of any more.
TEST_F(ApplyCoreNews, ALeafThatCameAndWentBeforeTheStreamWasThereStopsItsTable) {
    start_with({11});
    SourceTable now;
    now.schema = table(1);
    now.seen = 7;
    now.other_rows = "a partition was attached";
    feed(input::Changed{TableId{1}, now, {11, 12}, Lsn{1500}});
    now.seen = 8;
    now.other_rows.clear();
    feed(input::Changed{TableId{1}, now, {11}, Lsn{1600}});
    begin(1100);
    relation(12);
    insert_into(12, std::nullopt, {});
    commit(1100);
    EXPECT_EQ(said_, std::vector<std::string>{"again 1 at 1000"});
    tick();
    EXPECT_EQ(flushed(), std::vector<std::string>{"freeze t1 at 1000"});
}

// Its first row comes between its drop and the look that finds that.
TEST_F(ApplyCoreNews, ALeafThatHasGoneBeforeTheNewsOfItsAttachmentAreDueStopsItsTable) {
    start_with({11});
    SourceTable now;
    now.schema = table(1);
    now.seen = 7;
    now.other_rows = "a partition was attached";
    feed(input::Changed{TableId{1}, now, {11, 12}, Lsn{1500}});
    begin(1100);
    relation(12);
    insert_into(12, std::nullopt, {});
    commit(1100);
    EXPECT_EQ(said_, std::vector<std::string>{"again 1 at 1000"});
    tick();
    EXPECT_EQ(flushed(), std::vector<std::string>{"freeze t1 at 1000"});
}

// Then it is nobody's.
TEST_F(ApplyCoreNews, ALeafThatCameAndWentIsNotItsTablesBehindTheLookThatLacksIt) {
    start_with({11});
    SourceTable now;
    now.schema = table(1);
    now.seen = 7;
    feed(input::Changed{TableId{1}, now, {11, 12}, Lsn{1500}});
    now.seen = 8;
    feed(input::Changed{TableId{1}, now, {11}, Lsn{1600}});
    feed(input::Keepalive{Lsn{1600}});
    begin(1700);
    relation(12);
    insert_into(12, std::nullopt, {});
    commit(1700);
    tick();
    EXPECT_EQ(said_, std::vector<std::string>{});
    EXPECT_EQ(flushed(), std::vector<std::string>{});
}

// Nobody had it before.
TEST_F(ApplyCoreNews, ALeafThatHasComeToATableIsItsOwnWhereNoOtherHadIt) {
    answers_ = false;
    core_.emplace(options_, std::vector<ReadyTable>{{.schema = table(1), .partitions_new = {12}}});
    SourceTable now;
    now.schema = table(1);
    now.other_rows = "a partition was attached";
    begin(1100);
    relation(12);
    insert_into(12, TableId{1}, now, {12});
    commit(1100);
    tick();
    EXPECT_EQ(flushed(), std::vector<std::string>{"freeze t1 at 1000"});
}

// What was seen before does not take the rows back.
TEST_F(ApplyCoreNews, OlderNewsDoNotGiveALeafBackToTheTableBefore) {
    start_with({11, 12});
    SourceTable now;
    now.schema = table(1);
    now.seen = 7;
    feed(input::Changed{TableId{1}, now, {11, 12}, Lsn{1500}});
    feed(input::Stop{TableId{1}, true, Error(ErrorCode::aborted, "again")});
    feed(input::Hold{.schema = table(12), .seen = 8});
    feed(input::Keepalive{Lsn{1500}});
    tick();
    ack();
    now.schema = table(12);
    now.seen = 9;
    begin(1600);
    relation(12);
    insert_into(12, TableId{12}, now);
    commit(1600);
    feed(input::CopyDone{copy_of(table(12), 1550), *SnapshotXids::parse("1550:1550:"), 8});
    tick();
    EXPECT_EQ(flushed(), (std::vector<std::string>{"t12' 1", "publish t12"}));
}

// A copy whose look is older than the one by which another table has its rows.
TEST_F(ApplyCoreNews, ACopyOfATableThatIsALeafByALaterLookIsLost) {
    start_with({11, 12});
    feed(input::Hold{.schema = table(12), .seen = 5});
    EXPECT_EQ(said_, std::vector<std::string>{"lost 12"});
    said_.clear();
    feed(input::Hold{.schema = table(12), .seen = 7});
    input::Hold hold;
    hold.schema = table(2);
    hold.partitions = {12};
    hold.seen = 6;
    feed(hold);
    EXPECT_EQ(said_, (std::vector<std::string>{"again 1 at 1000", "holding 12", "lost 2"}));
}

// The table was forgotten before its copy asked for the hold.
TEST_F(ApplyCoreNews, ALeafOfACopyThatWasGivenUpMayBeATableOfItsOwn) {
    start({});
    feed(input::Forget{TableId{1}, Lsn{1000}});
    tick();
    ack();
    hold_with({11});
    feed(input::CopyAbandoned{TableId{1}});
    feed(input::Hold{table(11)});
    begin(1100);
    relation(11);
    insert(11, "1");
    commit(1100);
    feed(input::CopyDone{copy_of(table(11), 1000), *SnapshotXids::parse("1000:1000:")});
    tick();
    EXPECT_EQ(flushed(), (std::vector<std::string>{"t11' 1", "publish t11"}));
}

TEST_F(ApplyCoreNews, RowsOfACopyThatIsUnderWaySayNothingOfTheVisibleOnes) {
    answers_ = false;
    start({as_attempt(1)});
    SourceTable now;
    now.schema = as_attempt(0);
    now.seen = 7;
    now.attempt_in_copy = 2;
    now.other_rows_in_copy = "its rows were rewritten";
    answer_with(now, Lsn{1200});
    commit(1100);
    tick();
    EXPECT_EQ(flushed(), std::vector<std::string>{"t1 1"});
}

}  // namespace
}  // namespace walbrook
