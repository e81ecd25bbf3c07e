#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "walbrook/batch.h"

namespace walbrook {

class SpillFile;

// Where logs put what they may not keep in memory, and how much that is. One for a
// pipeline; used by the stream thread only.
struct SpillPolicy {
    std::string directory;
    std::size_t memory_bytes_max = 64ULL << 20;  // Of one log; beyond, closed items go to disk.
    std::size_t chunk_bytes = 8ULL << 20;        // An item is closed at this size.
};

// Changes of committed transactions in the order in which they are to be applied:
// what fills while the destination is busy, what a table's copy holds back, what a
// streamed transaction has sent so far. Items beyond the memory limit live in a
// spill file until they are read.
class ChangeLog {
 public:
    explicit ChangeLog(SpillPolicy policy);
    ~ChangeLog();
    ChangeLog(ChangeLog&&) noexcept;
    ChangeLog& operator=(ChangeLog&&) noexcept;

    bool empty() const { return items_.empty() && transactions_.empty(); }
    bool has_items() const { return !items_.empty(); }
    std::size_t items() const { return items_.size(); }
    // Approximate bytes: what arrived, not what the columns take.
    std::size_t bytes() const { return bytes_; }
    std::size_t memory_bytes() const { return memory_bytes_; }
    const std::vector<Transaction>& transactions() const { return transactions_; }

    // Changes that follow belong to this transaction, until the next call.
    std::uint32_t begin_transaction(const Transaction& transaction);
    // Commit facts that were not known at its begin.
    void set_transaction(const Transaction& transaction) { transactions_.back() = transaction; }

    // The batch to which changes of this table version are to be appended; valid until
    // the next call that is not add_bytes.
    ChangeBatch& open_batch(const TableSchemaPtr& schema);
    // Something that must come after what the table has so far.
    void add(FlushItem item);
    // How much was appended; closes the open batch of `table` when it is large enough,
    // and moves closed items to disk beyond the memory limit.
    Status add_bytes(TableId table, std::size_t bytes);
    // Closes what is open and moves all changes to disk, the limit reached or not.
    Status spill();

    // Takes back what the present transaction has appended for one table, or all of it.
    void drop_from_transaction(TableId table);
    void drop_transaction();
    // Takes back everything of a table (its visible content is about to be replaced).
    void drop_table(TableId table);

    // Moves everything of `other` behind what is here. Its changes go to `copy` where
    // given, and those for which `skip` says true (by their transaction) are left out
    // when they are read.
    using Skip = std::function<bool(const Transaction&)>;
    void append(ChangeLog other, const CopyTargetPtr& copy, Skip skip);
    // As append, with at most about `bytes` from the front of `other`.
    void append_front(ChangeLog& other, std::size_t bytes, const CopyTargetPtr& copy, Skip skip);

    // Everything so far as a flush; the log is empty afterwards.
    std::unique_ptr<Flush> finish(Lsn position);

 private:
    struct Item;
    class BuiltFlush;

    Item* find_open(TableId table);
    void close(TableId table);
    void move_items(ChangeLog& other, std::size_t count, const CopyTargetPtr& copy,
                    const Skip& skip);
    Status spill_closed_items();

    SpillPolicy policy_;
    std::vector<Transaction> transactions_;
    std::deque<std::unique_ptr<Item>> items_;
    std::size_t bytes_ = 0;
    std::size_t memory_bytes_ = 0;
    std::shared_ptr<SpillFile> file_;
    std::unordered_map<std::uint32_t, Item*> open_;  // By table oid.
};

}  // namespace walbrook
