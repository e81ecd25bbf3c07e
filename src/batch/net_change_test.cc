#include "batch/net_change.h"

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace walbrook {
namespace {

// A row as text, one entry a column; nothing is null.
using Row = std::vector<std::optional<std::string>>;
using Table = std::multiset<Row>;

constexpr std::size_t kColumns = 5;

enum class Shape { one_key, two_keys, full_with_key, keyless, inserts_only };

// Columns: int32, text, text, int64, text; the first one or two are the key.
TableSchemaPtr schema_of(Shape shape, bool is_partly = false) {
    auto schema = std::make_shared<TableSchema>();
    schema->partly_published = is_partly;
    schema->id = {4711};
    schema->schema = "public";
    schema->name = "t";
    const TypeKind kinds[kColumns] = {TypeKind::int32, TypeKind::text, TypeKind::text,
                                      TypeKind::int64, TypeKind::text};
    for (std::size_t i = 0; i < kColumns; ++i) {
        ColumnSchema column;
        column.name = "c" + std::to_string(i);
        column.attnum = static_cast<std::int16_t>(i + 1);
        column.type.kind = kinds[i];
        const bool in_key = (i == 0 && shape != Shape::keyless && shape != Shape::inserts_only) ||
                            (i == 1 && shape == Shape::two_keys);
        column.key_position = in_key ? static_cast<int>(i + 1) : 0;
        column.in_identity = in_key && shape != Shape::full_with_key;
        schema->columns.push_back(column);
    }
    if (shape == Shape::full_with_key || shape == Shape::keyless) {
        schema->replica_identity = ReplicaIdentity::full;
    }
    if (shape == Shape::inserts_only) schema->replica_identity = ReplicaIdentity::nothing;
    return schema;
}

void append(RowBatch& batch, const Row& row) {
    for (std::size_t i = 0; i < kColumns; ++i) {
        Column& column = batch.columns()[i];
        if (!row[i]) {
            column.append_null();
        } else if (column.type().kind == TypeKind::int32) {
            column.append_fixed(static_cast<std::int32_t>(std::stoi(*row[i])));
        } else if (column.type().kind == TypeKind::int64) {
            column.append_fixed(std::int64_t{std::stoi(*row[i])});
        } else {
            column.append_bytes(*row[i]);
        }
    }
}

Row read(const RowBatch& batch, std::size_t row) {
    Row out(kColumns);
    for (std::size_t i = 0; i < kColumns; ++i) {
        const Column& column = batch.columns()[i];
        if (column.is_null(row)) continue;
        switch (column.type().kind) {
            case TypeKind::int32:
                out[i] = std::to_string(column.fixed_at<std::int32_t>(row));
                break;
            case TypeKind::int64:
                out[i] = std::to_string(column.fixed_at<std::int64_t>(row));
                break;
            default:
                out[i] = std::string(column.bytes_at(row));
        }
    }
    return out;
}

// Writes changes as the decoder does.
class Recorder {
 public:
    explicit Recorder(const TableSchemaPtr& schema)
        : schema_(schema), key_(schema->key_columns()), batch_(schema) {}

    ChangeBatch take() { return std::exchange(batch_, ChangeBatch(schema_)); }
    std::size_t changes() const { return batch_.changes.size(); }

    void insert(const Row& row) {
        batch_.changes.push_back({.new_row = add(batch_.new_rows, row)});
    }
    // `unchanged` columns are not sent: the change does not touch them.
    void update(const Row& from, const Row& to, const std::set<std::size_t>& unchanged = {}) {
        Row sent = to;
        for (const std::size_t column : unchanged) sent[column].reset();
        Change change{.kind = ChangeKind::update, .new_row = add(batch_.new_rows, sent)};
        for (const std::size_t column : unchanged) {
            batch_.set_unchanged(column, static_cast<std::size_t>(change.new_row));
        }
        const bool is_key_sent = key_of(from) != key_of(to) || is_key_in(unchanged);
        if (is_full() || is_key_sent) add_old(change, from);
        batch_.changes.push_back(change);
    }
    void remove(const Row& row) {
        Change change{.kind = ChangeKind::remove};
        add_old(change, row);
        batch_.changes.push_back(change);
    }
    Row key_of(const Row& row) const {
        Row key(kColumns);
        for (const std::size_t column : key_) key[column] = row[column];
        return key;
    }
    ChangeBatch& batch() { return batch_; }

 private:
    bool is_full() const { return schema_->replica_identity == ReplicaIdentity::full; }
    bool is_key_in(const std::set<std::size_t>& columns) const {
        for (const std::size_t column : key_) {
            if (columns.contains(column)) return true;
        }
        return false;
    }
    static std::int32_t add(RowBatch& batch, const Row& row) {
        append(batch, row);
        return static_cast<std::int32_t>(batch.rows() - 1);
    }
    void add_old(Change& change, const Row& row) {
        change.old_is_full = is_full();
        change.old_row = add(batch_.old_rows, is_full() ? row : key_of(row));
    }

    TableSchemaPtr schema_;
    std::vector<std::size_t> key_;
    ChangeBatch batch_;
};

// What a destination does with a net change; every strange thing is a failure.
void apply(const NetChange& net, const TableSchema& schema, Table& table) {
    const std::vector<std::size_t> key = schema.key_columns();
    const auto under = [&](const Row& wanted) {
        auto found = table.end();
        for (auto row = table.begin(); row != table.end(); ++row) {
            bool same = true;
            for (const std::size_t column : key) same = same && (*row)[column] == wanted[column];
            if (!same) continue;
            EXPECT_TRUE(found == table.end()) << "two rows under one key";
            found = row;
        }
        return found;
    };
    std::vector<Row> merged;
    ASSERT_EQ(net.merges.rows(), net.merge_keys.rows());
    for (std::size_t i = 0; i < net.merges.rows(); ++i) {
        merged.push_back(read(net.merges, i));
        const auto old = under(read(net.merge_keys, i));
        if (old == table.end() && schema.partly_published) {
            merged.pop_back();
            continue;
        }
        ASSERT_TRUE(old != table.end());
        std::size_t kept = 0;
        for (std::size_t c = 0; c < kColumns; ++c) {
            ASSERT_EQ(net.merge_unchanged[c].size(), net.merges.rows());
            if (!net.merge_unchanged[c][i]) continue;
            merged.back()[c] = (*old)[c];
            ++kept;
        }
        EXPECT_TRUE(kept > 0 || schema.partly_published);
    }
    std::set<Row> deleted;
    for (std::size_t i = 0; i < net.deletes.rows(); ++i) {
        const Row row = read(net.deletes, i);
        const auto found = key.empty() ? table.find(row) : under(row);
        if (found == table.end() && schema.partly_published) continue;
        ASSERT_TRUE(found != table.end()) << "deletes a row that is not there";
        table.erase(found);
        EXPECT_TRUE(deleted.insert(row).second || key.empty()) << "a key twice";
    }
    const auto add = [&](const Row& row) {
        EXPECT_TRUE(key.empty() || under(row) == table.end()) << "inserts an existing key";
        table.insert(row);
    };
    for (const Row& row : merged) add(row);
    for (std::size_t i = 0; i < net.inserts.rows(); ++i) add(read(net.inserts, i));
}

Row row(int key, const std::string& text, const std::string& toast = "T") {
    return {std::to_string(key), "k", text, "7", toast};
}

struct OneRun {
    explicit OneRun(Shape shape) : schema(schema_of(shape)), recorder(schema), builder(schema) {}

    NetChange finish() {
        EXPECT_TRUE(builder.add(recorder.take()));
        auto net = builder.finish();
        EXPECT_TRUE(net) << net.error().message();
        return *std::move(net);
    }
    ErrorCode refused() {
        const Status status = builder.add(recorder.take());
        if (!status) {
            EXPECT_EQ(status.error().table_oid(), 4711U);
            return status.error().code();
        }
        const auto net = builder.finish();
        return net ? ErrorCode::internal : net.error().code();
    }

    TableSchemaPtr schema;
    Recorder recorder;
    NetChangeBuilder builder;
};

TEST(NetChange, InsertThenDeleteLeavesNothing) {
    for (const Shape shape : {Shape::one_key, Shape::full_with_key, Shape::keyless}) {
        OneRun run(shape);
        run.recorder.insert(row(1, "a"));
        run.recorder.remove(row(1, "a"));
        EXPECT_TRUE(run.finish().empty());
    }
}

TEST(NetChange, DeleteThenInsertOfOneKeyIsBoth) {
    OneRun run(Shape::one_key);
    run.recorder.remove(row(1, "a"));
    run.recorder.insert(row(1, "b"));
    const NetChange net = run.finish();
    EXPECT_EQ(net.deletes.rows(), 1U);
    ASSERT_EQ(net.inserts.rows(), 1U);
    EXPECT_EQ(read(net.inserts, 0), row(1, "b"));
    EXPECT_EQ(read(net.deletes, 0), Row({"1", {}, {}, {}, {}}));
}

TEST(NetChange, TheLastUpdateWins) {
    OneRun run(Shape::one_key);
    run.recorder.update(row(1, "a"), row(1, "b"));
    run.recorder.update(row(1, "b"), row(2, "c"));
    run.recorder.update(row(2, "c"), row(3, "d"));
    const NetChange net = run.finish();
    ASSERT_EQ(net.deletes.rows(), 1U);
    EXPECT_EQ(read(net.deletes, 0)[0], "1");
    ASSERT_EQ(net.inserts.rows(), 1U);
    EXPECT_EQ(read(net.inserts, 0), row(3, "d"));
}

// A deferrable primary key lets two rows change places; only FULL can replicate that.
TEST(NetChange, SwapOfTwoKeysUnderFull) {
    OneRun run(Shape::full_with_key);
    Table table = {row(1, "one"), row(2, "two")};
    run.recorder.update(row(1, "one"), row(2, "one"));
    run.recorder.update(row(2, "two"), row(1, "two"));
    apply(run.finish(), *run.schema, table);
    EXPECT_EQ(table, (Table{row(2, "one"), row(1, "two")}));
}

// The same keys, but only one row: it went there and back, and key 2 was free.
TEST(NetChange, ThereAndBackIsOneRow) {
    for (const Shape shape : {Shape::one_key, Shape::full_with_key}) {
        OneRun run(shape);
        Table table = {row(1, "one")};
        run.recorder.update(row(1, "one"), row(2, "one"));
        run.recorder.update(row(2, "one"), row(1, "uno"));
        apply(run.finish(), *run.schema, table);
        EXPECT_EQ(table, Table{row(1, "uno")});
    }
}

TEST(NetChange, UnchangedValueComesFromTheRunOrFromTheOldKey) {
    OneRun run(Shape::one_key);
    Table table = {row(1, "a", "far away")};
    run.recorder.insert(row(5, "x", "in the run"));
    run.recorder.update(row(5, "x", "in the run"), row(6, "y", "in the run"), {4});
    run.recorder.update(row(1, "a", "far away"), row(2, "b", "far away"), {4});
    run.recorder.update(row(2, "b", "far away"), row(3, "c", "far away"), {4});
    const NetChange net = run.finish();
    ASSERT_EQ(net.merges.rows(), 1U);
    EXPECT_EQ(read(net.merge_keys, 0)[0], "1");
    EXPECT_EQ(net.inserts.rows(), 1U);
    apply(net, *run.schema, table);
    EXPECT_EQ(table, (Table{row(6, "y", "in the run"), row(3, "c", "far away")}));
}

TEST(NetChange, UnchangedKeyComesFromTheOldRow) {
    OneRun run(Shape::two_keys);
    Table table = {row(1, "a")};
    run.recorder.update(row(1, "a"), row(1, "b"), {1, 4});
    apply(run.finish(), *run.schema, table);
    EXPECT_EQ(table, Table{row(1, "b")});
}

TEST(NetChange, KeylessDeleteTakesOneOfTwoEqualRows) {
    OneRun run(Shape::keyless);
    Table table = {row(1, "a"), row(1, "a"), row(1, "a")};
    run.recorder.remove(row(1, "a"));
    run.recorder.update(row(1, "a"), row(1, "b"));
    const NetChange net = run.finish();
    EXPECT_EQ(net.deletes.rows(), 2U);
    apply(net, *run.schema, table);
    EXPECT_EQ(table, (Table{row(1, "a"), row(1, "b")}));
}

TEST(NetChange, InsertsAreTakenOverWithoutCopy) {
    OneRun run(Shape::inserts_only);
    for (int i = 0; i < 3; ++i) run.recorder.insert(row(1, "same"));
    ChangeBatch batch = run.recorder.take();
    const std::byte* values = batch.new_rows.columns()[0].values().data();
    ASSERT_TRUE(run.builder.add(std::move(batch)));
    const auto net = run.builder.finish();
    ASSERT_TRUE(net);
    EXPECT_EQ(net->inserts.columns()[0].values().data(), values);
    EXPECT_EQ(net->inserts.rows(), 3U);
}

// A table without columns still has rows, and they can be counted.
TEST(NetChange, TableWithoutColumns) {
    auto schema = std::make_shared<TableSchema>();
    schema->replica_identity = ReplicaIdentity::full;
    ChangeBatch batch(schema);
    for (int i = 0; i < 5; ++i) batch.new_rows.append_empty_row();
    for (int i = 0; i < 7; ++i) batch.old_rows.append_empty_row();
    for (int i = 0; i < 5; ++i) batch.changes.push_back({.new_row = i});
    for (int i = 0; i < 7; ++i) {
        batch.changes.push_back({.kind = ChangeKind::remove, .old_is_full = true, .old_row = i});
    }
    NetChangeBuilder builder(schema);
    ASSERT_TRUE(builder.add(batch));
    const auto net = builder.finish();
    ASSERT_TRUE(net);
    EXPECT_EQ(net->deletes.rows(), 2U);
    EXPECT_EQ(net->inserts.rows(), 0U);
}

TEST(NetChange, RefusesWhatCannotBe) {
    const std::vector<std::pair<const char*, void (*)(Recorder&)>> cases = {
        {"insert of a key of the run",
         [](Recorder& r) {
             r.insert(row(1, "a"));
             r.insert(row(1, "b"));
             r.update(row(9, "a"), row(9, "b"));
         }},
        {"update into a key of the run",
         [](Recorder& r) {
             r.insert(row(1, "a"));
             r.update(row(2, "b"), row(1, "b"));
         }},
        {"delete of a row that was deleted",
         [](Recorder& r) {
             r.remove(row(1, "a"));
             r.remove(row(1, "a"));
         }},
        {"update of a row that was deleted",
         [](Recorder& r) {
             r.insert(row(1, "a"));
             r.remove(row(1, "a"));
             r.update(row(1, "a"), row(1, "b"));
         }},
        {"update of a key that moved away",
         [](Recorder& r) {
             r.update(row(1, "a"), row(2, "a"));
             r.update(row(1, "a"), row(1, "b"));
         }},
        {"delete without old row",
         [](Recorder& r) { r.batch().changes.push_back({.kind = ChangeKind::remove}); }},
        {"update without new row",
         [](Recorder& r) {
             r.remove(row(1, "a"));
             r.batch().changes.push_back({.kind = ChangeKind::update, .new_row = 0});
         }},
        {"old row out of range",
         [](Recorder& r) {
             r.batch().changes.push_back({.kind = ChangeKind::remove, .old_row = 0});
         }},
        {"insert with unchanged values",
         [](Recorder& r) {
             r.insert(row(1, "a"));
             r.batch().set_unchanged(4, 0);
         }},
        {"unchanged key without old row",
         [](Recorder& r) {
             r.update(row(1, "a"), row(1, "a"));
             r.batch().set_unchanged(0, 0);
         }},
    };
    for (const auto& [name, record] : cases) {
        SCOPED_TRACE(name);
        OneRun run(Shape::one_key);
        record(run.recorder);
        EXPECT_EQ(run.refused(), ErrorCode::schema_mismatch);
    }
}

TEST(NetChange, RefusesUpdatesWithoutIdentity) {
    OneRun run(Shape::inserts_only);
    run.recorder.remove(row(1, "a"));
    EXPECT_EQ(run.refused(), ErrorCode::schema_mismatch);
    OneRun keyless(Shape::keyless);
    keyless.recorder.remove(row(1, "a"));
    keyless.recorder.batch().changes[0].old_is_full = false;
    EXPECT_EQ(keyless.refused(), ErrorCode::schema_mismatch);
}

TEST(NetChange, RefusesTwoRowsUnderOneKeyAtTheEnd) {
    OneRun run(Shape::full_with_key);
    run.recorder.update(row(1, "one"), row(2, "one"));
    run.recorder.update(row(2, "two"), row(2, "zwei"));
    EXPECT_EQ(run.refused(), ErrorCode::schema_mismatch);
}

// --- Tables whose publication leaves operations out.

TEST(NetChange, PartlyPublishedAnInsertTakesTheKey) {
    Table table = {row(1, "stale"), row(2, "other")};
    NetChangeBuilder builder(schema_of(Shape::one_key, true));
    Recorder recorder(schema_of(Shape::one_key, true));
    recorder.insert(row(1, "new"));
    recorder.insert(row(3, "first"));
    recorder.insert(row(3, "second"));
    recorder.update(row(2, "other"), row(1, "moved"));
    ASSERT_TRUE(builder.add(recorder.take()));
    apply(*builder.finish(), *schema_of(Shape::one_key, true), table);
    EXPECT_EQ(table, (Table{row(1, "moved"), row(3, "second")}));
}

TEST(NetChange, PartlyPublishedWhatIsMissingIsAddedOrPassedOver) {
    Table table = {row(9, "there")};
    NetChangeBuilder builder(schema_of(Shape::one_key, true));
    Recorder recorder(schema_of(Shape::one_key, true));
    recorder.remove(row(1, "a"));
    recorder.update(row(2, "a"), row(2, "whole"));
    recorder.update(row(3, "a"), row(3, "not sent"), {4});
    recorder.remove(row(9, "there"));
    recorder.update(row(9, "there"), row(9, "not sent"), {4});
    ASSERT_TRUE(builder.add(recorder.take()));
    apply(*builder.finish(), *schema_of(Shape::one_key, true), table);
    EXPECT_EQ(table, (Table{row(2, "whole")}));
}

// One was missing when it was deleted, so the other is not the one that went.
TEST(NetChange, PartlyPublishedKeylessRowsAfterADeleteStay) {
    const TableSchemaPtr schema = schema_of(Shape::keyless, true);
    for (const Table& before : {Table{}, Table{row(1, "a")}, Table{row(1, "a"), row(1, "a")}}) {
        Table table = before;
        NetChangeBuilder builder(schema);
        Recorder recorder(schema);
        recorder.remove(row(1, "a"));
        recorder.insert(row(1, "a"));
        ASSERT_TRUE(builder.add(recorder.take()));
        apply(*builder.finish(), *schema, table);
        EXPECT_EQ(table.size(), std::max<std::size_t>(before.size(), 1));
    }
}

// --- Random runs against a source that does what it is told.

constexpr unsigned kInserts = 1;
constexpr unsigned kUpdates = 2;
constexpr unsigned kDeletes = 4;
constexpr unsigned kAll = 7;

class RandomSource {
 public:
    RandomSource(Shape shape, unsigned seed, unsigned published = kAll, bool truncates = false)
        : shape_(shape),
          published_(published),
          truncates_(truncates),
          random_(seed),
          schema_(schema_of(shape, published != kAll || truncates)),
          recorder_(schema_) {
        for (int i = below(6); i > 0; --i) rows_.push_back(fresh_row());
        start_ = {rows_.begin(), rows_.end()};
        mirror_ = start_;
    }

    void run() {
        Table table = start_;
        NetChangeBuilder builder(schema_);
        for (int transactions = below(8) + 1; transactions > 0; --transactions) {
            for (int changes = below(6); changes > 0; --changes) {
                change();
                // Only FULL needs whole transactions in a run.
                if (below(6) == 0) take(builder);
                const bool anywhere = shape_ != Shape::full_with_key || schema_->partly_published;
                if (anywhere && below(10) == 0) finish(builder, table);
            }
            if (below(3) == 0) finish(builder, table);
        }
        finish(builder, table);
        EXPECT_EQ(table, mirror_);
        if (!schema_->partly_published) {
            EXPECT_EQ(table, Table(rows_.begin(), rows_.end()));
        }
    }

 private:
    int below(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }
    bool has_key() const { return shape_ != Shape::keyless; }

    std::optional<std::string> text() {
        if (below(4) == 0) return std::nullopt;
        return std::string(1, static_cast<char>('a' + below(3)));
    }
    // Few values, so that keys and whole rows meet often.
    Row fresh_row() {
        Row row(kColumns);
        for (;;) {
            row[0] = std::to_string(below(5));
            row[1] = std::string(1, static_cast<char>('p' + below(2)));
            if (!has_key() && below(3) == 0) row[below(2) == 0 ? 0 : 1].reset();
            for (const std::size_t c : {2, 4}) row[c] = text();
            if (below(3) != 0) row[3] = std::to_string(below(2));
            if (!is_taken(row)) return row;
            row[0] = std::to_string(below(1000));
            if (!is_taken(row)) return row;
        }
    }
    bool is_taken(const Row& wanted) const {
        if (!has_key()) return false;
        for (const Row& row : rows_) {
            if (recorder_.key_of(row) == recorder_.key_of(wanted)) return true;
        }
        return false;
    }

    // What is published, one after the other, as the public header says of each.
    void insert(const Row& row) {
        if ((published_ & kInserts) == 0) return;
        recorder_.insert(row);
        if (schema_->partly_published && has_key()) erase_key(row);
        mirror_.insert(row);
    }
    void remove(const Row& row) {
        if ((published_ & kDeletes) == 0) return;
        recorder_.remove(row);
        erase_key(row);
    }
    void update(const Row& from, const Row& to, const std::set<std::size_t>& unchanged = {}) {
        if ((published_ & kUpdates) == 0) return;
        recorder_.update(from, to, unchanged);
        if (!schema_->partly_published) {
            mirror_.erase(mirror_.find(from));
            mirror_.insert(to);
            return;
        }
        Row next = to;
        const auto old = under(from);
        bool is_whole = true;
        for (const std::size_t column : unchanged) {
            const std::vector<std::size_t> key = schema_->key_columns();
            const bool is_sent = schema_->replica_identity == ReplicaIdentity::full ||
                                 std::find(key.begin(), key.end(), column) != key.end();
            if (!is_sent && old == mirror_.end()) is_whole = false;
            if (!is_sent && old != mirror_.end()) next[column] = (*old)[column];
        }
        erase_key(from);
        if (has_key()) erase_key(to);
        if (is_whole) mirror_.insert(next);
    }
    Table::iterator under(const Row& wanted) {
        if (!has_key() || !schema_->partly_published) return mirror_.find(wanted);
        return std::find_if(mirror_.begin(), mirror_.end(), [&](const Row& row) {
            return recorder_.key_of(row) == recorder_.key_of(wanted);
        });
    }
    void erase_key(const Row& wanted) {
        const auto found = under(wanted);
        if (found != mirror_.end()) mirror_.erase(found);
    }

    void change() {
        const int what = below(10);
        if (truncates_ && below(12) == 0) rows_.clear();
        if (rows_.empty() || what < 3) {
            rows_.push_back(fresh_row());
            return insert(rows_.back());
        }
        const auto victim = static_cast<std::size_t>(below(static_cast<int>(rows_.size())));
        if (what < 5) {
            remove(rows_[victim]);
            rows_.erase(rows_.begin() + static_cast<std::ptrdiff_t>(victim));
        } else if (what == 5 && shape_ == Shape::full_with_key && !schema_->partly_published) {
            rotate_keys();
        } else if (what == 6 && shape_ == Shape::full_with_key && !schema_->partly_published) {
            replace_deferred(victim);
        } else {
            update(victim);
        }
    }

    void update(std::size_t victim) {
        const Row old = rows_[victim];
        Row next = old;
        if (below(3) == 0) {
            const Row moved = fresh_row();
            next[0] = moved[0];
            next[1] = moved[1];
        }
        for (const std::size_t c : {2, 3, 4}) {
            if (below(2) == 0) next[c] = c == 3 ? std::optional<std::string>("9") : text();
        }
        std::set<std::size_t> unchanged;
        for (const std::size_t c : {1, 2, 4}) {
            if (next[c] == old[c] && next[c] && below(2) == 0) unchanged.insert(c);
        }
        rows_[victim] = next;
        update(old, next, unchanged);
    }

    // UPDATE t SET key = the next row's key: every row stands beside another for a moment.
    void rotate_keys() {
        const std::vector<Row> before = rows_;
        std::vector<std::size_t> order(rows_.size());
        for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
        std::shuffle(order.begin(), order.end(), random_);
        for (const std::size_t i : order) {
            rows_[i][0] = before[(i + 1) % before.size()][0];
            update(
                before[i], rows_[i],
                before[i][4] && below(2) == 0 ? std::set<std::size_t>{4} : std::set<std::size_t>{});
        }
    }
    // INSERT of an existing key, then DELETE of the row that had it.
    void replace_deferred(std::size_t victim) {
        const Row old = rows_[victim];
        rows_[victim][2] = text();
        insert(rows_[victim]);
        remove(old);
    }

    void take(NetChangeBuilder& builder) {
        const Status status = below(2) == 0 ? builder.add(recorder_.batch())
                                            : builder.add(std::move(recorder_.batch()));
        ASSERT_TRUE(status) << status.error().message();
        recorder_.take();
    }
    void finish(NetChangeBuilder& builder, Table& table) {
        take(builder);
        const auto net = builder.finish();
        ASSERT_TRUE(net) << net.error().message();
        apply(*net, *schema_, table);
    }

    Shape shape_;
    const unsigned published_;
    const bool truncates_;  // Which are not published.
    std::mt19937 random_;
    TableSchemaPtr schema_;
    Recorder recorder_;
    std::vector<Row> rows_;
    Table start_;
    Table mirror_;  // What the published operations give.
};

class RandomRuns : public ::testing::TestWithParam<Shape> {};

TEST_P(RandomRuns, EndAsTheSource) {
    for (unsigned seed = 0; seed < 4000; ++seed) {
        SCOPED_TRACE(seed);
        RandomSource(GetParam(), seed).run();
        if (HasFailure()) break;
    }
}

TEST_P(RandomRuns, PartlyPublishedEndAsWhatIsPublishedGives) {
    for (unsigned seed = 0; seed < 4000; ++seed) {
        SCOPED_TRACE(seed);
        const unsigned published = seed % 7 + 1;
        RandomSource(GetParam(), seed, published, published == kAll || seed % 2 == 0).run();
        if (HasFailure()) break;
    }
}

INSTANTIATE_TEST_SUITE_P(NetChange, RandomRuns,
                         ::testing::Values(Shape::one_key, Shape::two_keys, Shape::full_with_key,
                                           Shape::keyless));

}  // namespace
}  // namespace walbrook
