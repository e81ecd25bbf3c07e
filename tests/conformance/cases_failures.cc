// What goes wrong on the way: death between calls and within them, answers that are lost,
// flushes that come again, stops.

#include "world.h"

#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <future>
#include <random>
#include <thread>
#include <utility>

namespace walbrook::testing {
namespace {

TableSchemaPtr keyless(std::uint32_t oid, const std::string& name) {
    return TableMaker(oid, name).column("line").identity(ReplicaIdentity::full).make();
}

std::string number(int n) { return std::to_string(n); }

// --- Deaths

// One life of two tables, one streamed and one copied meanwhile; after any of its steps the
// process may be gone. What comes next does as a pipeline does: it asks for the position, sends
// what is behind it, and begins a copy that was not published anew.
class Life {
 public:
    Life(World& world, int number)
        : world_(world),
          oid_(20000U + 10U * static_cast<std::uint32_t>(number)),
          streamed_(keyless(oid_, "streamed" + std::to_string(number))),
          copied_(simple(oid_ + 1, "copied" + std::to_string(number))) {}

    static constexpr int kSteps = 7;

    void live(int dead_after) {
        world_.load(streamed_, {{"first"}});
        for (int which = 1; which <= dead_after; ++which) step(which, 1);
    }
    void recover_and_finish(int dead_after, const Recovered& recovered) {
        EXPECT_EQ(to_string(recovered.position), to_string(world_.last_position()));
        const bool is_published = find_table(recovered, copied_) != nullptr;
        EXPECT_EQ(is_published, dead_after >= kPublishes);
        if (!is_published) world_.expect_no_table(copied_);
        for (int next = is_published ? dead_after + 1 : 1; next <= kSteps; ++next) step(next, 2);
        world_.expect_rows(streamed_, {{"first"}, {"with the publication"}, {"after it"}});
        world_.expect_rows(copied_, {{"2", "b"}, {"3", "c"}, {"4", "held"}});
    }

 private:
    static constexpr int kPublishes = 6;

    void step(int which, std::uint32_t attempt) {
        switch (which) {
            case 1:
                copy_ = world_.begin_copy(copied_, attempt);
                break;
            case 2:
                world_.write_unit(copy_, 0, {{"1", "a"}});
                break;
            case 3:
                world_.write_unit(copy_, 1, {{"2", "b"}, {"3", "c"}});
                break;
            case 4:
                EXPECT_TRUE(world_.destination().finish_copy(copy_, {}));
                break;
            case 5: {
                ChangeRecorder held(copied_, copy_);
                TestFlush slice(world_.last_position());
                slice.add(held.remove({"1", {}}).insert({"4", "held"}).take());
                world_.expect_applied(slice);
                break;
            }
            case kPublishes:
                send_line("with the publication", true);
                break;
            default:
                send_line("after it", false);
        }
    }
    void send_line(const std::string& line, bool publishes) {
        ChangeRecorder changes(streamed_);
        TestFlush flush(world_.next_position());
        flush.add(changes.insert({line}).take());
        if (publishes) flush.add(Publish{copy_});
        world_.expect_applied(flush);
    }

    World& world_;
    const std::uint32_t oid_;
    const TableSchemaPtr streamed_;
    const TableSchemaPtr copied_;
    CopyTargetPtr copy_;
};

void death_between_calls(World& world) {
    for (int dead_after = 1; dead_after <= Life::kSteps; ++dead_after) {
        SCOPED_TRACE("dead after step " + number(dead_after));
        Life life(world, dead_after);
        const Recovered recovered = world.die([&] { life.live(dead_after); });
        life.recover_and_finish(dead_after, recovered);
        if (::testing::Test::HasFailure()) return;
    }
}

// A flush in which the process is gone where the items end.
class LastFlush final : public Flush {
 public:
    LastFlush(TestFlush& items, World& world) : items_(items), world_(world) {}
    Lsn position() const override { return items_.position(); }
    std::int64_t commit_time_us() const override { return items_.commit_time_us(); }
    void rewind() override { items_.rewind(); }
    Result<const FlushItem*> next() override {
        auto item = items_.next();
        return item && *item == nullptr ? world_.end_of_life() : item;
    }

 private:
    TestFlush& items_;
    World& world_;
};

// The same for a unit of a copy.
class LastReader final : public RowReader {
 public:
    LastReader(TestReader& rows, World& world) : rows_(rows), world_(world) {}
    const TableSchemaPtr& schema() const override { return rows_.schema(); }
    Result<const RowBatch*> next() override {
        auto batch = rows_.next();
        return batch && *batch == nullptr ? world_.end_of_life() : batch;
    }

 private:
    TestReader& rows_;
    World& world_;
};

// Rows are pulled from us within write_copy and apply, so we can say after how many of them the
// process is gone.
void death_within_a_call(World& world) {
    const TableSchemaPtr table = simple(16384, "t");
    const TableSchemaPtr bag = keyless(16385, "bag");
    const TableSchemaPtr next = simple(16386, "next");
    world.load(table, {{"1", "a"}, {"2", "b"}});
    world.load(bag, {{"x"}, {"x"}});
    std::uint32_t attempt = 0;
    for (std::size_t items = 0; items <= 5; ++items) {
        SCOPED_TRACE("dead after item " + std::to_string(items));
        ++attempt;
        TestFlush flush(world.next_position());
        ChangeRecorder changes(table);
        ChangeRecorder lines(bag);
        Truncate emptied;
        emptied.tables = {bag};
        flush.add(changes.remove({"1", {}}).insert({"3", "c"}).take());
        if (items > 1) flush.add(lines.insert({"y"}).remove({"x"}).take());
        if (items > 2) flush.add(emptied);
        if (items > 3) flush.add(Publish{copy_target(next, attempt)});
        if (items > 4) flush.add(Freeze{table, TablePhase::errored, flush.position(), "planned"});
        if (items == 0) flush.items().clear();
        const Recovered recovered = world.die([&] {
            world.copy(next, {{"1", "n"}}, attempt);
            LastFlush last(flush, world);
            EXPECT_FALSE(world.destination().apply(last, Ack::durable, {}));
        });
        EXPECT_LT(recovered.position, flush.position());
        world.expect_rows(table, {{"1", "a"}, {"2", "b"}});
        world.expect_rows(bag, {{"x"}, {"x"}});
        world.expect_no_table(next);
        if (::testing::Test::HasFailure()) return;
    }
    for (const int batches : {0, 2}) {
        ++attempt;
        world.die([&] {
            const CopyTargetPtr copy = world.begin_copy(next, attempt);
            world.write_unit(copy, 0, {{"1", "n"}});
            TestReader reader(next);
            for (int i = 0; i < batches; ++i) reader.add(make_rows(next, {{number(i + 10), "n"}}));
            LastReader last(reader, world);
            EXPECT_FALSE(world.destination().write_copy({copy, 1}, last, {}));
        });
        world.expect_no_table(next);
    }
    world.load(next, {{"5", "whole"}}, ++attempt);
    world.expect_rows(next, {{"5", "whole"}});
}

// A flush that says when all of it was handed over: what comes then is the destination's alone.
class WatchedFlush final : public Flush {
 public:
    WatchedFlush(TestFlush& items, World& world) : items_(items), world_(world) {}
    Lsn position() const override { return items_.position(); }
    std::int64_t commit_time_us() const override { return items_.commit_time_us(); }
    void rewind() override { items_.rewind(); }
    Result<const FlushItem*> next() override {
        auto item = items_.next();
        if (item && *item == nullptr) world_.has_no_more_items();
        return item;
    }

 private:
    TestFlush& items_;
    World& world_;
};

// Flushes that change a table with a key and one without, and may publish a copy. Each is sent by
// processes that are killed until it has landed. Without Capabilities::exactly_once data may be
// there before the position is: then only what has a key can come again.
class Landings {
 public:
    explicit Landings(World& world)
        : world_(world), by_position_(world.capabilities().exactly_once) {
        world_.load(table_, {{"0", "new"}});
        if (by_position_) world_.load(bag_, {{"line 0"}});
        begin_next();
    }

    // Whether it landed then, and what World::Killed says.
    std::pair<bool, KillTime> die(KillTime kill_after, bool with_copy) {
        const bool publishes = with_copy && by_position_;
        ++attempt_;
        const auto [recovered, ended] = world_.die_after(kill_after, [&] { send(publishes); });
        const bool has_landed = recovered.position == position_;
        EXPECT_TRUE(has_landed || !ended) << "what was acknowledged is not there";
        expect_position(recovered.position, has_landed ? position_ : durable_);
        if (has_landed && publishes) published_ = flush_;
        if (has_landed || by_position_) expect_rows_of(has_landed ? flush_ : flush_ - 1);
        if (has_landed) begin_next();
        return {has_landed, ended};
    }
    void finish() {
        send(false);
        expect_rows_of(flush_);
    }

 private:
    void begin_next() {
        ++flush_;
        durable_ = world_.last_position();
        position_ = world_.next_position();
    }
    void send(bool publishes) {
        const TextRow last = {number(flush_ - 1), "new"};
        ChangeRecorder changes(table_);
        changes.insert({number(flush_), "new"}).update(last, {last[0], "old"});
        ChangeRecorder lines(bag_);
        lines.insert({"line " + number(flush_)}).insert({"same"});
        lines.remove({"line " + number(flush_ - 1)});
        TestFlush flush(position_);
        flush.add(changes.take());
        if (by_position_) flush.add(lines.take());
        if (publishes) {
            flush.add(Publish{world_.copy(copied_, {{number(flush_), "copied"}}, attempt_)});
        }
        WatchedFlush watched(flush, world_);
        world_.expect_applied(watched);
    }
    void expect_position(Lsn recovered, Lsn expected) {
        EXPECT_EQ(to_string(recovered), to_string(expected));
        world_.expect_position(expected);
    }
    void expect_rows_of(int flushes) {
        std::vector<TextRow> rows = {{number(flushes), "new"}};
        std::vector<TextRow> lines = {{"line " + number(flushes)}};
        for (int i = 0; i < flushes; ++i) {
            rows.push_back({number(i), "old"});
            lines.push_back({"same"});
        }
        world_.expect_rows(table_, rows);
        if (by_position_) world_.expect_rows(bag_, lines);
        if (published_ == 0) return world_.expect_no_table(copied_);
        world_.expect_rows(copied_, {{number(published_), "copied"}});
    }

    World& world_;
    const bool by_position_;
    const TableSchemaPtr table_ = simple(16384, "t");
    const TableSchemaPtr bag_ = keyless(16385, "bag");
    const TableSchemaPtr copied_ = simple(16386, "copied");
    int flush_ = 0;  // The next one,
    Lsn position_;
    Lsn durable_;  // and where it begins.
    int published_ = 0;
    std::uint32_t attempt_ = 0;
};

// Between the last item and the answer nothing is pulled from us, so the kill comes from outside.
// Any time is right: how the processes are scheduled says which moment it hits, not what must be
// found then. Every second life looks for the moment at which a flush lands, as what is stored in
// two steps is half there just before it: the kill comes earlier than in the last if it was too
// late there, else later. The others are spread, some of them close behind the last item.
void death_within_a_commit(World& world) {
    using namespace std::chrono;
    const auto began = steady_clock::now();
    const bool is_long = std::getenv("WALBROOK_TEST_LONG_FORM") != nullptr;
    const seconds enough(is_long ? 60 : 3);
    const int lives_max = is_long ? 1000 : 100;
    Landings landings(world);
    const auto took = landings.die({}, false).second;
    double lands_us = took ? duration<double, std::micro>(*took).count() : 0;
    double share = 0;
    for (int i = 0; i < 6 || (i < lives_max && steady_clock::now() < began + enough); ++i) {
        if (::testing::Test::HasFailure()) return;
        // The golden ratio: however many there are, they lie evenly.
        share = std::fmod(share + 0.618, 1.0);
        const bool is_spread = i % 2 == 1;
        const double after_us = lands_us * (!is_spread ? 1 : i % 4 == 1 ? share * 3 : share / 10);
        SCOPED_TRACE("life " + number(i) + ", for " + std::to_string(after_us) + " us");
        const bool has_landed = landings.die(microseconds(std::lround(after_us)), is_spread).first;
        if (!is_spread) lands_us *= has_landed ? 1 - 0.4 * share : 1 + 0.6 * share;
    }
    landings.finish();
}

// --- Unknown outcomes

// A flush of one kind, over a table of its own, and what readers see before and after it.
struct KindOfFlush {
    std::string name;
    std::function<void(TestFlush& flush)> fill;  // Each time anew.
    TableSchemaPtr before;
    std::vector<TextRow> rows_before;
    TableSchemaPtr after;
    std::vector<TextRow> rows_after;
};

std::vector<KindOfFlush> kinds_of_flushes(World& world) {
    std::vector<KindOfFlush> kinds;
    std::uint32_t oid = 16400;
    const std::vector<TextRow> two = {{"1", "a"}, {"2", "b"}};
    const auto table = [&](const std::string& name) {
        const TableSchemaPtr made = simple(oid++, name);
        world.load(made, two);
        return made;
    };
    const auto add = [&](const std::string& name, const TableSchemaPtr& of,
                         const std::vector<TextRow>& rows,
                         const std::function<void(TestFlush & flush)>& fill,
                         const TableSchemaPtr& as = nullptr) {
        kinds.push_back({name, fill, of, two, as ? as : of, rows});
    };
    const TableSchemaPtr changed = table("changed");
    add("changes", changed, {{"1", "A"}, {"3", "c"}}, [changed](TestFlush& flush) {
        ChangeRecorder changes(changed);
        changes.insert({"3", "c"}).update({"1", "a"}, {"1", "A"}).remove({"2", {}});
        flush.add(changes.take());
    });
    const TableSchemaPtr emptied = table("emptied");
    add("a truncate", emptied, {}, [emptied](TestFlush& flush) {
        Truncate truncate;
        truncate.tables = {emptied};
        flush.add(truncate);
    });
    const TableSchemaPtr narrow = table("wider");
    const TableSchemaPtr wide =
        TableMaker(narrow->id.oid, "wider").key("id").column("note").column("more").make();
    add(
        "a schema change", narrow, {{"1", "a", "m"}, {"2", "b", "m"}},
        [narrow, wide](TestFlush& flush) { flush.add(schema_change(narrow, wide, {{}, {}, "m"})); },
        wide);
    const TableSchemaPtr right = table("put_right");
    add("a repair", right, {{"2", "right"}}, [right](TestFlush& flush) {
        const auto rows = [&](const std::vector<TextRow>& list) {
            return std::make_shared<const RowBatch>(make_rows(right, list));
        };
        flush.add(Replace{right, rows({{"1", {}}, {"2", {}}}), rows({{"2", "right"}})});
    });
    const TableSchemaPtr frozen = table("frozen");
    add("a freeze", frozen, two, [frozen, at = world.last_position()](TestFlush& flush) {
        flush.add(Freeze{frozen, TablePhase::errored, at, "planned"});
    });
    const TableSchemaPtr retired = table("retired");
    add("a retirement", retired, two,
        [retired](TestFlush& flush) { flush.add(Retire{retired->id}); });
    // A copy lives as long as the destination that it was begun with.
    const TableSchemaPtr published = table("published");
    add("a publication", published, {{"7", "new"}},
        [&world, published, attempt = 1U](TestFlush& flush) mutable {
            flush.add(Publish{world.copy(published, {{"7", "new"}}, ++attempt)});
        });
    add("nothing", table("untouched"), two, [](TestFlush&) {});
    return kinds;
}

// After an apply whose answer nobody has, the position alone says whether it was done: with all
// that is in it, or with nothing of it. Who is asked may be another process.
void unknown_outcomes(World& world) {
    const std::vector<KindOfFlush> kinds = kinds_of_flushes(world);
    for (const KindOfFlush& kind : kinds) {
        SCOPED_TRACE("a flush with " + kind.name);
        const Lsn before = world.last_position();
        const Lsn position = world.next_position();
        TestFlush failing(position);
        kind.fill(failing);
        failing.fail_at_end(Error(ErrorCode::internal, "planned by the test"));
        EXPECT_FALSE(world.destination().apply(failing, Ack::durable, {}));
        world.expect_position(before);
        world.expect_rows(kind.before, kind.rows_before);
        // It comes again, and this time it is done, and the answer is lost with the process.
        const Recovered recovered = world.die([&] {
            world.expect_position(before);
            TestFlush flush(position);
            kind.fill(flush);
            (void)world.destination().apply(flush, Ack::durable, {});
        });
        EXPECT_EQ(to_string(recovered.position), to_string(position));
        world.expect_position(position);
        world.expect_rows(kind.after, kind.rows_after);
        if (::testing::Test::HasFailure()) return;
    }
    for (const KindOfFlush& kind : kinds) world.expect_rows(kind.after, kind.rows_after);
}

// --- Replays

// Transactions of a table with a key and one without; after a crash they come again, grouped in
// another way and from an earlier place. Who keeps a position with the data is sent what lies
// behind it. Who cannot (Capabilities::exactly_once) is sent everything since the last position
// that it made durable, and tells what it has by the key.
class Replay {
 public:
    Replay(World& world, bool by_position) : world_(world), by_position_(by_position) {
        world_.load(table_, {});
        if (by_position_) world_.load(bag_, {});
        for (std::size_t i = 0; i < kTransactions; ++i) ends_.push_back(world_.next_position());
    }

    // Sends transactions up to this one, from the earliest that may be missing.
    void send(std::size_t last, bool fails_first) {
        std::size_t first = 0;
        const Result<Lsn> position = world_.destination().read_position({});
        ASSERT_TRUE(position) << position.error().message();
        while (by_position_ && first < ends_.size() && ends_[first] <= *position) ++first;
        if (!by_position_) first = last > 4 ? last - 4 : 0;
        if (first > last) return;
        TestFlush flush(ends_[last]);
        for (std::size_t i = first; i <= last; ++i) add_transaction(flush, i);
        // Some fail on the way and are sent again as they are.
        if (fails_first) {
            flush.fail_at_end(Error(ErrorCode::internal, "planned by the test"));
            EXPECT_FALSE(world_.destination().apply(flush, Ack::durable, {}));
            flush.rewind();
        }
        const Result<Ack> ack = world_.destination().apply(flush, Ack::durable, {});
        EXPECT_TRUE(ack) << ack.error().message();
    }
    void expect_all_once() {
        std::vector<TextRow> rows;
        std::vector<TextRow> lines;
        for (int i = 0; i < static_cast<int>(kTransactions); ++i) {
            lines.push_back({"line " + number(i)});
            lines.push_back({"same"});
            if (i % 2 == 1) rows.push_back({number(i), "kept"});
        }
        world_.expect_rows(table_, rows);
        if (by_position_) world_.expect_rows(bag_, lines);
    }
    static constexpr std::size_t kTransactions = 16;

 private:
    void add_transaction(TestFlush& flush, std::size_t which) {
        const int i = static_cast<int>(which);
        const Transaction transaction{.commit_lsn = {ends_[which].value - 8},
                                      .end_lsn = ends_[which],
                                      .commit_time_us = 1'700'000'000'000'000 + i,
                                      .xid = static_cast<std::uint32_t>(800 + i)};
        ChangeRecorder changes(table_);
        changes.transaction(transaction).insert({number(i), i % 2 == 1 ? "kept" : "goes"});
        if (i >= 1 && i % 2 == 1) changes.remove({number(i - 1), {}});
        flush.add(changes.take());
        if (!by_position_) return;
        ChangeRecorder lines(bag_);
        lines.transaction(transaction).insert({"line " + number(i)}).insert({"same"});
        flush.add(lines.take());
    }

    World& world_;
    const bool by_position_;
    const TableSchemaPtr table_ = simple(16384, "t");
    const TableSchemaPtr bag_ = keyless(16385, "bag");
    std::vector<Lsn> ends_;
};

void overlapping_replays(World& world) {
    std::mt19937 random(20240301);
    Replay replay(world, world.capabilities().exactly_once);
    for (std::size_t last = 0; last < Replay::kTransactions;) {
        const bool fails_first = random() % 3 == 0;
        // The answer may be lost with the process; and the next flush may begin before it.
        if (random() % 3 == 0) {
            world.die([&] { replay.send(last, fails_first); });
        } else {
            replay.send(last, fails_first);
        }
        if (random() % 3 == 0) replay.send(last, false);
        last += 1 + random() % 3;
        if (::testing::Test::HasFailure()) return;
    }
    world.die([&] { replay.send(Replay::kTransactions - 1, false); });
    replay.send(Replay::kTransactions - 1, false);
    replay.expect_all_once();
}

// --- Stops

// Makes the call in a thread of its own, asks it to stop, and waits. One that does not come back
// cannot be helped: the program ends then.
void expect_stops(World& world, const std::string& what,
                  const std::function<Status(std::stop_token)>& call, bool before) {
    std::stop_source stop;
    if (before) stop.request_stop();
    std::promise<Status> answer;
    std::future<Status> answered = answer.get_future();
    std::jthread caller([&] { answer.set_value(call(stop.get_token())); });
    stop.request_stop();
    if (answered.wait_for(world.harness().stop_bound()) != std::future_status::ready) {
        std::fprintf(stderr, "conformance: %s did not return after it was asked to stop\n",
                     what.c_str());
        std::abort();
    }
    const Status status = answered.get();
    if (!status) {
        EXPECT_EQ(name_of(status.error().code()), "cancelled")
            << what << ": " << status.error().message();
    }
}

// Each call may do all of its work or none after a stop, but comes back, and what follows works.
void every_call_stops(World& world) {
    const TableSchemaPtr table = simple(16384, "t");
    const TableSchemaPtr other = simple(16385, "other");
    world.load(table, {{"1", "a"}});
    std::uint32_t attempt = 1;
    int id = 1;
    for (const bool before : {true, false}) {
        SCOPED_TRACE(before ? "stopped before the call" : "stopped beside the call");
        const CopyTargetPtr copy = copy_target(other, ++attempt);
        expect_stops(
            world, "begin_copy",
            [&](const auto& stop) { return world.destination().begin_copy(copy, stop); }, before);
        const CopyTargetPtr whole = world.begin_copy(other, ++attempt);
        world.write_unit(whole, 0, {{"1", "a"}});
        expect_stops(
            world, "finish_copy",
            [&](const auto& stop) { return world.destination().finish_copy(whole, stop); }, before);
        expect_stops(
            world, "discard_copy",
            [&](const auto& stop) { return world.destination().discard_copy(whole, stop); },
            before);
        ChangeRecorder changes(table);
        TestFlush flush(world.next_position());
        flush.add(changes.insert({number(++id), "n"}).take());
        Status applied;
        expect_stops(
            world, "apply",
            [&](const auto& stop) {
                applied = world.destination().apply(flush, Ack::durable, stop).status();
                return applied;
            },
            before);
        if (!applied) {
            flush.rewind();
            world.expect_applied(flush);
        }
        expect_stops(
            world, "read_position",
            [&](const auto& stop) { return world.destination().read_position(stop).status(); },
            before);
        expect_stops(
            world, "maintain", [&](const auto& stop) { return world.destination().maintain(stop); },
            before);
        expect_stops(
            world, "keep_readable",
            [&](const auto& stop) {
                return world.destination().keep_readable(world.last_position(),
                                                         std::chrono::seconds(1), stop);
            },
            before);
        world.expect_position(world.last_position());
        world.close();
        {
            const auto opened = world.harness().create();
            expect_stops(
                world, "open",
                [&](const auto& stop) {
                    return opened->open(World::identity(world.harness().work_dir()), stop).status();
                },
                before);
        }
        const Recovered recovered = world.reopen();
        if (world.capabilities().forgets) continue;
        EXPECT_EQ(to_string(recovered.position), to_string(world.last_position()));
    }
    world.expect_rows(table, {{"1", "a"}, {"2", "n"}, {"3", "n"}});
    world.load(other, {{"9", "z"}}, ++attempt);
    world.expect_rows(other, {{"9", "z"}});
}

constexpr CaseEntry kFailureCases[] = {
    {{"death_between_calls", "after a death behind any call the position says what is missing"},
     death_between_calls},
    {{"death_within_a_call", "a process that is gone within a call leaves nothing of it"},
     death_within_a_call},
    {{"death_within_a_commit", "killed at any moment of a flush, all of it is there or nothing"},
     death_within_a_commit},
    {{"unknown_outcomes", "the position says whether a flush of each kind was done"},
     unknown_outcomes},
    {{"overlapping_replays", "what comes again, also as a part of another flush, does not double"},
     overlapping_replays},
    {{"every_call_stops", "each call returns when it is asked to, and the next ones work"},
     every_call_stops},
};

}  // namespace

std::span<const CaseEntry> failure_cases() { return kFailureCases; }

}  // namespace walbrook::testing
