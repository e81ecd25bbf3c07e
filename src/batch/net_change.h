#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "walbrook/batch.h"

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
    RowBatch merge_keys;  // Only the key columns are filled.
    std::vector<std::vector<bool>> merge_unchanged;  // [column][row of merges]; true: keep.

    bool empty() const { return deletes.rows() == 0 && inserts.rows() == 0 && merges.rows() == 0; }
};

// Folds change batches of one table and one schema version, in commit order, into
// their net effect: the last write of a key wins, key changes and swaps come out
// right, partial rows (unchanged TOAST) are completed from earlier rows of the run
// where possible, tables without a key under REPLICA IDENTITY FULL are multisets.
class NetChangeBuilder {
 public:
    explicit NetChangeBuilder(TableSchemaPtr schema);
    ~NetChangeBuilder();

    // ErrorCode::schema_mismatch (with the table) for a change that cannot be: an
    // update or delete that names no row, an insert of a key that the run shows to
    // exist. The batch need not outlive the call.
    Status add(const ChangeBatch& batch);
    // A TRUNCATE between batches is applied by the caller: finish() what came before.
    NetChange finish();

 private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace walbrook
