#pragma once

#include "sim/random.h"
#include "walbrook/stores.h"
#include "walbrook/testing/store_around.h"

#include <functional>
#include <optional>
#include <span>
#include <utility>

namespace walbrook::sim {

// A store that survives the process, and may not take what it is given for a while.
class FaultyStore final : public testing::StoreAround {
 public:
    FaultyStore(Random& random, const std::uint64_t& unavailable_per_mille)
        : StoreAround(make_memory_store()),
          random_(random),
          unavailable_per_mille_(unavailable_per_mille) {}

    Result<StoredPositions> advance(const StoredPositions& to) override {
        if (auto refusal = refuse()) return *std::move(refusal);
        return StoreAround::advance(to);
    }
    Status save_tables(std::span<const TableState> tables) override {
        for (const TableState& state : tables) on_table(state);
        return StoreAround::save_tables(tables);
    }
    Status put_schema(const TableSchema& schema, Lsn from) override {
        if (auto refusal = refuse()) return *std::move(refusal);
        return StoreAround::put_schema(schema, from);
    }

    // Hears of each state of a table as it is stored, which is before anybody sees it.
    std::function<void(const TableState&)> on_table = [](const TableState&) {};

 private:
    std::optional<Error> refuse() {
        if (!random_.per_mille(unavailable_per_mille_)) return std::nullopt;
        return Error(ErrorCode::unavailable, "planned: the store does not answer");
    }

    Random& random_;
    const std::uint64_t& unavailable_per_mille_;
};

}  // namespace walbrook::sim
