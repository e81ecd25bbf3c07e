// Row changes: keys, identities, unchanged values, multisets, truncates, random runs.

#include "world.h"

#include <algorithm>
#include <map>
#include <random>

namespace walbrook::testing {
namespace {

TableMaker wide() { return TableMaker(16384, "t").key("id").column("note").column("long"); }

void insert_update_delete(World& world) {
    const TableSchemaPtr schema = wide().make();
    world.load(schema, {{"1", "a", "x"}, {"2", "b", "y"}, {"3", {}, {}}});
    ChangeRecorder changes(schema);
    changes.insert({"4", "d", "z"})
        .update({"1", "a", "x"}, {"1", "A", "x"})
        .update({"3", {}, {}}, {"3", "now", "set"})
        .update({"4", "d", "z"}, {"4", {}, {}})
        .remove({"2", "b", "y"});
    world.apply(changes);
    const std::vector<TextRow> expected = {{"1", "A", "x"}, {"3", "now", "set"}, {"4", {}, {}}};
    world.expect_rows(schema, expected);
    // A row that came and went, and one that went and came.
    changes.insert({"5", "e", "e"}).remove({"5", "e", "e"});
    changes.remove({"1", "A", "x"}).insert({"1", "A", "x"});
    world.apply(changes);
    world.expect_rows(schema, expected);
}

void key_change(World& world) {
    const TableSchemaPtr schema = wide().make();
    world.load(schema, {{"1", "a", "x"}, {"2", "b", "y"}});
    ChangeRecorder changes(schema);
    changes.update({"1", "a", "x"}, {"10", "a", "x"})
        .update({"2", "b", "y"}, {"1", "b", "y"})
        .update({"10", "a", "x"}, {"2", "A", "x"})
        .insert({"10", "new", {}});
    world.apply(changes);
    world.expect_rows(schema, {{"2", "A", "x"}, {"1", "b", "y"}, {"10", "new", {}}});
}

// UPDATE t SET id = 3 - id, with a deferrable key: two rows have key 2 for a moment.
void key_swap(World& world) {
    const TableSchemaPtr schema = wide().identity(ReplicaIdentity::full).make();
    world.load(schema, {{"1", "one", "x"}, {"2", "two", "y"}});
    ChangeRecorder changes(schema);
    changes.update({"1", "one", "x"}, {"2", "one", "x"}, {2})
        .update({"2", "two", "y"}, {"1", "two", "y"});
    world.apply(changes);
    world.expect_rows(schema, {{"2", "one", "x"}, {"1", "two", "y"}});
}

void unchanged_value_in_the_batch(World& world) {
    const TableSchemaPtr schema = wide().make();
    world.load(schema, {});
    ChangeRecorder changes(schema);
    changes.insert({"1", "a", "long ago"})
        .update({"1", "a", "long ago"}, {"1", "b", "long ago"}, {2})
        .update({"1", "b", "long ago"}, {"9", "c", "long ago"}, {2})
        .insert({"2", "n", {}})
        .update({"2", "n", {}}, {"2", "m", {}});
    world.apply(changes);
    world.expect_rows(schema, {{"9", "c", "long ago"}, {"2", "m", {}}});
}

void unchanged_value_in_the_table(World& world) {
    const TableSchemaPtr schema =
        TableMaker(16384, "t").key("id").column("note").column("long").column("longer").make();
    world.load(schema, {{"1", "a", "L1", "M1"}, {"2", "b", "L2", {}}, {"3", "c", "L3", "M3"}});
    ChangeRecorder changes(schema);
    changes.update({"1", "a", "L1", "M1"}, {"1", "A", "L1", "M1"}, {2, 3})
        .update({"1", "A", "L1", "M1"}, {"1", "A", "L1", "new"}, {2})
        .update({"2", "b", "L2", {}}, {"2", "B", "L2", {}}, {2})
        // The row leaves its key, and another takes it.
        .update({"3", "c", "L3", "M3"}, {"30", "C", "L3", "M3"}, {2, 3})
        .insert({"3", "other", "own", "own"});
    world.apply(changes);
    world.expect_rows(schema, {{"1", "A", "L1", "new"},
                               {"2", "B", "L2", {}},
                               {"30", "C", "L3", "M3"},
                               {"3", "other", "own", "own"}});
}

void identity_index(World& world) {
    const TableSchemaPtr schema = TableMaker(16384, "t")
                                      .key("id")
                                      .column("code")
                                      .of_identity_index()
                                      .column("part", {TypeKind::int32})
                                      .of_identity_index()
                                      .column("note")
                                      .make();
    world.load(schema, {{"1", "a", "1", "n"}, {"2", "a", "2", "n"}, {"3", "b", "1", "n"}});
    ChangeRecorder changes(schema);
    changes.update({"1", "a", "1", "n"}, {"10", "a", "1", "changed"})
        .update({"2", "a", "2", "n"}, {"2", "a", "3", "moved"})
        .remove({"3", "b", "1", "n"});
    world.apply(changes);
    world.expect_rows(schema, {{"10", "a", "1", "changed"}, {"2", "a", "3", "moved"}});
}

void identity_full_with_key(World& world) {
    const TableSchemaPtr schema = wide().identity(ReplicaIdentity::full).make();
    world.load(schema, {{"1", "a", "x"}, {"2", "b", "y"}});
    ChangeRecorder changes(schema);
    changes.update({"1", "a", "x"}, {"1", "A", "x"}, {2})
        .update({"1", "A", "x"}, {"5", "A", "x"}, {2})
        .remove({"2", "b", "y"});
    world.apply(changes);
    world.expect_rows(schema, {{"5", "A", "x"}});
}

void identity_nothing(World& world) {
    const TableSchemaPtr schema = wide().identity(ReplicaIdentity::nothing).make();
    world.load(schema, {{"1", "a", "x"}});
    ChangeRecorder changes(schema);
    world.apply(changes.insert({"2", "b", "y"}));
    world.expect_rows(schema, {{"1", "a", "x"}, {"2", "b", "y"}});
    changes.batch().old_rows.append_null_row();
    changes.add({.kind = ChangeKind::remove, .new_row = -1, .old_row = 0, .ordinal = 1});
    TestFlush flush(world.next_position());
    flush.add(changes.take());
    world.expect_refused(flush, ErrorCode::schema_mismatch, 16384);
    world.expect_rows(schema, {{"1", "a", "x"}, {"2", "b", "y"}});
}

TableSchemaPtr keyless() {
    return TableMaker(16384, "k")
        .column("a")
        .column("b", {TypeKind::int32})
        .column("c", {TypeKind::float64})
        .identity(ReplicaIdentity::full)
        .make();
}

void keyless_multiset(World& world) {
    const TableSchemaPtr schema = keyless();
    const TextRow same = {"x", "1", "0.5"};
    const TextRow nulls = {{}, {}, {}};
    world.load(schema, {same, same, same, nulls, nulls, {"y", {}, "NaN"}, {"y", {}, "NaN"}});
    ChangeRecorder changes(schema);
    changes.remove(same).remove(nulls).remove({"y", {}, "NaN"});
    world.apply(changes);
    world.expect_rows(schema, {same, same, nulls, {"y", {}, "NaN"}});
    changes.update(same, {"x", "2", "0.5"}).insert(same).remove(same).update(nulls, same);
    world.apply(changes);
    world.expect_rows(schema, {same, same, {"x", "2", "0.5"}, {"y", {}, "NaN"}});
    // The whole old row completes what was not sent.
    changes.update({"y", {}, "NaN"}, {"y", "7", "NaN"}, {0});
    world.apply(changes);
    world.expect_rows(schema, {same, same, {"x", "2", "0.5"}, {"y", "7", "NaN"}});
}

void truncate(World& world) {
    const TableSchemaPtr schema = wide().make();
    const TableSchemaPtr other = TableMaker(16390, "other").key("id").column("note").make();
    world.load(schema, {{"1", "a", "x"}, {"2", "b", "y"}});
    world.load(other, {{"1", "a"}});
    Truncate both;
    both.tables = {schema, other};
    ChangeRecorder before(schema);
    ChangeRecorder after(schema);
    ChangeRecorder other_after(other);
    world.apply(before.insert({"3", "c", "z"}).remove({"1", "a", "x"}).take(), both,
                after.insert({"1", "again", {}}).take(), other_after.insert({"7", "q"}).take());
    world.expect_rows(schema, {{"1", "again", {}}});
    world.expect_rows(other, {{"7", "q"}});
    Truncate one;
    one.tables = {other};
    world.apply(one);
    world.expect_rows(other, {});
    world.reopen();
    world.expect_rows(schema, {{"1", "again", {}}});
    world.expect_rows(other, {});
}

// Rows that the source changed and the destination does not have were lost on the way.
void lost_row_is_found(World& world) {
    const TableSchemaPtr schema = wide().make();
    world.load(schema, {{"1", "a", "x"}});
    const auto refuse = [&](ChangeRecorder& changes) {
        TestFlush flush(world.next_position());
        flush.add(changes.take());
        world.expect_refused(flush, ErrorCode::corrupt_state, 16384);
        world.expect_rows(schema, {{"1", "a", "x"}});
    };
    ChangeRecorder changes(schema);
    refuse(changes.insert({"2", "b", "y"}).remove({"9", {}, {}}));
    refuse(changes.update({"9", "a", "x"}, {"9", "b", "x"}));
    refuse(changes.update({"9", "a", "x"}, {"9", "b", "x"}, {2}));
}

// What the publication leaves out has made rows that are in the way, and others that are missing.
void partly_published(World& world) {
    const TableSchemaPtr schema = wide().partly_published().make();
    world.load(schema, {{"1", "stale", "x"}, {"2", "b", "y"}, {"3", "c", "z"}, {"4", "d", "w"}});
    ChangeRecorder changes(schema);
    changes.insert({"1", "new", "n"})
        .update({"2", "b", "y"}, {"3", "moved", "y"}, {2})
        .remove({"8", "was never", "here"})
        .update({"9", "a", "a"}, {"9", "whole", "now"})
        .update({"7", "a", "a"}, {"7", "not", "sent"}, {2})
        .update({"6", "a", "a"}, {"4", "not", "sent"}, {2});
    world.apply(changes);
    const std::vector<TextRow> expected = {
        {"1", "new", "n"}, {"3", "moved", "y"}, {"9", "whole", "now"}};
    world.expect_rows(schema, expected);
    // The same over several flushes: what a key held before does not come back.
    changes.insert({"1", "again", {}});
    world.apply(changes);
    changes.insert({"1", "a third", "t"}).remove({"9", "whole", "now"});
    world.apply_and_die(changes.take());
    changes.update({"9", "whole", "now"}, {"5", "came", "back"})
        .update({"1", "a third", "t"}, {"1", "kept", "t"}, {2});
    world.apply(changes);
    world.expect_rows(schema, {{"1", "kept", "t"}, {"3", "moved", "y"}, {"5", "came", "back"}});
}

void partly_published_without_key(World& world) {
    const TableSchemaPtr schema = TableMaker(16391, "bag")
                                      .column("a", {TypeKind::int32})
                                      .column("b")
                                      .identity(ReplicaIdentity::full)
                                      .partly_published()
                                      .make();
    world.load(schema, {{"1", "x"}, {"1", "x"}, {"2", "y"}});
    ChangeRecorder changes(schema);
    changes.remove({"3", "z"})
        .insert({"3", "z"})
        .remove({"2", "y"})
        .remove({"2", "y"})
        .insert({"2", "y"})
        .update({"4", "w"}, {"4", "W"})
        .remove({"1", "x"});
    world.apply(changes);
    world.expect_rows(schema, {{"1", "x"}, {"2", "y"}, {"3", "z"}, {"4", "W"}});
}

void changes_of_an_unknown_table(World& world) {
    const TableSchemaPtr schema = wide().make();
    ChangeRecorder changes(schema);
    changes.insert({"1", "a", "x"});
    TestFlush flush(world.next_position());
    flush.add(changes.take());
    world.expect_refused(flush, ErrorCode::schema_mismatch, 16384);
}

void large_values(World& world) {
    const TableSchemaPtr schema = wide().make();
    std::string large;
    for (int i = 0; large.size() < (3U << 20); ++i) large += "value " + std::to_string(i) + ", ";
    world.load(schema, {{"1", "copied", large}});
    ChangeRecorder changes(schema);
    changes.insert({"2", "inserted", large})
        .update({"1", "copied", large}, {"1", "kept", large}, {2});
    world.apply(changes);
    world.expect_rows(schema, {{"1", "kept", large}, {"2", "inserted", large}});
}

// --- Random runs over three tables, compared with what the source holds.

class RandomTable {
 public:
    RandomTable(TableSchemaPtr schema, std::mt19937& random)
        : schema_(std::move(schema)), random_(random), changes_(schema_) {}

    const TableSchemaPtr& schema() const { return schema_; }
    const std::vector<TextRow>& rows() const { return rows_; }
    ChangeBatch take() { return changes_.take(); }

    void change() {
        const auto what = random_() % 8;
        if (rows_.empty() || what < 3) {
            rows_.push_back(fresh_row());
            changes_.insert(rows_.back());
            return;
        }
        const auto victim = static_cast<std::ptrdiff_t>(random_() % rows_.size());
        TextRow& row = rows_[static_cast<std::size_t>(victim)];
        if (what < 5) {
            changes_.remove(row);
            rows_.erase(rows_.begin() + victim);
            return;
        }
        TextRow next = row;
        if (random_() % 3 == 0) next[0] = fresh_row()[0];
        next[1] = text();
        std::set<std::size_t> unchanged;
        if (random_() % 2 == 0) {
            next[2] = text();
        } else if (next[2]) {
            unchanged.insert(2);
        }
        changes_.update(row, next, unchanged);
        row = next;
    }

 private:
    std::optional<std::string> text() {
        if (random_() % 4 == 0) return std::nullopt;
        return std::string(1 + random_() % 3, static_cast<char>('a' + random_() % 2));
    }
    TextRow fresh_row() {
        for (;;) {
            TextRow row = {std::to_string(random_() % 40), text(), text()};
            const bool is_taken = std::any_of(rows_.begin(), rows_.end(),
                                              [&](const TextRow& r) { return r[0] == row[0]; });
            if (!is_taken || schema_->key_columns().empty()) return row;
        }
    }

    TableSchemaPtr schema_;
    std::mt19937& random_;
    ChangeRecorder changes_;
    std::vector<TextRow> rows_;
};

void random_runs(World& world) {
    std::mt19937 random(20240229);
    std::vector<RandomTable> tables;
    tables.emplace_back(wide().make(), random);
    tables.emplace_back(TableMaker(16390, "full")
                            .key("id")
                            .column("note")
                            .column("long")
                            .identity(ReplicaIdentity::full)
                            .make(),
                        random);
    tables.emplace_back(TableMaker(16391, "keyless")
                            .column("a", {TypeKind::int32})
                            .column("b")
                            .column("c")
                            .identity(ReplicaIdentity::full)
                            .make(),
                        random);
    for (const RandomTable& table : tables) world.load(table.schema(), {});
    for (int flush_number = 0; flush_number < 24; ++flush_number) {
        TestFlush flush(world.next_position());
        for (RandomTable& table : tables) {
            for (auto n = random() % 30; n > 0 && table.rows().size() < 35; --n) table.change();
            flush.add(table.take());
        }
        if (flush_number % 8 == 7) {
            world.die([&] { world.expect_applied(flush); });
        } else {
            world.expect_applied(flush);
        }
        if (flush_number % 4 != 3) continue;
        for (const RandomTable& table : tables) world.expect_rows(table.schema(), table.rows());
        if (::testing::Test::HasFailure()) return;
    }
}

constexpr CaseEntry kChangeCases[] = {
    {{"insert_update_delete", "the three changes, alone and of one row in one flush"},
     insert_update_delete},
    {{"key_change", "rows that move to other keys, also to those that others leave"}, key_change},
    {{"key_swap", "two rows that exchange a deferrable key"}, key_swap},
    {{"unchanged_value_in_the_batch", "values not sent come from earlier changes of the flush"},
     unchanged_value_in_the_batch},
    {{"unchanged_value_in_the_table", "values not sent are kept as they are, also across keys"},
     unchanged_value_in_the_table},
    {{"identity_index", "REPLICA IDENTITY USING INDEX: rows are found by that index"},
     identity_index},
    {{"identity_full_with_key", "REPLICA IDENTITY FULL of a table with a key"},
     identity_full_with_key},
    {{"identity_nothing", "without an identity inserts go through and the rest is refused"},
     identity_nothing},
    {{"keyless_multiset", "without a key, one of several equal rows is changed"}, keyless_multiset},
    {{"truncate", "TRUNCATE of several tables between other changes"}, truncate},
    {{"lost_row_is_found", "a change of a row that is not there is an error, not ignored"},
     lost_row_is_found},
    {{"partly_published",
      "operations that are left out: keys that come again, rows that are missing"},
     partly_published},
    {{"partly_published_without_key", "the same for a multiset"}, partly_published_without_key},
    {{"changes_of_an_unknown_table", "changes of a table that was never published are refused"},
     changes_of_an_unknown_table},
    {{"large_values", "values of megabytes"}, large_values},
    {{"random_runs", "long random runs over several tables, with crashes"}, random_runs},
};

}  // namespace

std::span<const CaseEntry> change_cases() { return kChangeCases; }

}  // namespace walbrook::testing
