#include "walbrook/stores.h"

#include <algorithm>
#include <iterator>
#include <map>

namespace walbrook {
namespace {

// Keeps what the contract asks for in maps. One object has one scope, so the scope
// itself needs no place here.
class MemoryStore final : public Store {
 public:
    Status open(const StoreScope&) override { return {}; }

    Result<std::optional<Lineage>> load_lineage() override { return lineage_; }
    Status save_lineage(const Lineage& lineage, Lsn shared_until) override {
        lineage_ = lineage;
        positions_.durable = std::min(positions_.durable, shared_until);
        positions_.confirm_bound = std::min(positions_.confirm_bound, shared_until);
        return {};
    }

    Result<std::vector<TableState>> load_tables() override {
        std::vector<TableState> tables;
        for (const auto& [id, state] : tables_) tables.push_back(state);
        return tables;
    }
    Status save_tables(std::span<const TableState> tables) override {
        for (const TableState& state : tables) tables_[state.table] = state;
        return {};
    }
    Status remove_table(TableId table) override {
        tables_.erase(table);
        schemas_.erase(table);
        return {};
    }

    Result<StoredPositions> load_positions() override { return positions_; }
    Result<StoredPositions> advance(const StoredPositions& to) override {
        positions_.durable = std::max(positions_.durable, to.durable);
        positions_.confirm_bound = std::max(positions_.confirm_bound, to.confirm_bound);
        return positions_;
    }

    Status put_schema(const TableSchema& schema, Lsn from) override {
        schemas_[schema.id][from] = std::make_shared<const TableSchema>(schema);
        return {};
    }
    Result<TableSchemaPtr> get_schema(TableId table, Lsn at) override {
        const auto& versions = schemas_[table];
        const auto after = versions.upper_bound(at);
        return after == versions.begin() ? TableSchemaPtr() : std::prev(after)->second;
    }
    Status prune_schemas(TableId table, Lsn keep_from) override {
        auto& versions = schemas_[table];
        const auto after = versions.upper_bound(keep_from);
        if (after != versions.begin()) versions.erase(versions.begin(), std::prev(after));
        return {};
    }

    Status clear() override {
        lineage_.reset();
        tables_.clear();
        positions_ = {};
        schemas_.clear();
        return {};
    }

 private:
    std::optional<Lineage> lineage_;
    std::map<TableId, TableState> tables_;
    StoredPositions positions_;
    std::map<TableId, std::map<Lsn, TableSchemaPtr>> schemas_;
};

}  // namespace

std::unique_ptr<Store> make_memory_store() { return std::make_unique<MemoryStore>(); }

}  // namespace walbrook
