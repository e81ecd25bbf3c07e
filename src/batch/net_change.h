#pragma once

#include "walbrook/batch.h"

#include <cstdint>
#include <memory>
#include <vector>

namespace walbrook {

// What a run of changes of one table comes to. To be applied in this order:
//   1. `merges` reads the rows that stand under its keys (before anything is deleted),
//   2. `deletes` go, 3. `inserts` and the merged rows come.
struct NetChange {
    explicit NetChange(const TableSchemaPtr& schema);

    // Rows that stood in the table before the run and must go. Keyed tables: only the
    // key columns are filled, each key once. Tables without a key: whole rows, a row
    // as often as it must be removed.
    RowBatch deletes;
    // Whole rows to be added.
    RowBatch inserts;
    // Rows to be added whose unchanged columns keep the value of the row that stands
    // under merge_keys (same index; that key is among `deletes` too).
    RowBatch merges;
    RowBatch merge_keys;                             // Only the key columns are filled.
    std::vector<std::vector<bool>> merge_unchanged;  // [column][row of merges]; true: keep.

    bool empty() const { return deletes.rows() == 0 && inserts.rows() == 0 && merges.rows() == 0; }
};

// Folds change batches of one table and one schema version, in commit order, into
// their net effect: the last write of a key wins, key changes and swaps come out
// right, partial rows (unchanged TOAST) are completed from earlier rows of the run
// where possible, tables without a key under REPLICA IDENTITY FULL are multisets.
//
// Two rows under one key. Postgres refuses a deferrable index as replica identity
// (RelationGetIndexList, "cannot use non-immediate index"), so where old rows hold
// only the key it is unique after every single change: update 1 -> 2, update 2 -> 1
// is one row that went there and back. Under FULL the primary key may be deferrable,
// and the same two messages may be two rows that changed places; there the whole old
// row tells which of them is meant. So FULL tables with such a key would have to be fed whole
// transactions between one finish() and the next, which may be too large: read_table_schemas
// gives them none, and they are multisets. All others may be cut anywhere.
//
// Tables that are partly published (TableSchema) may lack rows that changes name, and have rows
// that are gone at the source. There a row that comes to a key takes the place of whatever is
// under it, an update whose row is not there adds it (unless a value of it was not sent, which
// nobody has), and what is not there is not deleted: `deletes` and `merge_keys` may name rows
// that the table does not have. Their keys are unique after every single change.
//
// A run of inserts only, by far the most common one, is neither hashed nor checked.
class NetChangeBuilder {
 public:
    explicit NetChangeBuilder(TableSchemaPtr schema);
    ~NetChangeBuilder();
    NetChangeBuilder(NetChangeBuilder&&) noexcept;
    NetChangeBuilder& operator=(NetChangeBuilder&&) noexcept;

    // ErrorCode::schema_mismatch (with the table) for a change that cannot be: in a table that is
    // published with all operations an update or delete that names no row, an insert of a key that
    // the run shows to exist. The batch need not outlive the call. After an error the builder is of
    // no use any more.
    Status add(const ChangeBatch& batch);
    // Takes the rows over instead of copying them where it can.
    Status add(ChangeBatch&& batch);
    // Memory held, for the caller's budget: finish() and go on when it is too much. A
    // run must stay below 2 GiB, the most that one column can hold (ErrorCode::internal).
    std::size_t bytes() const;
    // The net effect of all that was added since the last finish(); the builder is empty
    // again. A TRUNCATE between batches is applied by the caller: finish() what came
    // before. ErrorCode::schema_mismatch when two rows stand under one key at the end.
    Result<NetChange> finish();

 private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace walbrook
