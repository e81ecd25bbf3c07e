#pragma once

#include "decode/copy_binary.h"
#include "postgres/catalog.h"
#include "postgres/snapshot.h"
#include "source/large_reads.h"
#include "walbrook/batch.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace walbrook {

// A run of blocks of one physical table: one unit of a copy.
struct CopyUnitRange {
    PhysicalTable table;
    std::uint64_t first_block = 0;
    std::optional<std::uint64_t> end_block;  // Nothing: to the end, wherever that is.
    std::uint64_t size_blocks = 0;           // Of the whole table when the copy was planned.
    bool ranges = true;  // False: the server cannot scan by ctid range; read it at once.
};

// Where a copy in ranges of the key stands. Each range is read in a transaction with a snapshot of
// its own. Goes from unit to unit.
struct KeyCursor {
    std::int16_t attnum = 0;           // Of the key's first column.
    std::optional<std::string> after;  // The end of the last range, as Postgres prints it.
    bool at_end = false;               // The last range was open.
    std::uint64_t rows = 10'000;       // About so many are in the next range.
    std::uint64_t row_bytes = 100;     // About so many has one.
};

// A range that was read: from where the one before ended.
struct KeyRange {
    std::optional<std::string> up_to;  // In it; nothing: it was the last one, which is open.
    OwnSnapshot snapshot;
};

struct UnitReaderOptions {
    static constexpr std::uint64_t kFirstStepBlocks = 1024;  // 8 MiB
    TableSchemaPtr schema;                                   // As of the snapshot.
    TableShape shape;                                        // As of the snapshot.
    std::string snapshot;                                    // Its exported name; not by key.
    std::string row_filter;                                  // SQL, or empty.
    std::chrono::milliseconds yield{2000};                   // About how long one lock is kept.
    // How many blocks the first transaction reads; what step() of the last reader said.
    std::uint64_t step_blocks = kFirstStepBlocks;
    // About what one range should bring at most; 0: any size.
    std::uint64_t range_bytes = 0;
    // Before each range, when no lock is held: may wait; told how many bytes its blocks have. An
    // error ends the unit.
    std::function<Status(std::uint64_t)> before_range;
    // While the table is locked by somebody else, when no lock of ours is held: waits about so
    // long. An error ends the unit.
    std::function<Status(std::chrono::milliseconds)> wait_for_lock;
    // After each range: the blocks' bytes as before, and those of COPY data that came.
    std::function<void(std::uint64_t, std::uint64_t)> after_range;
    // After each batch, with its rows; an error ends the unit.
    std::function<Status(std::size_t)> on_batch;

    // Reads ranges of the key instead of blocks, about unit_bytes of them, and moves the cursor.
    KeyCursor* keys = nullptr;
    std::uint64_t unit_bytes = 0;
    // By key, in each range's transaction, which has locked the table: an error ends the unit.
    std::function<Status(Connection&, const Deadline&)> check_range;
    std::function<Status(const KeyRange&)> after_key_range;
};

// Whether the server would read a ctid range without reading the whole table.
Result<bool> has_tid_range_scan(Connection& connection, const PhysicalTable& table,
                                const Deadline& deadline);

// Reads a unit in short transactions that all see the same snapshot. Each takes ACCESS
// SHARE without waiting (and tries again later if the user's DDL is there), compares
// the table with the snapshot's shape, and copies some blocks. Between them no lock is
// held: a migration waits for one range, never for the copy.
//
// By key (UnitReaderOptions::keys) each of these transactions has a snapshot of its own, taken
// when the table is locked: so it shows the table as it is.
//
// ErrorCode::aborted: the snapshot is gone, or the table is not what it was (another
// filenode after a rewrite or TRUNCATE, a dropped column, other leaves): copy it again.
class UnitReader final : public RowReader {
 public:
    UnitReader(Connection& connection, CopyUnitRange range, UnitReaderOptions options,
               std::stop_token stop);
    ~UnitReader() override;

    // Blocks that take about as long as a lock may be kept.
    std::uint64_t step() const { return step_; }

    const TableSchemaPtr& schema() const override { return options_.schema; }
    Result<const RowBatch*> next() override;

 private:
    Status begin_range();
    Status lock_and_compare(const Deadline& deadline);
    Status begin_transaction(const Deadline& deadline);
    Status begin_key_range(const Deadline& deadline);
    Result<std::string> key_condition() const;
    Result<std::string> key_name() const;
    Status end_key_range();
    void adapt_keys();
    Result<std::string> copy_statement(const TableShape& now);
    Result<bool> read_some();
    Status end_range();
    Status check_name(const Deadline& deadline);
    void adapt_step();
    std::uint64_t expected_bytes() const;

    Connection& connection_;
    const CopyUnitRange range_;
    const UnitReaderOptions options_;
    const std::stop_token stop_;

    std::uint64_t next_block_;
    std::uint64_t step_;                      // Blocks of the next transaction.
    std::optional<std::uint64_t> range_end_;  // Of the running one; nothing: open.
    bool in_range_ = false;
    bool at_end_ = false;
    std::chrono::steady_clock::time_point range_began_;
    std::uint64_t range_expected_ = 0;  // Bytes of the blocks of the running one.
    std::uint64_t range_came_ = 0;      // COPY data of it.
    TableShape now_;

    // By key.
    KeyRange key_range_;
    std::uint64_t range_rows_ = 0;
    std::uint64_t unit_came_ = 0;

    std::unique_ptr<BinaryCopyParser> parser_;
    Buffer bytes_;                           // From the socket, not parsed yet.
    std::size_t used_ = 0;                   // Of bytes_.
    std::optional<LargeReads> large_reads_;  // While in a range.
    Instant last_bytes_{};
    RowBatch batch_;
    std::optional<Error> failed_;
};

}  // namespace walbrook
