#pragma once

#include "walbrook/testing/store_conformance.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace walbrook::testing {

// What a case works with: a harness and the store that is open over it.
class StoreWorld {
 public:
    explicit StoreWorld(std::unique_ptr<StoreHarness> harness);
    ~StoreWorld();

    Store& store() { return *store_; }
    StoreHarness& harness() { return *harness_; }
    std::unique_ptr<Store> opened(const StoreScope& scope);
    // Without a word of goodbye: a store has none.
    void close() { store_.reset(); }
    void reopen();
    // Closes the present store, and opens another one after a new one had its life: `live` makes
    // its calls, in a forked process that is then killed.
    void die(const std::function<void()>& live);

    void save(const std::vector<TableState>& tables);
    void expect_tables(const std::vector<TableState>& tables);
    void expect_positions(const StoredPositions& positions);
    // Name of the version at that position, or "" where there is none.
    std::string version_at(std::uint32_t oid, std::uint64_t at);

 private:
    std::unique_ptr<StoreHarness> harness_;
    std::unique_ptr<Store> store_;
};

struct StoreCaseEntry {
    ConformanceCase description;
    void (*run)(StoreWorld& world);
};

std::vector<StoreCaseEntry> all_store_cases();
void run_case(const StoreCaseEntry& entry, std::unique_ptr<StoreHarness> harness);

// One list a file.
std::span<const StoreCaseEntry> store_record_cases();
std::span<const StoreCaseEntry> store_life_cases();

// Records to store.
TableState table_state(std::uint32_t oid, TablePhase phase);
// With a value that is not the default in every field, and text that needs quoting.
TableState full_table_state(std::uint32_t oid);
TableSchema stored_schema(std::uint32_t oid, const std::string& name);

}  // namespace walbrook::testing
