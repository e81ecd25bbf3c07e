// A batch, in the byte order of the machine:
//
//   u64 changes, u64 transactions, u64 rows of new_rows, u64 rows of old_rows, u64 columns
//   transactions: commit_lsn u64, end_lsn u64, commit_time_us i64, xid u32 each
//   changes: kind u8 each, old_is_full u8 each, transaction u32 each, new_row i32 each,
//            old_row i32 each, ordinal u64 each
//   new_rows, old_rows: per column a *column*
//   u64 bitmaps of unchanged values (0, or one a column), each: u64 bits, bits / 8 bytes
//
// A column, and after a list's the column of its elements:
//
//   u8 kind, u8 is_list, u8 precision, i8 scale, u64 rows, u64 nulls
//   validity (rows / 8 bytes) if there are nulls; offsets (i32, rows + 1) if the kind has
//   them; u64 bytes, values

#include "batch/spill_batch.h"

#include <fmt/format.h>

#include <cstring>
#include <limits>
#include <string_view>
#include <utility>

namespace walbrook::internal {
namespace {

std::size_t bytes_for_bits(std::size_t bits) { return bits / 8 + (bits % 8 != 0 ? 1 : 0); }

// --- Writing.

template <class Get>
void put_each(const std::vector<Change>& changes, Buffer& out, Get get) {
    out.reserve(changes.size() * sizeof(get(changes[0])));
    for (const Change& change : changes) out.append_value_unchecked(get(change));
}

constexpr std::size_t kTransactionBytes = 28;

void put_transaction(const Transaction& transaction, Buffer& out) {
    out.append_value(transaction.commit_lsn.value);
    out.append_value(transaction.end_lsn.value);
    out.append_value(transaction.commit_time_us);
    out.append_value(transaction.xid);
}

void put_column(const Column& column, Buffer& out) {
    const ColumnType& type = column.type();
    out.append_value(static_cast<std::uint8_t>(type.kind));
    out.append_value(static_cast<std::uint8_t>(type.is_list));
    out.append_value(type.precision);
    out.append_value(type.scale);
    out.append_value<std::uint64_t>(column.size());
    out.append_value<std::uint64_t>(column.null_count());
    if (column.null_count() != 0) out.append(column.validity(), bytes_for_bits(column.size()));
    out.append(column.offsets().data(), column.offsets().size());
    out.append_value<std::uint64_t>(column.values().size());
    out.append(column.values().data(), column.values().size());
    if (type.is_list) put_column(column.element(), out);
}

void put_bitmap(const std::vector<bool>& bits, Buffer& out) {
    out.append_value<std::uint64_t>(bits.size());
    for (std::size_t i = 0; i < bits.size(); i += 8) {
        unsigned byte = 0;
        for (std::size_t k = 0; k < 8 && i + k < bits.size(); ++k)
            byte |= (bits[i + k] ? 1U : 0U) << k;
        out.append_value(static_cast<std::uint8_t>(byte));
    }
}

// --- Reading.

// Takes bytes from the front. The first that is missing makes it fail, and from then on
// it gives zeros.
class Input {
 public:
    explicit Input(std::span<const std::byte> bytes) : rest_(bytes) {}
    bool failed() const { return failed_; }
    void fail() { failed_ = true; }
    bool at_end() const { return rest_.empty(); }

    std::span<const std::byte> take(std::uint64_t n) {
        if (failed_ || n > rest_.size()) {
            failed_ = true;
            return {};
        }
        const auto taken = rest_.first(static_cast<std::size_t>(n));
        rest_ = rest_.subspan(static_cast<std::size_t>(n));
        return taken;
    }
    // `count` values of `width` bytes.
    std::span<const std::byte> take_array(std::uint64_t count, std::size_t width) {
        if (count > rest_.size()) failed_ = true;  // And count * width cannot overflow.
        return take(failed_ ? 0 : count * width);
    }
    template <class T>
    T value() {
        T value{};
        const auto from = take(sizeof(T));
        if (!failed_) std::memcpy(&value, from.data(), sizeof(T));
        return value;
    }

 private:
    std::span<const std::byte> rest_;
    bool failed_ = false;
};

template <class T>
T nth(std::span<const std::byte> array, std::size_t i) {
    T value;
    std::memcpy(&value, array.data() + i * sizeof(T), sizeof(T));
    return value;
}

bool bit(std::span<const std::byte> bits, std::size_t i) {
    return (std::to_integer<unsigned>(bits[i >> 3]) >> (i & 7) & 1U) != 0;
}

// The pieces of a column as they lie in the input, checked so far that every value of
// [0, rows) can be read.
struct ColumnPieces {
    std::size_t rows = 0;
    std::span<const std::byte> validity;  // Empty: nothing is null.
    std::span<const std::byte> offsets;
    std::span<const std::byte> values;
    std::unique_ptr<ColumnPieces> element;

    bool is_null(std::size_t row) const { return !validity.empty() && !bit(validity, row); }
    std::size_t offset(std::size_t row) const {
        return static_cast<std::size_t>(nth<std::int32_t>(offsets, row));
    }
};

bool has_bytes(TypeKind kind) {
    return kind == TypeKind::text || kind == TypeKind::bytes || kind == TypeKind::json;
}

bool are_offsets_good(const ColumnPieces& pieces, std::size_t end) {
    std::int32_t previous = 0;
    for (std::size_t i = 0; i <= pieces.rows; ++i) {
        const auto offset = nth<std::int32_t>(pieces.offsets, i);
        if (offset < previous) return false;
        previous = offset;
    }
    return std::cmp_equal(previous, end);
}

ColumnPieces take_column(Input& in, const ColumnType& type) {
    ColumnPieces pieces;
    ColumnType found;
    found.kind = static_cast<TypeKind>(in.value<std::uint8_t>());
    found.is_list = in.value<std::uint8_t>() != 0;
    found.precision = in.value<std::uint8_t>();
    found.scale = in.value<std::int8_t>();
    const auto rows = in.value<std::uint64_t>();
    const auto nulls = in.value<std::uint64_t>();
    if (found != type || nulls > rows) in.fail();
    if (nulls != 0) pieces.validity = in.take(bytes_for_bits(rows));
    if (type.is_list || has_bytes(type.kind)) {
        pieces.offsets = in.take_array(rows + 1, sizeof(std::int32_t));
    }
    pieces.values = in.take(in.value<std::uint64_t>());
    if (in.failed()) return {};
    pieces.rows = static_cast<std::size_t>(rows);
    if (type.is_list) {
        ColumnType element = type;
        element.is_list = false;
        pieces.element = std::make_unique<ColumnPieces>(take_column(in, element));
        if (!in.failed() && !are_offsets_good(pieces, pieces.element->rows)) in.fail();
    } else if (has_bytes(type.kind)) {
        if (!are_offsets_good(pieces, pieces.values.size())) in.fail();
    } else {
        const std::size_t wanted = type.kind == TypeKind::boolean
                                       ? bytes_for_bits(pieces.rows)
                                       : pieces.rows * value_width(type.kind);
        if (pieces.values.size() != wanted) in.fail();
    }
    return in.failed() ? ColumnPieces{} : std::move(pieces);
}

void append_value(const ColumnPieces& pieces, std::size_t row, Column& to) {
    if (pieces.is_null(row)) return to.append_null();
    if (to.type().is_list) {
        for (std::size_t i = pieces.offset(row); i < pieces.offset(row + 1); ++i) {
            append_value(*pieces.element, i, to.element());
        }
        return to.append_list_end();
    }
    if (has_bytes(to.type().kind)) {
        const std::size_t from = pieces.offset(row);
        return to.append_bytes({reinterpret_cast<const char*>(pieces.values.data()) + from,
                                pieces.offset(row + 1) - from});
    }
    if (to.type().kind == TypeKind::boolean) return to.append_bool(bit(pieces.values, row));
    const std::size_t width = value_width(to.type().kind);
    to.append_fixed_bytes(pieces.values.data() + row * width, width);
}

void take_rows(Input& in, std::uint64_t rows, RowBatch& to) {
    for (Column& column : to.columns()) {
        const ColumnPieces pieces = take_column(in, column.type());
        if (!in.failed() && pieces.rows != rows) in.fail();
        if (in.failed()) return;
        for (std::size_t row = 0; row < pieces.rows; ++row) append_value(pieces, row, column);
    }
    for (std::uint64_t i = 0; to.columns().empty() && i < rows; ++i) to.append_empty_row();
}

void take_transactions(Input& in, std::uint64_t count, std::vector<Transaction>& to) {
    Input from(in.take_array(count, kTransactionBytes));
    if (in.failed()) return;
    to.resize(static_cast<std::size_t>(count));
    for (Transaction& each : to) {
        each.commit_lsn = {from.value<std::uint64_t>()};
        each.end_lsn = {from.value<std::uint64_t>()};
        each.commit_time_us = from.value<std::int64_t>();
        each.xid = from.value<std::uint32_t>();
    }
}

void take_changes(Input& in, std::uint64_t count, std::vector<Change>& to) {
    const auto kinds = in.take_array(count, 1);
    const auto fulls = in.take_array(count, 1);
    const auto transactions = in.take_array(count, sizeof(std::uint32_t));
    const auto new_rows = in.take_array(count, sizeof(std::int32_t));
    const auto old_rows = in.take_array(count, sizeof(std::int32_t));
    const auto ordinals = in.take_array(count, sizeof(std::uint64_t));
    if (in.failed()) return;
    to.resize(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < to.size(); ++i) {
        const auto kind = nth<std::uint8_t>(kinds, i);
        if (kind > static_cast<std::uint8_t>(ChangeKind::remove)) return in.fail();
        to[i] = {.kind = static_cast<ChangeKind>(kind),
                 .old_is_full = nth<std::uint8_t>(fulls, i) != 0,
                 .transaction = nth<std::uint32_t>(transactions, i),
                 .new_row = nth<std::int32_t>(new_rows, i),
                 .old_row = nth<std::int32_t>(old_rows, i),
                 .ordinal = nth<std::uint64_t>(ordinals, i)};
    }
}

void take_unchanged(Input& in, ChangeBatch& batch) {
    const auto count = in.value<std::uint64_t>();
    if (count != 0 && count != batch.new_rows.columns().size()) return in.fail();
    batch.unchanged.resize(static_cast<std::size_t>(count));
    for (std::vector<bool>& bitmap : batch.unchanged) {
        const auto bits = in.value<std::uint64_t>();
        if (bits > batch.new_rows.rows()) return in.fail();
        const auto bytes = in.take(bytes_for_bits(static_cast<std::size_t>(bits)));
        if (in.failed()) return;
        bitmap.resize(static_cast<std::size_t>(bits));
        for (std::size_t i = 0; i < bitmap.size(); ++i) bitmap[i] = bit(bytes, i);
    }
}

bool are_references_good(const ChangeBatch& batch) {
    for (const Change& change : batch.changes) {
        if (change.transaction >= batch.transactions.size() || change.new_row < -1 ||
            std::cmp_less_equal(batch.new_rows.rows(), change.new_row + 0LL) ||
            change.old_row < -1 ||
            std::cmp_less_equal(batch.old_rows.rows(), change.old_row + 0LL)) {
            return false;
        }
    }
    return true;
}

}  // namespace

void encode_batch(const ChangeBatch& batch, Buffer& out) {
    out.append_value<std::uint64_t>(batch.changes.size());
    out.append_value<std::uint64_t>(batch.transactions.size());
    out.append_value<std::uint64_t>(batch.new_rows.rows());
    out.append_value<std::uint64_t>(batch.old_rows.rows());
    out.append_value<std::uint64_t>(batch.new_rows.columns().size());
    for (const Transaction& transaction : batch.transactions) put_transaction(transaction, out);
    put_each(batch.changes, out, [](const Change& c) { return static_cast<std::uint8_t>(c.kind); });
    put_each(batch.changes, out, [](const Change& c) { return std::uint8_t{c.old_is_full}; });
    put_each(batch.changes, out, [](const Change& c) { return c.transaction; });
    put_each(batch.changes, out, [](const Change& c) { return c.new_row; });
    put_each(batch.changes, out, [](const Change& c) { return c.old_row; });
    put_each(batch.changes, out, [](const Change& c) { return c.ordinal; });
    for (const Column& column : batch.new_rows.columns()) put_column(column, out);
    for (const Column& column : batch.old_rows.columns()) put_column(column, out);
    out.append_value<std::uint64_t>(batch.unchanged.size());
    for (const std::vector<bool>& bitmap : batch.unchanged) put_bitmap(bitmap, out);
}

Result<ChangeBatch> decode_batch(std::span<const std::byte> bytes, const TableSchemaPtr& schema) {
    Input in(bytes);
    ChangeBatch batch(schema);
    const auto changes = in.value<std::uint64_t>();
    const auto transactions = in.value<std::uint64_t>();
    const auto new_rows = in.value<std::uint64_t>();
    const auto old_rows = in.value<std::uint64_t>();
    if (in.value<std::uint64_t>() != schema->columns.size()) in.fail();
    take_transactions(in, transactions, batch.transactions);
    take_changes(in, changes, batch.changes);
    // A table without columns has no bytes that would bound its rows; Change does.
    constexpr std::uint64_t kRowsMax = std::numeric_limits<std::int32_t>::max();
    if (new_rows > kRowsMax || old_rows > kRowsMax) in.fail();
    if (!in.failed()) take_rows(in, new_rows, batch.new_rows);
    if (!in.failed()) take_rows(in, old_rows, batch.old_rows);
    if (!in.failed()) take_unchanged(in, batch);
    if (in.failed() || !in.at_end() || !are_references_good(batch)) {
        return Error(ErrorCode::corrupt_state,
                     fmt::format("read changes of {} from a spill file: the record does not hold "
                                 "changes of this table's columns",
                                 schema->display_name()));
    }
    return batch;
}

}  // namespace walbrook::internal
