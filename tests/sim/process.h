#pragma once

#include "pipeline/flush_apply.h"
#include "sim/catalog.h"
#include "sim/copier.h"
#include "sim/world.h"

#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace walbrook::sim {

// table_error_retry_max_attempts
inline constexpr std::uint32_t kRetriesMax = 2;

// The parts of PipelineImpl and what StreamThread keeps.
struct World::Process {
    Process(World& world, std::unique_ptr<FaultyLake> opened, const std::vector<ReadyTable>& ready,
            CoreOptions options, Lineage known, Lsn bound)
        : lake(std::move(opened)),
          gate(world.store_),
          tables(gate, {std::chrono::milliseconds(100), kRetriesMax},
                 {[&world] { return Instant(std::chrono::milliseconds(world.now_ms_)); },
                  [&world] { return world.now_ms_ + 1; }}),
          catalog(*world.source_, tables, inbox, options.copies_again_on_change),
          copier({world.random_, *world.source_, *lake, tables, events, catalog, inbox,
                  world.options_.bug, [this] { return !flush; }}),
          lineage(std::move(known)),
          confirm_bound(bound),
          received(options.position),
          durable(options.last_commit.value_or(options.position)),
          applied(durable) {
        core = std::make_unique<ApplyCore>(std::move(options), ready);
    }
    const std::unique_ptr<FaultyLake> lake;
    StoreGate gate;
    TableRegistry tables;
    CopyEvents events;
    std::deque<CoreInput> inbox;
    std::deque<CoreInput> waiting;  // Behind a hold.
    Catalog catalog;
    Copier copier;
    Logger log;
    std::unique_ptr<ApplyCore> core;
    std::optional<FlushApply> flush;          // In flight.
    std::deque<action::NewVersion> versions;  // To be stored first,
    std::deque<action::SubmitFlush> flushes;  // and what waits for that.
    std::vector<action::TableStopped> stopped;
    Lineage lineage;
    Lsn confirm_bound;
    Lsn received;
    Lsn last_transaction;  // The end of the last one that came.
    Lsn durable;
    Lsn applied;
};

}  // namespace walbrook::sim
