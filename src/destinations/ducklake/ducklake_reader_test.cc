#include "destinations/ducklake/ducklake_fixture.h"
#include "support/eventually.h"

#include <sqlite3.h>

#include <chrono>
#include <csignal>
#include <sys/wait.h>
#include <thread>

namespace walbrook::testing {
namespace {

// Other processes read the lake while we write to it.
class DuckLakeReaders : public LakeTest {
 protected:
    // Runs `work` in a child until the test ends it; returns when the child says it is
    // in the middle of it.
    pid_t start_child(const std::function<bool(const std::function<void()>&)>& work) {
        int ready[2];
        EXPECT_EQ(pipe(ready), 0);
        const pid_t child = fork();
        if (child == 0) {
            work([&] {
                if (write(ready[1], "r", 1) != 1) _exit(2);
                for (;;) pause();
            });
            _exit(1);
        }
        char byte = 0;
        ::close(ready[1]);
        EXPECT_EQ(read(ready[0], &byte, 1), 1) << "the child could not begin";
        ::close(ready[0]);
        return child;
    }
    void end_child(pid_t child) {
        kill(child, SIGKILL);
        waitpid(child, nullptr, 0);
    }
    // Waits until the process has a file of that name open.
    bool has_open(pid_t process, const std::string& name) {
        const std::string descriptors = "/proc/" + std::to_string(process) + "/fd";
        return eventually([&] {
            std::error_code error;
            for (std::filesystem::directory_iterator it(descriptors, error), end;
                 !error && it != end; it.increment(error)) {
                if (std::filesystem::read_symlink(it->path(), error).filename() == name) {
                    return true;
                }
            }
            return false;
        });
    }
    void flush_many(int first, int count) {
        for (int i = 0; i < count; ++i) {
            const std::string id = std::to_string(first + i);
            ChangeBatch batch(schema_);
            add_update(batch, {"1", "n" + id, "x"});
            expect_ok(apply(static_cast<std::uint64_t>(1000 + first + i),
                            list_of(std::move(batch), inserts(schema_, {{id, "a", "b"}}))));
        }
    }

    const TableSchemaPtr schema_ = TableMaker{}.make();
};

TEST_F(DuckLakeReaders, AnOpenTransactionAndAnUnfinishedCursorDoNotStopUs) {
    open();
    given(schema_, {{"1", "a", "x"}});
    const std::string catalog = config().catalog;
    const pid_t child = start_child([&](const std::function<void()>& hold) {
        sqlite3* database = nullptr;
        sqlite3_stmt* cursor = nullptr;
        return sqlite3_open_v2(catalog.c_str(), &database, SQLITE_OPEN_READONLY, nullptr) ==
                   SQLITE_OK &&
               sqlite3_exec(database, "BEGIN", nullptr, nullptr, nullptr) == SQLITE_OK &&
               sqlite3_prepare_v2(database, "SELECT * FROM ducklake_column", -1, &cursor,
                                  nullptr) == SQLITE_OK &&
               sqlite3_step(cursor) == SQLITE_ROW && (hold(), true);
    });
    flush_many(10, 5);
    EXPECT_EQ(rows("SELECT count(*), max(name) FROM public.t"), "6|n14");
    EXPECT_EQ(reopen().position, Lsn{1014});
    flush_many(20, 2);
    end_child(child);
    flush_many(30, 2);
    EXPECT_EQ(rows("SELECT count(*), max(name) FROM public.t"), "10|n31");
}

TEST_F(DuckLakeReaders, ALongQueryOfAnotherDuckDbDoesNotStopUs) {
    open();
    given(schema_, {{"1", "a", "x"}});
    const std::string program =
        std::filesystem::read_symlink("/proc/self/exe").parent_path() / "lake_query";
    const std::string catalog = config().catalog;
    const std::string sql = "SELECT count(*) FROM lake.public.t, range(1000000000000)";
    const pid_t child = fork();
    if (child == 0) {
        execl(program.c_str(), program.c_str(), catalog.c_str(), sql.c_str(), nullptr);
        _exit(127);
    }
    ASSERT_TRUE(has_open(child, "lake.sqlite-shm"));
    flush_many(10, 5);
    EXPECT_EQ(rows("SELECT count(*), max(name) FROM public.t"), "6|n14");
    EXPECT_EQ(waitpid(child, nullptr, WNOHANG), 0) << "the query ended too early";
    end_child(child);
    EXPECT_EQ(reopen().position, Lsn{1014});
}

TEST_F(DuckLakeReaders, AnotherWriterOnlyDelaysUs) {
    open();
    given(schema_, {{"1", "a", "x"}});
    const std::string catalog = config().catalog;
    const pid_t child = start_child([&](const std::function<void()>& hold) {
        sqlite3* database = nullptr;
        return sqlite3_open(catalog.c_str(), &database) == SQLITE_OK &&
               sqlite3_exec(database, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr) == SQLITE_OK &&
               (hold(), true);
    });
    std::thread release([&] {
        Pace(1).wait();
        end_child(child);
    });
    flush_many(10, 1);
    release.join();
    flush_many(11, 1);
    EXPECT_EQ(rows("SELECT count(*), max(name) FROM public.t"), "3|n11");
}

TEST_F(DuckLakeReaders, OnlyOneProcessWrites) {
    open();
    auto second = make_ducklake_destination(config());
    const auto refused = second->open(who(), {});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::fenced);
    close();
    EXPECT_TRUE(second->open(who(), {}));
    expect_ok(second->close());
}

TEST_F(DuckLakeReaders, AnotherLineageIsRefused) {
    open();
    close();
    for (int i = 0; i < 3; ++i) {
        PipelineIdentity other = who();
        if (i == 0) other.system_identifier = "1";
        if (i == 1) other.database_oid = 6;
        if (i == 2) other.slot = "walbrook_8";
        auto lake = make_ducklake_destination(config());
        const auto refused = lake->open(other, {});
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().code(), ErrorCode::corrupt_state);
        expect_ok(lake->close());
    }
    open();
}

TEST_F(DuckLakeReaders, ConfigProblemsAreNamed) {
    EXPECT_EQ(DuckLakeConfig{}.problems().size(), 2U);
    EXPECT_EQ((DuckLakeConfig{"lake.sqlite", "s3://bucket/x"}).problems().size(), 1U);
    EXPECT_TRUE(config().problems().empty());
    for (const char* good : {"sqlite:lake", "duckdb:lake", "./a:b", "/a=b", "lake/a:b"}) {
        EXPECT_TRUE((DuckLakeConfig{good, "lake"}).problems().empty()) << good;
    }
    for (const char* bad :
         {"mysql://u:S@h/d", "Postgres://u:S@h/d", "ducklake:postgres:postgres://u:S@h/d",
          "duckdb:mysql://u:S@h/d", "host=h password=S", "Password = S", "./ducklake://S"}) {
        const auto problems = DuckLakeConfig{bad, "lake"}.problems();
        ASSERT_EQ(problems.size(), 1U) << bad;
        EXPECT_NE(problems[0].find("is no path"), std::string::npos);
        EXPECT_EQ(problems[0].find("S@"), std::string::npos);
    }
}

// Many flushes with upkeep: what must be bounded is, and nothing is lost.
TEST_F(DuckLakeReaders, UpkeepKeepsFilesFew) {
    open();
    std::vector<Row> first;
    for (int id = 0; id < 2000; ++id) first.push_back({std::to_string(id), "a", "x"});
    given(schema_, first);
    for (int flush = 0; flush < 40; ++flush) {
        ChangeBatch batch(schema_);
        for (int i = 0; i < 120; ++i) {
            const int id = (flush * 61 + i * 7) % 2000;
            add_update(batch, {std::to_string(id), "f" + std::to_string(flush), "\x01"});
        }
        expect_ok(apply(1000 + static_cast<std::uint64_t>(flush), list_of(std::move(batch))));
        expect_ok(lake_->maintain({}));
    }
    EXPECT_EQ(rows("SELECT count(*), count(DISTINCT id), sum(id), count(DISTINCT note) FROM "
                   "public.t"),
              "2000|2000|1999000|1");
    EXPECT_EQ(
        rows("SELECT file_count < 60 FROM ducklake_table_info('lake') WHERE table_name = 't'"),
        "true");
    EXPECT_EQ(reopen().position, Lsn{1039});
}

}  // namespace
}  // namespace walbrook::testing
