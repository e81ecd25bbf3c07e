#include "faults/scenario.h"

#include "support/eventually.h"
#include "support/run_form.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace walbrook::testing {
namespace {

using std::chrono::seconds;

// Many more than one fault can need.
constexpr int kStartsMax = 4;
constexpr seconds kPatience{20};

bool is_at(const PipelineStatus& status, Lsn target) {
    for (const TableStatus& table : status.tables) {
        if (table.phase != TablePhase::ready) return false;
    }
    return !status.tables.empty() && status.durable >= target;
}

}  // namespace

// One run: the pipeline of the moment, and what outlives it.
struct Scenario::Running {
    const Parts& parts;
    FaultTrial& trial;
    Replica replica;  // Its folder and id: `walbrook verify` can go on where we stop.
    std::optional<Fault> fault;
    PipelineConfig config{};
    Outcome outcome{};

    std::unique_ptr<Pipeline> pipeline{};
    FaultyDestination* faulty = nullptr;  // The pipeline's; the fault.
    FaultyDestination* gate = nullptr;    // Inside of it; holds the first write of a copy.
    std::thread waiting{};
    std::atomic<bool> is_over{false};
    Status end{};
    bool is_known_to_have_struck = false;

    ~Running() { stop(); }
    bool has_struck() const {
        if (parts.has_struck) return parts.has_struck();
        return outcome.has_struck || (fault && faulty != nullptr && faulty->has_struck());
    }
    // A call that fails is over at once.
    void look_for_strike() {
        if (is_known_to_have_struck || !has_struck()) return;
        is_known_to_have_struck = true;
        trial.is_over();
    }
    // Ends the pipeline and keeps what it said.
    void stop() {
        if (!pipeline) return;
        pipeline->shutdown();
        if (waiting.joinable()) waiting.join();
        if (!end) outcome.errors.push_back(end.error().message());
        if (fault && faulty->has_struck()) {
            outcome.has_struck = true;
            fault.reset();
        }
        faulty = nullptr;
        pipeline.reset();
    }
};

Scenario::Scenario(Database& source) : source_(source) {
    source_.exec(
        "create table item(id int primary key, note text);"
        "create table log(line text);"
        "insert into item select g, 'note ' || g from generate_series(1, 200) g;"
        "insert into log select 'line ' || g from generate_series(1, 200) g;"
        "create publication shop for table item, log");
}

void Scenario::change_during_copy() {
    source_.exec(
        fmt::format("begin; update item set note = 'held {0}' where id % 10 = 0;"
                    "insert into item values (1000 + {0}, 'held'); delete from item where id = {0};"
                    "insert into log values ('held {0}'); commit",
                    round_));
}

void Scenario::change_after_copy() {
    source_.exec(
        fmt::format("begin; update item set id = -id where id in (100, -100);"
                    "update item set note = 'after {0}' where id % 7 = 0;"
                    "insert into log select 'after {0}' from generate_series(1, 5); commit;",
                    round_));
    if (round_ % 2 == 0) {
        source_.exec("begin; truncate log; insert into log values ('first'); commit");
    }
}

// The next pipeline; false when its start failed.
bool Scenario::start(Running& running) {
    ++running.outcome.starts;
    const std::string folder = running.replica.folder();
    auto gate = std::make_unique<FaultyDestination>(running.parts.destination(folder));
    running.gate = gate.get();
    if (running.outcome.starts == 1) {
        gate->add({.call = DestinationCall::write_copy, .kind = Fault::Kind::hold});
    }
    auto faulty = std::make_unique<FaultyDestination>(std::move(gate));
    running.faulty = faulty.get();
    if (running.fault) faulty->add(*running.fault);
    running.is_over = false;
    running.end = {};
    auto made = Pipeline::create(running.config, running.parts.store(running.config.work_dir),
                                 std::move(faulty));
    Status status = made.status();
    if (made) {
        running.pipeline = *std::move(made);
        status = running.pipeline->start();
    }
    if (!status) {
        running.outcome.errors.push_back("start: " + status.error().message());
        running.is_over = true;
        running.end = {};
        running.stop();
        return false;
    }
    running.waiting = std::thread([&running] {
        running.end = running.pipeline->wait();
        running.is_over = true;
    });
    return true;
}

// Makes a change and waits until the destination holds it, however often the pipeline
// must be started again for that.
void Scenario::follow(Running& running, const std::function<void()>& change) {
    change();
    const Lsn target = source_.lsn();
    while (running.outcome.starts < kStartsMax || running.pipeline) {
        if (!running.pipeline && !start(running)) continue;
        const bool done = eventually(
            [&] {
                running.look_for_strike();
                return running.is_over || is_at(running.pipeline->status(), target);
            },
            kPatience);
        if (!running.is_over) {
            if (!done) running.outcome.problem = "the destination does not catch up";
            if (done) running.trial.has_recovered();
            return;
        }
        running.stop();
    }
    running.outcome.problem = "every start failed";
}

void Scenario::expect_equal(Running& running) {
    if (running.parts.is_lake && (is_long_form() || round_ % 3 == 1)) {
        return running.trial.expect_equal(running.replica);
    }
    for (const char* table : {"item", "log"}) {
        running.trial.expect_equal(table_rows(source_, {.table = table}),
                                   running.parts.rows(running.replica.folder(), table));
    }
}

Scenario::Outcome Scenario::run(const Parts& parts, const std::optional<Fault>& fault,
                                FaultTrial& trial) {
    ++round_;
    Running running{.parts = parts, .trial = trial, .replica = Replica(source_), .fault = fault};
    running.replica.write_config();
    running.config.id = running.replica.id();
    running.config.publication_name = "shop";
    running.config.pg_connection = source_.connection();
    running.config.work_dir = running.replica.work_dir();
    running.config.batch.max_fill_ms = 10;
    running.config.table_error_retry_delay_ms = 100;
    if (start(running)) {
        std::stop_source enough;
        std::thread watch([&] {
            (void)eventually([&] { return running.is_over || enough.stop_requested(); }, kPatience);
            enough.request_stop();
        });
        (void)running.gate->wait_until_held(enough.get_token());
        enough.request_stop();
        watch.join();
    }
    follow(running, [&] {
        change_during_copy();
        if (running.pipeline) running.gate->release();
    });
    if (running.outcome.problem.empty()) follow(running, [&] { change_after_copy(); });
    running.stop();
    running.look_for_strike();
    running.outcome.has_struck = running.has_struck();
    EXPECT_EQ(running.outcome.problem, "") << fmt::format(
        "starts: {}, errors: {}", running.outcome.starts, fmt::join(running.outcome.errors, " | "));
    if (running.outcome.problem.empty()) {
        expect_equal(running);
        trial.has_recovered();  // What struck at the very end hurts the next start, of verify.
    }
    // The session that had it may not have ended yet.
    const std::string slot =
        fmt::format("from pg_replication_slots where slot_name = 'walbrook_{}'", running.config.id);
    EXPECT_TRUE(eventually(
        [&] { return source_.value("select count(*) " + slot + " and active") == "0"; }));
    source_.exec("select pg_drop_replication_slot(slot_name) " + slot);
    return running.outcome;
}

}  // namespace walbrook::testing
