#include "destinations/blackhole/checksum.h"

namespace walbrook {
namespace {

constexpr std::uint64_t kUnchanged = 0xA0761D6478BD642FULL;

std::uint64_t mix(std::uint64_t h) {
    h ^= h >> 32;
    h *= 0xE7037ED1A0B428DBULL;
    return h ^ h >> 29;
}

std::uint64_t salt_of(const RowBatch& rows, std::size_t column, std::uint64_t role) {
    return mix(rows.schema()->id.oid * 0x9E3779B97F4A7C15ULL + column * 8 + role);
}

}  // namespace

void ChangeChecksum::add_value(const Column& column, std::size_t row, std::uint64_t salt) {
    sum_ += mix(column.hash(row) ^ salt);
    ++values_;
}

void ChangeChecksum::add_copied(const RowBatch& rows) {
    for (std::size_t c = 0; c < rows.columns().size(); ++c) {
        const std::uint64_t salt = salt_of(rows, c, static_cast<std::uint64_t>(Role::copied));
        for (std::size_t row = 0; row < rows.rows(); ++row) {
            add_value(rows.columns()[c], row, salt);
        }
    }
}

void ChangeChecksum::add_changes(const ChangeBatch& batch) {
    // A row that no change names (its transaction was left out) does not count: it has
    // the role `copied`, which nothing in a change batch can have.
    new_roles_.assign(batch.new_rows.rows(), Role::copied);
    old_roles_.assign(batch.old_rows.rows(), Role::copied);
    for (const Change& change : batch.changes) {
        const bool is_update = change.kind == ChangeKind::update;
        if (change.new_row >= 0) {
            new_roles_.at(static_cast<std::size_t>(change.new_row)) =
                is_update ? Role::updated : Role::inserted;
        }
        if (change.old_row >= 0) {
            old_roles_.at(static_cast<std::size_t>(change.old_row)) =
                is_update ? Role::replaced : Role::removed;
        }
    }
    const auto add = [&](const RowBatch& rows, const std::vector<Role>& roles, bool is_new) {
        for (std::size_t c = 0; c < rows.columns().size(); ++c) {
            for (std::size_t row = 0; row < roles.size(); ++row) {
                if (roles[row] == Role::copied) continue;
                const std::uint64_t salt = salt_of(rows, c, static_cast<std::uint64_t>(roles[row]));
                const bool is_unchanged = is_new && batch.is_unchanged(c, row);
                add_value(rows.columns()[c], row, is_unchanged ? salt ^ kUnchanged : salt);
            }
        }
    };
    add(batch.new_rows, new_roles_, true);
    add(batch.old_rows, old_roles_, false);
}

}  // namespace walbrook
