// Two pipelines with a lake each in one process, through the library: they copy and stream at
// the same time, each lake is what its source is, and what one does is nothing to the other.

#include "integration/lake_reader.h"
#include "support/eventually.h"
#include "support/pg_test.h"
#include "support/tcp_proxy.h"
#include "support/temp_dir.h"
#include "walbrook/destinations.h"
#include "walbrook/pipeline.h"
#include "walbrook/stores.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <unistd.h>

namespace walbrook::testing {
namespace {

// One of them, with what happens at its source.
class Side {
 public:
    // `tables`: of its publication. The load changes both.
    Side(Database& source, int number, std::string publication, std::vector<std::string> tables)
        : source_(source),
          number_(number),
          tables_(std::move(tables)),
          folder_(fmt::format("side-{}", number)) {
        config_.id =
            static_cast<std::uint64_t>(getpid()) * 1000 + 990 + static_cast<std::uint64_t>(number);
        config_.publication_name = std::move(publication);
        config_.work_dir = folder_.file("work");
        config_.batch.max_fill_ms = 20;
    }

    void start(std::uint16_t port) {
        config_.pg_connection.url =
            fmt::format("postgres://postgres@127.0.0.1:{}/{}", port, source_.name());
        auto made = Pipeline::create(
            config_, make_sqlite_store(folder_.file("state.db")),
            make_ducklake_destination({folder_.file("lake.sqlite"), folder_.file("data")}));
        ASSERT_TRUE(made) << made.error().message();
        pipeline_ = *std::move(made);
        const Status started = pipeline_->start();
        ASSERT_TRUE(started) << started.error().message();
    }
    void stop() {
        pipeline_->shutdown();
        const Status ended = pipeline_->wait();
        EXPECT_TRUE(ended) << ended.error().message();
        pipeline_.reset();
    }
    bool is_copying() const {
        const PipelineStatus now = pipeline_->status();
        return std::any_of(now.tables.begin(), now.tables.end(), [](const TableStatus& table) {
            return table.phase == TablePhase::copying;
        });
    }
    bool catches_up() {
        const Lsn target = source_.lsn();
        return eventually(
            [&] {
                const PipelineStatus now = pipeline_->status();
                return now.durable >= target &&
                       std::all_of(now.tables.begin(), now.tables.end(), [](const auto& table) {
                           return table.phase == TablePhase::ready;
                       });
            },
            std::chrono::seconds(120));
    }

    void start_load() {
        load_ = std::jthread([this](const std::stop_token& stop) {
            Connection session = source_.session();
            for (Pace pace(100); !stop.stop_requested(); pace.wait()) {
                const int id = 1'000'000 * (number_ + 1) + transactions_++;
                must_exec(session,
                          fmt::format("begin; insert into {0} values ({2}, 'side {3}');"
                                      "update {0} set note = 'changed by {3}' where id = {2} - 3;"
                                      "delete from {0} where id = {2} - 5;"
                                      "insert into {1} values ({2}, 'side {3}'); commit",
                                      tables_[0], tables_[1], id, number_));
            }
        });
    }
    void stop_load() {
        load_.request_stop();
        load_.join();
    }
    int transactions() const { return transactions_; }
    bool sees_more(int than) {
        return eventually([&] { return transactions_ > than; });
    }
    std::uint64_t changes_applied() const {
        std::uint64_t sum = 0;
        for (const TableStatus& table : pipeline_->status().tables) sum += table.changes_applied;
        return sum;
    }

    std::vector<std::string> lake_rows(const std::string& table) const {
        return LakeReader(folder_.file("lake.sqlite")).rows("public", table);
    }
    void expect_equal() {
        for (const std::string& table : tables_) {
            EXPECT_EQ(difference(table_rows(source_, {.table = table}), lake_rows(table)), "")
                << "side " << number_ << ", " << table;
        }
    }

 private:
    Database& source_;
    const int number_;
    const std::vector<std::string> tables_;
    TempDir folder_;
    PipelineConfig config_;
    std::atomic<int> transactions_{0};
    std::unique_ptr<Pipeline> pipeline_;
    std::jthread load_;
};

class SideBySide : public PgTest {
 protected:
    static void create(Database& source, const std::string& table, const std::string& note) {
        source.exec(
            fmt::format("create table {0}(id int primary key, note text);"
                        "insert into {0} select g, '{1} ' || repeat('x', 200) from "
                        "generate_series(1, 30000) g",
                        table, note));
    }
    void run(Side& one, Side& two) {
        TcpProxy slow(cluster().port());
        // Two minutes for what is copied, unless both are seen at it before.
        slow.slow_down(":copy", 50'000);
        one.start(slow.port());
        two.start(slow.port());
        if (HasFatalFailure()) return;
        one.start_load();
        two.start_load();
        ASSERT_TRUE(eventually([&] { return one.is_copying() && two.is_copying(); }));
        slow.slow_down("", 0);
        ASSERT_TRUE(one.catches_up());
        ASSERT_TRUE(two.catches_up());
        // Both stream what comes now.
        const std::uint64_t before_one = one.changes_applied();
        const std::uint64_t before_two = two.changes_applied();
        ASSERT_TRUE(eventually([&] {
            return one.changes_applied() > before_one + 400 &&
                   two.changes_applied() > before_two + 400;
        }));
        one.stop_load();
        two.stop_load();
        ASSERT_TRUE(one.catches_up());
        ASSERT_TRUE(two.catches_up());
        one.expect_equal();
        two.expect_equal();

        // One ends and comes back while the other goes on.
        two.start_load();
        ASSERT_TRUE(two.sees_more(two.transactions() + 20));
        one.stop();
        const auto left = one.lake_rows("item");
        const std::uint64_t at_stop = two.changes_applied();
        ASSERT_TRUE(eventually([&] { return two.changes_applied() > at_stop + 100; }));
        EXPECT_EQ(one.lake_rows("item"), left);
        one.start(slow.port());
        if (HasFatalFailure()) return;
        one.start_load();
        ASSERT_TRUE(one.sees_more(one.transactions() + 20));
        one.stop_load();
        two.stop_load();
        ASSERT_TRUE(one.catches_up());
        ASSERT_TRUE(two.catches_up());
        two.stop();
        one.stop();
        one.expect_equal();
        two.expect_equal();
    }
};
INSTANTIATE_TEST_SUITE_P(Pg, SideBySide, ::testing::ValuesIn(newest_pg_version()), version_name);

TEST_P(SideBySide, TwoDatabasesWithTablesOfTheSameNames) {
    Database other(cluster());
    for (Database* source : {&database(), &other}) {
        for (const char* table : {"item", "log"}) create(*source, table, source->name());
        source->exec("create publication shop for table item, log");
    }
    Side one(database(), 1, "shop", {"item", "log"});
    Side two(other, 2, "shop", {"item", "log"});
    run(one, two);
}

// The same table goes to both lakes.
TEST_P(SideBySide, TwoPublicationsOfOneDatabase) {
    for (const char* table : {"item", "log", "more"}) create(database(), table, table);
    database().exec(
        "create publication shop for table item, log;"
        "create publication window_shop for table item, more");
    Side one(database(), 1, "shop", {"item", "log"});
    Side two(database(), 2, "window_shop", {"item", "more"});
    run(one, two);
}

}  // namespace
}  // namespace walbrook::testing
