// Copies: shadow tables, units in parallel, attempts, publishing.

#include "world.h"

#include <barrier>
#include <future>
#include <thread>

namespace walbrook::testing {
namespace {

const Error kPlanned(ErrorCode::malformed, "planned by the test");

std::vector<TextRow> numbered(int first, int count) {
    std::vector<TextRow> rows;
    for (int i = first; i < first + count; ++i) {
        rows.push_back({std::to_string(i), "note " + std::to_string(i)});
    }
    return rows;
}

void empty_table(World& world) {
    const TableSchemaPtr schema = simple();
    const CopyTargetPtr copy = world.begin_copy(schema);
    ASSERT_TRUE(world.destination().finish_copy(copy, {}));
    world.expect_no_table(schema);
    world.publish(copy);
    world.expect_rows(schema, {});
    world.reopen();
    world.expect_rows(schema, {});
    ChangeRecorder changes(schema);
    world.apply(changes.insert({"1", "a"}));
    world.expect_rows(schema, {{"1", "a"}});
}

void parallel_units(World& world) {
    constexpr int kThreads = 4;
    constexpr int kUnits = 3;
    const TableSchemaPtr schema = simple();
    const CopyTargetPtr copy = world.begin_copy(schema);
    std::vector<Status> results(std::size_t{kThreads} * kUnits);
    {
        std::barrier together(kThreads);
        std::vector<std::jthread> threads;
        threads.reserve(kThreads);
        for (int thread = 0; thread < kThreads; ++thread) {
            threads.emplace_back([&, thread] {
                together.arrive_and_wait();
                for (int i = 0; i < kUnits; ++i) {
                    const int unit = thread * kUnits + i;
                    TestReader reader(schema);
                    // The last unit has no rows: a range may be empty.
                    for (int batch = 0; batch < 3 && unit != kThreads * kUnits - 1; ++batch) {
                        reader.add(make_rows(schema, numbered(unit * 300 + batch * 100, 100)));
                    }
                    results[static_cast<std::size_t>(unit)] = world.destination().write_copy(
                        {copy, static_cast<std::uint32_t>(unit)}, reader, {});
                }
            });
        }
    }
    for (const Status& result : results) EXPECT_TRUE(result) << result.error().message();
    ASSERT_TRUE(world.destination().finish_copy(copy, {}));
    world.publish(copy);
    world.expect_rows(schema, numbered(0, 300 * (kThreads * kUnits - 1)));
}

void unit_is_whole_or_nothing(World& world) {
    const TableSchemaPtr schema = simple();
    const CopyTargetPtr copy = world.begin_copy(schema);
    for (const int batches : {1, 0}) {
        TestReader broken(schema);
        for (int i = 0; i < batches; ++i) broken.add(make_rows(schema, numbered(0, 50)));
        broken.fail_at_end(kPlanned);
        const Status status = world.destination().write_copy({copy, 0}, broken, {});
        ASSERT_FALSE(status);
        EXPECT_EQ(name_of(status.error().code()), name_of(kPlanned.code()))
            << "the reader's own error must come through: " << status.error().message();
    }
    world.write_unit(copy, 0, numbered(0, 70));
    ASSERT_TRUE(world.destination().finish_copy(copy, {}));
    world.publish(copy);
    world.expect_rows(schema, numbered(0, 70));
}

void shadow_is_invisible(World& world) {
    const TableSchemaPtr schema = simple();
    const CopyTargetPtr copy = world.copy(schema, numbered(0, 10));
    world.expect_no_table(schema);
    ChangeRecorder held(schema, copy);
    world.apply(held.insert({"100", "held"}).remove({"3", "note 3"}));
    world.expect_no_table(schema);
    world.publish(copy);
    std::vector<TextRow> expected = numbered(0, 10);
    expected.erase(expected.begin() + 3);
    expected.push_back({"100", "held"});
    world.expect_rows(schema, expected);
}

// A resync of a healthy table: its changes go to the old table and, held, to the new.
void publish_over_visible_table(World& world) {
    const TableSchemaPtr schema = simple();
    world.load(schema, {{"1", "old"}, {"2", "old"}});
    const CopyTargetPtr copy = world.copy(schema, {{"1", "new"}, {"3", "new"}}, 2);
    ChangeRecorder visible(schema);
    ChangeRecorder held(schema, copy);
    world.apply(visible.insert({"4", "both"}).take());
    world.expect_rows(schema, {{"1", "old"}, {"2", "old"}, {"4", "both"}});
    // The rest of what was held, and the new table, in one flush.
    world.apply(held.insert({"4", "both"}).take(), Publish{copy});
    world.expect_rows(schema, {{"1", "new"}, {"3", "new"}, {"4", "both"}});
    world.apply(visible.update({"1", "new"}, {"1", "newer"}).take());
    world.reopen();
    world.expect_rows(schema, {{"1", "newer"}, {"3", "new"}, {"4", "both"}});
}

void held_changes_to_the_shadow(World& world) {
    const TableSchemaPtr schema = simple();
    const CopyTargetPtr copy = world.copy(schema, numbered(0, 4));
    ChangeRecorder held(schema, copy);
    world.apply(held.update({"0", "note 0"}, {"0", "changed"}));
    world.apply(held.update({"1", "note 1"}, {"9", "note 1"}).remove({"2", "note 2"}));
    Truncate emptied;
    emptied.tables = {schema};
    emptied.copy = copy;
    world.apply(emptied, held.insert({"7", "after"}).take());
    world.publish(copy);
    world.expect_rows(schema, {{"7", "after"}});
}

void discard_fences_late_writes(World& world) {
    const TableSchemaPtr schema = simple();
    const CopyTargetPtr first = world.begin_copy(schema, 1);
    world.write_unit(first, 0, numbered(0, 5));
    ASSERT_TRUE(world.destination().discard_copy(first, {}));
    const auto write_late = [&](const CopyTargetPtr& copy) {
        TestReader reader(schema);
        reader.add(make_rows(schema, numbered(50, 5)));
        const Status status = world.destination().write_copy({copy, 1}, reader, {});
        EXPECT_FALSE(status) << "a late write of attempt " << copy->attempt << " landed";
    };
    write_late(first);
    EXPECT_FALSE(world.destination().finish_copy(first, {}));
    // The next attempt fences the one before also where nobody discarded it.
    const CopyTargetPtr second = world.begin_copy(schema, 2);
    write_late(first);
    world.write_unit(second, 0, numbered(100, 5));
    const CopyTargetPtr third = world.begin_copy(schema, 3);
    write_late(second);
    world.write_unit(third, 0, numbered(200, 5));
    ASSERT_TRUE(world.destination().discard_copy(second, {}));
    ASSERT_TRUE(world.destination().finish_copy(third, {}));
    world.publish(third);
    world.expect_rows(schema, numbered(200, 5));
}

void discarded_shadow_is_gone(World& world) {
    const TableSchemaPtr schema = simple();
    const CopyTargetPtr copy = world.copy(schema, numbered(0, 5));
    ASSERT_TRUE(world.destination().discard_copy(copy, {}));
    TestFlush flush(world.next_position());
    flush.add(Publish{copy});
    EXPECT_FALSE(world.destination().apply(flush, Ack::durable, {}));
    world.expect_no_table(schema);
    world.load(schema, numbered(10, 2), 2);
    world.expect_rows(schema, numbered(10, 2));
}

void unpublished_copy_is_gone_after_restart(World& world) {
    const TableSchemaPtr schema = simple();
    const TableSchemaPtr other = TableMaker(16390, "other").key("id").column("note").make();
    const Recovered recovered = world.die([&] {
        world.copy(schema, numbered(0, 5));
        world.write_unit(world.begin_copy(other), 0, numbered(0, 5));
    });
    EXPECT_TRUE(recovered.tables.empty());
    world.expect_no_table(schema);
    TestFlush flush(world.next_position());
    flush.add(Publish{copy_target(schema, 1)});
    EXPECT_FALSE(world.destination().apply(flush, Ack::durable, {}));
    world.load(schema, numbered(10, 2), 2);
    world.load(other, numbered(20, 2), 2);
    world.expect_rows(schema, numbered(10, 2));
    world.expect_rows(other, numbered(20, 2));
}

// Pulls one batch, then waits until the test says go on.
class WaitingReader final : public RowReader {
 public:
    WaitingReader(TableSchemaPtr schema, RowBatch batch)
        : schema_(std::move(schema)), batch_(std::move(batch)) {}
    const TableSchemaPtr& schema() const override { return schema_; }
    Result<const RowBatch*> next() override {
        if (!std::exchange(has_begun_, true)) return &batch_;
        is_waiting_.set_value();
        go_on_.get_future().wait();
        return nullptr;
    }
    void wait_until_waiting() { is_waiting_.get_future().wait(); }
    void go_on() { go_on_.set_value(); }

 private:
    TableSchemaPtr schema_;
    RowBatch batch_;
    bool has_begun_ = false;
    std::promise<void> is_waiting_;
    std::promise<void> go_on_;
};

// A copy of ten hours must not stop the other tables. Hangs where it does.
void flushes_beside_a_copy(World& world) {
    const TableSchemaPtr schema = simple();
    const TableSchemaPtr other = TableMaker(16390, "other").key("id").column("note").make();
    world.load(other, {{"1", "a"}});
    const CopyTargetPtr copy = world.begin_copy(schema);
    WaitingReader reader(schema, make_rows(schema, numbered(0, 5)));
    Status written;
    {
        std::jthread copier(
            [&] { written = world.destination().write_copy({copy, 0}, reader, {}); });
        reader.wait_until_waiting();
        ChangeRecorder changes(other);
        world.apply(changes.update({"1", "a"}, {"1", "b"}));
        world.expect_position(world.last_position());
        reader.go_on();
    }
    EXPECT_TRUE(written) << written.error().message();
    ASSERT_TRUE(world.destination().finish_copy(copy, {}));
    world.publish(copy);
    world.expect_rows(schema, numbered(0, 5));
    world.expect_rows(other, {{"1", "b"}});
}

// Batches without end; asks for the stop itself when it has given some.
class EndlessReader final : public RowReader {
 public:
    EndlessReader(TableSchemaPtr schema, RowBatch batch, std::stop_source& stop)
        : schema_(std::move(schema)), batch_(std::move(batch)), stop_(stop) {}
    const TableSchemaPtr& schema() const override { return schema_; }
    Result<const RowBatch*> next() override {
        if (++batches_ == kBeforeStop) stop_.request_stop();
        if (batches_ > kBeforeStop + kAfterStopMax) return Error(ErrorCode::internal, "never ends");
        return &batch_;
    }
    static constexpr int kBeforeStop = 3;
    static constexpr int kAfterStopMax = 1000;

 private:
    TableSchemaPtr schema_;
    RowBatch batch_;
    std::stop_source& stop_;
    int batches_ = 0;
};

void copies_stop_promptly(World& world) {
    const TableSchemaPtr schema = simple();
    const CopyTargetPtr copy = world.begin_copy(schema);
    std::stop_source stop;
    EndlessReader endless(schema, make_rows(schema, numbered(0, 10)), stop);
    for (const char* when : {"in the middle", "before the first row"}) {
        const Status status = world.destination().write_copy({copy, 0}, endless, stop.get_token());
        ASSERT_FALSE(status) << when;
        EXPECT_EQ(name_of(status.error().code()), "cancelled") << status.error().message();
    }
    // What was stopped has written nothing and may come again.
    world.write_unit(copy, 0, numbered(0, 3));
    ASSERT_TRUE(world.destination().finish_copy(copy, {}));
    world.publish(copy);
    world.expect_rows(schema, numbered(0, 3));
}

constexpr CaseEntry kCopyCases[] = {
    {{"empty_table", "a table without rows is copied, published and found again"}, empty_table},
    {{"parallel_units", "units of a copy are written by several threads at once"}, parallel_units},
    {{"unit_is_whole_or_nothing",
      "a unit that failed left nothing and may come again; the reader's error comes through"},
     unit_is_whole_or_nothing},
    {{"shadow_is_invisible", "readers see a copy only when it is published"}, shadow_is_invisible},
    {{"publish_over_visible_table", "a new copy takes the place of the visible table at once"},
     publish_over_visible_table},
    {{"held_changes_to_the_shadow", "changes and truncates reach a shadow table"},
     held_changes_to_the_shadow},
    {{"discard_fences_late_writes", "writes of an attempt that was given up do not land"},
     discard_fences_late_writes},
    {{"discarded_shadow_is_gone", "a discarded copy cannot be published"},
     discarded_shadow_is_gone},
    {{"unpublished_copy_is_gone_after_restart", "a crash drops copies that were not published"},
     unpublished_copy_is_gone_after_restart},
    {{"flushes_beside_a_copy", "flushes go on while a unit is being written"},
     flushes_beside_a_copy},
    {{"copies_stop_promptly", "write_copy ends soon after a stop, with nothing written"},
     copies_stop_promptly},
};

}  // namespace

std::span<const CaseEntry> copy_cases() { return kCopyCases; }

}  // namespace walbrook::testing
