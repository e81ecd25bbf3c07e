// A store that does not take what a table looks like.

#include "conformance/destination_around.h"
#include "support/eventually.h"
#include "support/pg_test.h"
#include "support/temp_dir.h"
#include "walbrook/destinations.h"
#include "walbrook/pipeline.h"
#include "walbrook/stores.h"
#include "walbrook/testing/store_around.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <mutex>

namespace walbrook::testing {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// What one table looks like, and that a table is gone, is refused as long as there is an error.
class RefusingStore final : public StoreAround {
 public:
    RefusingStore(std::string table, std::shared_ptr<std::optional<Error>> error, std::mutex& mutex)
        : StoreAround(make_memory_store()),
          table_(std::move(table)),
          error_(std::move(error)),
          mutex_(mutex) {}

    Status put_schema(const TableSchema& schema, Lsn from) override {
        if (auto error = refusal(); error && schema.name == table_) return *error;
        return StoreAround::put_schema(schema, from);
    }
    Status remove_table(TableId table) override {
        if (auto error = refusal()) return *error;
        return StoreAround::remove_table(table);
    }

 private:
    std::optional<Error> refusal() {
        const std::lock_guard lock(mutex_);
        return *error_;
    }

    const std::string table_;
    const std::shared_ptr<std::optional<Error>> error_;
    std::mutex& mutex_;  // Guards *error_.
};

// Takes no phases while it is away.
class AwayStore final : public StoreAround {
 public:
    explicit AwayStore(const std::atomic<bool>& is_away)
        : StoreAround(make_memory_store()), is_away_(is_away) {}
    Status save_tables(std::span<const TableState> tables) override {
        if (is_away_) return Error(ErrorCode::unavailable, "planned: it is away");
        return StoreAround::save_tables(tables);
    }

 private:
    const std::atomic<bool>& is_away_;
};

// One copy fails, and with it goes the store.
class FailingCopy final : public DestinationAround {
 public:
    FailingCopy(std::unique_ptr<Destination> inner, std::atomic<bool>& fails,
                std::atomic<bool>& is_away)
        : DestinationAround(std::move(inner)), fails_(fails), is_away_(is_away) {}
    Status begin_copy(const CopyTargetPtr& copy, std::stop_token stop) override {
        if (!fails_.exchange(false)) return DestinationAround::begin_copy(copy, std::move(stop));
        is_away_ = true;
        return Error(ErrorCode::unavailable, "planned: a copy fails");
    }

 private:
    std::atomic<bool>& fails_;
    std::atomic<bool>& is_away_;
};

class RefusingStores : public PgTest {
 protected:
    void SetUp() override {
        PgTest::SetUp();
        database().exec(
            "create table changed(id int primary key); create table other(id int primary key);"
            "create publication shop for table changed, other");
    }
    void TearDown() override {
        pipeline_.reset();
        PgTest::TearDown();
    }
    void start(std::unique_ptr<Store> store) {
        PipelineConfig config;
        config.id = 930'000 + static_cast<std::uint64_t>(version());
        config.publication_name = "shop";
        config.pg_connection = database().connection();
        config.work_dir = folder_.file("work");
        config.table_error_retry_delay_ms = 50;
        auto memory = MemoryDestination::create(lake_);
        destination_ = memory.get();
        auto made = Pipeline::create(
            config, std::move(store),
            std::make_unique<FailingCopy>(std::move(memory), copy_fails_, is_away_), {});
        ASSERT_TRUE(made) << made.error().message();
        pipeline_ = *std::move(made);
        const Status started = pipeline_->start();
        ASSERT_TRUE(started) << started.error().message();
        ASSERT_TRUE(eventually([&] { return is_ready("changed") && is_ready("other"); }));
    }
    void start() { start(std::make_unique<RefusingStore>("changed", error_, mutex_)); }
    void refuse_with(std::optional<Error> error) {
        const std::lock_guard lock(mutex_);
        *error_ = std::move(error);
    }
    // A version that is to be stored, and a row of the other table behind it.
    void change_table() {
        database().exec(
            "alter table changed add column more int; insert into changed values (1, 1);"
            "insert into other values (1)");
    }
    TableStatus table(const std::string& name) {
        for (const TableStatus& each : pipeline_->status().tables) {
            if (each.name == name) return each;
        }
        return {};
    }
    bool is_ready(const std::string& name) { return table(name).phase == TablePhase::ready; }
    bool has_rows(const std::string& name) { return !destination_->rows("public", name).empty(); }
    bool shows(const std::string& text) {
        return eventually([&] {
            const auto problems = pipeline_->status().problems;
            return std::any_of(problems.begin(), problems.end(), [&](const std::string& problem) {
                return problem.find(text) != std::string::npos;
            });
        });
    }

    TempDir folder_{"refusing"};
    std::mutex mutex_;
    std::shared_ptr<std::optional<Error>> error_ = std::make_shared<std::optional<Error>>();
    std::atomic<bool> copy_fails_ = false;
    std::atomic<bool> is_away_ = false;
    std::shared_ptr<MemoryLake> lake_ = MemoryDestination::make_lake();
    MemoryDestination* destination_ = nullptr;
    std::unique_ptr<Pipeline> pipeline_;
};

INSTANTIATE_TEST_SUITE_P(Pg, RefusingStores, ::testing::ValuesIn(newest_pg_version()),
                         version_name);

// Nothing is written before it is stored: whoever asks is told so.
TEST_P(RefusingStores, WhatPassesIsShownUntilItHasPassed) {
    start();
    refuse_with(Error(ErrorCode::unavailable, "planned: it does not answer"));
    change_table();
    ASSERT_TRUE(shows("planned: it does not answer"));
    EXPECT_EQ(pipeline_->status().state, "retrying");
    EXPECT_FALSE(has_rows("other"));
    refuse_with(std::nullopt);
    ASSERT_TRUE(eventually([&] { return has_rows("other") && has_rows("changed"); }));
    EXPECT_EQ(pipeline_->status().state, "streaming");
    EXPECT_THAT(pipeline_->status().problems, IsEmpty());
}

// It may hold a character that the store's encoding lacks.
TEST_P(RefusingStores, WhatItCannotHoldStopsItsTableAlone) {
    start();
    refuse_with(Error(ErrorCode::malformed, "planned: no such character"));
    change_table();
    ASSERT_TRUE(eventually([&] { return table("changed").phase == TablePhase::errored; }));
    EXPECT_THAT(table("changed").reason, HasSubstr("planned: no such character"));
    ASSERT_TRUE(eventually([&] { return has_rows("other"); }));
    EXPECT_EQ(pipeline_->status().state, "streaming");
    refuse_with(std::nullopt);
    ASSERT_TRUE(pipeline_->command(TableCommand::resync, {"public.changed"}));
    ASSERT_TRUE(eventually([&] { return is_ready("changed") && has_rows("changed"); }));
}

TEST_P(RefusingStores, WhatOnlyAPersonMendsEndsThePipeline) {
    start();
    refuse_with(Error(ErrorCode::permission, "planned: permission denied"));
    change_table();
    const Status ended = pipeline_->wait();
    ASSERT_FALSE(ended);
    EXPECT_EQ(ended.error().code(), ErrorCode::permission);
    EXPECT_THAT(ended.error().message(), HasSubstr("planned: permission denied"));
}

TEST_P(RefusingStores, ATableThatIsNotForgottenIsShown) {
    start();
    refuse_with(Error(ErrorCode::unavailable, "planned: it does not answer"));
    database().exec("alter publication shop drop table changed; insert into other values (1)");
    ASSERT_TRUE(shows("planned: it does not answer"));
    ASSERT_TRUE(eventually([&] { return has_rows("other"); }));
    EXPECT_EQ(pipeline_->status().state, "streaming");
    refuse_with(std::nullopt);
    ASSERT_TRUE(eventually([&] { return pipeline_->status().tables.size() == 1; }));
    ASSERT_TRUE(eventually([&] { return pipeline_->status().problems.empty(); }));
}

// As where both lie in one server: the others go on meanwhile.
TEST_P(RefusingStores, OneThatIsAwayWhenACopyFailsEndsNothing) {
    start(std::make_unique<AwayStore>(is_away_));
    copy_fails_ = true;
    ASSERT_TRUE(pipeline_->command(TableCommand::resync, {"public.changed"}));
    ASSERT_TRUE(eventually(
        [&] { return table("changed").reason.find("planned: it is away") != std::string::npos; }));
    database().exec("insert into changed values (1); insert into other values (1)");
    ASSERT_TRUE(eventually([&] { return has_rows("other"); }));
    is_away_ = false;
    ASSERT_TRUE(eventually([&] { return is_ready("changed") && has_rows("changed"); }));
    EXPECT_EQ(table("changed").reason, "");
    EXPECT_EQ(pipeline_->status().state, "streaming");
}

// The euro sign, in a database that has no such character.
TEST_P(RefusingStores, OneInPostgresMayLackACharacter) {
    const std::string name = database().name() + "_latin1";
    database().exec("create database " + name +
                    " template template0 encoding 'LATIN1' lc_collate 'C' lc_ctype 'C'");
    start(make_postgres_store(cluster().connection(name)));
    database().exec("comment on table changed is 'in \u20ac'");
    change_table();
    ASSERT_TRUE(eventually([&] { return table("changed").phase == TablePhase::errored; }));
    EXPECT_THAT(table("changed").reason, HasSubstr("0xe2 0x82 0xac"));
    ASSERT_TRUE(eventually([&] { return has_rows("other"); }));
    database().exec("comment on table changed is 'in EUR'");
    ASSERT_TRUE(pipeline_->command(TableCommand::resync, {"public.changed"}));
    ASSERT_TRUE(eventually([&] { return is_ready("changed") && has_rows("changed"); }));
    pipeline_.reset();
    database().exec("drop database " + name);
}

TEST_P(RefusingStores, OneInPostgresMayRefuseItsRole) {
    Database store(cluster());
    const std::string role = store.name() + "_role";
    store.exec("create role " + role + " login; grant create on database " + store.name() + " to " +
               role);
    PgConnectionConfig connection = store.connection();
    connection.username = role;
    start(make_postgres_store(connection));
    store.exec("revoke insert, update on walbrook.table_schemas from " + role);
    change_table();
    const Status ended = pipeline_->wait();
    ASSERT_FALSE(ended);
    EXPECT_EQ(ended.error().code(), ErrorCode::permission);
    EXPECT_THAT(ended.error().message(), HasSubstr("table_schemas"));
    EXPECT_FALSE(has_rows("other"));
    pipeline_.reset();
    store.exec("grant insert, update on walbrook.table_schemas to " + role);
    start(make_postgres_store(connection));
    ASSERT_TRUE(eventually([&] { return has_rows("other") && has_rows("changed"); }));
    pipeline_.reset();
    store.exec("drop owned by " + role + "; drop role " + role);
}

}  // namespace
}  // namespace walbrook::testing
