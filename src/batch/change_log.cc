#include "batch/change_log.h"

#include "base/check.h"
#include "base/narrow.h"
#include "batch/spill.h"

#include <algorithm>
#include <limits>
#include <unordered_map>
#include <utility>

namespace walbrook {

// One entry: in memory, or in a spill file. What a move from log to log asks of its
// changes is done when they are read, so that spilled ones need no rewriting.
struct ChangeLog::Item {
    std::optional<FlushItem> value;  // Nothing once it is on disk.
    TableSchemaPtr schema;           // Of ChangeBatch items.
    std::shared_ptr<SpillFile> file;
    std::size_t index_in_file = 0;
    CopyTargetPtr copy;
    std::vector<std::shared_ptr<const Skip>> skips;
    std::uint64_t number = 0;         // Of the transaction of its last change; 0 after a move.
    std::optional<Transaction> last;  // That transaction, as its commit told it.
    bool last_dropped = false;        // It was taken back after it went to disk.
    std::size_t bytes = 0;
    bool open = false;

    bool is_batch() const { return schema != nullptr; }
    ChangeBatch& batch() { return std::get<ChangeBatch>(*value); }
    TableId table() const { return schema ? schema->id : TableId{}; }
    // Nothing but what is about this table.
    bool is_of(TableId id) const;
    Result<bool> skipped(const Transaction& transaction) const;
    Status settle(ChangeBatch& batch);
    Status settle(Truncate& truncate);
    Status settle(SchemaChange& change);
};

namespace {

// What an entry takes besides the rows.
constexpr std::size_t kItemBytes = 256;

// Cuts the changes of the last transaction off the end of a batch.
void cut_last_transaction(ChangeBatch& batch) {
    const auto last = narrow<std::uint32_t>(batch.transactions.size() - 1);
    std::size_t new_rows = batch.new_rows.rows();
    std::size_t old_rows = batch.old_rows.rows();
    while (!batch.changes.empty() && batch.changes.back().transaction == last) {
        const Change& change = batch.changes.back();
        if (change.new_row >= 0) new_rows = static_cast<std::size_t>(change.new_row);
        if (change.old_row >= 0) old_rows = static_cast<std::size_t>(change.old_row);
        batch.changes.pop_back();
    }
    batch.transactions.pop_back();
    batch.truncate_new_rows(new_rows);
    batch.old_rows.truncate(old_rows);
}

// What is left of a change; false: nothing. Never an insert without all of its values.
Result<bool> leave_out_by_key(Change& change, const ChangeBatch& batch,
                              const ChangeLog::Skip& skip) {
    const Transaction& transaction = batch.transactions[change.transaction];
    const bool has_old = change.old_row >= 0;
    const bool has_new = change.new_row >= 0;
    std::optional<bool> old_left_out;
    std::optional<bool> new_left_out;
    if (has_old) {
        old_left_out =
            skip.key(transaction, batch.old_rows, static_cast<std::size_t>(change.old_row));
    }
    if (has_new) {
        new_left_out =
            skip.key(transaction, batch.new_rows, static_cast<std::size_t>(change.new_row));
    }
    if ((has_old && !old_left_out) || (has_new && !new_left_out)) {
        return Error(ErrorCode::internal, "a change of " + batch.schema()->display_name() +
                                              " does not tell which range of its copy it is in");
    }
    if (!has_old || !has_new) return !old_left_out.value_or(new_left_out.value_or(false));
    if (*old_left_out == *new_left_out) return !*old_left_out;
    if (*new_left_out) {
        change.kind = ChangeKind::remove;
        change.new_row = -1;
        return true;
    }
    for (std::size_t i = 0; i < batch.new_rows.columns().size(); ++i) {
        if (batch.is_unchanged(i, static_cast<std::size_t>(change.new_row))) {
            return Error(ErrorCode::internal,
                         "a row of " + batch.schema()->display_name() +
                             " came into a range of its copy without all of its values");
        }
    }
    change.kind = ChangeKind::insert;
    change.old_row = -1;
    change.old_is_full = false;
    return true;
}

Status leave_out(ChangeBatch& batch, const ChangeLog::Skip& skip) {
    using Part = ChangeLog::Skip::Part;
    std::vector<Part> parts;
    for (const Transaction& each : batch.transactions) parts.push_back(skip.part(each));
    std::size_t kept = 0;
    for (Change change : batch.changes) {
        const Part part = parts[change.transaction];
        if (part == Part::everything) continue;
        if (part == Part::by_key) {
            WALBROOK_TRY(const bool is_left, leave_out_by_key(change, batch, skip));
            if (!is_left) continue;
        }
        batch.changes[kept++] = change;
    }
    batch.changes.resize(kept);
    return {};
}

}  // namespace

// Of what concerns all rows of a table.
Result<bool> ChangeLog::Item::skipped(const Transaction& transaction) const {
    bool is_skipped = false;
    for (const auto& skip : skips) {
        switch (skip->part(transaction)) {
            case Skip::Part::nothing:
                break;
            case Skip::Part::everything:
                is_skipped = true;
                break;
            case Skip::Part::by_key:
                return Error(ErrorCode::internal,
                             "a change of a whole table is in some ranges of its copy only");
        }
    }
    return is_skipped;
}

// Applies to a batch what became known after it, and what moves between logs asked for.
Status ChangeLog::Item::settle(ChangeBatch& batch) {
    batch.copy = copy;
    if (last_dropped) {
        cut_last_transaction(batch);
    } else if (last) {
        batch.transactions.back() = *last;
    }
    for (const auto& skip : skips) WALBROOK_RETURN_IF_ERROR(leave_out(batch, *skip));
    return {};
}

Status ChangeLog::Item::settle(Truncate& truncate) {
    truncate.copy = copy;
    if (last) truncate.transaction = *last;
    WALBROOK_TRY(const bool is_skipped, skipped(truncate.transaction));
    if (is_skipped) truncate.tables.clear();
    return {};
}

Status ChangeLog::Item::settle(SchemaChange& change) {
    change.copy = copy;
    const bool is_placed = static_cast<bool>(change.transaction.commit_lsn);
    if (last) change.transaction = *last;
    if (!is_placed) return {};
    WALBROOK_TRY(const bool is_skipped, skipped(change.transaction));
    if (is_skipped) change.to = nullptr;
    return {};
}

bool ChangeLog::Item::is_of(TableId id) const {
    if (is_batch()) return table() == id;
    if (const auto* change = std::get_if<SchemaChange>(&*value)) return change->from->id == id;
    if (const auto* replace = std::get_if<Replace>(&*value)) return replace->schema->id == id;
    const auto* publish = std::get_if<Publish>(&*value);
    return publish != nullptr && publish->copy->schema->id == id;
}

class ChangeLog::BuiltFlush final : public Flush {
 public:
    BuiltFlush(ChangeLog log, Lsn position) : log_(std::move(log)), position_(position) {}

    Lsn position() const override { return position_; }
    std::int64_t commit_time_us() const override { return log_.newest_.commit_time_us; }
    void rewind() override { next_ = 0; }

    Result<const FlushItem*> next() override {
        for (; next_ != log_.items_.size(); ++next_) {
            Item& item = *log_.items_[next_];
            if (item.value) {
                WALBROOK_RETURN_IF_ERROR(settle_once(item));
            } else {
                loaded_.reset();
                WALBROOK_TRY(ChangeBatch batch, item.file->read(item.index_in_file, item.schema));
                WALBROOK_RETURN_IF_ERROR(item.settle(batch));
                loaded_ = std::move(batch);
            }
            const FlushItem& given = item.value ? *item.value : *loaded_;
            if (is_taken_back(given)) continue;
            ++next_;
            return &given;
        }
        return nullptr;
    }

 private:
    // What is left of it says nothing. A batch too: it may be of a version that was taken
    // back as well.
    static bool is_taken_back(const FlushItem& item) {
        if (const auto* batch = std::get_if<ChangeBatch>(&item)) return batch->changes.empty();
        if (const auto* truncate = std::get_if<Truncate>(&item)) return truncate->tables.empty();
        const auto* change = std::get_if<SchemaChange>(&item);
        return change != nullptr && change->to == nullptr;
    }
    // Once: the item stays in memory and is read again after a rewind().
    static Status settle_once(Item& item) {
        Status settled;
        if (auto* truncate = std::get_if<Truncate>(&*item.value)) {
            settled = item.settle(*truncate);
        } else if (auto* change = std::get_if<SchemaChange>(&*item.value)) {
            settled = item.settle(*change);
        } else if (item.is_batch()) {
            settled = item.settle(item.batch());
        }
        WALBROOK_RETURN_IF_ERROR(settled);
        item.last.reset();
        item.skips.clear();
        return {};
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

void ChangeLog::begin_transaction(const Transaction& transaction) {
    present_ = transaction;
    ++number_;
    of_present_.clear();
}

void ChangeLog::commit_transaction(const Transaction& transaction) {
    if (oldest_commit_time_us_ == 0) oldest_commit_time_us_ = transaction.commit_time_us;
    newest_ = transaction;
    // Only its end may not have been known at its begin; changes may be on disk already.
    for (Item* item : of_present_) {
        if (item->number == number_) item->last = transaction;
    }
    of_present_.clear();
}

void ChangeLog::count(Item& item, std::size_t bytes) {
    item.bytes += bytes;
    bytes_ += bytes;
    memory_bytes_ += bytes;
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
    WALBROOK_CHECK(number_ != 0);
    Item* item = find_open(schema->id);
    if (item == nullptr || item->schema != schema) {
        close(schema->id);
        items_.push_back(std::make_unique<Item>());
        item = items_.back().get();
        item->value.emplace(std::in_place_type<ChangeBatch>, schema);
        item->schema = schema;
        item->open = true;
        open_[schema->id.oid] = item;
        count(*item, kItemBytes);
    }
    if (item->number != number_) {
        ChangeBatch& batch = item->batch();
        if (item->last) batch.transactions.back() = *std::exchange(item->last, std::nullopt);
        item->number = number_;
        of_present_.push_back(item);
        batch.transactions.push_back(present_);
        count(*item, sizeof(Transaction));
    }
    return item->batch();
}

void ChangeLog::add(FlushItem value) {
    items_.push_back(std::make_unique<Item>());
    Item& item = *items_.back();
    item.value = std::move(value);
    std::size_t bytes = kItemBytes;
    bool is_of_present = false;
    if (auto* truncate = std::get_if<Truncate>(&*item.value)) {
        truncate->transaction = present_;
        item.copy = truncate->copy;
        is_of_present = true;
    } else if (auto* change = std::get_if<SchemaChange>(&*item.value)) {
        item.copy = change->copy;
        is_of_present = static_cast<bool>(change->transaction.commit_lsn);
        if (is_of_present) change->transaction = present_;
        if (change->existing) bytes += change->existing->bytes();
    } else if (const auto* batch = std::get_if<ChangeBatch>(&*item.value)) {
        item.schema = batch->schema();
        item.copy = batch->copy;
        bytes += batch->bytes();
    } else if (const auto* replace = std::get_if<Replace>(&*item.value)) {
        bytes += replace->keys->bytes() + replace->rows->bytes();
    }
    close_tables_of(item);
    if (is_of_present) {
        item.number = number_;
        of_present_.push_back(&item);
    }
    count(item, bytes);
}

Status ChangeLog::add_bytes(TableId table, std::size_t bytes) {
    Item* item = find_open(table);
    WALBROOK_CHECK(item != nullptr);
    count(*item, bytes);
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

void ChangeLog::drop_from_transaction(TableId table) {
    for (Item* item : of_present_) {
        if (item->is_batch() && item->table() == table) drop_present(*item);
        if (!item->value) continue;
        auto* change = std::get_if<SchemaChange>(&*item->value);
        if (change != nullptr && change->from->id == table) change->to = nullptr;
        auto* truncate = std::get_if<Truncate>(&*item->value);
        if (truncate == nullptr) continue;
        std::erase_if(truncate->tables, [&](const TableSchemaPtr& t) { return t->id == table; });
    }
}

void ChangeLog::drop_transaction() {
    for (Item* item : of_present_) {
        if (item->is_batch()) drop_present(*item);
        if (!item->value) continue;
        if (auto* change = std::get_if<SchemaChange>(&*item->value)) change->to = nullptr;
        if (auto* truncate = std::get_if<Truncate>(&*item->value)) truncate->tables.clear();
    }
    of_present_.clear();
}

void ChangeLog::drop_present(Item& item) {
    if (item.number != number_) return;
    item.number = 0;
    if (item.value) {
        cut_last_transaction(item.batch());
    } else {
        item.last_dropped = true;
    }
}

void ChangeLog::drop_table(TableId table) {
    close(table);
    std::erase_if(of_present_, [&](const Item* item) { return item->is_of(table); });
    std::erase_if(items_, [&](const auto& item) {
        if (!item->is_of(table)) return false;
        if (item->value) memory_bytes_ -= std::min(memory_bytes_, item->bytes);
        bytes_ -= std::min(bytes_, item->bytes);
        return true;
    });
    for (const auto& item : items_) {
        if (item->is_batch()) continue;
        auto* truncate = std::get_if<Truncate>(&*item->value);
        if (truncate == nullptr) continue;
        std::erase_if(truncate->tables, [&](const TableSchemaPtr& t) { return t->id == table; });
    }
}

void ChangeLog::set_frozen_at(TableId table, Lsn position) {
    for (const auto& item : items_) {
        auto* const freeze = item->value ? std::get_if<Freeze>(&*item->value) : nullptr;
        if (freeze != nullptr && freeze->schema->id == table) freeze->position = position;
    }
}

void ChangeLog::drop_freeze(TableId table) {
    std::erase_if(items_, [&](const auto& item) {
        const auto* const freeze = item->value ? std::get_if<Freeze>(&*item->value) : nullptr;
        if (freeze == nullptr || freeze->schema->id != table) return false;
        memory_bytes_ -= std::min(memory_bytes_, item->bytes);
        bytes_ -= std::min(bytes_, item->bytes);
        return true;
    });
}

// What comes later must not go into a batch that stands before the item.
void ChangeLog::close_tables_of(const Item& item) {
    if (item.is_batch()) return close(item.table());
    if (const auto* truncate = std::get_if<Truncate>(&*item.value)) {
        for (const TableSchemaPtr& table : truncate->tables) close(table->id);
    } else if (const auto* change = std::get_if<SchemaChange>(&*item.value)) {
        close(change->from->id);
    } else if (const auto* publish = std::get_if<Publish>(&*item.value)) {
        close(publish->copy->schema->id);
    } else if (const auto* freeze = std::get_if<Freeze>(&*item.value)) {
        close(freeze->schema->id);
    } else if (const auto* retire = std::get_if<Retire>(&*item.value)) {
        close(retire->table);
    } else if (const auto* replace = std::get_if<Replace>(&*item.value)) {
        close(replace->schema->id);
    }
}

void ChangeLog::move_items(ChangeLog& other, std::size_t count, const CopyTargetPtr& copy,
                           Skip skip) {
    const auto shared = skip.part ? std::make_shared<const Skip>(std::move(skip)) : nullptr;
    other.of_present_.clear();
    for (std::size_t i = 0; i < count; ++i) {
        Item& item = *other.items_.front();
        if (item.open) other.close(item.table());
        close_tables_of(item);
        item.copy = copy ? copy : item.copy;
        item.number = 0;
        if (shared) item.skips.push_back(shared);
        other.bytes_ -= std::min(other.bytes_, item.bytes);
        bytes_ += item.bytes;
        if (item.value) {
            other.memory_bytes_ -= std::min(other.memory_bytes_, item.bytes);
            memory_bytes_ += item.bytes;
        }
        items_.push_back(std::move(other.items_.front()));
        other.items_.pop_front();
    }
    if (oldest_commit_time_us_ == 0) oldest_commit_time_us_ = other.oldest_commit_time_us_;
}

void ChangeLog::append(ChangeLog other, const CopyTargetPtr& copy, Skip skip) {
    move_items(other, other.items_.size(), copy, std::move(skip));
    if (newest_.commit_lsn < other.newest_.commit_lsn) newest_ = other.newest_;
}

void ChangeLog::append_front(ChangeLog& other, std::size_t bytes, const CopyTargetPtr& copy,
                             Skip skip) {
    std::size_t count = 0;
    std::size_t sum = 0;
    while (count < other.items_.size() && (count == 0 || sum < bytes)) {
        sum += other.items_[count++]->bytes;
    }
    move_items(other, count, copy, std::move(skip));
}

std::unique_ptr<Flush> ChangeLog::finish(Lsn position) {
    for (const auto& item : items_) item->open = false;
    open_.clear();
    ChangeLog taken(policy_);
    std::swap(taken, *this);
    return std::make_unique<BuiltFlush>(std::move(taken), position);
}

}  // namespace walbrook
