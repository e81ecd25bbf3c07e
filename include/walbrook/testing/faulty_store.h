#pragma once

// A store that fails where a test wants it to, around one that works.

#include "walbrook/store.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace walbrook::testing {

// Wraps a store and lets its nth call fail, once: before it has done anything, or after
// it has done everything. Calls come from one thread at a time, as a store's do.
class FaultyStore final : public Store {
 public:
    enum class Kind { before, after };
    // `nth` counts all calls, from 1; 0: none fails.
    FaultyStore(std::unique_ptr<Store> inner, std::uint64_t nth, Kind kind,
                std::shared_ptr<std::atomic<bool>> has_struck)
        : inner_(std::move(inner)), nth_(nth), kind_(kind), has_struck_(std::move(has_struck)) {}

    Status open(const StoreScope& scope) override {
        return around<Status>([&] { return inner_->open(scope); });
    }
    Result<std::optional<Lineage>> load_lineage() override {
        return around<Result<std::optional<Lineage>>>([&] { return inner_->load_lineage(); });
    }
    Status save_lineage(const Lineage& lineage, Lsn shared_until) override {
        return around<Status>([&] { return inner_->save_lineage(lineage, shared_until); });
    }
    Result<std::vector<TableState>> load_tables() override {
        return around<Result<std::vector<TableState>>>([&] { return inner_->load_tables(); });
    }
    Status save_tables(std::span<const TableState> tables) override {
        return around<Status>([&] { return inner_->save_tables(tables); });
    }
    Status remove_table(TableId table) override {
        return around<Status>([&] { return inner_->remove_table(table); });
    }
    Result<StoredPositions> load_positions() override {
        return around<Result<StoredPositions>>([&] { return inner_->load_positions(); });
    }
    Result<StoredPositions> advance(const StoredPositions& to) override {
        return around<Result<StoredPositions>>([&] { return inner_->advance(to); });
    }
    Status put_schema(const TableSchema& schema, Lsn from) override {
        return around<Status>([&] { return inner_->put_schema(schema, from); });
    }
    Result<TableSchemaPtr> get_schema(TableId table, Lsn at) override {
        return around<Result<TableSchemaPtr>>([&] { return inner_->get_schema(table, at); });
    }
    Status prune_schemas(TableId table, Lsn keep_from) override {
        return around<Status>([&] { return inner_->prune_schemas(table, keep_from); });
    }
    Status clear() override {
        return around<Status>([&] { return inner_->clear(); });
    }

 private:
    template <class R, class Call>
    R around(Call call) {
        if (++calls_ != nth_) return call();
        *has_struck_ = true;
        if (kind_ == Kind::after) {
            R done = call();
            if (!done) return done;
        }
        return Error(ErrorCode::unavailable, "planned: the store did not answer");
    }

    const std::unique_ptr<Store> inner_;
    const std::uint64_t nth_;
    const Kind kind_;
    const std::shared_ptr<std::atomic<bool>> has_struck_;
    std::uint64_t calls_ = 0;
};

}  // namespace walbrook::testing
