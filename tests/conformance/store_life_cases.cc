// What a store keeps: atomic calls, restarts, death, successors, threads.

#include "store_world.h"

#include <csignal>
#include <cstdint>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace walbrook::testing {
namespace {

// A half-applied set could stream a table that was not copied.
void a_failed_save_changes_nothing(StoreWorld& world) {
    world.save({table_state(1, TablePhase::ready), table_state(2, TablePhase::ready)});
    const auto before = *world.store().load_tables();
    if (!world.harness().refuse_table({3})) {
        FAIL() << "the harness has no refuse_table(); write it, or declare this case as a limit";
    }
    EXPECT_FALSE(world.store().save_tables(
        std::vector{table_state(1, TablePhase::queued), table_state(4, TablePhase::queued),
                    table_state(3, TablePhase::queued), table_state(2, TablePhase::queued)}))
        << "refuse_table() did not refuse";
    world.expect_tables(before);
    world.reopen();
    world.expect_tables(before);
    world.save({table_state(1, TablePhase::queued)});
}

void what_was_stored_is_there_after_reopening(StoreWorld& world) {
    const Lineage lineage{"7", 1, 5, "walbrook_1"};
    world.die([&] {
        EXPECT_TRUE(world.store().save_lineage(lineage, kLsnMax));
        world.save({full_table_state(1), full_table_state(2)});
        EXPECT_TRUE(world.store().advance({Lsn{77}, Lsn{88}}));
        EXPECT_TRUE(world.store().put_schema(stored_schema(1, "t"), Lsn{1}));
        EXPECT_TRUE(world.store().put_schema(stored_schema(1, "t2"), Lsn{5}));
        EXPECT_TRUE(world.store().remove_table({2}));
    });
    EXPECT_EQ(*world.store().load_lineage(), lineage);
    world.expect_tables({full_table_state(1)});
    world.expect_positions({Lsn{77}, Lsn{88}});
    EXPECT_EQ(world.version_at(1, 4), "t");
    EXPECT_EQ(world.version_at(1, 5), "t2");
    world.die([&] {
        EXPECT_TRUE(world.store().prune_schemas({1}, Lsn{5}));
        EXPECT_TRUE(world.store().put_schema(stored_schema(1, "t3"), Lsn{9}));
    });
    EXPECT_EQ(world.version_at(1, 4), "");
    EXPECT_EQ(world.version_at(1, 9), "t3");
    world.die([&] { EXPECT_TRUE(world.store().clear()); });
    EXPECT_EQ(*world.store().load_lineage(), std::nullopt);
    world.expect_tables({});
    world.expect_positions({});
}

void a_newer_format_is_refused(StoreWorld& world) {
    world.save({full_table_state(1)});
    world.close();
    if (!world.harness().write_newer_format()) {
        FAIL() << "the harness has no write_newer_format(); write it, or declare a limit";
    }
    const Status refused = world.harness().create()->open({1, "lake"});
    ASSERT_FALSE(refused);
    EXPECT_EQ(name_of(refused.error().code()), "corrupt_state");
    EXPECT_NE(refused.error().message().find("newer"), std::string::npos)
        << "the message must say that a newer program wrote it: " << refused.error().message();
}

constexpr std::uint32_t kTablesOfTheKilled = 20;

// Stores one set of records after the other, and tells of each that is stored.
[[noreturn]] void store_until_killed(StoreHarness& harness, int out) {
    const std::unique_ptr<Store> store = harness.create();
    if (!store->open({1, "lake"})) _exit(1);
    std::uint32_t first = 0;
    if (const auto tables = store->load_tables(); tables && !tables->empty()) {
        first = tables->front().attempt;
    }
    for (std::uint32_t n = first + 1;; ++n) {
        std::vector<TableState> tables;
        for (std::uint32_t oid = 1; oid <= kTablesOfTheKilled; ++oid) {
            tables.push_back(table_state(oid, TablePhase::copying));
            tables.back().attempt = n;
        }
        if (!store->save_tables(tables) || !store->advance({Lsn{n}, Lsn{n}})) _exit(1);
        if (write(out, &n, sizeof n) != sizeof n) _exit(1);
    }
}

// The process is killed within a call, wherever that is then: all of the call is there or
// nothing, and what was answered is there.
void death_within_a_call(StoreWorld& world) {
    world.close();
    for (int round = 1; round <= 4; ++round) {
        int ends[2];
        ASSERT_EQ(pipe(ends), 0);
        const pid_t child = fork();
        ASSERT_GE(child, 0);
        if (child == 0) store_until_killed(world.harness(), ends[1]);
        close(ends[1]);
        std::uint32_t answered = 0;
        for (int i = 0; i < 2 + round; ++i) {
            ASSERT_EQ(read(ends[0], &answered, sizeof answered), ssize_t{sizeof answered})
                << "a call of the other process failed";
        }
        kill(child, SIGKILL);
        waitpid(child, nullptr, 0);
        while (read(ends[0], &answered, sizeof answered) == ssize_t{sizeof answered}) {
        }
        close(ends[0]);
        world.reopen();
        const auto tables = *world.store().load_tables();
        ASSERT_EQ(tables.size(), kTablesOfTheKilled);
        for (const TableState& table : tables) {
            EXPECT_EQ(table.attempt, tables.front().attempt) << "half of a set was stored";
        }
        EXPECT_GE(tables.front().attempt, answered);
        EXPECT_LE(tables.front().attempt, answered + 1);
        const auto positions = world.store().load_positions();
        ASSERT_TRUE(positions) << positions.error().message();
        EXPECT_GE(positions->durable.value, answered);
        EXPECT_LE(positions->durable.value, tables.front().attempt);
        EXPECT_EQ(positions->durable, positions->confirm_bound);
        world.close();
    }
    world.reopen();
}

// The lease says who may write; a process that slept through the loss of its own is told by
// others, but until then its calls still come. They must not take back what its successor did.
void a_late_writer_moves_nothing_back(StoreWorld& world) {
    EXPECT_TRUE(world.store().advance({Lsn{10}, Lsn{10}}));
    const std::unique_ptr<Store> successor = world.opened({1, "lake"});
    EXPECT_EQ(*successor->load_positions(), (StoredPositions{Lsn{10}, Lsn{10}}));
    EXPECT_TRUE(successor->advance({Lsn{50}, Lsn{60}}));
    EXPECT_TRUE(successor->save_tables(std::vector{table_state(2, TablePhase::ready)}));
    EXPECT_EQ(*world.store().advance({Lsn{20}, Lsn{20}}), (StoredPositions{Lsn{50}, Lsn{60}}));
    world.save({table_state(1, TablePhase::ready)});
    world.reopen();
    world.expect_positions({Lsn{50}, Lsn{60}});
    world.expect_tables({table_state(1, TablePhase::ready), table_state(2, TablePhase::ready)});
}

// Calls come from one thread at a time, but not always from the same one.
void calls_from_several_threads(StoreWorld& world) {
    for (std::uint64_t i = 1; i <= 4; ++i) {
        std::jthread([&] {
            world.save({table_state(static_cast<std::uint32_t>(i), TablePhase::ready)});
            EXPECT_TRUE(world.store().advance({Lsn{i}, Lsn{i}}));
        }).join();
    }
    world.expect_positions({Lsn{4}, Lsn{4}});
    EXPECT_EQ(world.store().load_tables()->size(), 4U);
}

// Each of several pipelines has a store of its own over the same place, and all write.
void pipelines_that_write_at_once(StoreWorld& world) {
    constexpr std::uint64_t kPipelines = 3;
    constexpr std::uint64_t kWrites = 15;
    std::vector<std::unique_ptr<Store>> stores;
    for (std::uint64_t id = 1; id <= kPipelines; ++id) stores.push_back(world.opened({id, "many"}));
    {
        std::vector<std::jthread> threads;
        for (const auto& store : stores) {
            threads.emplace_back([&] {
                for (std::uint64_t n = 1; n <= kWrites; ++n) {
                    const auto oid = static_cast<std::uint32_t>(n);
                    const Status saved =
                        store->save_tables(std::vector{table_state(oid, TablePhase::ready)});
                    EXPECT_TRUE(saved) << saved.error().message();
                    EXPECT_TRUE(store->put_schema(stored_schema(oid, "t"), Lsn{n}));
                    EXPECT_TRUE(store->advance({Lsn{n}, Lsn{n}}));
                }
            });
        }
    }
    stores.clear();
    for (std::uint64_t id = 1; id <= kPipelines; ++id) {
        const std::unique_ptr<Store> store = world.opened({id, "many"});
        EXPECT_EQ(store->load_tables()->size(), kWrites) << "of pipeline " << id;
        EXPECT_EQ(*store->load_positions(), (StoredPositions{Lsn{kWrites}, Lsn{kWrites}}));
        const auto version = store->get_schema({kWrites}, Lsn{kWrites});
        EXPECT_TRUE(version && *version) << "of pipeline " << id;
    }
}

constexpr StoreCaseEntry kStoreLifeCases[] = {
    {{"a_failed_save_changes_nothing", "a save of several tables is atomic"},
     a_failed_save_changes_nothing},
    {{"what_was_stored_is_there_after_reopening", "all that was answered survives the process"},
     what_was_stored_is_there_after_reopening},
    {{"a_newer_format_is_refused", "what a newer program wrote is left alone, with a clear error"},
     a_newer_format_is_refused},
    {{"death_within_a_call", "a process that is killed leaves the whole of a call or nothing"},
     death_within_a_call},
    {{"a_late_writer_moves_nothing_back", "two stores at one place: positions never go back"},
     a_late_writer_moves_nothing_back},
    {{"calls_from_several_threads", "one at a time, from whatever thread"},
     calls_from_several_threads},
    {{"pipelines_that_write_at_once", "pipelines that share a place lose nothing of each other"},
     pipelines_that_write_at_once},
};

}  // namespace

std::span<const StoreCaseEntry> store_life_cases() { return kStoreLifeCases; }

}  // namespace walbrook::testing
