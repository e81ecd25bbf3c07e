#pragma once

#include "walbrook/batch.h"

#include <memory>
#include <optional>
#include <string>

namespace walbrook {

// A flush without what it says of one table, whose changes the destination refused. If the
// table's visible rows were to change, the flush ends with the record that they stand still
// at `position` from now on. What goes to a shadow table, or comes after that would have
// become visible, says nothing about the visible rows.
class WithoutTable final : public Flush {
 public:
    WithoutTable(std::shared_ptr<Flush> inner, TableId table, Lsn position, std::string reason);

    Lsn position() const override { return inner_->position(); }
    std::int64_t commit_time_us() const override { return inner_->commit_time_us(); }
    void rewind() override;
    Result<const FlushItem*> next() override;

 private:
    const FlushItem* freeze();

    const std::shared_ptr<Flush> inner_;
    const TableId table_;
    const Lsn position_;
    const std::string reason_;
    TableSchemaPtr schema_;          // Of the visible rows that were to change.
    std::optional<Freeze> stopped_;  // It had stopped before, and says why.
    bool is_told_ = false;
    bool was_to_be_replaced_ = false;
    std::optional<FlushItem> item_;  // What next() has returned, where it is not the inner one's.
};

}  // namespace walbrook
