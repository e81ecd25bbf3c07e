#pragma once

#include "sim/coverage.h"
#include "sim/random.h"
#include "walbrook/stores.h"
#include "walbrook/testing/store_around.h"

#include <cstdint>
#include <functional>
#include <span>

namespace walbrook::sim {

// A store that survives the process. What it is given it may not take, or take without an answer:
// the stores that ship say the same of both (a server that is away, a file that is locked).
class FaultyStore final : public testing::StoreAround {
 public:
    FaultyStore(Random& random, const std::uint64_t& failing_per_mille, Coverage& coverage)
        : StoreAround(make_memory_store()),
          random_(random),
          failing_per_mille_(failing_per_mille),
          coverage_(coverage) {}

    Status save_lineage(const Lineage& lineage, Lsn shared_until) override {
        const Fate fate = next_fate(coverage_.store_refused, coverage_.store_unanswered);
        if (fate == Fate::refused) return no_answer();
        Status status = StoreAround::save_lineage(lineage, shared_until);
        return fate == Fate::unanswered ? no_answer() : status;
    }
    Result<StoredPositions> advance(const StoredPositions& to) override {
        const Fate fate = next_fate(coverage_.store_refused, coverage_.store_unanswered);
        if (fate == Fate::refused) return no_answer();
        Result<StoredPositions> stored = StoreAround::advance(to);
        return fate == Fate::unanswered ? no_answer() : stored;
    }
    Status save_tables(std::span<const TableState> tables) override {
        const Fate fate = next_fate(coverage_.states_refused, coverage_.states_unanswered);
        if (fate == Fate::refused) return no_answer();
        for (const TableState& state : tables) on_table(state, fate == Fate::done);
        Status status = StoreAround::save_tables(tables);
        return fate == Fate::unanswered ? no_answer() : status;
    }
    Status put_schema(const TableSchema& schema, Lsn from) override {
        const Fate fate = next_fate(coverage_.store_refused, coverage_.store_unanswered);
        if (fate == Fate::refused) return no_answer();
        Status status = StoreAround::put_schema(schema, from);
        return fate == Fate::unanswered ? no_answer() : status;
    }

    // Hears of each state of a table as it is stored, which is before anybody sees it, and whether
    // whoever stores it will hear that it is.
    std::function<void(const TableState&, bool)> on_table = [](const TableState&, bool) {};

 private:
    enum class Fate : std::uint8_t { done, refused, unanswered };
    Fate next_fate(std::uint64_t& refused, std::uint64_t& unanswered) {
        if (!random_.per_mille(failing_per_mille_)) return Fate::done;
        const bool is_done = random_.percent(50);
        ++(is_done ? unanswered : refused);
        return is_done ? Fate::unanswered : Fate::refused;
    }
    static Error no_answer() {
        return {ErrorCode::unavailable, "planned: the store does not answer"};
    }

    Random& random_;
    const std::uint64_t& failing_per_mille_;
    Coverage& coverage_;
};

}  // namespace walbrook::sim
