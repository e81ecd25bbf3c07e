#include "store_world.h"

#include "forked_life.h"

namespace walbrook::testing {

namespace {

const StoreScope kScope{1, "lake"};

}  // namespace

StoreWorld::StoreWorld(std::unique_ptr<StoreHarness> harness)
    : harness_(std::move(harness)), store_(opened(kScope)) {}

StoreWorld::~StoreWorld() { store_.reset(); }

std::unique_ptr<Store> StoreWorld::opened(const StoreScope& scope) {
    std::unique_ptr<Store> store = harness_->create();
    const Status status = store->open(scope);
    EXPECT_TRUE(status) << "open: " << status.error().message();
    return store;
}

void StoreWorld::reopen() {
    store_.reset();
    store_ = opened(kScope);
}

void StoreWorld::die(const std::function<void()>& live) {
    close();
    run_forked([&](ForkedLife& life) {
        store_ = opened(kScope);
        live();
        life.end(0);
    });
    store_ = opened(kScope);
}

void StoreWorld::save(const std::vector<TableState>& tables) {
    const Status status = store_->save_tables(tables);
    EXPECT_TRUE(status) << "save_tables: " << status.error().message();
}

void StoreWorld::expect_tables(const std::vector<TableState>& tables) {
    const auto found = store_->load_tables();
    ASSERT_TRUE(found) << "load_tables: " << found.error().message();
    EXPECT_TRUE(*found == tables) << found->size() << " tables, or others than were stored";
}

void StoreWorld::expect_positions(const StoredPositions& positions) {
    const auto found = store_->load_positions();
    ASSERT_TRUE(found) << "load_positions: " << found.error().message();
    EXPECT_EQ(to_string(found->durable), to_string(positions.durable));
    EXPECT_EQ(to_string(found->confirm_bound), to_string(positions.confirm_bound));
}

std::string StoreWorld::version_at(std::uint32_t oid, std::uint64_t at) {
    const auto found = store_->get_schema({oid}, Lsn{at});
    EXPECT_TRUE(found) << "get_schema: " << found.error().message();
    return found && *found ? (*found)->name : "";
}

TableState table_state(std::uint32_t oid, TablePhase phase) {
    TableState out;
    out.table.oid = oid;
    out.schema = "public";
    out.name = "table " + std::to_string(oid);
    out.phase = phase;
    return out;
}

TableState full_table_state(std::uint32_t oid) {
    TableState out = table_state(oid, TablePhase::errored);
    out.name = "we\"ird 'näme\\\n\t";
    out.paused = true;
    out.attempt = 4'000'000'000U;
    out.position = Lsn{0xFFFF'FFFF'FFFF'FFFEULL};
    out.reason = "column \"n\": {not} a number";
    out.remedy = "walbrook resync 'T'";
    out.retries = 3;
    out.next_retry_unix_ms = 1'800'000'000'123;
    out.membership = "rel:16400:733";
    out.content = "f:16400=16400";
    return out;
}

TableSchema stored_schema(std::uint32_t oid, const std::string& name) {
    TableSchema out;
    out.id.oid = oid;
    out.schema = "public";
    out.name = name;
    out.replica_identity = ReplicaIdentity::full;
    ColumnSchema column;
    column.name = "schlüssel";
    column.attnum = 3;
    column.type = {TypeKind::decimal, true, 12, 2};
    column.key_position = 1;
    out.columns = {column};
    return out;
}

}  // namespace walbrook::testing
