#pragma once

// A destination around another one: for those that make one mistake on purpose.

#include "walbrook/destination.h"

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace walbrook::testing {

// Hands every call on to the destination that it owns; whoever derives from it overrides what is to
// be different. Threads and errors are those of that destination.
class DestinationAround : public Destination {
 public:
    explicit DestinationAround(std::unique_ptr<Destination> inner) : inner_(std::move(inner)) {}

    std::string_view name() const override { return inner_->name(); }
    Capabilities capabilities() const override { return inner_->capabilities(); }
    std::vector<std::string> refusals(const std::vector<TableSchemaPtr>& tables) const override {
        return inner_->refusals(tables);
    }
    Result<Recovered> open(const PipelineIdentity& who, std::stop_token stop) override {
        return inner_->open(who, stop);
    }
    Status begin_copy(const CopyTargetPtr& copy, std::stop_token stop) override {
        return inner_->begin_copy(copy, stop);
    }
    Status write_copy(const CopyUnit& unit, RowReader& rows, std::stop_token stop) override {
        return inner_->write_copy(unit, rows, stop);
    }
    Status finish_copy(const CopyTargetPtr& copy, std::stop_token stop) override {
        return inner_->finish_copy(copy, stop);
    }
    Status discard_copy(const CopyTargetPtr& copy, std::stop_token stop) override {
        return inner_->discard_copy(copy, stop);
    }
    Result<Ack> apply(Flush& flush, Ack required, std::stop_token stop) override {
        return inner_->apply(flush, required, stop);
    }
    Result<Lsn> read_position(std::stop_token stop) override { return inner_->read_position(stop); }
    Status maintain(std::stop_token stop) override { return inner_->maintain(stop); }
    Status keep_readable(Lsn position, std::chrono::milliseconds how_long,
                         std::stop_token stop) override {
        return inner_->keep_readable(position, how_long, stop);
    }
    Status close() override { return inner_->close(); }

 protected:
    const std::unique_ptr<Destination> inner_;
};

}  // namespace walbrook::testing
