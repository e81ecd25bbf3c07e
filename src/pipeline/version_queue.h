#pragma once

#include "pipeline/apply_core.h"
#include "pipeline/store_patience.h"
#include "pipeline/table_registry.h"

#include <deque>
#include <string>
#include <utility>
#include <vector>

namespace walbrook {

// Versions of tables that the store does not have yet, in order. One thread; trouble() from any.
class VersionQueue {
 public:
    VersionQueue(StoreGate& store, Logger& log)
        : store_(store), patience_(log, "how a table looks") {}

    void add(action::NewVersion version) { versions_.push_back(std::move(version)); }
    bool empty() const { return versions_.empty(); }
    // Stores what waits, unless the last try was a moment ago; what was there at `durable` is
    // kept. Names tables that must stop: the store will never take what they look like, and is not
    // asked to any more. An error is one that ends the pipeline.
    Result<std::vector<std::pair<TableId, Error>>> store(Lsn durable, Instant at);
    // Why something waits; empty: nothing does.
    std::string trouble() const { return patience_.trouble(); }

 private:
    StoreGate& store_;
    StorePatience patience_;
    std::deque<action::NewVersion> versions_;
};

}  // namespace walbrook
