#pragma once

#include "walbrook/stores.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace walbrook {

// What the one contract test needs to know about a kind of store.
class StoreHarness {
 public:
    virtual ~StoreHarness() = default;
    // A store on the harness's one place; what an earlier one left is there, unless it
    // keeps nothing.
    virtual std::unique_ptr<Store> make() = 0;
    virtual bool keeps_records() const = 0;
    // Only where records are kept: makes the place look as a newer program left it; makes
    // every write of this table's state fail.
    virtual void write_newer_format() {}
    virtual void refuse_table(TableId) {}
};

struct StoreKind {
    std::string name;
    std::function<std::unique_ptr<StoreHarness>()> make_harness;
};

inline std::string store_kind_name(const ::testing::TestParamInfo<StoreKind>& info) {
    return info.param.name;
}

// The same tests for every store. Include in one file of a test program and instantiate.
class StoreContract : public ::testing::TestWithParam<StoreKind> {
 protected:
    void SetUp() override {
        harness_ = GetParam().make_harness();
        store_ = opened({1, "lake"});
    }
    void TearDown() override {
        store_.reset();
        harness_.reset();
    }

    std::unique_ptr<Store> opened(const StoreScope& scope) {
        std::unique_ptr<Store> store = harness_->make();
        const Status status = store->open(scope);
        EXPECT_TRUE(status) << (status ? "" : status.error().message());
        return store;
    }
    Store& store() { return *store_; }
    StoreHarness& harness() { return *harness_; }
    void close() { store_.reset(); }
    void reopen() {
        store_.reset();
        store_ = opened({1, "lake"});
    }

    static TableState state(std::uint32_t oid, TablePhase phase) {
        TableState out;
        out.table.oid = oid;
        out.schema = "public";
        out.name = "table " + std::to_string(oid);
        out.phase = phase;
        return out;
    }
    // With a value that is not the default in every field, and text that needs quoting.
    static TableState full_state(std::uint32_t oid) {
        TableState out = state(oid, TablePhase::errored);
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
    static TableSchema schema(std::uint32_t oid, const std::string& name) {
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
    // Name of the version at that position, or "" where there is none.
    std::string version_at(std::uint32_t oid, std::uint64_t at) {
        const auto found = store().get_schema({oid}, Lsn{at});
        EXPECT_TRUE(found);
        return found && *found ? (*found)->name : "";
    }

 private:
    std::unique_ptr<StoreHarness> harness_;
    std::unique_ptr<Store> store_;
};

TEST_P(StoreContract, BeginsEmpty) {
    EXPECT_EQ(*store().load_lineage(), std::nullopt);
    EXPECT_TRUE(store().load_tables()->empty());
    EXPECT_EQ(*store().load_positions(), StoredPositions());
    EXPECT_EQ(*store().get_schema({1}, Lsn{100}), nullptr);
    EXPECT_TRUE(store().remove_table({1}));
    EXPECT_TRUE(store().prune_schemas({1}, Lsn{1}));
    EXPECT_TRUE(store().save_tables({}));
    EXPECT_TRUE(store().clear());
}

TEST_P(StoreContract, GivesBackWhatItTook) {
    const Lineage lineage{"7012345678901234567", 4'000'000'000U, 4'294'967'295U, "walbrook_1"};
    EXPECT_TRUE(store().save_lineage({"other", 1, 2, "x"}));
    EXPECT_TRUE(store().save_lineage(lineage));
    EXPECT_EQ(*store().load_lineage(), lineage);
    const std::vector<TableState> tables = {full_state(7), full_state(4'294'967'295U)};
    EXPECT_TRUE(store().save_tables(tables));
    EXPECT_EQ(*store().load_tables(), tables);
    const TableSchema version = schema(7, "t");
    EXPECT_TRUE(store().put_schema(version, Lsn{5}));
    const auto found = store().get_schema({7}, Lsn{5});
    ASSERT_TRUE(found && *found);
    EXPECT_EQ(**found, version);
}

TEST_P(StoreContract, KnowsEveryPhase) {
    for (const TablePhase phase : {TablePhase::queued, TablePhase::copying, TablePhase::catching_up,
                                   TablePhase::ready, TablePhase::errored}) {
        const std::vector<TableState> one = {state(1, phase)};
        EXPECT_TRUE(store().save_tables(one));
        EXPECT_EQ(*store().load_tables(), one);
    }
}

TEST_P(StoreContract, SavingSomeTablesLeavesTheOthers) {
    EXPECT_TRUE(store().save_tables(std::vector<TableState>{
        state(1, TablePhase::ready), state(2, TablePhase::ready), state(3, TablePhase::ready)}));
    EXPECT_TRUE(store().save_tables(
        std::vector<TableState>{state(3, TablePhase::queued), state(1, TablePhase::errored)}));
    EXPECT_EQ(*store().load_tables(),
              (std::vector<TableState>{state(1, TablePhase::errored), state(2, TablePhase::ready),
                                       state(3, TablePhase::queued)}));
}

// A half-applied set could stream a table that was not copied.
TEST_P(StoreContract, AFailedSaveChangesNothing) {
    if (!harness().keeps_records()) return;  // Memory cannot fail half way.
    EXPECT_TRUE(store().save_tables(
        std::vector<TableState>{state(1, TablePhase::ready), state(2, TablePhase::ready)}));
    const auto before = *store().load_tables();
    harness().refuse_table({3});
    EXPECT_FALSE(store().save_tables(
        std::vector<TableState>{state(1, TablePhase::queued), state(4, TablePhase::queued),
                                state(3, TablePhase::queued), state(2, TablePhase::queued)}));
    EXPECT_EQ(*store().load_tables(), before);
    reopen();
    EXPECT_EQ(*store().load_tables(), before);
    EXPECT_TRUE(store().save_tables(std::vector<TableState>{state(1, TablePhase::queued)}));
}

TEST_P(StoreContract, PositionsOnlyMoveForward) {
    EXPECT_EQ(*store().advance({Lsn{10}, Lsn{20}}), (StoredPositions{Lsn{10}, Lsn{20}}));
    EXPECT_EQ(*store().advance({Lsn{15}, Lsn{5}}), (StoredPositions{Lsn{15}, Lsn{20}}));
    EXPECT_EQ(*store().advance({Lsn{0}, Lsn{30}}), (StoredPositions{Lsn{15}, Lsn{30}}));
    EXPECT_EQ(*store().load_positions(), (StoredPositions{Lsn{15}, Lsn{30}}));
    // Beyond the first 4 GiB of WAL, and in the order of numbers, not of digits.
    EXPECT_EQ(*store().advance({Lsn{0x9'0000'0000ULL}, Lsn{0x9'FFFF'FFFFULL}}),
              (StoredPositions{Lsn{0x9'0000'0000ULL}, Lsn{0x9'FFFF'FFFFULL}}));
    const StoredPositions far{Lsn{0x10'0000'0001ULL}, Lsn{0xFFFF'FFFF'FFFF'FFFFULL}};
    EXPECT_EQ(*store().advance(far), far);
    EXPECT_EQ(*store().advance({Lsn{1}, Lsn{1}}), far);
}

TEST_P(StoreContract, ASchemaIsLookedUpAtOrBeforeAPosition) {
    EXPECT_TRUE(store().put_schema(schema(1, "first"), Lsn{0}));
    EXPECT_TRUE(store().put_schema(schema(1, "second"), Lsn{0x2'0000'0000ULL}));
    EXPECT_TRUE(store().put_schema(schema(1, "third"), Lsn{0x10'0000'0000ULL}));
    EXPECT_TRUE(store().put_schema(schema(2, "other"), Lsn{50}));
    EXPECT_EQ(version_at(1, 0), "first");
    EXPECT_EQ(version_at(1, 0x1'FFFF'FFFFULL), "first");
    EXPECT_EQ(version_at(1, 0x2'0000'0000ULL), "second");
    EXPECT_EQ(version_at(1, 0xF'FFFF'FFFFULL), "second");
    EXPECT_EQ(version_at(1, 0x10'0000'0000ULL), "third");
    EXPECT_EQ(version_at(1, 0xFFFF'FFFF'FFFF'FFFFULL), "third");
    EXPECT_EQ(version_at(2, 49), "");
    EXPECT_EQ(version_at(2, 50), "other");
    EXPECT_EQ(version_at(3, 50), "");
    EXPECT_TRUE(store().put_schema(schema(1, "second again"), Lsn{0x2'0000'0000ULL}));
    EXPECT_EQ(version_at(1, 0x2'0000'0001ULL), "second again");
}

TEST_P(StoreContract, PruningKeepsWhatCanBeAskedFor) {
    for (const std::uint64_t from : {10, 20, 30, 40}) {
        EXPECT_TRUE(store().put_schema(schema(1, std::to_string(from)), Lsn{from}));
        EXPECT_TRUE(store().put_schema(schema(2, std::to_string(from)), Lsn{from}));
    }
    EXPECT_TRUE(store().prune_schemas({1}, Lsn{9}));
    EXPECT_EQ(version_at(1, 10), "10");
    EXPECT_TRUE(store().prune_schemas({1}, Lsn{29}));
    EXPECT_EQ(version_at(1, 19), "");
    EXPECT_EQ(version_at(1, 29), "20");  // In force at 29, so it must stay.
    EXPECT_EQ(version_at(1, 40), "40");
    EXPECT_TRUE(store().prune_schemas({1}, Lsn{30}));
    EXPECT_EQ(version_at(1, 29), "");
    EXPECT_EQ(version_at(1, 30), "30");
    EXPECT_TRUE(store().prune_schemas({1}, Lsn{1000}));
    EXPECT_EQ(version_at(1, 1000), "40");
    EXPECT_EQ(version_at(2, 10), "10");
}

TEST_P(StoreContract, ARemovedTableTakesItsSchemasAlong) {
    EXPECT_TRUE(store().save_tables(
        std::vector<TableState>{state(1, TablePhase::ready), state(2, TablePhase::ready)}));
    EXPECT_TRUE(store().put_schema(schema(1, "t"), Lsn{1}));
    EXPECT_TRUE(store().put_schema(schema(2, "u"), Lsn{1}));
    EXPECT_TRUE(store().remove_table({1}));
    EXPECT_EQ(*store().load_tables(), (std::vector<TableState>{state(2, TablePhase::ready)}));
    EXPECT_EQ(version_at(1, 10), "");
    EXPECT_EQ(version_at(2, 10), "u");
}

// Two pipelines, or two destinations of one, may share a place.
TEST_P(StoreContract, ScopesDoNotSeeEachOther) {
    const auto other_pipeline = opened({0xFFFF'FFFF'FFFF'FFFFULL, "lake"});
    const auto other_destination = opened({1, "other 'lake'"});
    for (Store* other : {other_pipeline.get(), other_destination.get()}) {
        EXPECT_TRUE(other->save_tables(std::vector<TableState>{full_state(1)}));
        EXPECT_TRUE(other->put_schema(schema(1, "theirs"), Lsn{1}));
        EXPECT_TRUE(other->save_lineage({"theirs", 1, 1, "s"}));
        EXPECT_TRUE(other->advance({Lsn{9}, Lsn{9}}));
    }
    EXPECT_TRUE(store().load_tables()->empty());
    EXPECT_EQ(*store().load_lineage(), std::nullopt);
    EXPECT_EQ(*store().load_positions(), StoredPositions());
    EXPECT_EQ(version_at(1, 5), "");
    EXPECT_TRUE(store().put_schema(schema(1, "ours"), Lsn{1}));
    EXPECT_TRUE(store().prune_schemas({1}, Lsn{100}));
    EXPECT_TRUE(store().remove_table({1}));
    EXPECT_TRUE(store().clear());
    for (Store* other : {other_pipeline.get(), other_destination.get()}) {
        EXPECT_EQ(*other->load_tables(), std::vector<TableState>{full_state(1)});
        EXPECT_EQ((*other->get_schema({1}, Lsn{1}))->name, "theirs");
        EXPECT_EQ((*other->load_lineage())->system_identifier, "theirs");
        EXPECT_EQ(*other->load_positions(), (StoredPositions{Lsn{9}, Lsn{9}}));
    }
}

TEST_P(StoreContract, ClearForgetsEverythingOfTheScope) {
    EXPECT_TRUE(store().save_tables(std::vector<TableState>{full_state(1)}));
    EXPECT_TRUE(store().put_schema(schema(1, "t"), Lsn{1}));
    EXPECT_TRUE(store().save_lineage({"id", 1, 1, "s"}));
    EXPECT_TRUE(store().advance({Lsn{9}, Lsn{9}}));
    EXPECT_TRUE(store().clear());
    EXPECT_EQ(*store().load_lineage(), std::nullopt);
    EXPECT_TRUE(store().load_tables()->empty());
    EXPECT_EQ(version_at(1, 5), "");
    // A new life may begin at an earlier position.
    EXPECT_EQ(*store().advance({Lsn{3}, Lsn{3}}), (StoredPositions{Lsn{3}, Lsn{3}}));
}

TEST_P(StoreContract, WhatWasStoredIsThereAfterReopening) {
    if (!harness().keeps_records()) return;
    const Lineage lineage{"7", 1, 5, "walbrook_1"};
    EXPECT_TRUE(store().save_lineage(lineage));
    EXPECT_TRUE(store().save_tables(std::vector<TableState>{full_state(1), full_state(2)}));
    EXPECT_TRUE(store().advance({Lsn{77}, Lsn{88}}));
    EXPECT_TRUE(store().put_schema(schema(1, "t"), Lsn{1}));
    reopen();
    EXPECT_EQ(*store().load_lineage(), lineage);
    EXPECT_EQ(*store().load_tables(), (std::vector<TableState>{full_state(1), full_state(2)}));
    EXPECT_EQ(*store().load_positions(), (StoredPositions{Lsn{77}, Lsn{88}}));
    EXPECT_EQ(version_at(1, 1), "t");
}

TEST_P(StoreContract, ANewerFormatIsRefused) {
    if (!harness().keeps_records()) return;
    EXPECT_TRUE(store().save_tables(std::vector<TableState>{full_state(1)}));
    close();
    harness().write_newer_format();
    const Status refused = harness().make()->open({1, "lake"});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::corrupt_state);
    EXPECT_NE(refused.error().message().find("newer"), std::string::npos);
}

}  // namespace walbrook
