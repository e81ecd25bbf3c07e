#include "pipeline/catalog_watch.h"
#include "support/eventually.h"
#include "support/pg_test.h"
#include "support/temp_dir.h"
#include "walbrook/destinations.h"
#include "walbrook/pipeline.h"
#include "walbrook/stores.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <thread>

namespace walbrook::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A watch without a pipeline around it.
class CatalogWatches : public PgTest {
 protected:
    void SetUp() override {
        PgTest::SetUp();
        database().exec(
            "create table item(id int primary key); create publication shop for table item");
        config_.id = 960'000 + static_cast<std::uint64_t>(version());
        config_.publication_name = "shop";
        config_.pg_connection = database().connection();
        ASSERT_TRUE(store_->open({config_.id, "blackhole"}));
        Connection connection = database().session();
        auto first = look_at_catalog(connection, within(std::chrono::seconds(30)), "shop",
                                     [](const CatalogLook::Table&) { return true; });
        ASSERT_TRUE(first) << first.error().message();
        seen_ = static_cast<std::uint32_t>(first->xids.xmax()) - 1;
        unseen_ = seen_ + 1'000'000;
        watch_.start(*std::move(first));
    }
    // The first answer that comes.
    std::optional<input::Described> answer() {
        std::optional<input::Described> first;
        const auto has_come = [&] {
            for (CoreInput& input : inbox_.take_all()) {
                auto* answer = std::get_if<input::Described>(&input);
                if (answer != nullptr && !first) first = std::move(*answer);
            }
            return first.has_value();
        };
        (void)eventually(has_come, std::chrono::seconds(20));
        return first;
    }

    std::uint32_t seen_ = 0;    // A transaction that is over,
    std::uint32_t unseen_ = 0;  // and one that has not begun.
    PipelineConfig config_;
    std::unique_ptr<Store> store_ = make_memory_store();
    StoreGate gate_{*store_};
    std::unique_ptr<Destination> destination_ = BlackholeDestination::create();
    Logger log_;
    TableRegistry tables_{gate_, {}};
    FlushWriter writer_{*destination_, gate_, log_, [](const FlushOutcome&) {}};
    Inbox inbox_;
    CopyEvents events_;
    MemoryPressure memory_{{}, [] { return std::nullopt; }, log_, [] {}};
    CopyGate copy_gate_{1, [] { return MemoryState::ample; }};
    Parts parts_{config_,    *destination_, gate_,  tables_, writer_, inbox_, events_,
                 copy_gate_, memory_,       watch_, log_,    {},      {},     [](const Error&) {}};
    CatalogWatch watch_{parts_};  // parts_ only refers to it.
};

INSTANTIATE_TEST_SUITE_P(Pg, CatalogWatches, ::testing::ValuesIn(newest_pg_version()),
                         version_name);

// A server died before anybody else had the transaction that it was asked about. Its successor is
// asked about others, and will give that number to one of its own only after days.
TEST_P(CatalogWatches, ANewerQuestionMakesTheOlderMoot) {
    const std::uint32_t oid = database().oid("item");
    watch_.ask(1, oid, unseen_);
    // It has looked for that.
    ASSERT_TRUE(eventually([&] { return parts_.catalog_seen > 2; }));
    watch_.ask(2, oid, seen_);
    const auto answered = answer();
    ASSERT_TRUE(answered);
    EXPECT_EQ(answered->request, 2U);
}

// The next one may be another server's, which gives the same numbers to other transactions.
TEST_P(CatalogWatches, ALookFromBeforeAConnectionWasLostAnswersNothingAfterIt) {
    watch_.withdraw();
    const std::uint64_t before = parts_.catalog_seen;
    watch_.ask(1, database().oid("item"), seen_);
    const auto answered = answer();
    ASSERT_TRUE(answered);
    EXPECT_GT(answered->now.seen, before);
}

TEST_P(CatalogWatches, WhatIsWithdrawnIsNotLookedFor) {
    watch_.ask(1, database().oid("item"), unseen_);
    ASSERT_TRUE(eventually([&] { return !watch_.trouble().empty(); }));
    EXPECT_THAT(watch_.trouble(), HasSubstr(std::to_string(unseen_)));
    watch_.withdraw();
    EXPECT_EQ(watch_.trouble(), "");
}

// A commit is in the log, and sent, before it can be seen: it waits for a standby.
class UnseenCommits : public ::testing::TestWithParam<int> {};

INSTANTIATE_TEST_SUITE_P(Pg, UnseenCommits, ::testing::ValuesIn(newest_pg_version()), version_name);

TEST_P(UnseenCommits, AreWaitedForInTheOpen) {
    PgCluster server({.version = GetParam()});
    Database source(server);
    source.exec("create table item(id int primary key); create publication shop for table item");
    const TempDir folder("unseen");
    PipelineConfig config;
    config.id = 950'000 + static_cast<std::uint64_t>(GetParam());
    config.publication_name = "shop";
    config.pg_connection = source.connection();
    config.work_dir = folder.file("work");
    auto memory = MemoryDestination::create(MemoryDestination::make_lake());
    const MemoryDestination& destination = *memory;
    auto made = Pipeline::create(config, make_memory_store(), std::move(memory), PipelineOptions{});
    ASSERT_TRUE(made) << made.error().message();
    Pipeline& pipeline = **made;
    const Status started = pipeline.start();
    ASSERT_TRUE(started) << started.error().message();
    ASSERT_TRUE(eventually([&] {
        const PipelineStatus now = pipeline.status();
        return now.tables.size() == 1 && now.tables[0].phase == TablePhase::ready;
    }));
    server.set("synchronous_standby_names", "nobody");
    server.reload();
    Connection writer = source.session();
    ASSERT_TRUE(eventually([&] {
        return must_query(writer, "show synchronous_standby_names") == TextRows{{"nobody"}};
    }));
    std::thread commit([&] { must_exec(writer, "insert into item values (1)"); });
    const auto problem = [&] {
        const auto problems = pipeline.status().problems;
        return problems.empty() ? std::string() : problems.front();
    };
    const bool is_shown = eventually([&] { return !problem().empty(); }, std::chrono::seconds(20));
    EXPECT_TRUE(is_shown);
    EXPECT_THAT(problem(), HasSubstr("cannot be seen"));
    EXPECT_THAT(destination.rows("public", "item"), IsEmpty());
    server.set("synchronous_standby_names", "");
    server.reload();
    commit.join();
    ASSERT_TRUE(eventually([&] { return !destination.rows("public", "item").empty(); }));
    EXPECT_TRUE(eventually([&] { return problem().empty(); })) << problem();
}

}  // namespace
}  // namespace walbrook::testing
