#pragma once

#include "walbrook/batch.h"

#include <span>

namespace walbrook::internal {

// The content of a record that holds a change batch: counts first, then every field of
// the changes and every buffer of the columns in a piece, which compresses well.
void encode_batch(const ChangeBatch& batch, Buffer& out);

// ErrorCode::corrupt_state when the bytes are not a batch of this schema; never reads
// beyond them.
Result<ChangeBatch> decode_batch(std::span<const std::byte> bytes, const TableSchemaPtr& schema);

}  // namespace walbrook::internal
