// How it works. All new rows of the run go into one batch, the *versions*, in bulk. A
// LogicalRow is one row of the table as it wanders through the run: it knows its newest
// version and, if it stood in the table before the run, the key it had there (its
// origin). Keys lead to the rows that stand under them at this moment. A version with
// unchanged columns points back to the version before it, and the values are looked up
// at the end, when it is known which versions are still wanted.

#include "batch/net_change.h"

#include "base/check.h"
#include "base/narrow.h"
#include "batch/net_change_columns.h"
#include "batch/net_change_keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <numeric>
#include <string_view>
#include <utility>

namespace walbrook {

using internal::Key;
using internal::KeyTable;
using internal::kNone;
using internal::Origin;

namespace {

using Bitmaps = std::vector<std::vector<bool>>;

constexpr std::int32_t kGone = -2;  // LogicalRow::version of a row that was deleted.

std::size_t index(std::int32_t number) {
    WALBROOK_CHECK(number >= 0);
    return static_cast<std::size_t>(number);
}

bool get(const Bitmaps& bitmaps, std::size_t column, std::size_t row) {
    return column < bitmaps.size() && row < bitmaps[column].size() && bitmaps[column][row];
}

void set(Bitmaps& bitmaps, std::size_t columns, std::size_t column, std::size_t row) {
    if (bitmaps.empty()) bitmaps.resize(columns);
    if (bitmaps[column].size() <= row) bitmaps[column].resize(row + 1);
    bitmaps[column][row] = true;
}

struct LogicalRow {
    std::int32_t version = kNone;  // Newest content; kNone: as it stands in the table.
    std::int32_t origin = kNone;   // Index of its key in `origins`; kNone: born in the run.
    std::int32_t next = kNone;     // The next row under the same key.
    // Partly published: it is there only if its origin is, for it was never sent whole since.
    bool needs_origin = false;
};

}  // namespace

NetChange::NetChange(const TableSchemaPtr& schema)
    : deletes(schema),
      inserts(schema),
      merges(schema),
      merge_keys(schema),
      merge_unchanged(schema->columns.size()) {}

struct NetChangeBuilder::State {
    explicit State(TableSchemaPtr table);

    Status add(const ChangeBatch& batch, ChangeBatch* take_from);
    Result<NetChange> finish();
    std::size_t bytes() const;

 private:
    // Which key a function is asked about: that of a row of a batch.
    struct Probe {
        const RowBatch& batch;
        std::size_t row;
    };

    void take_rows(const ChangeBatch& batch, ChangeBatch* take_from);
    Status start_index();
    Status apply(const ChangeBatch& batch, const Change& change, std::int32_t first_version);
    Status insert(std::int32_t version);
    Status update(const ChangeBatch& batch, const Change& change, std::int32_t version);
    Status remove(const ChangeBatch& batch, const Change& change);
    Status change_balance(const ChangeBatch& batch, const Change& change, std::int32_t version);

    std::uint64_t hash(Probe probe) const;
    const Column& at(const Key& key, std::size_t i, std::size_t* row) const;
    bool is_key(const Key& key, Probe probe) const;
    std::int32_t find_or_add(Probe probe, std::int32_t place_if_new);
    std::int32_t find_or_add_origin(Probe probe);
    std::int32_t add_origin(Probe probe);

    Result<std::int32_t> pick(std::int32_t key, Probe old_row, bool is_full);
    bool is_row(const LogicalRow& row, Probe old_row) const;
    Status place(std::int32_t key, std::int32_t row);
    void vacate(std::int32_t key);
    bool is_gone(std::int32_t key) const;
    void unlink(std::int32_t key, std::int32_t row);

    bool has_unchanged(const ChangeBatch& batch, std::size_t new_row) const;
    std::int32_t complete_from_old(const ChangeBatch& batch, const Change& change,
                                   std::int32_t version);
    std::int32_t resolve(std::size_t column, std::int32_t version) const;

    Status finish_keyed(NetChange& net);
    void finish_keyless(NetChange& net);
    void gather(RowBatch& to, const std::vector<std::int32_t>& rows, Bitmaps* keep);
    void gather_keys(RowBatch& to, const std::vector<std::int32_t>& origin_rows) const;
    Error mismatch(std::string_view what) const;
    void clear();

    TableSchemaPtr schema_;
    bool is_full_;                  // REPLICA IDENTITY FULL.
    bool is_partly_;                // Rows may be missing, or in the way.
    bool is_keyed_;                 // Else a multiset, or a table that only takes inserts.
    std::vector<std::size_t> key_;  // Columns that are compared; keyless: all of them.

    RowBatch versions_;
    Bitmaps unchanged_;                   // Of versions_, as ChangeBatch::unchanged.
    std::vector<std::int32_t> previous_;  // Of versions_, where something is unchanged.
    std::vector<Column> origins_;         // One column an entry of key_.
    std::size_t origin_count_ = 0;
    // Until the first update or delete there is nothing to look up, and this is empty.
    bool is_indexed_ = false;
    std::vector<LogicalRow> rows_;
    KeyTable table_;
};

NetChangeBuilder::State::State(TableSchemaPtr table)
    : schema_(std::move(table)),
      is_full_(schema_->replica_identity == ReplicaIdentity::full),
      is_partly_(schema_->partly_published),
      key_(schema_->key_columns()),
      versions_(schema_) {
    is_keyed_ = !key_.empty();
    if (!is_keyed_) {
        key_.resize(schema_->columns.size());
        std::iota(key_.begin(), key_.end(), std::size_t{0});
    }
    for (const std::size_t column : key_) origins_.emplace_back(schema_->columns[column].type);
}

Error NetChangeBuilder::State::mismatch(std::string_view what) const {
    return Error(ErrorCode::schema_mismatch,
                 fmt::format("fold the changes of {}: {}", schema_->display_name(), what))
        .with_table(schema_->id.oid);
}

std::size_t NetChangeBuilder::State::bytes() const {
    std::size_t sum = versions_.bytes() + table_.bytes() + rows_.size() * sizeof(LogicalRow) +
                      previous_.size() * sizeof(std::int32_t);
    for (const Column& column : origins_) sum += column.bytes();
    for (const auto& bitmap : unchanged_) sum += bitmap.size() / 8;
    return sum;
}

// --- Taking batches in.

Status NetChangeBuilder::State::add(const ChangeBatch& batch, ChangeBatch* take_from) {
    WALBROOK_CHECK(batch.new_rows.columns().size() == schema_->columns.size());
    constexpr std::size_t kBytesMax = std::numeric_limits<std::int32_t>::max();
    // Twice the old rows: they may be needed as origins and to complete new rows, of which there is
    // another one then.
    const std::size_t copies = batch.has_unchanged() && batch.old_rows.rows() != 0 ? 2 : 1;
    if (bytes() + copies * batch.new_rows.bytes() + 2 * batch.old_rows.bytes() > kBytesMax) {
        // The caller finishes long before: this is one change.
        return Error(ErrorCode::unsupported_value,
                     fmt::format("fold the changes of {}: a row and what it was before have more "
                                 "than 2 GiB together; make its values smaller, or give the table "
                                 "a key and REPLICA IDENTITY DEFAULT",
                                 schema_->display_name()))
            .with_table(schema_->id.oid);
    }
    bool only_inserts = batch.changes.size() == batch.new_rows.rows() && !batch.has_unchanged();
    for (std::size_t i = 0; i < batch.changes.size() && only_inserts; ++i) {
        const Change& change = batch.changes[i];
        only_inserts = change.kind == ChangeKind::insert && std::cmp_equal(change.new_row, i);
    }
    // Where rows may be in the way each key counts.
    const bool needs_index = !only_inserts || (is_partly_ && is_keyed_);
    if (needs_index && !is_indexed_) WALBROOK_RETURN_IF_ERROR(start_index());

    const auto first = narrow<std::int32_t>(versions_.rows());
    ChangeBatch* take = versions_.rows() == 0 && only_inserts ? take_from : nullptr;
    take_rows(batch, take);
    if (!is_indexed_) return {};
    if (take != nullptr) {
        for (std::int32_t i = 0; std::cmp_less(i, versions_.rows()); ++i) {
            WALBROOK_RETURN_IF_ERROR(insert(i));
        }
        return {};
    }
    for (const Change& change : batch.changes) {
        WALBROOK_RETURN_IF_ERROR(apply(batch, change, first));
    }
    return {};
}

void NetChangeBuilder::State::take_rows(const ChangeBatch& batch, ChangeBatch* take_from) {
    const std::size_t first = versions_.rows();
    const std::size_t count = batch.new_rows.rows();
    if (take_from != nullptr) {
        std::swap(versions_, take_from->new_rows);
        return;
    }
    for (std::size_t c = 0; c < schema_->columns.size(); ++c) {
        append_range(versions_.columns()[c], batch.new_rows.columns()[c], 0, count);
        if (c >= batch.unchanged.size()) continue;
        for (std::size_t row = 0; row < batch.unchanged[c].size(); ++row) {
            if (batch.unchanged[c][row]) set(unchanged_, schema_->columns.size(), c, first + row);
        }
    }
    if (schema_->columns.empty()) {
        for (std::size_t i = 0; i < count; ++i) versions_.append_empty_row();
    }
}

// The first change that is not an insert makes the keys of all inserts before it known.
Status NetChangeBuilder::State::start_index() {
    is_indexed_ = true;
    const auto count = narrow<std::int32_t>(versions_.rows());
    for (std::int32_t version = 0; version < count; ++version) {
        WALBROOK_RETURN_IF_ERROR(insert(version));
    }
    return {};
}

Status NetChangeBuilder::State::apply(const ChangeBatch& batch, const Change& change,
                                      std::int32_t first_version) {
    const bool needs_new = change.kind != ChangeKind::remove;
    if (needs_new &&
        (change.new_row < 0 || std::cmp_greater_equal(change.new_row, batch.new_rows.rows()))) {
        return mismatch("an insert or update without its new row");
    }
    if (std::cmp_greater_equal(change.old_row, batch.old_rows.rows()) && change.old_row >= 0) {
        return mismatch("an old row that is not in its batch");
    }
    const std::int32_t version = needs_new ? first_version + change.new_row : kNone;
    if (change.kind == ChangeKind::insert) {
        if (has_unchanged(batch, index(change.new_row))) {
            return mismatch("an insert with unchanged values");
        }
        return insert(version);
    }
    if (!is_keyed_) return change_balance(batch, change, version);
    return change.kind == ChangeKind::update ? update(batch, change, version)
                                             : remove(batch, change);
}

Status NetChangeBuilder::State::insert(std::int32_t version) {
    const std::int32_t key = find_or_add({versions_, index(version)}, version);
    if (!is_keyed_) {
        ++table_.keys()[index(key)].balance;
        return {};
    }
    rows_.push_back({.version = version});
    return place(key, static_cast<std::int32_t>(rows_.size() - 1));
}

Status NetChangeBuilder::State::update(const ChangeBatch& batch, const Change& change,
                                       std::int32_t version) {
    const std::size_t new_row = index(change.new_row);
    const bool has_old = change.old_row >= 0;
    const bool old_is_full = has_old && change.old_is_full;
    bool is_partial = has_unchanged(batch, new_row);
    if (is_partial && has_old) version = complete_from_old(batch, change, version);
    if (is_partial) {
        is_partial = false;
        for (std::size_t c = 0; c < unchanged_.size(); ++c) {
            is_partial = is_partial || get(unchanged_, c, index(version));
        }
        for (const std::size_t c : key_) {
            if (get(unchanged_, c, index(version))) {
                return mismatch("an update whose key is an unchanged value, without old row");
            }
        }
    }
    const Probe new_key{versions_, index(version)};
    const Probe old_key = has_old ? Probe{batch.old_rows, index(change.old_row)} : new_key;
    const std::int32_t from = find_or_add_origin(old_key);
    if (is_gone(from)) {
        const std::int32_t to = has_old ? find_or_add(new_key, version) : from;
        vacate(to);
        // What was not sent nobody has.
        if (is_partial) return {};
        rows_.push_back({.version = version});
        return place(to, static_cast<std::int32_t>(rows_.size() - 1));
    }
    WALBROOK_TRY(const std::int32_t row, pick(from, old_key, old_is_full));
    if (is_partial) {
        if (previous_.size() <= index(version)) previous_.resize(index(version) + 1, kNone);
        previous_[index(version)] = rows_[index(row)].version;
    }
    LogicalRow& changed = rows_[index(row)];
    changed.needs_origin =
        is_partly_ && is_partial && (changed.needs_origin || changed.version == kNone);
    changed.version = version;
    if (!has_old) return {};
    const std::int32_t to = find_or_add(new_key, version);
    if (to == from) return {};
    unlink(from, row);
    return place(to, row);
}

Status NetChangeBuilder::State::remove(const ChangeBatch& batch, const Change& change) {
    if (change.old_row < 0) return mismatch("a delete without an old row");
    const Probe old_key{batch.old_rows, index(change.old_row)};
    const std::int32_t key = find_or_add_origin(old_key);
    if (is_gone(key)) return {};
    WALBROOK_TRY(const std::int32_t row, pick(key, old_key, change.old_is_full));
    unlink(key, row);
    rows_[index(row)].version = kGone;
    return {};
}

// Tables without a key: equal rows are interchangeable, so counting them is exact.
Status NetChangeBuilder::State::change_balance(const ChangeBatch& batch, const Change& change,
                                               std::int32_t version) {
    if (!is_full_) {
        return mismatch(
            "an update or delete in a table without a replica identity; set "
            "one (ALTER TABLE … REPLICA IDENTITY) and resync the table");
    }
    if (change.old_row < 0 || !change.old_is_full) {
        return mismatch(
            "an update or delete without the whole old row, which a table "
            "without a key needs");
    }
    const std::int32_t old_row = find_or_add_origin({batch.old_rows, index(change.old_row)});
    Key& old = table_.keys()[index(old_row)];
    old.lowest = std::min(old.lowest, --old.balance);
    if (change.kind == ChangeKind::remove) return {};
    if (has_unchanged(batch, index(change.new_row))) {
        version = complete_from_old(batch, change, version);
    }
    return insert(version);
}

// --- Keys.

std::uint64_t NetChangeBuilder::State::hash(Probe probe) const {
    std::uint64_t h = 0;
    for (const std::size_t column : key_) {
        h = (h ^ probe.batch.columns()[column].hash(probe.row)) * 0x9E3779B97F4A7C15ULL;
        h ^= h >> 32;
    }
    return h;
}

// Where the i-th value of a key stands: `at` is a version, or ~origin.
const Column& NetChangeBuilder::State::at(const Key& key, std::size_t i, std::size_t* row) const {
    *row = index(key.at >= 0 ? key.at : ~key.at);
    return key.at >= 0 ? versions_.columns()[key_[i]] : origins_[i];
}

bool NetChangeBuilder::State::is_key(const Key& key, Probe probe) const {
    for (std::size_t i = 0; i < key_.size(); ++i) {
        std::size_t row = 0;
        const Column& column = at(key, i, &row);
        if (!Column::equal(column, row, probe.batch.columns()[key_[i]], probe.row)) return false;
    }
    return true;
}

std::int32_t NetChangeBuilder::State::find_or_add(Probe probe, std::int32_t place_if_new) {
    const std::uint64_t h = hash(probe);
    const std::int32_t found = table_.find(h, [&](const Key& key) { return is_key(key, probe); });
    return found != kNone ? found : table_.add(h, place_if_new);
}

// A key that is new to the run is kept as an origin: its row stands in the table.
std::int32_t NetChangeBuilder::State::find_or_add_origin(Probe probe) {
    const std::uint64_t h = hash(probe);
    const std::int32_t found = table_.find(h, [&](const Key& key) { return is_key(key, probe); });
    return found != kNone ? found : table_.add(h, ~add_origin(probe));
}

std::int32_t NetChangeBuilder::State::add_origin(Probe probe) {
    for (std::size_t i = 0; i < key_.size(); ++i) {
        origins_[i].append_from(probe.batch.columns()[key_[i]], probe.row);
    }
    return narrow<std::int32_t>(origin_count_++);
}

// --- Rows under keys.

// Which row an update or delete means by `old_row`.
Result<std::int32_t> NetChangeBuilder::State::pick(std::int32_t number, Probe old_row,
                                                   bool is_full) {
    Key& key = table_.keys()[index(number)];
    const bool is_ambiguous = is_full && is_full_ && !is_partly_ && key.first != kNone;
    if (is_ambiguous) {
        // Equal rows are interchangeable, so the first that fits is right.
        for (std::int32_t row = key.first; row != kNone; row = rows_[index(row)].next) {
            if (is_row(rows_[index(row)], old_row)) return row;
        }
    }
    // Where only keys are sent, a row of the run under this key is the only one there.
    if (key.first != kNone && (!is_ambiguous || key.origin != Origin::unknown)) {
        if (is_ambiguous && rows_[index(key.first)].next != kNone) {
            return mismatch("an old row that equals none of the rows under its key");
        }
        return key.first;
    }
    if (key.origin != Origin::unknown) {
        return mismatch("an update or delete of a row that was deleted before");
    }
    key.origin = Origin::taken;
    const bool is_kept = key.at < 0;
    const std::int32_t origin = is_kept ? ~key.at : add_origin(old_row);
    rows_.push_back({.version = kNone, .origin = origin, .next = key.first});
    key.first = static_cast<std::int32_t>(rows_.size() - 1);
    return key.first;
}

// True unless the row is known to differ from the whole old row.
bool NetChangeBuilder::State::is_row(const LogicalRow& row, Probe old_row) const {
    if (row.version < 0) return true;
    for (std::size_t c = 0; c < schema_->columns.size(); ++c) {
        const std::int32_t version = resolve(c, row.version);
        if (version < 0) continue;
        if (!Column::equal(versions_.columns()[c], index(version), old_row.batch.columns()[c],
                           old_row.row)) {
            return false;
        }
    }
    return true;
}

// Partly published: the run knows that no row is under the key.
bool NetChangeBuilder::State::is_gone(std::int32_t number) const {
    const Key& key = table_.keys()[index(number)];
    return is_partly_ && key.first == kNone && key.origin != Origin::unknown;
}

// Partly published: whatever is under the key goes, in the table too.
void NetChangeBuilder::State::vacate(std::int32_t number) {
    Key& key = table_.keys()[index(number)];
    if (key.first != kNone) {
        rows_[index(key.first)].version = kGone;
        key.first = kNone;
    }
    if (key.origin != Origin::unknown) return;
    key.origin = Origin::taken;
    if (key.at >= 0) add_origin({versions_, index(key.at)});
}

Status NetChangeBuilder::State::place(std::int32_t number, std::int32_t row) {
    if (is_partly_) vacate(number);
    Key& key = table_.keys()[index(number)];
    if (!is_full_ || is_partly_) {
        if (key.first != kNone) return mismatch("two rows under one key");
        if (key.origin == Origin::unknown) key.origin = Origin::absent;
    }
    std::int32_t* link = &key.first;
    while (*link != kNone) link = &rows_[index(*link)].next;
    *link = row;
    return {};
}

void NetChangeBuilder::State::unlink(std::int32_t number, std::int32_t row) {
    std::int32_t* link = &table_.keys()[index(number)].first;
    while (*link != row) link = &rows_[index(*link)].next;
    *link = std::exchange(rows_[index(row)].next, kNone);
}

// --- Unchanged values.

bool NetChangeBuilder::State::has_unchanged(const ChangeBatch& batch, std::size_t new_row) const {
    for (std::size_t c = 0; c < batch.unchanged.size(); ++c) {
        if (batch.is_unchanged(c, new_row)) return true;
    }
    return false;
}

// A copy of the new row in which the old row's values stand in for unchanged ones. A key
// sent as old row has the key columns (Postgres logs it when the key itself is stored
// out of line: ExtractReplicaIdentity), a full one has them all.
std::int32_t NetChangeBuilder::State::complete_from_old(const ChangeBatch& batch,
                                                        const Change& change,
                                                        std::int32_t version) {
    const auto completed = narrow<std::int32_t>(versions_.rows());
    const std::size_t columns = schema_->columns.size();
    for (std::size_t c = 0; c < columns; ++c) {
        const bool is_missing = batch.is_unchanged(c, index(change.new_row));
        const bool is_old_known =
            change.old_is_full || std::find(key_.begin(), key_.end(), c) != key_.end();
        if (is_missing && is_old_known) {
            versions_.columns()[c].append_from(batch.old_rows.columns()[c], index(change.old_row));
            continue;
        }
        versions_.columns()[c].append_from(batch.new_rows.columns()[c], index(change.new_row));
        if (is_missing) set(unchanged_, columns, c, index(completed));
    }
    WALBROOK_CHECK(version < completed);
    return completed;
}

// The version that holds the column's value; kNone: only the table has it.
std::int32_t NetChangeBuilder::State::resolve(std::size_t column, std::int32_t version) const {
    while (version >= 0 && get(unchanged_, column, index(version))) {
        version = previous_[index(version)];
    }
    return version;
}

// --- The end of a run.

Result<NetChange> NetChangeBuilder::State::finish() {
    NetChange net(schema_);
    if (!is_indexed_) {
        std::swap(net.inserts, versions_);
    } else if (is_keyed_) {
        WALBROOK_RETURN_IF_ERROR(finish_keyed(net));
    } else {
        finish_keyless(net);
    }
    clear();
    return net;
}

Status NetChangeBuilder::State::finish_keyed(NetChange& net) {
    for (const Key& key : table_.keys()) {
        if (key.first != kNone && rows_[index(key.first)].next != kNone) {
            return mismatch("two rows under one key");
        }
    }
    std::vector<std::int32_t> complete;
    std::vector<std::int32_t> partial;
    std::vector<std::int32_t> partial_origins;
    for (const LogicalRow& row : rows_) {
        if (row.version < 0) continue;
        bool is_partial = row.needs_origin;
        for (std::size_t c = 0; c < unchanged_.size() && !is_partial; ++c) {
            is_partial = resolve(c, row.version) < 0;
        }
        (is_partial ? partial : complete).push_back(row.version);
        // What was inserted is complete, so a partial row stood in the table.
        if (is_partial) partial_origins.push_back(row.origin);
    }
    gather(net.merges, partial, &net.merge_unchanged);
    gather_keys(net.merge_keys, partial_origins);

    // Every origin was taken by a row that has changed or gone, or has to.
    std::vector<std::int32_t> all(origin_count_);
    std::iota(all.begin(), all.end(), 0);
    gather_keys(net.deletes, all);
    const bool takes_all = complete.size() == versions_.rows() && unchanged_.empty();
    if (takes_all && std::is_sorted(complete.begin(), complete.end())) {
        std::swap(net.inserts, versions_);
    } else {
        gather(net.inserts, complete, nullptr);
    }
    return {};
}

void NetChangeBuilder::State::finish_keyless(NetChange& net) {
    // A content that the run knew by an old row first stands among the origins.
    std::vector<std::int32_t> added;
    std::vector<std::int32_t> added_origins;
    std::vector<std::int32_t> removed;
    std::vector<std::int32_t> removed_origins;
    for (const Key& key : table_.keys()) {
        const bool is_version = key.at >= 0;
        const std::int32_t at = is_version ? key.at : ~key.at;
        // Where rows may be missing, one that came after a delete is not the one that went.
        const std::int64_t gone =
            is_partly_ ? -key.lowest : std::max<std::int64_t>(-key.balance, 0);
        const auto put = [&](std::vector<std::int32_t>& rows, std::int64_t count) {
            rows.insert(rows.end(), static_cast<std::size_t>(count), at);
        };
        put(is_version ? removed : removed_origins, gone);
        put(is_version ? added : added_origins, key.balance + gone);
    }
    gather(net.inserts, added, nullptr);
    gather_keys(net.inserts, added_origins);
    gather(net.deletes, removed, nullptr);
    gather_keys(net.deletes, removed_origins);
}

// Appends versions. With `keep`, values that only the table has become null and are
// marked there; without it there are none.
void NetChangeBuilder::State::gather(RowBatch& to, const std::vector<std::int32_t>& rows,
                                     Bitmaps* keep) {
    std::vector<std::int32_t> resolved;
    for (std::size_t c = 0; c < schema_->columns.size(); ++c) {
        if (c >= unchanged_.size() || unchanged_[c].empty()) {
            append_rows(to.columns()[c], versions_.columns()[c], rows);
            if (keep != nullptr) (*keep)[c].resize(rows.size());
            continue;
        }
        resolved.clear();
        for (const std::int32_t row : rows) resolved.push_back(resolve(c, row));
        append_rows(to.columns()[c], versions_.columns()[c], resolved);
        if (keep == nullptr) continue;
        for (const std::int32_t row : resolved) (*keep)[c].push_back(row < 0);
    }
    if (schema_->columns.empty()) {
        for (std::size_t i = 0; i < rows.size(); ++i) to.append_empty_row();
    }
}

void NetChangeBuilder::State::gather_keys(RowBatch& to,
                                          const std::vector<std::int32_t>& origin_rows) const {
    std::vector<bool> is_filled(schema_->columns.size());
    for (std::size_t i = 0; i < key_.size(); ++i) {
        append_rows(to.columns()[key_[i]], origins_[i], origin_rows);
        is_filled[key_[i]] = true;
    }
    for (std::size_t c = 0; c < is_filled.size(); ++c) {
        if (!is_filled[c]) append_nulls(to.columns()[c], origin_rows.size());
    }
    if (is_filled.empty()) {
        for (std::size_t i = 0; i < origin_rows.size(); ++i) to.append_empty_row();
    }
}

void NetChangeBuilder::State::clear() {
    versions_.clear();
    unchanged_.clear();
    previous_.clear();
    for (Column& column : origins_) column.clear();
    origin_count_ = 0;
    is_indexed_ = false;
    rows_.clear();
    table_.clear();
}

NetChangeBuilder::NetChangeBuilder(TableSchemaPtr schema)
    : state_(std::make_unique<State>(std::move(schema))) {}
NetChangeBuilder::~NetChangeBuilder() = default;
NetChangeBuilder::NetChangeBuilder(NetChangeBuilder&&) noexcept = default;
NetChangeBuilder& NetChangeBuilder::operator=(NetChangeBuilder&&) noexcept = default;

Status NetChangeBuilder::add(const ChangeBatch& batch) { return state_->add(batch, nullptr); }
Status NetChangeBuilder::add(ChangeBatch&& batch) { return state_->add(batch, &batch); }
std::size_t NetChangeBuilder::bytes() const { return state_->bytes(); }
Result<NetChange> NetChangeBuilder::finish() { return state_->finish(); }

}  // namespace walbrook
