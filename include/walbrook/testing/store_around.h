#pragma once

// A store around another one: for tests that change what single calls do.

#include "walbrook/store.h"

#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace walbrook::testing {

// Hands every call on to the store that it owns; whoever derives from it overrides what is to be
// different, and calls StoreAround:: for the rest. Threads and errors are those of that store.
class StoreAround : public Store {
 public:
    explicit StoreAround(std::unique_ptr<Store> inner) : inner_(std::move(inner)) {}

    Status open(const StoreScope& scope) override { return inner_->open(scope); }
    Result<std::optional<Lineage>> load_lineage() override { return inner_->load_lineage(); }
    Status save_lineage(const Lineage& lineage, Lsn shared_until) override {
        return inner_->save_lineage(lineage, shared_until);
    }
    Result<std::vector<TableState>> load_tables() override { return inner_->load_tables(); }
    Status save_tables(std::span<const TableState> tables) override {
        return inner_->save_tables(tables);
    }
    Status remove_table(TableId table) override { return inner_->remove_table(table); }
    Result<StoredPositions> load_positions() override { return inner_->load_positions(); }
    Result<StoredPositions> advance(const StoredPositions& to) override {
        return inner_->advance(to);
    }
    Status put_schema(const TableSchema& schema, Lsn from) override {
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
    const std::unique_ptr<Store> inner_;
};

}  // namespace walbrook::testing
