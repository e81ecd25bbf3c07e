#pragma once

#include "pipeline/copy_events.h"
#include "pipeline/copy_gate.h"
#include "pipeline/flush_writer.h"
#include "pipeline/inbox.h"
#include "pipeline/memory_pressure.h"
#include "pipeline/table_registry.h"
#include "telemetry/log.h"
#include "walbrook/config.h"
#include "walbrook/destination.h"

#include <map>
#include <mutex>
#include <set>

namespace walbrook {

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
    Logger& log;
    // Tables that may have entered the publication after the slot was made: what a
    // prepared transaction wrote to them before is never sent.
    std::set<TableId> late_members;
    // Tables that readers saw in the destination at the start.
    std::set<TableId> visible;
    // Ends the pipeline with this error; the first one counts.
    std::function<void(Error)> fail;
};

}  // namespace walbrook
