// What the core does with memory: one limit for all that waits, and short memory.

#include "decode/type_table.h"
#include "pipeline/apply_core.h"
#include "walbrook/testing/rows.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace walbrook {
namespace {

using std::chrono::milliseconds;
using walbrook::testing::TableMaker;

constexpr std::uint32_t kInt8 = 20;

std::string big_endian(std::uint64_t value, int size) {
    std::string out;
    while (size-- > 0) out += static_cast<char>(value >> (8 * size) & 0xFF);
    return out;
}

TableSchemaPtr table(std::uint32_t oid) {
    auto schema =
        std::make_shared<TableSchema>(*TableMaker(oid, "t" + std::to_string(oid)).key("id").make());
    schema->columns[0].type_oid = schema->columns[0].base_type_oid = kInt8;
    EXPECT_TRUE(resolve_type(schema->columns[0]));
    return schema;
}

class CoreMemory : public ::testing::Test {
 protected:
    CoreMemory() {
        std::string path = (std::filesystem::temp_directory_path() / "walbrook-XXXXXX").string();
        directory_ = ::mkdtemp(path.data());
        options_.position = {1000};
        options_.spill.directory = directory_;
        options_.spill.chunk_bytes = 4096;
        options_.flush_bytes = 1 << 20;
        options_.waiting_bytes_max = 64 << 10;
    }
    ~CoreMemory() override { std::filesystem::remove_all(directory_); }

    void start(const std::vector<TableSchemaPtr>& ready) {
        std::vector<ReadyTable> tables;
        for (const TableSchemaPtr& each : ready) tables.push_back({.schema = each});
        core_.emplace(options_, tables);
        for (std::uint32_t oid = 1; oid <= kTables; ++oid) relation(oid);
    }
    void feed(const CoreInput& input) {
        std::vector<CoreAction> actions;
        core_->step(input, actions);
        for (CoreAction& action : actions) {
            EXPECT_FALSE(std::holds_alternative<action::Fail>(action));
            if (auto* submit = std::get_if<action::SubmitFlush>(&action)) {
                flush_ = std::move(submit->flush);
            }
            if (const auto* asked = std::get_if<action::Describe>(&action)) {
                SourceTable now;
                now.schema = table(asked->relation);
                feed(input::Described{asked->request, TableId{asked->relation}, std::move(now)});
            }
        }
    }
    void send(const std::string& message) { feed(input::Frame{std::as_bytes(std::span(message))}); }
    void tick(milliseconds later = milliseconds(1)) {
        now_ += later;
        feed(input::Tick{now_});
    }
    void ack() {
        flush_.reset();
        feed(input::Acked{});
    }
    void relation(std::uint32_t oid) {
        send("R" + big_endian(oid, 4) + std::string("public\0", 7) + "t" + std::to_string(oid) +
             '\0' + "d" + big_endian(1, 2) + '\1' + std::string("id\0", 3) + big_endian(kInt8, 4) +
             big_endian(0xFFFF'FFFF, 4));
    }
    void begin(std::uint32_t xid) {
        send("B" + big_endian(xid, 8) + big_endian(0, 8) + big_endian(xid, 4));
    }
    void commit(std::uint32_t xid) {
        send("C" + big_endian(0, 1) + big_endian(xid, 8) + big_endian(xid + 5, 8) +
             big_endian(0, 8));
    }
    // `streamed_by`: the subtransaction in a stream, or 0.
    void insert(std::uint32_t oid, std::uint64_t id, std::uint32_t streamed_by = 0) {
        const std::string text = std::to_string(id);
        send("I" + (streamed_by == 0 ? "" : big_endian(streamed_by, 4)) + big_endian(oid, 4) + "N" +
             big_endian(1, 2) + "t" + big_endian(text.size(), 4) + text);
    }
    std::size_t flushed_rows() {
        std::size_t rows = 0;
        flush_->rewind();
        for (;;) {
            const auto item = flush_->next();
            EXPECT_TRUE(item);
            if (!item || *item == nullptr) return rows;
            if (const auto* batch = std::get_if<ChangeBatch>(*item)) rows += batch->changes.size();
        }
    }
    bool is_within(std::size_t bytes) const {
        // The next look at the logs comes after a small part of the limit.
        return core_->memory_bytes() <= bytes + options_.waiting_bytes_max / 16;
    }

    static constexpr std::uint32_t kTables = 20;
    CoreOptions options_;
    std::optional<ApplyCore> core_;
    std::shared_ptr<Flush> flush_;
    Instant now_{};

 private:
    std::string directory_;
};

// Each table's batch stays below the size at which it would be closed: together they
// would be far above the limit.
TEST_F(CoreMemory, ManySmallBatchesOfOneTransactionStayWithinTheLimit) {
    std::vector<TableSchemaPtr> tables;
    for (std::uint32_t oid = 1; oid <= kTables; ++oid) tables.push_back(table(oid));
    options_.spill.chunk_bytes = 1 << 20;
    start(tables);
    begin(2000);
    for (std::uint64_t id = 0; id < 20'000; ++id) {
        insert(1 + static_cast<std::uint32_t>(id % kTables), id);
        ASSERT_TRUE(is_within(options_.waiting_bytes_max)) << id;
    }
    commit(2000);
    tick(milliseconds(600));
    ASSERT_TRUE(flush_);
    EXPECT_EQ(flushed_rows(), 20'000U);
}

TEST_F(CoreMemory, HeldChangesAndStreamedTransactionsShareTheLimit) {
    start({table(1)});
    feed(input::Hold{table(2)});
    for (std::uint32_t i = 0; i < 1000; ++i) {
        begin(2000 + 10 * i);
        insert(1, i);
        insert(2, i);
        commit(2000 + 10 * i);
        for (std::uint32_t xid = 50'000; xid < 50'004; ++xid) {
            send("S" + big_endian(xid, 4) + big_endian(i == 0 ? 1 : 0, 1));
            insert(1, i, xid);
            send("E");
        }
        ASSERT_TRUE(is_within(options_.waiting_bytes_max)) << i;
    }
    EXPECT_GT(core_->held_bytes(TableId{2}), 1000U);
    ASSERT_EQ(core_->held_bytes().size(), 1U);
    EXPECT_EQ(core_->held_bytes()[0].second, core_->held_bytes(TableId{2}));
    tick(milliseconds(600));
    ASSERT_TRUE(flush_);
    EXPECT_EQ(flushed_rows(), 1000U);
    // What is in flight counts as well until it is durable.
    const std::size_t with_flight = core_->memory_bytes();
    ack();
    EXPECT_LE(core_->memory_bytes(), with_flight);
    // Spilled or not, all of a streamed transaction is there.
    send("c" + big_endian(50'001, 4) + big_endian(0, 1) + big_endian(90'000, 8) +
         big_endian(90'005, 8) + big_endian(0, 8));
    while (core_->is_busy()) tick();
    tick(milliseconds(600));
    ASSERT_TRUE(flush_);
    EXPECT_EQ(flushed_rows(), 1000U);
}

TEST_F(CoreMemory, APauseFlushesAndSpillsWhatIsHere) {
    start({table(1)});
    feed(input::Hold{table(2)});
    begin(2000);
    for (std::uint64_t id = 0; id < 100; ++id) {
        insert(1, id);
        insert(2, id);
    }
    commit(2000);
    EXPECT_TRUE(core_->wants_frames());
    feed(input::Memory{MemoryState::paused});
    EXPECT_FALSE(core_->wants_frames());
    EXPECT_EQ(core_->memory_bytes(), 0U);
    tick();  // Long before max_fill.
    ASSERT_TRUE(flush_);
    EXPECT_EQ(flushed_rows(), 100U);
    ack();
    EXPECT_FALSE(core_->wants_frames());
    feed(input::Memory{MemoryState::ample});
    EXPECT_TRUE(core_->wants_frames());
}

// Whatever the core holds when memory stays short, it asks for more as soon as nothing is
// in flight: a pause for ever is impossible.
TEST_F(CoreMemory, ScarceMemoryMeansOneSmallFlushAtATime) {
    start({table(1)});
    feed(input::Memory{MemoryState::paused});
    feed(input::Memory{MemoryState::scarce});
    std::uint32_t xid = 2000;
    std::size_t rows = 0;
    for (int flushes = 0; flushes < 5; ++flushes) {
        while (core_->wants_frames()) {
            begin(xid);
            insert(1, xid);
            ASSERT_TRUE(core_->wants_frames()) << "half a transaction must get its end";
            commit(xid);
            xid += 10;
            ++rows;
            ASSERT_LT(rows, 100'000U);
        }
        tick();
        ASSERT_TRUE(flush_);
        EXPECT_FALSE(core_->wants_frames());
        EXPECT_EQ(flushed_rows(), rows);
        rows = 0;
        ack();
        EXPECT_TRUE(core_->wants_frames());
    }
}

// However small a flush is to be.
TEST_F(CoreMemory, ScarceMemoryNeverMeansNothing) {
    options_.flush_bytes = 4;
    start({table(1)});
    feed(input::Memory{MemoryState::scarce});
    EXPECT_TRUE(core_->wants_frames());
}

TEST_F(CoreMemory, ATransactionThatPausedInTheMiddleGoesOn) {
    start({table(1)});
    begin(2000);
    insert(1, 1);
    feed(input::Memory{MemoryState::paused});
    EXPECT_FALSE(core_->wants_frames());
    tick(milliseconds(1000));
    EXPECT_FALSE(flush_);
    feed(input::Memory{MemoryState::scarce});
    EXPECT_TRUE(core_->wants_frames());
    for (std::uint64_t id = 2; id <= 10'000; ++id) {
        insert(1, id);
        ASSERT_TRUE(is_within(options_.waiting_bytes_max / 8)) << id;
    }
    commit(2000);
    tick(milliseconds(600));
    ASSERT_TRUE(flush_);
    EXPECT_EQ(flushed_rows(), 10'000U);
}

}  // namespace
}  // namespace walbrook
