#include "pipeline/without_table.h"

#include <utility>
#include <vector>

namespace walbrook {
namespace {

TableId table_of(const FlushItem& item) {
    if (const auto* batch = std::get_if<ChangeBatch>(&item)) return batch->schema()->id;
    if (const auto* change = std::get_if<SchemaChange>(&item)) return change->to->id;
    if (const auto* publish = std::get_if<Publish>(&item)) return publish->copy->schema->id;
    if (const auto* freeze = std::get_if<Freeze>(&item)) return freeze->schema->id;
    if (const auto* replace = std::get_if<Replace>(&item)) return replace->schema->id;
    return {};
}

}  // namespace

WithoutTable::WithoutTable(std::shared_ptr<Flush> inner, TableId table, Lsn position,
                           std::string reason)
    : inner_(std::move(inner)), table_(table), position_(position), reason_(std::move(reason)) {}

void WithoutTable::rewind() {
    inner_->rewind();
    is_told_ = was_to_be_replaced_ = false;
    stopped_.reset();
}

Result<const FlushItem*> WithoutTable::next() {
    for (;;) {
        WALBROOK_TRY(const FlushItem* item, inner_->next());
        if (item == nullptr) return freeze();
        if (table_of(*item) == table_) {
            const auto* batch = std::get_if<ChangeBatch>(item);
            if (const auto* publish = std::get_if<Publish>(item)) {
                was_to_be_replaced_ = true;
                // It stays now, and stands still.
                if (publish->followed) schema_ = publish->followed;
            }
            if (batch != nullptr && !batch->copy && !was_to_be_replaced_) schema_ = batch->schema();
            if (const auto* freeze = std::get_if<Freeze>(item)) {
                // Behind a Publish it is about what will not be visible.
                if (!was_to_be_replaced_) schema_ = freeze->schema;
                stopped_ = *freeze;
            }
            const auto* replace = std::get_if<Replace>(item);
            if (replace != nullptr && !was_to_be_replaced_) schema_ = replace->schema;
            const auto* change = std::get_if<SchemaChange>(item);
            if (change != nullptr && !change->copy && !was_to_be_replaced_) schema_ = change->from;
            continue;
        }
        const auto* retire = std::get_if<Retire>(item);
        if (retire != nullptr && retire->table == table_) {
            // It has no record from now on, and no Freeze may bring it back.
            schema_.reset();
            stopped_.reset();
        }
        const auto* truncate = std::get_if<Truncate>(item);
        if (truncate == nullptr) return item;
        Truncate rest = *truncate;
        for (const TableSchemaPtr& table : truncate->tables) {
            const bool is_visible = table->id == table_ && !truncate->copy && !was_to_be_replaced_;
            if (is_visible) schema_ = table;
        }
        std::erase_if(rest.tables, [&](const TableSchemaPtr& t) { return t->id == table_; });
        if (rest.tables.size() == truncate->tables.size()) return item;
        item_ = std::move(rest);
        return &*item_;
    }
}

const FlushItem* WithoutTable::freeze() {
    if (is_told_ || !schema_) return nullptr;
    is_told_ = true;
    item_ = stopped_ ? Freeze{schema_, stopped_->phase, position_, stopped_->reason}
                     : Freeze{schema_, TablePhase::errored, position_, reason_};
    return &*item_;
}

}  // namespace walbrook
