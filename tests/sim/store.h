#pragma once

#include "sim/random.h"
#include "walbrook/stores.h"

#include <memory>
#include <utility>

namespace walbrook::sim {

// A store that survives the process, and may not take what it is given for a while.
class FaultyStore final : public Store {
 public:
    FaultyStore(Random& random, const std::uint64_t& unavailable_per_mille)
        : random_(random), unavailable_per_mille_(unavailable_per_mille) {}

    Status open(const StoreScope& scope) override { return inner_->open(scope); }
    Result<std::optional<Lineage>> load_lineage() override { return inner_->load_lineage(); }
    Status save_lineage(const Lineage& lineage) override { return inner_->save_lineage(lineage); }
    Result<std::vector<TableState>> load_tables() override { return inner_->load_tables(); }
    Status save_tables(std::span<const TableState> tables) override {
        return inner_->save_tables(tables);
    }
    Status remove_table(TableId table) override { return inner_->remove_table(table); }
    Result<StoredPositions> load_positions() override { return inner_->load_positions(); }
    Result<StoredPositions> advance(const StoredPositions& to) override {
        if (auto refusal = refuse()) return *std::move(refusal);
        return inner_->advance(to);
    }
    Status put_schema(const TableSchema& schema, Lsn from) override {
        if (auto refusal = refuse()) return *std::move(refusal);
        return inner_->put_schema(schema, from);
    }
    Result<TableSchemaPtr> get_schema(TableId table, Lsn at) override {
        return inner_->get_schema(table, at);
    }
    Status prune_schemas(TableId table, Lsn keep_from) override {
        return inner_->prune_schemas(table, keep_from);
    }
    Status clear() override { return inner_->clear(); }

 private:
    std::optional<Error> refuse() {
        if (!random_.per_mille(unavailable_per_mille_)) return std::nullopt;
        return Error(ErrorCode::unavailable, "planned: the store does not answer");
    }

    Random& random_;
    const std::uint64_t& unavailable_per_mille_;
    const std::unique_ptr<Store> inner_ = make_memory_store();
};

}  // namespace walbrook::sim
