#pragma once

#include "walbrook/batch.h"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

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

    bool empty() const { return items_.empty(); }
    std::size_t items() const { return items_.size(); }
    // Approximate bytes: what arrived, not what the columns take.
    std::size_t bytes() const { return bytes_; }
    std::size_t memory_bytes() const { return memory_bytes_; }
    // Of the first transaction since the log was empty; 0 before its commit.
    std::int64_t oldest_commit_time_us() const { return oldest_commit_time_us_; }

    // Changes that follow belong to this transaction, until the next call.
    void begin_transaction(const Transaction& transaction);
    // At its commit, with all that is known then.
    void commit_transaction(const Transaction& transaction);

    // The batch to which changes of this table version are to be appended; its last
    // transaction is the present one. Valid until the next call that is not add_bytes.
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
    // Its record that waits here, if there is one, says from now on that it stands there.
    void set_frozen_at(TableId table, Lsn position);
    // Or it is not said at all.
    void drop_freeze(TableId table);

    // Which changes are left out when they are read.
    struct Skip {
        enum class Part : std::uint8_t { nothing, everything, by_key };
        Skip() = default;
        Skip(std::nullptr_t) {}
        // Those of the transactions for which `skip` says true.
        template <class Predicate>
            requires std::is_invocable_r_v<bool, Predicate, const Transaction&>
        Skip(Predicate skip)
            : part([skip = std::move(skip)](const Transaction& transaction) {
                  return skip(transaction) ? Part::everything : Part::nothing;
              }) {}

        // What is left out of a transaction; empty: nothing of any.
        std::function<Part(const Transaction&)> part;
        // Of one by_key: whether what it does to the row of this key is left out; nothing where
        // that cannot be told. An update that changes the key is a removal of the old one and an
        // insert of the new one, of which one may be left out.
        std::function<std::optional<bool>(const Transaction&, const RowBatch&, std::size_t row)>
            key;
    };

    // Moves everything of `other` behind what is here. Its changes go to `copy` where
    // given, without those of `skip`. Between transactions of both.
    void append(ChangeLog other, const CopyTargetPtr& copy, Skip skip);
    // As append, with at most about `bytes` from the front of `other`. A flush of these
    // makes no commit of the source visible: it has no commit time.
    void append_front(ChangeLog& other, std::size_t bytes, const CopyTargetPtr& copy, Skip skip);

    // Everything so far as a flush; the log is empty afterwards.
    std::unique_ptr<Flush> finish(Lsn position);

 private:
    struct Item;
    class BuiltFlush;

    Item* find_open(TableId table);
    void close(TableId table);
    void close_tables_of(const Item& item);
    void count(Item& item, std::size_t bytes);
    void drop_present(Item& item);
    void move_items(ChangeLog& other, std::size_t count, const CopyTargetPtr& copy, Skip skip);
    Status spill_closed_items();

    SpillPolicy policy_;
    std::deque<std::unique_ptr<Item>> items_;
    Transaction present_;
    std::uint64_t number_ = 0;       // Of the present transaction, within this log.
    std::vector<Item*> of_present_;  // Batches with changes of it.
    Transaction newest_;             // Of those that have committed.
    std::int64_t oldest_commit_time_us_ = 0;
    std::size_t bytes_ = 0;
    std::size_t memory_bytes_ = 0;
    std::shared_ptr<SpillFile> file_;
    std::unordered_map<std::uint32_t, Item*> open_;  // By table oid.
};

}  // namespace walbrook
