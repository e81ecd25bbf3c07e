#include "pipeline/flush_writer.h"

#include "telemetry/log.h"
#include "walbrook/destinations.h"
#include "walbrook/stores.h"
#include "walbrook/testing/faulty_destination.h"
#include "walbrook/testing/rows.h"

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <optional>

namespace walbrook {
namespace {

using testing::ChangeRecorder;
using testing::DestinationCall;
using testing::Fault;
using testing::FaultyDestination;
using testing::TableMaker;
using testing::TestFlush;

// A table without a key: what lands twice stays twice.
class FlushWriterTest : public ::testing::Test {
 protected:
    // `upkeep`: what the first call of maintain() answers with.
    explicit FlushWriterTest(std::optional<ErrorCode> upkeep = {}) {
        if (upkeep) fail(DestinationCall::maintain, 1, Fault::Kind::before, *upkeep);
        PipelineIdentity who;
        who.pipeline_id = 1;
        who.slot = "walbrook_1";
        EXPECT_TRUE(store_->open({1, "memory"}));
        EXPECT_TRUE(destination_.open(who, {}));
        EXPECT_TRUE(destination_.begin_copy(copy_, {}));
        EXPECT_TRUE(destination_.finish_copy(copy_, {}));
        writer_.start({1});
    }
    ~FlushWriterTest() override { writer_.stop(true); }

    FlushOutcome submit(std::shared_ptr<TestFlush> flush, FlushKind kind = FlushKind::common) {
        done_ = {};
        writer_.submit(std::move(flush), kind);
        return done_.get_future().get();
    }
    void publish() {
        auto flush = std::make_shared<TestFlush>(Lsn{10});
        flush->add(Publish{copy_});
        ASSERT_TRUE(submit(std::move(flush), FlushKind::publish).status);
    }
    std::shared_ptr<TestFlush> one_row(Lsn position, CopyTargetPtr copy = nullptr) {
        auto flush = std::make_shared<TestFlush>(position);
        flush->add(ChangeRecorder(schema_, std::move(copy)).insert({"1", "x"}).take());
        return flush;
    }
    void fail(DestinationCall call, std::uint64_t more, Fault::Kind kind, ErrorCode code) {
        destination_.add({call, destination_.calls(call) + more, kind, code});
    }
    std::size_t rows() { return memory().rows("public", "t").size(); }
    MemoryDestination& memory() { return dynamic_cast<MemoryDestination&>(destination_.inner()); }

    const TableSchemaPtr schema_ =
        TableMaker(1, "t").column("a").column("b").identity(ReplicaIdentity::full).make();
    const CopyTargetPtr copy_ = std::make_shared<const CopyTarget>(CopyTarget{schema_, 1, {1}});
    FaultyDestination destination_{MemoryDestination::create(MemoryDestination::make_lake())};
    std::unique_ptr<Store> store_ = make_memory_store();
    StoreGate gate_{*store_};
    Logger log_;
    std::promise<FlushOutcome> done_;  // Of a flush, or of the end without one.
    FlushWriter writer_{destination_, gate_, log_,
                        [this](FlushOutcome outcome) { done_.set_value(std::move(outcome)); }};
};

// The answer to the commit is lost, and for a while nobody can be asked: it must not be
// written again before it is known not to be there.
TEST_F(FlushWriterTest, AnUnknownOutcomeIsAskedForUntilThereIsAnAnswer) {
    publish();
    fail(DestinationCall::apply, 1, Fault::Kind::after, ErrorCode::unknown_outcome);
    for (std::uint64_t n = 1; n <= 3; ++n) {
        fail(DestinationCall::read_position, n, Fault::Kind::before, ErrorCode::unavailable);
    }
    const FlushOutcome outcome = submit(one_row({20}));
    EXPECT_TRUE(outcome.status);
    EXPECT_TRUE(destination_.has_struck());
    EXPECT_EQ(outcome.applied.at(schema_->id), 1U);
    EXPECT_EQ(rows(), 1U);
}

TEST_F(FlushWriterTest, WhatDidNotLandIsWrittenAgain) {
    publish();
    fail(DestinationCall::apply, 1, Fault::Kind::before, ErrorCode::unknown_outcome);
    fail(DestinationCall::read_position, 1, Fault::Kind::before, ErrorCode::unavailable);
    EXPECT_TRUE(submit(one_row({20})).status);
    EXPECT_EQ(rows(), 1U);
}

// It moves no position: nothing tells whether it landed, so its copy is given up, and
// nothing else.
TEST_F(FlushWriterTest, ASliceOfUnknownOutcomeCostsItsCopy) {
    fail(DestinationCall::apply, 1, Fault::Kind::after, ErrorCode::unknown_outcome);
    const FlushOutcome outcome = submit(one_row({1}, copy_), FlushKind::slice);
    EXPECT_TRUE(outcome.status);
    ASSERT_EQ(outcome.refused.size(), 1U);
    EXPECT_EQ(outcome.refused[0].first, schema_->id);
}

class UpkeepThatMustStop : public FlushWriterTest {
 protected:
    UpkeepThatMustStop() : FlushWriterTest(ErrorCode::corrupt_state) {}
};

// The source is idle: no flush would tell.
TEST_F(UpkeepThatMustStop, EndsThePipeline) {
    std::future<FlushOutcome> told = done_.get_future();
    ASSERT_EQ(told.wait_for(std::chrono::seconds(30)), std::future_status::ready);
    const FlushOutcome outcome = told.get();
    ASSERT_FALSE(outcome.status);
    EXPECT_EQ(outcome.status.error().code(), ErrorCode::corrupt_state);
}

class UpkeepThatMayPass : public FlushWriterTest {
 protected:
    UpkeepThatMayPass() : FlushWriterTest(ErrorCode::unavailable) {
        fail(DestinationCall::maintain, 2, Fault::Kind::hold, {});
    }
};

TEST_F(UpkeepThatMayPass, IsTriedAgain) {
    std::future<FlushOutcome> told = done_.get_future();
    ASSERT_TRUE(destination_.wait_until_held());
    EXPECT_EQ(told.wait_for(std::chrono::seconds(0)), std::future_status::timeout);
    destination_.release();
    publish();
}

}  // namespace
}  // namespace walbrook
