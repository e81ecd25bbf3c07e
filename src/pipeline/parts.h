#pragma once

#include "pipeline/copy_events.h"
#include "pipeline/copy_gate.h"
#include "pipeline/copy_rate.h"
#include "pipeline/cut_desk.h"
#include "pipeline/flush_writer.h"
#include "pipeline/inbox.h"
#include "pipeline/memory_pressure.h"
#include "pipeline/snapshot_ages.h"
#include "pipeline/table_registry.h"
#include "telemetry/log.h"
#include "walbrook/config.h"
#include "walbrook/destination.h"

#include <atomic>
#include <map>
#include <mutex>
#include <set>

namespace walbrook {

class CatalogWatch;

// What the threads of one pipeline share. Made by Pipeline, outlives the threads.
struct Parts {
    const PipelineConfig& config;
    Destination& destination;
    StoreGate& store;
    TableRegistry& tables;
    FlushWriter& writer;
    Inbox& inbox;
    CopyEvents& copy_events;
    CopyGate& copy_gate;
    const MemoryPressure& memory;
    CatalogWatch& watch;
    Logger& log;
    // Tables that readers saw in the destination at the start.
    std::set<TableId> visible;
    // Counts looks at the catalog. A look takes its number before it reads, so one with a higher
    // number may have read earlier; a copy takes another one when it has read.
    std::atomic<std::uint64_t> catalog_seen{0};
    // Ends the pipeline with this error; the first one counts.
    std::function<void(Error)> fail;
    CopyRate copy_rate{config.copy_max_bytes_per_second};
    SnapshotAges snapshot_ages{};
    CutDesk cuts{};
};

}  // namespace walbrook
