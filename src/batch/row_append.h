#pragma once

#include "decode/pgoutput.h"
#include "decode/value.h"
#include "walbrook/batch.h"

#include <vector>

namespace walbrook {

// The decoders of a table's columns, chosen once for a schema version.
struct RowDecoders {
    // `places`: for each column as it is sent its index in the schema; empty: in that order.
    explicit RowDecoders(const TableSchema& schema, std::vector<std::size_t> places = {});
    std::vector<DecodeValue> text;
    std::vector<DecodeValue> binary;  // nullptr: this type does not come in binary.
    std::vector<std::size_t> places;
    bool all_binary = true;
};

// Appends one tuple of pgoutput to `rows`. Columns that Postgres did not send
// (unchanged TOAST) become null and, with `batch`, are marked as unchanged; without
// it they are malformed. On error the row is taken back.
Status append_tuple(const TupleView& tuple, const RowDecoders& decoders, bool is_key_only,
                    RowBatch& rows, ChangeBatch* batch);

}  // namespace walbrook
