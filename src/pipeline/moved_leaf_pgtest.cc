// A leaf that went from one followed table to another while nobody ran.

#include "conformance/destination_around.h"
#include "support/eventually.h"
#include "support/pg_test.h"
#include "support/temp_dir.h"
#include "walbrook/destinations.h"
#include "walbrook/pipeline.h"
#include "walbrook/stores.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <map>

namespace walbrook::testing {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Key;

// What flushes had brought once they had brought the first row of `marked`.
struct Told {
    std::map<std::string, Lsn> frozen;  // Tables, and where they stand.
    std::atomic<bool> is_marked{false};
};

class Watched final : public DestinationAround {
 public:
    Watched(std::unique_ptr<Destination> inner, Told& told)
        : DestinationAround(std::move(inner)), told_(told) {}

    Result<Ack> apply(Flush& flush, Ack required, std::stop_token stop) override {
        Tap tap(flush, told_);
        return DestinationAround::apply(tap, required, stop);
    }

 private:
    class Tap final : public Flush {
     public:
        Tap(Flush& inner, Told& told) : inner_(inner), told_(told) {}
        Lsn position() const override { return inner_.position(); }
        std::int64_t commit_time_us() const override { return inner_.commit_time_us(); }
        void rewind() override { inner_.rewind(); }
        Result<const FlushItem*> next() override {
            auto item = inner_.next();
            if (!item || told_.is_marked) return item;
            if (*item == nullptr) {
                told_.is_marked = has_mark_;
            } else if (const auto* freeze = std::get_if<Freeze>(*item)) {
                told_.frozen.emplace(freeze->schema->name, freeze->position);
            } else if (const auto* batch = std::get_if<ChangeBatch>(*item)) {
                has_mark_ = has_mark_ || batch->schema()->name == "marked";
            }
            return item;
        }

     private:
        Flush& inner_;
        Told& told_;
        bool has_mark_ = false;
    };

    Told& told_;
};

class MovedLeaf : public PgTest {
 protected:
    void start() {
        PipelineConfig config;
        config.id = 940'000 + static_cast<std::uint64_t>(version());
        config.publication_name = "shop";
        config.pg_connection = database().connection();
        config.work_dir = folder_.file("work");
        auto memory = MemoryDestination::create(lake_);
        destination_ = memory.get();
        auto made = Pipeline::create(config, make_sqlite_store(folder_.file("state.db")),
                                     std::make_unique<Watched>(std::move(memory), told_),
                                     PipelineOptions{});
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
    bool becomes_equal(const std::string& table) {
        return eventually([&] {
            auto wanted = database().query("select id::text from " + table);
            auto rows = destination_->rows("public", table);
            std::sort(wanted.begin(), wanted.end());
            return rows == wanted;
        });
    }

    TempDir folder_{"moved"};
    Told told_;
    std::shared_ptr<MemoryLake> lake_ = MemoryDestination::make_lake();
    MemoryDestination* destination_ = nullptr;
    std::unique_ptr<Pipeline> pipeline_;
};

INSTANTIATE_TEST_SUITE_P(Pg, MovedLeaf, ::testing::ValuesIn(pg_versions()), version_name);

// Its row was the table's before, or the other's: each stands still where it has all of them.
TEST_P(MovedLeaf, NoTableGoesOnWithoutItsRow) {
    database().exec(
        "create table hot(id int primary key) partition by range (id);"
        "create table archive(id int primary key) partition by range (id);"
        "create table leaf partition of hot for values from (0) to (100);"
        "create table hot_rest partition of hot default;"
        "create table archive_rest partition of archive for values from (100) to (200);"
        "create table marked(id int primary key);"
        "insert into hot values (1), (500); insert into archive values (101);"
        "insert into marked values (0);"
        "create publication shop for table hot, archive, marked");
    start();
    // A table whose copy is not there yet gets its row with it, and not by a flush.
    ASSERT_TRUE(becomes_equal("hot") && becomes_equal("archive") && becomes_equal("marked"));
    stop();
    told_.frozen.clear();
    database().exec("begin; insert into hot values (2); insert into marked values (1); commit");
    const Lsn behind = database().lsn();
    database().exec(
        "begin; alter table hot detach partition leaf;"
        "alter table archive attach partition leaf for values from (0) to (100); commit");
    start();
    ASSERT_TRUE(eventually([&] { return told_.is_marked.load(); }));
    ASSERT_THAT(told_.frozen, AllOf(Contains(Key("hot")), Contains(Key("archive"))));
    EXPECT_LT(told_.frozen.at("hot"), behind);
    EXPECT_LT(told_.frozen.at("archive"), behind);
    ASSERT_TRUE(becomes_equal("hot") && becomes_equal("archive"));
    stop();
}

}  // namespace
}  // namespace walbrook::testing
