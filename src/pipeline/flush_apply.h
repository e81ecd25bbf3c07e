#pragma once

#include "pipeline/apply_core.h"
#include "pipeline/table_registry.h"
#include "telemetry/log.h"
#include "walbrook/destination.h"

#include <cstdint>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

namespace walbrook {

// What became of a flush.
struct FlushOutcome {
    Status status;                                   // Not ok: the pipeline must end.
    std::vector<std::pair<TableId, Error>> refused;  // Tables that stopped because of it.
    std::map<TableId, std::uint64_t> applied;        // Row changes, by table.
};

// The way of one flush into the destination: what follows from each answer, and from none. A plain
// object that never waits, so that the simulation runs the very code that ships.
class FlushApply {
 public:
    // `applied`: position of the flush before it.
    FlushApply(Destination& destination, StoreGate& store, Logger& log,
               std::shared_ptr<Flush> flush, FlushKind kind, Lsn applied);

    enum class Progress : std::uint8_t {
        done,   // It is durable and its position is stored, or the pipeline must end.
        again,  // To be tried once more, after a pause.
    };
    Progress try_once(const std::stop_token& stop);

    // It is in the destination, whether the store knows or not.
    bool has_landed() const { return standing_ == Standing::applied; }
    Lsn position() const { return flush_->position(); }
    // Why it is to be tried again.
    const Error& trouble() const { return trouble_.error(); }
    FlushOutcome take_outcome() { return std::move(outcome_); }

 private:
    // One whose outcome is unknown is not given to the destination again before that has said
    // what it holds.
    enum class Standing : std::uint8_t { open, unknown, applied };

    Status apply(const std::stop_token& stop);
    Status settle_unknown(const std::stop_token& stop);
    Status give_up_copies();
    Status store_position();

    Destination& destination_;
    StoreGate& store_;
    Logger& log_;
    std::shared_ptr<Flush> flush_;
    const FlushKind kind_;
    const Lsn applied_;
    // Stored only after it is applied, so a repetition must not begin with the apply.
    Standing standing_ = Standing::open;
    bool is_noted_ = false;  // That it has landed.
    Status trouble_;
    FlushOutcome outcome_;
};

}  // namespace walbrook
