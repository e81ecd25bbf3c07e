#include "walbrook/destinations.h"
#include "walbrook/testing/faulty_destination.h"
#include "walbrook/testing/rows.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

namespace walbrook {
namespace {

using testing::ChangeRecorder;
using testing::DestinationCall;
using testing::Fault;
using testing::FaultyDestination;
using testing::make_rows;
using testing::TableMaker;
using testing::TestFlush;
using testing::TestReader;
using testing::TextRow;
using Rows = std::vector<std::vector<std::string>>;

const PipelineIdentity kWho = [] {
    PipelineIdentity who;
    who.pipeline_id = 1;
    who.slot = "walbrook_1";
    return who;
}();

TableSchemaPtr table_of(ReplicaIdentity identity = ReplicaIdentity::default_key) {
    return TableMaker(16384, "t").key("id").column("note").column("long").identity(identity).make();
}

TableSchemaPtr keyless() {
    return TableMaker(16385, "k").column("a").column("b").identity(ReplicaIdentity::full).make();
}

// Copies `rows` and publishes them.
void load(Destination& destination, const TableSchemaPtr& schema, const std::vector<TextRow>& rows,
          std::uint32_t attempt = 1) {
    const auto copy = std::make_shared<const CopyTarget>(CopyTarget{schema, attempt, {1}});
    ASSERT_TRUE(destination.begin_copy(copy, {}));
    TestReader reader(schema);
    reader.add(make_rows(schema, rows));
    ASSERT_TRUE(destination.write_copy({copy, 0}, reader, {}));
    ASSERT_TRUE(destination.finish_copy(copy, {}));
    TestFlush flush({1});
    flush.add(Publish{copy});
    const auto ack = destination.apply(flush, Ack::durable, {});
    ASSERT_TRUE(ack) << ack.error().message();
}

class MemoryTest : public ::testing::Test {
 protected:
    void SetUp() override { ASSERT_TRUE(memory_->open(kWho, {})); }
    Result<Ack> apply(ChangeRecorder& recorder) {
        TestFlush flush({100});
        flush.add(recorder.take());
        return memory_->apply(flush, Ack::durable, {});
    }
    void expect_lost(ChangeRecorder& recorder) {
        const auto before = memory_->rows("public", "t");
        const auto ack = apply(recorder);
        ASSERT_FALSE(ack);
        EXPECT_EQ(ack.error().code(), ErrorCode::corrupt_state);
        EXPECT_EQ(ack.error().table_oid(), 16384U);
        EXPECT_EQ(memory_->rows("public", "t"), before);
        EXPECT_EQ(memory_->read_position({})->value, 1U);
    }

    std::shared_ptr<MemoryLake> lake_ = MemoryDestination::make_lake();
    std::unique_ptr<MemoryDestination> memory_ = MemoryDestination::create(lake_);
};

TEST_F(MemoryTest, RefusesChangesOfRowsThatAreNotThere) {
    const TableSchemaPtr schema = table_of();
    load(*memory_, schema, {{"1", "a", "x"}, {"2", "b", "y"}});
    ChangeRecorder changes(schema);
    expect_lost(changes.insert({"3", "c", "z"}).remove({"9", {}, {}}));
    expect_lost(changes.remove({"1", "a", "x"}).update({"9", "a", "x"}, {"9", "b", "x"}));
    expect_lost(changes.update({"1", "a", "x"}, {"7", "q", "x"}).insert({"2", "b", "y"}));
    expect_lost(changes.update({"1", "a", "x"}, {"2", "a", "x"}));
}

TEST_F(MemoryTest, RefusesTwoRowsUnderADeferredKeyAtTheEnd) {
    const TableSchemaPtr schema = table_of(ReplicaIdentity::full);
    load(*memory_, schema, {{"1", "a", "x"}, {"2", "b", "y"}});
    ChangeRecorder changes(schema);
    expect_lost(changes.update({"1", "a", "x"}, {"2", "a", "x"}));
    changes.update({"1", "a", "x"}, {"2", "a", "x"}).update({"2", "b", "y"}, {"1", "b", "y"});
    ASSERT_TRUE(apply(changes));
    EXPECT_EQ(memory_->rows("public", "t"), (Rows{{"1", "b", "y"}, {"2", "a", "x"}}));
}

// Values are the same after the change, or the table is copied again.
TEST_F(MemoryTest, TakesOnlyTypesThatPrintAlike) {
    TableMaker maker = TableMaker(16384, "t").key("id", {TypeKind::int16});
    maker.column("n", {TypeKind::decimal, false, 5, 2}).column("f", {TypeKind::float32});
    const TableSchemaPtr first = maker.make();
    load(*memory_, first, {});
    const auto follow = [&](const TableSchemaPtr& to) {
        TestFlush flush({100});
        SchemaChange change;
        change.from = first;
        change.to = to;
        flush.add(change);
        return memory_->apply(flush, Ack::durable, {}).has_value();
    };
    EXPECT_FALSE(follow(TableMaker(maker).retype("f", {TypeKind::float64}).make()));
    EXPECT_FALSE(follow(TableMaker(maker).retype("id", {TypeKind::uint32}).make()));
    EXPECT_FALSE(follow(TableMaker(maker).retype("n", {TypeKind::decimal, false, 9, 3}).make()));
    EXPECT_TRUE(follow(TableMaker(maker)
                           .retype("id", {TypeKind::int64})
                           .retype("n", {TypeKind::decimal, false, 9, 2})
                           .make()));
}

// Everything that a flush can do is undone when its end cannot be read.
TEST_F(MemoryTest, FailedFlushLeavesNothing) {
    const TableSchemaPtr schema = table_of();
    const TableSchemaPtr other = keyless();
    load(*memory_, schema, {{"1", "a", "x"}});
    load(*memory_, other, {{"p", {}}, {"p", {}}});
    const auto copy = std::make_shared<const CopyTarget>(CopyTarget{schema, 2, {1}});
    ASSERT_TRUE(memory_->begin_copy(copy, {}));
    ASSERT_TRUE(memory_->finish_copy(copy, {}));
    const std::uint64_t checksum = memory_->checksum();

    const TableSchemaPtr wider =
        TableMaker(16384, "t2").key("id").column("note").column("long").column("more").make();
    ChangeRecorder first(schema);
    first.update({"1", "a", "x"}, {"5", "a", "x"}, {2}).insert({"2", "b", "y"});
    ChangeRecorder second(wider);
    second.insert({"3", "c", "z", "m"});
    ChangeRecorder third(other);
    third.remove({"p", {}});
    ChangeRecorder shadow(schema, copy);
    shadow.insert({"8", "s", "s"});
    TestFlush flush({100});
    SchemaChange change;
    change.from = schema;
    change.to = wider;
    change.existing = std::make_shared<const RowBatch>(make_rows(wider, {{{}, {}, {}, "e"}}));
    SchemaChange of_shadow = change;
    of_shadow.copy = copy;
    ChangeRecorder shadow_after(wider, copy);
    shadow_after.update({"8", {}, {}, {}}, {"8", "S", {}, {}}, {2, 3});
    flush.add(first.take()).add(change).add(second.take()).add(third.take()).add(shadow.take());
    flush.add(of_shadow).add(shadow_after.take());
    Truncate truncate;
    truncate.tables = {other};
    flush.add(truncate).add(Publish{copy}).add(Retire{{16385}});
    flush.add(Freeze{schema, TablePhase::errored, {50}, "planned"});
    flush.fail_at_end(Error(ErrorCode::unavailable, "planned"));

    EXPECT_FALSE(memory_->apply(flush, Ack::durable, {}));
    EXPECT_EQ(memory_->rows("public", "t"), (Rows{{"1", "a", "x"}}));
    EXPECT_EQ(memory_->rows("public", "k"), (Rows{{"p", "\\N"}, {"p", "\\N"}}));
    EXPECT_EQ(memory_->checksum(), checksum);
    EXPECT_EQ(memory_->read_position({})->value, 1U);

    flush.rewind();
    ASSERT_TRUE(memory_->apply(flush, Ack::durable, {}));
    EXPECT_EQ(memory_->rows("public", "t2"), (Rows{{"8", "S", "s", "e"}}));
    EXPECT_EQ(memory_->rows("public", "k"), Rows());
    EXPECT_EQ(memory_->read_position({})->value, 100U);
}

TEST_F(MemoryTest, FrozenTableTakesNoChanges) {
    const TableSchemaPtr schema = table_of();
    load(*memory_, schema, {{"1", "a", "x"}});
    TestFlush freeze({2});
    freeze.add(Freeze{schema, TablePhase::copying, {2}, "planned"});
    ASSERT_TRUE(memory_->apply(freeze, Ack::durable, {}));
    ChangeRecorder changes(schema);
    changes.insert({"2", "b", "y"});
    const auto ack = apply(changes);
    ASSERT_FALSE(ack);
    EXPECT_EQ(ack.error().code(), ErrorCode::internal);
}

TEST_F(MemoryTest, NewDestinationFencesTheOldOne) {
    const auto second = MemoryDestination::create(lake_);
    ASSERT_TRUE(second->open(kWho, {}));
    EXPECT_EQ(memory_->read_position({}).error().code(), ErrorCode::fenced);
    TestFlush flush({5});
    EXPECT_EQ(memory_->apply(flush, Ack::durable, {}).error().code(), ErrorCode::fenced);
    EXPECT_TRUE(second->apply(flush, Ack::durable, {}));
}

TEST_F(MemoryTest, FindsARangeThatWasCopiedTwice) {
    const TableSchemaPtr schema = table_of();
    const auto copy = std::make_shared<const CopyTarget>(CopyTarget{schema, 1, {1}});
    ASSERT_TRUE(memory_->begin_copy(copy, {}));
    for (const std::uint32_t unit : {0U, 1U}) {
        TestReader reader(schema);
        reader.add(make_rows(schema, {{"1", "a", "x"}}));
        ASSERT_TRUE(memory_->write_copy({copy, unit}, reader, {}));
    }
    EXPECT_EQ(memory_->finish_copy(copy, {}).error().code(), ErrorCode::corrupt_state);
}

// The same copies and changes, in another order and cut into other batches.
TEST(BlackholeChecksum, EqualsThatOfMemory) {
    const TableSchemaPtr schema = table_of();
    const TableSchemaPtr other = keyless();
    const auto memory = MemoryDestination::create(MemoryDestination::make_lake());
    const auto blackhole = BlackholeDestination::create();
    ASSERT_TRUE(memory->open(kWho, {}));
    ASSERT_TRUE(blackhole->open(kWho, {}));
    load(*memory, schema, {{"1", "a", "x"}, {"2", {}, "y"}});
    load(*blackhole, schema, {{"2", {}, "y"}, {"1", "a", "x"}});
    load(*memory, other, {{"p", "q"}});
    load(*blackhole, other, {{"p", "q"}});
    EXPECT_EQ(memory->checksum(), blackhole->checksum());
    EXPECT_EQ(blackhole->values(), 8U);

    ChangeRecorder changes(schema);
    changes.update({"1", "a", "x"}, {"1", "b", "x"}, {2}).insert({"3", {}, {}});
    TestFlush whole({10});
    whole.add(changes.take());
    ChangeRecorder more(other);
    more.update({"p", "q"}, {"p", "r"});
    whole.add(more.take());
    ASSERT_TRUE(memory->apply(whole, Ack::durable, {}));

    more.update({"p", "q"}, {"p", "r"});
    changes.insert({"3", {}, {}});
    TestFlush parts({10});
    parts.add(more.take()).add(changes.take());
    changes.update({"1", "a", "x"}, {"1", "b", "x"}, {2});
    parts.add(changes.take());
    ASSERT_TRUE(blackhole->apply(parts, Ack::durable, {}));
    EXPECT_EQ(memory->checksum(), blackhole->checksum());
    EXPECT_EQ(blackhole->values(), 18U);

    changes.update({"1", "a", "x"}, {"1", "b", {}});
    TestFlush different({11});
    different.add(changes.take());
    ASSERT_TRUE(blackhole->apply(different, Ack::durable, {}));
    EXPECT_NE(memory->checksum(), blackhole->checksum());
}

// --- FaultyDestination

std::unique_ptr<FaultyDestination> faulty() {
    auto destination = std::make_unique<FaultyDestination>(
        MemoryDestination::create(MemoryDestination::make_lake()));
    EXPECT_TRUE(destination->open(kWho, {}));
    return destination;
}

TEST(FaultyDestination, BeforeDoesNothingAndAfterDoesItAll) {
    const auto destination = faulty();
    destination->add({DestinationCall::apply, 1, Fault::Kind::before, ErrorCode::throttled});
    destination->add({DestinationCall::apply, 2, Fault::Kind::after, ErrorCode::unknown_outcome});
    for (const auto& [code, position] : {std::pair{ErrorCode::throttled, std::uint64_t{0}},
                                         std::pair{ErrorCode::unknown_outcome, std::uint64_t{7}}}) {
        EXPECT_FALSE(destination->has_struck());
        TestFlush flush({7});
        const auto ack = destination->apply(flush, Ack::durable, {});
        ASSERT_FALSE(ack);
        EXPECT_EQ(ack.error().code(), code);
        EXPECT_EQ(destination->read_position({})->value, position);
    }
    EXPECT_TRUE(destination->has_struck());
    TestFlush flush({8});
    EXPECT_TRUE(destination->apply(flush, Ack::durable, {}));
    EXPECT_EQ(destination->calls(DestinationCall::apply), 3U);
}

TEST(FaultyDestination, CountsAllCallsWhereNoKindIsGiven) {
    const auto destination = faulty();
    destination->add({std::nullopt, 3, Fault::Kind::before, ErrorCode::unavailable});
    EXPECT_TRUE(destination->maintain({}));
    EXPECT_FALSE(destination->read_position({}));
    EXPECT_TRUE(destination->read_position({}));
}

TEST(FaultyDestination, HoldsUntilReleasedOrStopped) {
    const auto destination = faulty();
    for (const std::uint64_t nth : {1U, 2U}) {
        destination->add({DestinationCall::maintain, nth, Fault::Kind::hold, {}});
    }
    Status released;
    Status stopped;
    {
        std::jthread caller([&] { released = destination->maintain({}); });
        ASSERT_TRUE(destination->wait_until_held());
        destination->release();
    }
    {
        std::jthread caller(
            [&](const std::stop_token& stop) { stopped = destination->maintain(stop); });
        ASSERT_TRUE(destination->wait_until_held());
    }
    EXPECT_TRUE(released);
    ASSERT_FALSE(stopped);
    EXPECT_EQ(stopped.error().code(), ErrorCode::cancelled);
}

}  // namespace
}  // namespace walbrook
