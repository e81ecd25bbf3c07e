// A pipeline whose memory is short all the time gets everything done all the same.

#include "support/eventually.h"
#include "support/pg_test.h"
#include "support/temp_dir.h"
#include "walbrook/destinations.h"
#include "walbrook/pipeline.h"
#include "walbrook/stores.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <mutex>

namespace walbrook::testing {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

constexpr std::chrono::seconds kPatience{60};

class ShortMemory : public PgTest {
 protected:
    void SetUp() override {
        PgTest::SetUp();
        config_.id = 900'000 + static_cast<std::uint64_t>(version());
        config_.publication_name = "shop";
        config_.pg_connection = database().connection();
        config_.work_dir = folder_.file("work");
        config_.memory_refresh_interval_ms = 20;
        // Any process is larger than this.
        options_.memory_limit_bytes = 1 << 20;
        options_.log = [this](const LogRecord& line) {
            const std::lock_guard lock(mutex_);
            log_.push_back(line.message);
        };
        database().exec("alter database " + database().name() +
                        " set logical_decoding_work_mem = '64kB'");
        database().exec(
            "create table item(id int primary key, note text);"
            "create table other(id int primary key, note text);"
            "insert into item select g, repeat('x', 200) || g from generate_series(1, 60000) g;"
            "insert into other select g, 'note ' || g from generate_series(1, 1000) g;"
            "create publication shop for table item, other");
    }
    void TearDown() override {
        pipeline_.reset();
        PgTest::TearDown();
    }
    void start() {
        auto memory = MemoryDestination::create(MemoryDestination::make_lake());
        destination_ = memory.get();
        auto made = Pipeline::create(config_, make_memory_store(), std::move(memory), options_);
        ASSERT_TRUE(made) << made.error().message();
        pipeline_ = std::move(*made);
        const Status started = pipeline_->start();
        ASSERT_TRUE(started) << started.error().message();
    }
    bool catches_up() {
        const Lsn target = database().lsn();
        return eventually(
            [&] {
                const PipelineStatus now = pipeline_->status();
                return now.durable >= target &&
                       std::all_of(now.tables.begin(), now.tables.end(),
                                   [](const auto& t) { return t.phase == TablePhase::ready; });
            },
            kPatience);
    }
    TableStatus status_of(const std::string& table) const {
        for (const TableStatus& each : pipeline_->status().tables) {
            if (each.name == table) return each;
        }
        return {};
    }
    void expect_equal(const std::string& table) {
        const auto source = database().query("select id::text, note from " + table);
        auto rows = destination_->rows("public", table);
        auto wanted = source;
        std::sort(wanted.begin(), wanted.end());
        std::sort(rows.begin(), rows.end());
        EXPECT_TRUE(rows == wanted)
            << table << " has " << rows.size() << " rows instead of " << wanted.size();
    }
    std::vector<std::string> log() {
        const std::lock_guard lock(mutex_);
        return log_;
    }

    TempDir folder_{"memory"};
    PipelineConfig config_;
    PipelineOptions options_;
    std::mutex mutex_;
    std::vector<std::string> log_;  // Guarded by mutex_.
    std::unique_ptr<Pipeline> pipeline_;
    MemoryDestination* destination_ = nullptr;
};

INSTANTIATE_TEST_SUITE_P(Pg, ShortMemory, ::testing::ValuesIn(newest_pg_version()), version_name);

TEST_P(ShortMemory, CopiesAndFollowsUnderPermanentPressure) {
    start();
    ASSERT_TRUE(catches_up());
    PipelineStatus now = pipeline_->status();
    EXPECT_EQ(now.memory_state, "scarce");
    EXPECT_EQ(now.memory_limit_bytes, 1U << 20);
    EXPECT_GT(now.memory_used_bytes, 1U << 20);
    EXPECT_GE(now.memory_short_ms, 900U);
    EXPECT_EQ(now.memory_short_times, 1U);
    EXPECT_THAT(now.problems, Contains(HasSubstr("memory is short")));
    EXPECT_EQ(std::ranges::count(log(), "memory is short: reading pauses"), 1);

    // Many small transactions, a large one, and a streamed one with a part taken back.
    for (int i = 0; i < 50; ++i) {
        database().exec("insert into other values (" + std::to_string(2000 + i) + ", 'small')");
    }
    database().exec("update item set note = 'changed ' || id where id % 2 = 0");
    database().exec(
        "begin;"
        "insert into other select g, repeat('y', 100) from generate_series(10000, 40000) g;"
        "savepoint s; delete from other where id < 500; rollback to s;"
        "delete from other where id = 7; commit");
    ASSERT_TRUE(catches_up());
    expect_equal("item");
    expect_equal("other");
    EXPECT_EQ(status_of("item").changes_applied, 30'000U);
    EXPECT_EQ(status_of("other").changes_applied, 50U + 30'001U + 1U);
    pipeline_->shutdown();
    EXPECT_TRUE(pipeline_->wait());
}

TEST_P(ShortMemory, NullSwitchesThePauseOff) {
    config_.memory_backpressure.reset();
    start();
    ASSERT_TRUE(catches_up());
    EXPECT_EQ(pipeline_->status().memory_state, "ample");
    EXPECT_EQ(pipeline_->status().memory_short_times, 0U);
    expect_equal("item");
}

// What a copy holds back is shown, and gone when the table is followed. A transaction that
// wrote before keeps the copy waiting.
TEST_P(ShortMemory, ShowsWhatIsHeldForACopy) {
    options_.memory_limit_bytes = 0;
    // The slot's creation waits for everybody with an xid: it is made before.
    start();
    ASSERT_TRUE(catches_up());
    EXPECT_EQ(status_of("item").held_bytes, 0U);
    pipeline_->shutdown();
    ASSERT_TRUE(pipeline_->wait());
    pipeline_.reset();

    // A new lake: the tables are copied again, beside a slot that exists.
    Connection writer = database().session();
    must_exec(writer, "begin");
    must_exec(writer, "update item set note = 'mine' where id = 1");
    start();
    ASSERT_TRUE(eventually([&] { return status_of("item").phase == TablePhase::copying; }));
    ASSERT_TRUE(eventually(
        [&] {
            database().exec("update item set note = note || '!' where id between 100 and 200");
            return status_of("item").held_bytes > 100;
        },
        kPatience));
    EXPECT_EQ(status_of("other").held_bytes, 0U);
    must_exec(writer, "commit");
    ASSERT_TRUE(catches_up());
    ASSERT_TRUE(eventually([&] { return status_of("item").held_bytes == 0; }));
    expect_equal("item");
}

}  // namespace
}  // namespace walbrook::testing
