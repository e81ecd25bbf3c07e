#include "destinations/blackhole/checksum.h"
#include "walbrook/destinations.h"

#include <algorithm>
#include <mutex>
#include <utility>

namespace walbrook {
namespace {

Error stopped() { return {ErrorCode::cancelled, "stopped while data was discarded"}; }

class Blackhole final : public BlackholeDestination {
 public:
    std::string_view name() const override { return "blackhole"; }
    // It forgets its position with the process, so exactly_once would be a lie.
    Capabilities capabilities() const override {
        return {.multi_table_atomic = true,
                .exactly_once = false,
                .partial_update = true,
                .keyless = true,
                .forgets = true};
    }
    std::vector<std::string> refusals(const std::vector<TableSchemaPtr>&) const override {
        return {};
    }
    Result<Recovered> open(const PipelineIdentity&, std::stop_token) override {
        return Recovered{};
    }
    Status begin_copy(const CopyTargetPtr&, std::stop_token) override { return {}; }
    Status finish_copy(const CopyTargetPtr&, std::stop_token) override { return {}; }
    Status discard_copy(const CopyTargetPtr&, std::stop_token) override { return {}; }

    Status write_copy(const CopyUnit&, RowReader& rows, std::stop_token stop) override {
        // Counted only when the unit is whole, since a failed one comes again.
        ChangeChecksum unit;
        for (;;) {
            if (stop.stop_requested()) return stopped();
            WALBROOK_TRY(const RowBatch* batch, rows.next());
            if (batch == nullptr) break;
            unit.add_copied(*batch);
        }
        const std::lock_guard lock(mutex_);
        checksum_.add(unit);
        return {};
    }

    Result<Ack> apply(Flush& flush, Ack, std::stop_token stop) override {
        ChangeChecksum changes;
        for (;;) {
            if (stop.stop_requested()) return stopped();
            WALBROOK_TRY(const FlushItem* item, flush.next());
            if (item == nullptr) break;
            if (const auto* batch = std::get_if<ChangeBatch>(item)) changes.add_changes(*batch);
        }
        const std::lock_guard lock(mutex_);
        checksum_.add(changes);
        position_ = std::max(position_, flush.position());
        return Ack::durable;
    }

    Result<Lsn> read_position(std::stop_token) override {
        const std::lock_guard lock(mutex_);
        return position_;
    }
    Status maintain(std::stop_token) override { return {}; }
    Status close() override { return {}; }

    std::uint64_t checksum() const override {
        const std::lock_guard lock(mutex_);
        return checksum_.sum();
    }
    std::uint64_t values() const override {
        const std::lock_guard lock(mutex_);
        return checksum_.values();
    }

 private:
    mutable std::mutex mutex_;  // Guards everything below.
    ChangeChecksum checksum_;
    Lsn position_;
};

}  // namespace

std::unique_ptr<BlackholeDestination> BlackholeDestination::create() {
    return std::make_unique<Blackhole>();
}

}  // namespace walbrook
