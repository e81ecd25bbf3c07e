#pragma once

#include "decode/type_table.h"
#include "pipeline/apply_core.h"
#include "walbrook/testing/rows.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <unistd.h>
#include <vector>

// A core to which a test is the source, the clock and the destination.
namespace walbrook {

inline constexpr std::uint32_t kInt8 = 20;

// One pgoutput message; layouts stand in decode/pgoutput.h.
class Message {
 public:
    explicit Message(char letter) : bytes_(1, letter) {}
    Message& number(std::uint64_t value, int size) {
        while (size-- > 0) bytes_ += static_cast<char>(value >> (8 * size) & 0xFF);
        return *this;
    }
    Message& text(const std::string& value) {
        bytes_ += value;
        return *this;
    }
    Message& row(char mark, const std::string& id) {
        return text(std::string(1, mark)).number(1, 2).text("t").number(id.size(), 4).text(id);
    }
    Message& subxid(std::uint32_t xid) { return xid == 0 ? *this : number(xid, 4); }
    const std::string& bytes() const { return bytes_; }

 private:
    std::string bytes_;
};

inline TableSchemaPtr table(std::uint32_t oid) {
    auto schema = std::make_shared<TableSchema>(
        *walbrook::testing::TableMaker(oid, "t" + std::to_string(oid)).key("id").make());
    schema->columns[0].type_oid = schema->columns[0].base_type_oid = kInt8;
    EXPECT_TRUE(resolve_type(schema->columns[0]));
    return schema;
}

class ApplyCoreTest : public ::testing::Test {
 protected:
    ApplyCoreTest() {
        std::string path = (std::filesystem::temp_directory_path() / "walbrook-XXXXXX").string();
        directory_ = ::mkdtemp(path.data());
        options_.position = {1000};
        options_.spill.directory = directory_;
    }
    ~ApplyCoreTest() override { std::filesystem::remove_all(directory_); }

    void start(const std::vector<TableSchemaPtr>& ready) {
        std::vector<ReadyTable> tables;
        for (const TableSchemaPtr& each : ready) tables.push_back({.schema = each});
        core_.emplace(options_, tables);
    }
    void feed(const CoreInput& input) {
        std::vector<CoreAction> actions;
        core_->step(input, actions);
        for (CoreAction& action : actions) note(action);
        if (answers_ && question_) answer();
    }
    // Of the catalog: what is in source_, else a table as it always was.
    void answer() {
        const action::Describe asked = *std::exchange(question_, std::nullopt);
        const auto known = source_.find(asked.relation);
        SourceTable now;
        if (known != source_.end()) now = known->second;
        if (known == source_.end()) now.schema = table(asked.relation);
        now.seen = ++looks_;
        feed(input::Described{asked.request, TableId{asked.relation}, std::move(now)});
    }
    void send(const Message& message) {
        feed(input::Frame{std::as_bytes(std::span(message.bytes()))});
    }
    void tick() {
        now_ += std::chrono::seconds(10);
        feed(input::Tick{now_});
    }
    void ack(std::vector<std::pair<TableId, Error>> refused = {}) {
        flush_.reset();
        feed(input::Acked{std::move(refused)});
    }

    // The commit record of transaction `xid` begins at xid and ends 5 later.
    void begin(std::uint32_t xid) { send(Message('B').number(xid, 8).number(0, 8).number(xid, 4)); }
    void commit(std::uint32_t xid) {
        send(Message('C').number(0, 1).number(xid, 8).number(xid + 5, 8).number(0, 8));
    }
    void stream_commit(std::uint32_t xid) {
        send(Message('c')
                 .number(xid, 4)
                 .number(0, 1)
                 .number(xid, 8)
                 .number(xid + 5, 8)
                 .number(0, 8));
    }
    void relation(std::uint32_t oid, int columns = 1, std::uint32_t subxid = 0) {
        Message message('R');
        message.subxid(subxid).number(oid, 4).text(std::string("public\0", 7));
        message.text("t" + std::to_string(oid)).number(0, 1).text("d");
        message.number(static_cast<std::uint64_t>(columns), 2);
        for (int i = 0; i < columns; ++i) {
            message.number(i == 0 ? 1 : 0, 1).text(i == 0 ? "id" : "more").number(0, 1);
            message.number(kInt8, 4).number(0xFFFF'FFFF, 4);
        }
        send(message);
    }
    void insert(std::uint32_t oid, const std::string& id, std::uint32_t subxid = 0) {
        send(Message('I').subxid(subxid).number(oid, 4).row('N', id));
    }
    void insert_alone(std::uint32_t xid, std::uint32_t oid, const std::string& id) {
        begin(xid);
        insert(oid, id);
        commit(xid);
    }
    CopyTargetPtr copy_of(const TableSchemaPtr& schema, std::uint64_t position) {
        return std::make_shared<const CopyTarget>(CopyTarget{schema, 1, Lsn{position}});
    }
    // A first copy, whose Publish is in flight.
    void publish_copy_of(const TableSchemaPtr& schema) {
        start({});
        feed(input::Hold{schema});
        feed(input::CopyDone{copy_of(schema, 1000), *SnapshotXids::parse("2000:2000:")});
        tick();
        EXPECT_EQ(flushed(), std::vector<std::string>{"publish " + schema->name});
    }
    static std::string words(const ChangeBatch& batch, const Change& change) {
        const auto id = [](const RowBatch& rows, std::int32_t row) {
            return std::to_string(
                rows.columns()[0].fixed_at<std::int64_t>(static_cast<std::size_t>(row)));
        };
        if (change.new_row < 0) return "without " + id(batch.old_rows, change.old_row);
        if (change.old_row < 0) return id(batch.new_rows, change.new_row);
        return id(batch.old_rows, change.old_row) + " to " + id(batch.new_rows, change.new_row);
    }
    // All of the flush in flight: "t1 7" is an insert, "t1' 7" one into a shadow table.
    std::vector<std::string> flushed() {
        std::vector<std::string> out;
        if (!flush_) return out;
        flush_->rewind();
        for (;;) {
            const auto item = flush_->next();
            EXPECT_TRUE(item);
            if (!item || *item == nullptr) return out;
            if (const auto* batch = std::get_if<ChangeBatch>(*item)) {
                for (const Change& change : batch->changes) {
                    out.push_back(batch->schema()->name + (batch->copy ? "' " : " ") +
                                  words(*batch, change));
                }
            } else if (const auto* publish = std::get_if<Publish>(*item)) {
                out.push_back("publish " + publish->copy->schema->name);
            } else if (const auto* replace = std::get_if<Replace>(*item)) {
                out.push_back(
                    fmt::format("replace {} in {}", replace->keys->rows(), replace->schema->name));
            } else if (const auto* freeze = std::get_if<Freeze>(*item)) {
                out.push_back("freeze " + freeze->schema->name + " at " +
                              std::to_string(freeze->position.value));
            }
        }
    }

    CoreOptions options_;
    std::optional<ApplyCore> core_;
    std::shared_ptr<Flush> flush_;   // In flight.
    std::vector<std::string> said_;  // Everything else the core asked for.
    std::map<std::uint32_t, SourceTable> source_;
    bool answers_ = true;
    std::optional<action::Describe> question_;

 private:
    void note(CoreAction& any) {
        if (auto* submit = std::get_if<action::SubmitFlush>(&any)) {
            EXPECT_FALSE(flush_);
            flush_ = std::move(submit->flush);
        } else if (const auto* holding = std::get_if<action::Holding>(&any)) {
            said_.push_back("holding " + std::to_string(holding->table.oid));
        } else if (const auto* published = std::get_if<action::Published>(&any)) {
            said_.push_back("published " + std::to_string(published->table.oid));
        } else if (const auto* lost = std::get_if<action::CopyLost>(&any)) {
            said_.push_back("lost " + std::to_string(lost->table.oid) +
                            (lost->in_one_snapshot ? " in ranges" : ""));
        } else if (const auto* stopped = std::get_if<action::TableStopped>(&any)) {
            said_.push_back((stopped->copy_again ? "again " : "stopped ") +
                            std::to_string(stopped->table.oid) + " at " +
                            std::to_string(stopped->position.value));
        } else if (const auto* describe = std::get_if<action::Describe>(&any)) {
            question_ = *describe;
        } else if (std::holds_alternative<action::NeedNewStream>(any)) {
            said_.emplace_back("new stream");
        } else if (const auto* cut = std::get_if<action::CutReached>(&any)) {
            said_.push_back("cut " + std::to_string(cut->position.value));
            for (const auto& [id, why] : cut->unrepaired) {
                said_.push_back(fmt::format("not {}: {}", id.oid, why));
            }
        } else if (std::holds_alternative<action::CutLost>(any)) {
            said_.emplace_back("no cut");
        } else if (const auto* fail = std::get_if<action::Fail>(&any)) {
            said_.push_back("fail: " + fail->error.message());
        }
    }

    std::string directory_;
    Instant now_{};
    std::uint64_t looks_ = 0;
};

}  // namespace walbrook
