#include "batch/change_log.h"

#include <algorithm>
#include <limits>
#include <unordered_map>
#include <utility>

#include "base/check.h"
#include "base/narrow.h"
#include "batch/spill.h"

namespace walbrook {

// One entry: in memory, or in a spill file. What a move from log to log asks of its
// changes is done when they are read, so that spilled ones need no rewriting.
struct ChangeLog::Item {
    std::optional<FlushItem> value;  // Nothing once it is on disk.
    TableSchemaPtr schema;           // Of ChangeBatch items.
    std::shared_ptr<SpillFile> file;
    std::size_t index_in_file = 0;
    CopyTargetPtr copy;
    std::uint32_t transaction_offset = 0;
    std::shared_ptr<const std::vector<bool>> skipped;  // By transaction of the old log.
    // Changes from this transaction on were taken back after they went to disk.
    std::uint32_t dropped_from = std::numeric_limits<std::uint32_t>::max();
    std::size_t bytes = 0;
    bool open = false;

    bool is_batch() const { return schema != nullptr; }
    ChangeBatch& batch() { return std::get<ChangeBatch>(*value); }
    TableId table() const { return schema ? schema->id : TableId{}; }
};

namespace {

// Applies to a batch what moves between logs asked for.
void settle(ChangeBatch& batch, const CopyTargetPtr& copy, std::uint32_t offset,
            const std::vector<bool>* skipped) {
    batch.copy = copy;
    if (skipped != nullptr) {
        std::erase_if(batch.changes, [&](const Change& c) { return (*skipped)[c.transaction]; });
    }
    if (offset == 0) return;
    for (Change& change : batch.changes) change.transaction += offset;
}

}  // namespace

class ChangeLog::BuiltFlush final : public Flush {
 public:
    BuiltFlush(ChangeLog log, Lsn position) : log_(std::move(log)), position_(position) {}

    Lsn position() const override { return position_; }
    std::int64_t commit_time_us() const override {
        return log_.transactions_.empty() ? 0 : log_.transactions_.back().commit_time_us;
    }
    std::span<const Transaction> transactions() const override { return log_.transactions_; }
    void rewind() override { next_ = 0; }

    Result<const FlushItem*> next() override {
        loaded_.reset();
        while (next_ != log_.items_.size() && log_.items_[next_]->value) {
            Item& item = *log_.items_[next_++];
            settle_once(item);
            const auto* truncate = std::get_if<Truncate>(&*item.value);
            if (truncate == nullptr || !truncate->tables.empty()) return &*item.value;
        }
        if (next_ == log_.items_.size()) return nullptr;
        Item& item = *log_.items_[next_];
        WALBROOK_TRY(ChangeBatch batch, item.file->read(item.index_in_file, item.schema));
        std::erase_if(batch.changes,
                      [&](const Change& c) { return c.transaction >= item.dropped_from; });
        settle(batch, item.copy, item.transaction_offset, item.skipped.get());
        loaded_ = std::move(batch);
        ++next_;
        return &*loaded_;
    }

 private:
    static void settle_once(Item& item) {
        if (auto* truncate = std::get_if<Truncate>(&*item.value)) {
            truncate->copy = item.copy;
            const auto skipped = std::exchange(item.skipped, nullptr);
            // One without tables may belong to a transaction that was taken back.
            if (skipped && !truncate->tables.empty() && (*skipped)[truncate->transaction]) {
                truncate->tables.clear();
            }
            truncate->transaction += std::exchange(item.transaction_offset, 0);
        }
        if (!item.is_batch()) return;
        settle(item.batch(), item.copy, std::exchange(item.transaction_offset, 0),
               std::exchange(item.skipped, nullptr).get());
    }

    ChangeLog log_;
    Lsn position_;
    std::size_t next_ = 0;
    std::optional<FlushItem> loaded_;
};

ChangeLog::ChangeLog(SpillPolicy policy) : policy_(std::move(policy)) {}
ChangeLog::~ChangeLog() = default;
ChangeLog::ChangeLog(ChangeLog&&) noexcept = default;
ChangeLog& ChangeLog::operator=(ChangeLog&&) noexcept = default;

std::uint32_t ChangeLog::begin_transaction(const Transaction& transaction) {
    transactions_.push_back(transaction);
    return narrow<std::uint32_t>(transactions_.size() - 1);
}

ChangeLog::Item* ChangeLog::find_open(TableId table) {
    const auto found = open_.find(table.oid);
    return found == open_.end() ? nullptr : found->second;
}

void ChangeLog::close(TableId table) {
    if (Item* item = find_open(table)) {
        item->open = false;
        open_.erase(table.oid);
    }
}

ChangeBatch& ChangeLog::open_batch(const TableSchemaPtr& schema) {
    Item* item = find_open(schema->id);
    if (item != nullptr && item->schema == schema) return item->batch();
    close(schema->id);
    items_.push_back(std::make_unique<Item>());
    item = items_.back().get();
    item->value.emplace(std::in_place_type<ChangeBatch>, schema);
    item->schema = schema;
    item->open = true;
    open_[schema->id.oid] = item;
    return item->batch();
}

void ChangeLog::add(FlushItem value) {
    if (const auto* truncate = std::get_if<Truncate>(&value)) {
        for (const TableSchemaPtr& table : truncate->tables) close(table->id);
    } else if (const auto* publish = std::get_if<Publish>(&value)) {
        close(publish->copy->schema->id);
    } else if (const auto* freeze = std::get_if<Freeze>(&value)) {
        close(freeze->schema->id);
    }
    items_.push_back(std::make_unique<Item>());
    Item& item = *items_.back();
    if (const auto* batch = std::get_if<ChangeBatch>(&value)) {
        item.schema = batch->schema();
        item.copy = batch->copy;
        item.bytes = batch->bytes();
        bytes_ += item.bytes;
        memory_bytes_ += item.bytes;
    }
    item.value = std::move(value);
}

Status ChangeLog::add_bytes(TableId table, std::size_t bytes) {
    bytes_ += bytes;
    memory_bytes_ += bytes;
    Item* item = find_open(table);
    if (item == nullptr) return {};
    item->bytes += bytes;
    if (item->bytes < policy_.chunk_bytes) return {};
    close(table);
    if (memory_bytes_ <= policy_.memory_bytes_max) return {};
    return spill_closed_items();
}

Status ChangeLog::spill() {
    for (const auto& item : items_) item->open = false;
    open_.clear();
    return memory_bytes_ == 0 ? Status() : spill_closed_items();
}

Status ChangeLog::spill_closed_items() {
    if (!file_) {
        WALBROOK_TRY(file_, SpillFile::create(policy_.directory));
    }
    for (const auto& each : items_) {
        Item& item = *each;
        if (!item.is_batch() || item.open || !item.value) continue;
        WALBROOK_TRY(item.index_in_file, file_->append(item.batch()));
        item.file = file_;
        // What a move to this log asked for has not reached the batch yet.
        if (!item.copy) item.copy = item.batch().copy;
        item.value.reset();
        memory_bytes_ -= std::min(memory_bytes_, item.bytes);
    }
    return {};
}

namespace {

// Cuts the changes of the last transaction off the end of a batch.
void cut_transaction(ChangeBatch& batch, std::uint32_t transaction) {
    std::size_t new_rows = batch.new_rows.rows();
    std::size_t old_rows = batch.old_rows.rows();
    while (!batch.changes.empty() && batch.changes.back().transaction == transaction) {
        const Change& change = batch.changes.back();
        if (change.new_row >= 0) new_rows = static_cast<std::size_t>(change.new_row);
        if (change.old_row >= 0) old_rows = static_cast<std::size_t>(change.old_row);
        batch.changes.pop_back();
    }
    batch.new_rows.truncate(new_rows);
    batch.old_rows.truncate(old_rows);
    for (auto& bitmap : batch.unchanged) {
        if (bitmap.size() > new_rows) bitmap.resize(new_rows);
    }
}

}  // namespace

void ChangeLog::drop_from_transaction(TableId table) {
    WALBROOK_CHECK(!transactions_.empty());
    const auto present = narrow<std::uint32_t>(transactions_.size() - 1);
    for (const auto& each : items_) {
        Item& item = *each;
        if (!item.is_batch() || item.table() != table || item.transaction_offset != 0) continue;
        if (item.value) {
            cut_transaction(item.batch(), present);
        } else {
            item.dropped_from = std::min(item.dropped_from, present);
        }
    }
    for (const auto& each : items_) {
        Item& item = *each;
        auto* truncate = item.value ? std::get_if<Truncate>(&*item.value) : nullptr;
        if (truncate == nullptr || truncate->transaction != present) continue;
        std::erase_if(truncate->tables, [&](const TableSchemaPtr& t) { return t->id == table; });
    }
}

void ChangeLog::drop_transaction() {
    WALBROOK_CHECK(!transactions_.empty());
    const auto present = narrow<std::uint32_t>(transactions_.size() - 1);
    for (const auto& each : items_) {
        Item& item = *each;
        if (item.transaction_offset != 0) continue;
        if (!item.value) {
            item.dropped_from = std::min(item.dropped_from, present);
            continue;
        }
        if (item.is_batch()) cut_transaction(item.batch(), present);
        if (auto* truncate = std::get_if<Truncate>(&*item.value)) {
            if (truncate->transaction == present) truncate->tables.clear();
        }
    }
    transactions_.pop_back();
}

void ChangeLog::drop_table(TableId table) {
    close(table);
    for (const auto& each : items_) {
        Item& item = *each;
        if (item.is_batch() && item.table() == table) {
            if (item.value) {
                memory_bytes_ -= std::min(memory_bytes_, item.bytes);
            }
            bytes_ -= std::min(bytes_, item.bytes);
        }
    }
    std::erase_if(items_, [&](const auto& item) {
        if (item->is_batch()) return item->table() == table;
        auto* truncate = std::get_if<Truncate>(&*item->value);
        if (truncate != nullptr) {
            std::erase_if(truncate->tables,
                          [&](const TableSchemaPtr& t) { return t->id == table; });
        }
        const auto* publish = std::get_if<Publish>(&*item->value);
        return publish != nullptr && publish->copy->schema->id == table;
    });
}

namespace {

using SkipList = std::shared_ptr<const std::vector<bool>>;

SkipList skip_list(const std::vector<Transaction>& transactions, const ChangeLog::Skip& skip) {
    if (!skip) return nullptr;
    auto list = std::make_shared<std::vector<bool>>();
    for (const Transaction& t : transactions) list->push_back(skip(t));
    return list;
}

// An item that moves a second time: `next` counts transactions of the log it leaves,
// `first` and the item's changes those of the log it was made in, `offset` less.
SkipList compose(const SkipList& first, const SkipList& next, std::uint32_t offset) {
    if (!next) return first;
    if (!first && offset == 0) return next;
    auto list = std::make_shared<std::vector<bool>>(next->begin() + offset, next->end());
    for (std::size_t i = 0; first && i < first->size() && i < list->size(); ++i) {
        if ((*first)[i]) (*list)[i] = true;
    }
    return list;
}

}  // namespace

void ChangeLog::move_items(ChangeLog& other, std::size_t count, const CopyTargetPtr& copy,
                           const Skip& skip) {
    const auto offset = narrow<std::uint32_t>(transactions_.size());
    const std::shared_ptr<const std::vector<bool>> skipped = skip_list(other.transactions_, skip);
    for (std::size_t i = 0; i < count; ++i) {
        Item& item = *other.items_.front();
        if (item.open) other.close(item.table());
        close(item.table());
        item.copy = copy ? copy : item.copy;
        item.skipped = compose(item.skipped, skipped, item.transaction_offset);
        item.transaction_offset += offset;
        other.bytes_ -= std::min(other.bytes_, item.bytes);
        bytes_ += item.bytes;
        if (item.value) {
            other.memory_bytes_ -= std::min(other.memory_bytes_, item.bytes);
            memory_bytes_ += item.bytes;
        }
        items_.push_back(std::move(other.items_.front()));
        other.items_.pop_front();
    }
    transactions_.insert(transactions_.end(), other.transactions_.begin(),
                         other.transactions_.end());
}

void ChangeLog::append(ChangeLog other, const CopyTargetPtr& copy, Skip skip) {
    move_items(other, other.items_.size(), copy, skip);
}

void ChangeLog::append_front(ChangeLog& other, std::size_t bytes, const CopyTargetPtr& copy,
                             Skip skip) {
    std::size_t count = 0;
    std::size_t sum = 0;
    while (count < other.items_.size() && (count == 0 || sum < bytes)) {
        sum += other.items_[count++]->bytes;
    }
    move_items(other, count, copy, skip);
}

std::unique_ptr<Flush> ChangeLog::finish(Lsn position) {
    for (const auto& item : items_) item->open = false;
    open_.clear();
    ChangeLog taken(policy_);
    std::swap(taken, *this);
    return std::make_unique<BuiltFlush>(std::move(taken), position);
}

}  // namespace walbrook
