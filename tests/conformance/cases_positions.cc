// Positions, atomicity, crashes, fences.

#include "world.h"

namespace walbrook::testing {
namespace {

void position_survives(World& world) {
    const TableSchemaPtr schema = simple();
    world.expect_position({});
    const auto live = [&] {
        world.load(schema, {{"1", "a"}});
        ChangeRecorder changes(schema);
        world.apply(changes.insert({"2", "b"}));
        world.expect_position(world.last_position());
    };
    for (const bool is_death : {true, false}) {
        const Recovered recovered = is_death ? world.die(live) : world.reopen();
        EXPECT_EQ(to_string(recovered.position), to_string(world.last_position()));
        const RecoveredTable* found = find_table(recovered, schema);
        ASSERT_NE(found, nullptr);
        EXPECT_EQ(found->phase, TablePhase::ready);
        ASSERT_NE(found->schema, nullptr);
        EXPECT_EQ(*found->schema, *schema);
        world.expect_rows(schema, {{"1", "a"}, {"2", "b"}});
    }
}

// A barrier: nothing to write, but the position must be kept.
void empty_flush_moves_the_position(World& world) {
    const auto expect_at_last = [&](const Recovered& recovered) {
        EXPECT_EQ(to_string(recovered.position), to_string(world.last_position()));
    };
    expect_at_last(world.apply_and_die());
    world.apply();
    world.expect_position(world.last_position());
    world.load(simple(), {{"1", "a"}});
    // Changes that cancel out are an empty flush too.
    ChangeRecorder changes(simple());
    changes.insert({"2", "b"}).remove({"2", "b"});
    expect_at_last(world.apply_and_die(changes.take()));
    world.expect_rows(simple(), {{"1", "a"}});
}

// The answer to apply was lost with the process: the position says that it was done, so
// the pipeline skips what it would send again, and nothing doubles.
void crash_before_the_acknowledgement(World& world) {
    const TableSchemaPtr schema =
        TableMaker(16384, "k").column("a").identity(ReplicaIdentity::full).make();
    world.load(schema, {{"x"}});
    ChangeRecorder changes(schema);
    changes.insert({"y"}).insert({"y"});
    TestFlush flush(world.next_position());
    flush.add(changes.take());
    const Recovered recovered =
        world.die([&] { (void)world.destination().apply(flush, Ack::durable, {}); });
    EXPECT_EQ(to_string(recovered.position), to_string(world.last_position()));
    world.expect_rows(schema, {{"x"}, {"y"}, {"y"}});
}

// Slices of a copy's held changes come between common flushes, at their position.
void flushes_at_the_same_position(World& world) {
    const TableSchemaPtr schema = simple();
    const TableSchemaPtr other = simple(16385, "other");
    world.load(other, {{"1", "a"}});
    const CopyTargetPtr copy = world.copy(schema, {{"1", "a"}});
    const Lsn position = world.last_position();
    for (const char* id : {"5", "6", "7"}) {
        ChangeRecorder held(schema, copy);
        TestFlush slice(position);
        slice.add(held.insert({id, "held"}).take());
        world.expect_applied(slice);
        world.expect_position(position);
    }
    world.publish(copy);
    world.expect_rows(schema, {{"1", "a"}, {"5", "held"}, {"6", "held"}, {"7", "held"}});
}

// The flush cannot be read to its end, or a change in it is refused: all its tables stay
// as they were, and the same flush can be applied afterwards.
void failed_flush_leaves_nothing(World& world) {
    const TableSchemaPtr schema = simple();
    const TableSchemaPtr other = simple(16385, "other");
    world.load(schema, {{"1", "a"}});
    world.load(other, {{"1", "a"}});
    const CopyTargetPtr copy = world.copy(simple(16386, "third"), {{"1", "a"}});
    TestFlush flush(world.next_position());
    ChangeRecorder changes(schema);
    ChangeRecorder other_changes(other);
    Truncate emptied;
    emptied.tables = {other};
    flush.add(changes.insert({"2", "b"}).remove({"1", "a"}).take())
        .add(emptied)
        .add(other_changes.insert({"3", "c"}).take())
        .add(Publish{copy})
        .add(Freeze{schema, TablePhase::errored, world.last_position(), "planned"})
        .fail_at_end(Error(ErrorCode::internal, "planned by the test"));
    world.expect_refused(flush, ErrorCode::internal, 0);
    world.expect_rows(schema, {{"1", "a"}});
    world.expect_rows(other, {{"1", "a"}});
    world.expect_no_table(copy->schema);
    flush.rewind();
    world.expect_applied(flush);
    world.expect_rows(schema, {{"2", "b"}});
    world.expect_rows(other, {{"3", "c"}});
    world.expect_rows(copy->schema, {{"1", "a"}});
    EXPECT_EQ(to_string(world.reopen().position), to_string(world.last_position()));
}

// Items without end; asks for the stop itself when it has given some.
class EndlessFlush final : public Flush {
 public:
    EndlessFlush(Lsn position, const TableSchemaPtr& schema, std::stop_source& stop)
        : position_(position), schema_(schema), stop_(stop), item_(std::in_place_type<Truncate>) {}
    Lsn position() const override { return position_; }
    std::int64_t commit_time_us() const override { return 0; }
    void rewind() override {}
    Result<const FlushItem*> next() override {
        if (++items_ == kBeforeStop) stop_.request_stop();
        if (items_ > kBeforeStop + kAfterStopMax) return Error(ErrorCode::internal, "never ends");
        ChangeRecorder changes(schema_);
        changes.insert({std::to_string(1000 + items_), "endless"});
        item_.emplace<ChangeBatch>(changes.take());
        return &item_;
    }

 private:
    static constexpr int kBeforeStop = 5;
    static constexpr int kAfterStopMax = 1000;

    Lsn position_;
    TableSchemaPtr schema_;
    std::stop_source& stop_;
    FlushItem item_;
    int items_ = 0;
};

void flushes_stop_promptly(World& world) {
    const TableSchemaPtr schema = simple();
    world.load(schema, {{"1", "a"}});
    const Lsn before = world.last_position();
    std::stop_source stop;
    EndlessFlush endless(world.next_position(), schema, stop);
    for (const char* when : {"in the middle", "before the first item"}) {
        const Result<Ack> ack = world.destination().apply(endless, Ack::durable, stop.get_token());
        ASSERT_FALSE(ack) << when;
        EXPECT_EQ(name_of(ack.error().code()), "cancelled") << ack.error().message();
    }
    world.expect_position(before);
    world.expect_rows(schema, {{"1", "a"}});
    const Status upkeep = world.destination().maintain(stop.get_token());
    if (!upkeep) {
        EXPECT_EQ(name_of(upkeep.error().code()), "cancelled") << upkeep.error().message();
    }
    ChangeRecorder changes(schema);
    world.apply(changes.insert({"2", "b"}));
    world.expect_rows(schema, {{"1", "a"}, {"2", "b"}});
}

void another_lineage_is_refused(World& world) {
    const TableSchemaPtr schema = simple();
    world.load(schema, {{"1", "a"}});
    world.close();
    PipelineIdentity strangers[3];
    for (PipelineIdentity& stranger : strangers) {
        stranger = World::identity(world.harness().work_dir());
    }
    strangers[0].system_identifier = "7300000000000000002";
    strangers[1].database_oid = 6;
    strangers[2].slot = "walbrook_8";
    for (const PipelineIdentity& stranger : strangers) {
        const auto destination = world.harness().create();
        const auto recovered = destination->open(stranger, {});
        ASSERT_FALSE(recovered);
        EXPECT_EQ(name_of(recovered.error().code()), "corrupt_state")
            << recovered.error().message();
    }
    const Recovered recovered = world.reopen();
    EXPECT_EQ(to_string(recovered.position), to_string(world.last_position()));
    world.expect_rows(schema, {{"1", "a"}});
}

// Of two that are open over one storage at most one can write.
void one_writer(World& world) {
    const TableSchemaPtr schema = simple();
    world.load(schema, {{"1", "a"}});
    ChangeRecorder changes(schema);
    changes.insert({"2", "b"});
    TestFlush flush(world.next_position());
    flush.add(changes.take());
    const auto second = world.harness().create();
    const auto opened = second->open(World::identity(world.harness().work_dir()), {});
    if (!opened) {
        EXPECT_EQ(name_of(opened.error().code()), "fenced") << opened.error().message();
        world.expect_applied(flush);
    } else {
        const Result<Ack> late = world.destination().apply(flush, Ack::durable, {});
        ASSERT_FALSE(late) << "both could write";
        EXPECT_EQ(name_of(late.error().code()), "fenced") << late.error().message();
        flush.rewind();
        EXPECT_TRUE(second->apply(flush, Ack::durable, {}));
        EXPECT_TRUE(second->close());
    }
    world.reopen();
    world.expect_rows(schema, {{"1", "a"}, {"2", "b"}});
}

// Upkeep changes nothing that readers or the pipeline see.
void maintenance_is_invisible(World& world) {
    const TableSchemaPtr schema = simple();
    world.load(schema, {{"1", "a"}});
    ChangeRecorder changes(schema);
    for (int i = 2; i < 8; ++i) {
        world.apply(changes.insert({std::to_string(i), "n"}));
        const Status status = world.destination().maintain({});
        EXPECT_TRUE(status) << status.error().message();
        world.expect_position(world.last_position());
    }
    world.apply(changes.remove({"1", "a"}));
    const auto maintain = [&] {
        const Status status = world.destination().maintain({});
        EXPECT_TRUE(status) << status.error().message();
    };
    maintain();
    const std::vector<TextRow> expected = {{"2", "n"}, {"3", "n"}, {"4", "n"},
                                           {"5", "n"}, {"6", "n"}, {"7", "n"}};
    world.expect_rows(schema, expected);
    EXPECT_EQ(to_string(world.die(maintain).position), to_string(world.last_position()));
    world.expect_rows(schema, expected);
}

constexpr CaseEntry kPositionCases[] = {
    {{"position_survives", "position, phases and schema versions are found again"},
     position_survives},
    {{"empty_flush_moves_the_position", "a flush without changes still keeps its position"},
     empty_flush_moves_the_position},
    {{"crash_before_the_acknowledgement", "data and position are durable together"},
     crash_before_the_acknowledgement},
    {{"flushes_at_the_same_position", "slices for shadow tables leave the position as it is"},
     flushes_at_the_same_position},
    {{"failed_flush_leaves_nothing", "a flush lands whole or not at all, over all its tables"},
     failed_flush_leaves_nothing},
    {{"flushes_stop_promptly", "apply ends soon after a stop, with nothing written"},
     flushes_stop_promptly},
    {{"another_lineage_is_refused", "the data of another source is not continued"},
     another_lineage_is_refused},
    {{"one_writer", "of two writers one is refused"}, one_writer},
    {{"maintenance_is_invisible", "upkeep changes neither rows nor position"},
     maintenance_is_invisible},
};

}  // namespace

std::span<const CaseEntry> position_cases() { return kPositionCases; }

}  // namespace walbrook::testing
