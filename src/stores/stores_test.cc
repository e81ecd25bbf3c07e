#include "stores/sqlite_session.h"
#include "stores/stores_contract.h"
#include "support/temp_dir.h"

#include <gtest/gtest.h>

#include <sys/stat.h>

namespace walbrook {
namespace {

class MemoryHarness final : public StoreHarness {
 public:
    std::unique_ptr<Store> make() override { return make_memory_store(); }
    bool keeps_records() const override { return false; }
};

class SqliteHarness final : public StoreHarness {
 public:
    std::unique_ptr<Store> make() override { return make_sqlite_store(path()); }
    bool keeps_records() const override { return true; }
    void write_newer_format() override { exec("pragma user_version = 1000"); }
    void refuse_table(TableId table) override {
        exec("create trigger refusing before insert on tables when new.table_oid = " +
             std::to_string(table.oid) + " begin select raise(abort, 'refused'); end");
    }

 private:
    std::string path() const { return folder_.file("state.db"); }
    void exec(const std::string& sql) {
        auto session = SqliteSession::open(path());
        ASSERT_TRUE(session);
        const Status done = session->exec(sql);
        ASSERT_TRUE(done) << done.error().message();
    }
    testing::TempDir folder_;
};

INSTANTIATE_TEST_SUITE_P(
    Kinds, StoreContract,
    ::testing::Values(StoreKind{"Memory", [] { return std::make_unique<MemoryHarness>(); }},
                      StoreKind{"Sqlite", [] { return std::make_unique<SqliteHarness>(); }}),
    store_kind_name);

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
