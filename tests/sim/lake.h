#pragma once

#include "sim/coverage.h"
#include "sim/random.h"
#include "sim/source.h"
#include "walbrook/destination.h"
#include "walbrook/destinations.h"

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace walbrook::sim {

// What the auditor says when something is wrong.
class Violation : public std::runtime_error {
 public:
    using std::runtime_error::runtime_error;
};

// What must succeed in every run.
inline void expect(const Status& status, const char* what) {
    if (!status) throw Violation(std::string(what) + ": " + status.error().message());
}

// Mistakes that the harness makes on purpose, in what it does instead of the threads of the
// product. Those in the product's own code are in bugs.cmake.
enum class Bug {
    none,
    skips_writer_wait,    // Takes the snapshot while transactions from before the hold run.
    ignores_in_progress,  // Takes everything below xmax for visible.
    publishes_too_early,  // Does not wait until the stream has passed the snapshot.
    confirms_too_early,   // Tells the server what was received instead of what is durable.
    forgets_position,     // Starts again from what the server confirmed alone.
    asks_one_snapshot,    // Takes the first snapshot of a copy in ranges for that of all.
    ranges_of_places,     // Makes ranges of where rows are instead of the key.
    cuts_too_late,        // Names a later position than that of the snapshot.
    skips_failed_units,   // Goes on with a copy of which a part could not be written.
    in_product,           // Of the product, which was built with it.
};

// Whatever fails because the model wants it so says so.
inline constexpr std::string_view kPlanned = "planned: ";
// What the model gives as its reason; the table's number follows.
inline constexpr std::string_view kRefusal = "refused by plan: ";

// What the destination holds, as told by the flushes that landed.
struct LakeTable {
    std::optional<TablePhase> phase;
    Lsn frozen_at;            // Unless ready: how far the visible rows go.
    bool is_visible = false;  // It was published once.
    TableSchemaPtr schema;    // Of the visible rows,
    TableSchemaPtr shadow;    // and of those that are being copied.
};
struct LakeView {
    Lsn position;
    std::array<LakeTable, kTables> tables;
};

struct LakeFaults {
    std::uint64_t unavailable_per_mille = 0;  // Nothing landed; tried again.
    std::uint64_t call_per_mille = 0;         // Another call fails, or is done without an answer.
    std::uint64_t lost_answer_per_mille = 0;  // Landed or not: the answer did not come.
    std::uint64_t refusal_per_mille = 0;      // One table's changes are refused,
    std::optional<std::size_t> refused;       // and always those of this one.
};

// A lake in memory whose calls may fail, and whose answers may get lost; notes what landed.
class FaultyLake final : public Destination {
 public:
    FaultyLake(Random& random, std::shared_ptr<MemoryLake> lake, LakeView& view,
               const LakeFaults& faults, Coverage& coverage)
        : random_(random),
          inner_(MemoryDestination::create(std::move(lake))),
          view_(view),
          faults_(faults),
          coverage_(coverage) {}

    std::string_view name() const override { return inner_->name(); }
    Capabilities capabilities() const override { return inner_->capabilities(); }
    std::vector<std::string> refusals(const std::vector<TableSchemaPtr>& tables) const override {
        return inner_->refusals(tables);
    }
    Result<Recovered> open(const PipelineIdentity& who, std::stop_token stop) override;
    Status begin_copy(const CopyTargetPtr& copy, std::stop_token stop) override;
    Status write_copy(const CopyUnit& unit, RowReader& rows, std::stop_token stop) override;
    Status finish_copy(const CopyTargetPtr& copy, std::stop_token stop) override;
    Status discard_copy(const CopyTargetPtr& copy, std::stop_token stop) override;
    Result<Ack> apply(Flush& flush, Ack required, std::stop_token stop) override;
    Result<Lsn> read_position(std::stop_token stop) override;
    Status maintain(std::stop_token) override { return {}; }
    Status close() override { return inner_->close(); }

    std::vector<MemoryDestination::Row> rows(const TableSchema& table) const {
        return inner_->read(table.schema, table.name)
            .value_or(std::vector<MemoryDestination::Row>());
    }
    // Since it was last asked.
    bool has_landed() { return std::exchange(landed_, false); }
    // Hears of each refusal that was planned.
    std::function<void(std::size_t)> on_refusal;

 private:
    // Nothing if all goes well.
    struct Mishap {
        bool is_done;
        Error error;
    };
    std::optional<Mishap> mishap(std::uint64_t& failed, std::uint64_t& unanswered);
    Result<Ack> land(Flush& flush);
    std::optional<Error> refuse_one(Flush& flush, bool is_any);

    Random& random_;
    const std::unique_ptr<MemoryDestination> inner_;
    LakeView& view_;
    const LakeFaults& faults_;
    Coverage& coverage_;
    bool landed_ = false;
};

}  // namespace walbrook::sim
