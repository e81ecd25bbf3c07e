#include "walbrook/stores.h"

#include "stores/sqlite_session.h"
#include "support/temp_dir.h"
#include "walbrook/testing/faulty_store.h"
#include "walbrook/testing/store_conformance.h"

#include <gtest/gtest.h>

#include <sys/stat.h>

namespace walbrook {
namespace {

class MemoryHarness final : public testing::StoreHarness {
 public:
    std::unique_ptr<Store> create() override { return make_memory_store(); }
    bool keeps_records() const override { return false; }
};

class SqliteHarness final : public testing::StoreHarness {
 public:
    std::unique_ptr<Store> create() override { return make_sqlite_store(path()); }
    bool write_newer_format() override { return exec("pragma user_version = 1000"); }
    bool refuse_table(TableId table) override {
        return exec("create trigger refusing before insert on tables when new.table_oid = " +
                    std::to_string(table.oid) + " begin select raise(abort, 'refused'); end");
    }

 private:
    std::string path() const { return folder_.file("state.db"); }
    bool exec(const std::string& sql) {
        auto session = SqliteSession::open(path());
        return session && session->exec(sql);
    }
    testing::TempDir folder_;
};

[[maybe_unused]] const bool registered =
    testing::register_store_conformance(
        "memory", [] { return std::make_unique<MemoryHarness>(); },
        {{"a_failed_save_changes_nothing", "memory cannot fail half way"},
         {"what_was_stored_is_there_after_reopening", "it keeps nothing"},
         {"a_newer_format_is_refused", "it keeps nothing"},
         {"death_within_a_call", "it keeps nothing"},
         {"a_late_writer_moves_nothing_back", "no two share a place"},
         {"pipelines_that_write_at_once", "no two share a place"}}) &&
    testing::register_store_conformance("sqlite", [] { return std::make_unique<SqliteHarness>(); });

TEST(SqliteStore, TheFileIsPrivateAndSurvivesPowerFailure) {
    const testing::TempDir folder;
    const std::string path = folder.file("state.db");
    const auto store = make_sqlite_store(path);
    ASSERT_TRUE(store->open({1, "lake"}));
    for (const std::string& file : {path, path + "-wal", path + "-shm"}) {
        struct stat info{};
        ASSERT_EQ(stat(file.c_str(), &info), 0) << file;
        EXPECT_EQ(info.st_mode & 0777, 0600U) << file;
    }
    auto session = SqliteSession::open(path);
    ASSERT_TRUE(session);
    SqliteStatement mode(*session, "pragma journal_mode");
    ASSERT_TRUE(*mode.next());
    EXPECT_EQ(mode.text(0), "wal");
}

TEST(SqliteStore, AForeignOrDamagedFileIsRefusedAndLeftAlone) {
    const testing::TempDir folder;
    const std::string path = folder.file("other.db");
    {
        auto session = SqliteSession::open(path);
        ASSERT_TRUE(session && session->exec("create table users(id integer)"));
    }
    const std::string before = testing::read_file(path);
    Status refused = make_sqlite_store(path)->open({1, "lake"});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::corrupt_state);
    EXPECT_EQ(testing::read_file(path), before);

    const std::string damaged = folder.file("damaged.db");
    testing::write_file(damaged, std::string(8192, 'x'));
    refused = make_sqlite_store(damaged)->open({1, "lake"});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::corrupt_state);
    EXPECT_EQ(testing::read_file(damaged), std::string(8192, 'x'));
}

// It may run beside newer ones that share the file, and what it writes was perhaps not flushed.
TEST(SqliteStore, WhatAnOlderProgramGoesOnToWriteIsNoFlushOfALake) {
    const testing::TempDir folder;
    const std::string path = folder.file("state.db");
    for (const std::string destination : {"ducklake", "memory"}) {
        const auto store = make_sqlite_store(path);
        ASSERT_TRUE(store->open({1, destination}));
        ASSERT_TRUE(store->advance({Lsn{5}, Lsn{6}}));
        auto session = SqliteSession::open(path);
        // As 0.1.0 does.
        ASSERT_TRUE(session && session->exec("insert into positions values (1, '" + destination +
                                             "', '00000000/00000009', '00000000/00000009')"
                                             " on conflict (pipeline_id, destination) do update"
                                             " set durable = max(durable, excluded.durable)"));
        const Lsn durable = destination == "ducklake" ? Lsn{5} : Lsn{9};
        EXPECT_EQ(store->load_positions()->durable, durable);
        EXPECT_EQ(store->advance({Lsn{1}, Lsn{1}})->durable, durable);
    }
}

TEST(SqliteStore, AFolderThatIsNotThereIsSaid) {
    const testing::TempDir folder;
    const auto store = make_sqlite_store(folder.file("missing/state.db"));
    const Status refused = store->open({1, "lake"});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::permission);
    EXPECT_FALSE(store->load_tables());  // And nothing else crashes.
    EXPECT_FALSE(store->advance({}));
}

TEST(SqliteStore, AStoredSchemaThatCannotBeReadIsSaid) {
    const testing::TempDir folder;
    const std::string path = folder.file("state.db");
    const auto store = make_sqlite_store(path);
    ASSERT_TRUE(store->open({1, "lake"}));
    TableSchema schema;
    schema.id.oid = 1;
    ASSERT_TRUE(store->put_schema(schema, Lsn{1}));
    auto session = SqliteSession::open(path);
    ASSERT_TRUE(session->exec("update table_schemas set schema = '{\"format\": 2}'"));
    const auto found = store->get_schema({1}, Lsn{1});
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().code(), ErrorCode::corrupt_state);
}

}  // namespace
}  // namespace walbrook
