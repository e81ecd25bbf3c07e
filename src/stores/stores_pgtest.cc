#include "postgres/connection.h"
#include "support/eventually.h"
#include "support/pg_test.h"
#include "walbrook/stores.h"
#include "walbrook/testing/store_conformance.h"

#include <gtest/gtest.h>

#include <thread>

namespace walbrook {
namespace {

using testing::Database;
using testing::PgCluster;

class PostgresHarness final : public testing::StoreHarness {
 public:
    explicit PostgresHarness(int version) : database_(PgCluster::shared(version)) {}
    std::unique_ptr<Store> create() override { return make_postgres_store(database_.connection()); }
    bool write_newer_format() override {
        database_.exec("insert into walbrook.migrations(version) values (1000)");
        return true;
    }
    bool refuse_table(TableId table) override {
        database_.exec(
            "create function refuse() returns trigger language plpgsql as"
            " $$ begin raise exception 'refused'; end $$;"
            " create trigger refusing before insert on walbrook.tables for each row"
            " when (new.table_oid = " +
            std::to_string(table.oid) + ") execute function refuse()");
        return true;
    }

 private:
    Database database_;
};

[[maybe_unused]] const bool registered = [] {
    for (const int version : testing::pg_versions()) {
        testing::register_store_conformance("postgres" + std::to_string(version), [version] {
            return std::make_unique<PostgresHarness>(version);
        });
    }
    return true;
}();

class PostgresStore : public testing::PgTest {};
INSTANTIATE_TEST_SUITE_P(Pg, PostgresStore, ::testing::ValuesIn(testing::pg_versions()),
                         testing::version_name);

// A restart or failover of its server costs the store one reconnect.
TEST_P(PostgresStore, GoesOnAfterItsSessionWasLost) {
    const auto store = make_postgres_store(database().connection());
    ASSERT_TRUE(store->open({1, "lake"}));
    ASSERT_TRUE(store->advance({Lsn{5}, Lsn{6}}));
    for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(database().value("select count(pg_terminate_backend(pid)) from pg_stat_activity"
                                   " where application_name = 'walbrook:1:store'"),
                  "1");
        const auto advanced = store->advance({Lsn{10}, Lsn{6}});
        ASSERT_TRUE(advanced) << advanced.error().message();
        EXPECT_EQ(*advanced, (StoredPositions{Lsn{10}, Lsn{6}}));
    }
}

// It may run beside newer ones that share the schema, and what it writes was perhaps not flushed.
TEST_P(PostgresStore, WhatAnOlderProgramGoesOnToWriteIsNoFlushOfALake) {
    for (const std::string destination : {"ducklake", "memory"}) {
        const auto store = make_postgres_store(database().connection());
        ASSERT_TRUE(store->open({1, destination}));
        ASSERT_TRUE(store->advance({Lsn{5}, Lsn{6}}));
        database().exec("insert into walbrook.positions as p values (1, '" + destination +
                        "', '0/9', '0/9') on conflict (pipeline_id, destination) do update"
                        " set durable = greatest(p.durable, excluded.durable)");
        const Lsn durable = destination == "ducklake" ? Lsn{5} : Lsn{9};
        EXPECT_EQ(store->load_positions()->durable, durable);
        EXPECT_EQ(store->advance({Lsn{1}, Lsn{1}})->durable, durable);
    }
}

// An administrator makes the schema once; the pipeline's role needs no CREATE.
TEST_P(PostgresStore, OpensWithoutTheRightToCreate) {
    database().exec("drop role if exists store_user");
    database().exec("create role store_user login");
    PgConnectionConfig config = database().connection();
    config.username = "store_user";
    const Status refused = make_postgres_store(config)->open({1, "lake"});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::permission);
    ASSERT_TRUE(make_postgres_store(database().connection())->open({1, "lake"}));
    database().exec(
        "grant usage on schema walbrook to store_user;"
        " grant select, insert, update, delete on all tables in schema walbrook"
        " to store_user");
    const auto store = make_postgres_store(config);
    EXPECT_TRUE(store->open({1, "lake"}));
    EXPECT_TRUE(store->advance({Lsn{1}, Lsn{1}}));
    database().exec("drop owned by store_user; drop role store_user");
}

// An older program and a newer one may begin at the same time.
TEST_P(PostgresStore, RefusesWhatANewerOneMadeWhileItWaited) {
    ASSERT_TRUE(make_postgres_store(database().connection())->open({1, "lake"}));
    database().exec("delete from walbrook.migrations");
    auto newer = Connection::open(database().connection(), {.application_name = "newer"},
                                  within(std::chrono::seconds(60)));
    ASSERT_TRUE(newer);
    ASSERT_TRUE(newer->exec(within(std::chrono::seconds(60)),
                            "begin; select pg_advisory_xact_lock(x'77616c62726f6f6b'::bigint);"
                            "insert into walbrook.migrations(version) values (1000)"));
    Status refused;
    {
        const std::jthread older(
            [&] { refused = make_postgres_store(database().connection())->open({1, "lake"}); });
        EXPECT_TRUE(testing::eventually([&] {
            return database().value(
                       "select count(*) from pg_locks where locktype = 'advisory' and "
                       "not granted") == "1";
        }));
        EXPECT_TRUE(newer->exec(within(std::chrono::seconds(60)), "commit"));
    }
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::corrupt_state);
}

TEST_P(PostgresStore, SaysWhenItsServerDoesNotAnswer) {
    PgConnectionConfig config = database().connection();
    config.port = 1;
    const Status refused = make_postgres_store(config)->open({1, "lake"});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::unavailable);
}

}  // namespace
}  // namespace walbrook
