// Every kind of value with its extremes: copied, inserted, in lists, as key, and as part
// of a whole old row.

#include "world.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

namespace walbrook::testing {
namespace {

__extension__ typedef __int128 int128;

// A value in the form of its column, and what Postgres prints for it.
struct Value {
    std::function<void(Column&)> append;
    std::string text;
};

template <class T>
Value fixed(T value, std::string text) {
    return {[value](Column& column) { column.append_fixed(value); }, std::move(text)};
}

Value bytes(const std::string& value, std::string text) {
    return {[value](Column& column) { column.append_bytes(value); }, std::move(text)};
}

Value text(const std::string& value) { return bytes(value, value); }

int128 power_of_ten(int exponent) {
    int128 value = 1;
    for (int i = 0; i < exponent; ++i) value *= 10;
    return value;
}

struct Kind {
    std::string name;
    ColumnType type;
    std::vector<Value> values;
};

template <class T>
std::vector<Value> integers() {
    using Limits = std::numeric_limits<T>;
    return {fixed(T{0}, "0"), fixed(Limits::max(), std::to_string(Limits::max())),
            fixed(Limits::min(), std::to_string(Limits::min())), fixed(T{42}, "42")};
}

std::vector<Value> uuids() {
    const auto uuid = [](const std::string& value, std::string text) {
        return Value{[value](Column& column) { column.append_fixed_bytes(value.data(), 16); },
                     std::move(text)};
    };
    return {uuid(std::string(16, '\0'), "00000000-0000-0000-0000-000000000000"),
            uuid(std::string(16, '\xff'), "ffffffff-ffff-ffff-ffff-ffffffffffff"),
            uuid("\x01\x23\x45\x67\x89\xab\xcd\xef\x80\x7f\x41\x42\x43\x44\x45\x46",
                 "01234567-89ab-cdef-807f-414243444546")};
}

std::vector<Kind> scalar_kinds() {
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    constexpr float kInfinityF = std::numeric_limits<float>::infinity();
    constexpr auto kLast = std::numeric_limits<std::int64_t>::max();
    constexpr auto kLastDay = std::numeric_limits<std::int32_t>::max();
    const int128 nines = power_of_ten(38) - 1;
    return {
        {"boolean",
         {TypeKind::boolean},
         {{[](Column& c) { c.append_bool(true); }, "t"},
          {[](Column& c) { c.append_bool(false); }, "f"}}},
        {"int16", {TypeKind::int16}, integers<std::int16_t>()},
        {"int32", {TypeKind::int32}, integers<std::int32_t>()},
        {"int64", {TypeKind::int64}, integers<std::int64_t>()},
        {"uint32", {TypeKind::uint32}, integers<std::uint32_t>()},
        {"float32",
         {TypeKind::float32},
         {fixed(0.1F, "0.1"), fixed(std::nanf(""), "NaN"), fixed(kInfinityF, "Infinity"),
          fixed(-kInfinityF, "-Infinity"), fixed(3.4028235e38F, "3.4028235e+38"),
          fixed(1e-45F, "1e-45")}},
        {"float64",
         {TypeKind::float64},
         {fixed(0.1, "0.1"), fixed(std::nan(""), "NaN"), fixed(kInfinity, "Infinity"),
          fixed(-kInfinity, "-Infinity"), fixed(-0.0, "-0"), fixed(5e-324, "5e-324"),
          fixed(1.7976931348623157e308, "1.7976931348623157e+308"), fixed(1e15, "1e+15")}},
        {"decimal",
         {TypeKind::decimal, false, 12, 2},
         {fixed(int128{0}, "0.00"), fixed(int128{-5}, "-0.05"),
          fixed(int128{999'999'999'999}, "9999999999.99")}},
        {"decimal38",
         {TypeKind::decimal, false, 38, 10},
         {fixed(nines, std::string(28, '9') + "." + std::string(10, '9')),
          fixed(-nines, "-" + std::string(28, '9') + "." + std::string(10, '9')),
          fixed(int128{1}, "0.0000000001")}},
        {"text",
         {TypeKind::text},
         {text(""), text("NULL"), text("\\N"), text("it's \"quoted\", {and} \\ slashed"),
          text("line\nand\ttab\r"), text("zażółć 漢字 🦆 \xE2\x80\x8D"), text(" padded "),
          text("'; DROP TABLE t; --")}},
        {"bytes",
         {TypeKind::bytes},
         {bytes("", "\\x"), bytes(std::string(3, '\0'), "\\x000000"),
          bytes("\xff\x5c\x27", "\\xff5c27")}},
        {"date",
         {TypeKind::date},
         {fixed(kLastDay, "infinity"), fixed(-kLastDay, "-infinity"), fixed(0, "1970-01-01"),
          fixed(-735160, "0044-03-15 BC"), fixed(-2440588, "4714-11-24 BC"),
          fixed(2145042905, "5874897-12-31"), fixed(19782, "2024-02-29")}},
        {"time",
         {TypeKind::time},
         {fixed(std::int64_t{0}, "00:00:00"), fixed(std::int64_t{86'400'000'000}, "24:00:00"),
          fixed(std::int64_t{86'399'999'999}, "23:59:59.999999")}},
        {"timestamp",
         {TypeKind::timestamp},
         {fixed(kLast, "infinity"), fixed(-kLast, "-infinity"),
          fixed(std::int64_t{-1}, "1969-12-31 23:59:59.999999"),
          fixed(std::int64_t{-210866803200000000}, "4714-11-24 00:00:00 BC"),
          fixed(kLast - 1, "294247-01-10 04:00:54.775806")}},
        {"timestamptz",
         {TypeKind::timestamptz},
         {fixed(kLast, "infinity"), fixed(-kLast, "-infinity"),
          fixed(std::int64_t{1'709'210'096'789'000}, "2024-02-29 12:34:56.789+00"),
          fixed(std::int64_t{-62135596800000001}, "0001-12-31 23:59:59.999999+00 BC"),
          fixed(kLast - 1, "294247-01-10 04:00:54.775806+00")}},
        {"uuid", {TypeKind::uuid}, uuids()},
        {"json",
         {TypeKind::json},
         {text("null"), text("{\"b\":1, \"a\" : 2,\"a\":3}"), text("[1.10, \"\\u0041\", {}]")}},
    };
}

bool needs_quotes(const std::string& element) {
    if (element.empty() || element == "NULL" || element == "null") return true;
    return element.find_first_of("\"\\{}, \t\n\r\v\f") != std::string::npos;
}

// The text of a list of all values, and a null in the middle.
std::string list_text(const std::vector<Value>& values) {
    std::string out = "{";
    for (std::size_t i = 0; i < values.size(); ++i) {
        if (i != 0) out += ',';
        if (i == 1) out += "NULL,";
        const std::string& element = values[i].text;
        if (!needs_quotes(element)) {
            out += element;
            continue;
        }
        out += '"';
        for (const char c : element) {
            if (c == '"' || c == '\\') out += '\\';
            out += c;
        }
        out += '"';
    }
    return out + "}";
}

std::vector<Kind> list_kinds() {
    std::vector<Kind> lists;
    for (const Kind& scalar : scalar_kinds()) {
        Kind list{scalar.name + " list", scalar.type, {}};
        list.type.is_list = true;
        list.values.push_back({[values = scalar.values](Column& column) {
                                   for (std::size_t i = 0; i < values.size(); ++i) {
                                       if (i == 1) column.element().append_null();
                                       values[i].append(column.element());
                                   }
                                   column.append_list_end();
                               },
                               list_text(scalar.values)});
        list.values.push_back({[](Column& column) { column.append_list_end(); }, "{}"});
        list.values.push_back({[](Column& column) {
                                   column.element().append_null();
                                   column.append_list_end();
                               },
                               "{NULL}"});
        lists.push_back(std::move(list));
    }
    return lists;
}

// A table with an integer key and one column a kind; row i has each kind's i-th value,
// null behind its last.
struct ValueTable {
    explicit ValueTable(const std::vector<Kind>& of, bool has_key = true) : kinds(of) {
        TableMaker maker(16384, "v");
        if (has_key) {
            maker.key("id");
        } else {
            maker.column("id", {TypeKind::int64}).identity(ReplicaIdentity::full);
        }
        for (const Kind& kind : kinds) {
            maker.column(kind.name, kind.type);
            rows = std::max(rows, kind.values.size() + 1);
        }
        schema = maker.make();
    }
    void append(RowBatch& batch, std::size_t row, std::int64_t id) const {
        batch.columns()[0].append_fixed(id);
        for (std::size_t k = 0; k < kinds.size(); ++k) {
            Column& column = batch.columns()[k + 1];
            if (row < kinds[k].values.size()) {
                kinds[k].values[row].append(column);
            } else {
                column.append_null();
            }
        }
    }
    TextRow text_row(std::size_t row, std::int64_t id) const {
        TextRow out = {std::to_string(id)};
        for (const Kind& kind : kinds) {
            out.emplace_back();
            if (row < kind.values.size()) out.back() = kind.values[row].text;
        }
        return out;
    }

    std::vector<Kind> kinds;
    TableSchemaPtr schema;
    std::size_t rows = 0;
};

// Reported kind by kind: a difference in a row of twenty columns is hard to read.
void expect_values(World& world, const ValueTable& table, const std::vector<TextRow>& expected) {
    const std::vector<TextRow> rows = world.read(table.schema);
    EXPECT_EQ(rows.size(), expected.size());
    for (const TextRow& want : expected) {
        const auto found = std::find_if(rows.begin(), rows.end(),
                                        [&](const TextRow& row) { return row[0] == want[0]; });
        if (found == rows.end()) {
            ADD_FAILURE() << "row " << want[0].value_or("?") << " is missing";
            continue;
        }
        for (std::size_t c = 1; c < want.size(); ++c) {
            EXPECT_EQ((*found)[c].value_or("\\N"), want[c].value_or("\\N"))
                << table.schema->columns[c].name << " of row " << want[0].value_or("?");
        }
    }
}

CopyTargetPtr copy_values(World& world, const ValueTable& table, std::int64_t first_id) {
    const CopyTargetPtr copy = world.begin_copy(table.schema);
    RowBatch batch(table.schema);
    for (std::size_t row = 0; row < table.rows; ++row) {
        table.append(batch, row, first_id + static_cast<std::int64_t>(row));
    }
    TestReader reader(table.schema);
    reader.add(std::move(batch));
    const Status written = world.destination().write_copy({copy, 0}, reader, {});
    EXPECT_TRUE(written) << written.error().message();
    const Status finished = world.destination().finish_copy(copy, {});
    EXPECT_TRUE(finished) << finished.error().message();
    return copy;
}

// Copied and inserted values may go different ways: files here, rows there.
void check_values(World& world, const std::vector<Kind>& kinds) {
    const ValueTable table(kinds);
    world.publish(copy_values(world, table, 0));
    ChangeRecorder changes(table.schema);
    std::vector<TextRow> expected;
    for (std::size_t row = 0; row < table.rows; ++row) {
        const auto id = static_cast<std::int64_t>(row);
        expected.push_back(table.text_row(row, id));
        expected.push_back(table.text_row(row, 100 + id));
        table.append(changes.batch().new_rows, row, 100 + id);
        changes.add({.kind = ChangeKind::insert, .new_row = static_cast<std::int32_t>(row)});
    }
    world.apply(changes);
    expect_values(world, table, expected);
    world.reopen();
    expect_values(world, table, expected);
    // Every value is kept by an update that does not send it.
    for (std::size_t row = 0; row < table.rows; ++row) {
        RowBatch& next = changes.batch().new_rows;
        next.append_null_row();
        next.columns()[0].truncate(row);
        next.columns()[0].append_fixed(static_cast<std::int64_t>(row));
        for (std::size_t c = 1; c <= kinds.size(); ++c) changes.batch().set_unchanged(c, row);
        changes.add({.kind = ChangeKind::update, .new_row = static_cast<std::int32_t>(row)});
    }
    world.apply(changes);
    expect_values(world, table, expected);
}

void every_kind(World& world) { check_values(world, scalar_kinds()); }
void lists_of_every_kind(World& world) { check_values(world, list_kinds()); }

// Whole old rows are compared value by value, and NaN, infinities and lists must compare.
void every_kind_without_a_key(World& world) {
    std::vector<Kind> kinds = scalar_kinds();
    for (Kind& list : list_kinds()) kinds.push_back(std::move(list));
    const ValueTable table(kinds, false);
    world.publish(copy_values(world, table, 0));
    ChangeRecorder changes(table.schema);
    std::vector<TextRow> expected;
    for (std::size_t row = 0; row < table.rows; ++row) {
        const auto id = static_cast<std::int64_t>(row);
        const auto number = static_cast<std::int32_t>(row);
        table.append(changes.batch().old_rows, row, id);
        // Odd rows go; even ones become the next row's values.
        Change change{.kind = ChangeKind::remove, .old_is_full = true, .old_row = number};
        if (row % 2 == 0) {
            change.kind = ChangeKind::update;
            change.new_row = static_cast<std::int32_t>(changes.batch().new_rows.rows());
            table.append(changes.batch().new_rows, (row + 1) % table.rows, id);
            expected.push_back(table.text_row((row + 1) % table.rows, id));
        }
        changes.add(change);
    }
    world.apply(changes);
    expect_values(world, table, expected);
}

// A key that is made of every kind that can be one.
void every_kind_as_key(World& world) {
    TableMaker maker(16384, "v");
    std::vector<Kind> kinds = scalar_kinds();
    std::erase_if(kinds, [](const Kind& kind) { return kind.type.kind == TypeKind::json; });
    for (const Kind& kind : kinds) maker.key(kind.name, kind.type);
    const TableSchemaPtr schema = maker.column("note").column("long").make();
    const auto append = [&](RowBatch& batch, std::size_t row, const char* note) {
        for (std::size_t k = 0; k < kinds.size(); ++k) {
            kinds[k].values[row % kinds[k].values.size()].append(batch.columns()[k]);
        }
        append_text(batch.columns()[kinds.size()], note);
        append_text(batch.columns()[kinds.size() + 1], "kept");
    };
    constexpr std::size_t kRows = 8;
    RowBatch batch(schema);
    for (std::size_t row = 0; row < kRows; ++row) append(batch, row, "copied");
    const CopyTargetPtr copy = world.begin_copy(schema);
    TestReader reader(schema);
    reader.add(std::move(batch));
    ASSERT_TRUE(world.destination().write_copy({copy, 0}, reader, {}));
    ASSERT_TRUE(world.destination().finish_copy(copy, {}));
    world.publish(copy);
    ChangeRecorder changes(schema);
    std::size_t updated = 0;
    for (std::size_t row = 0; row < kRows; ++row) {
        if (row % 2 == 0) {
            append(changes.batch().old_rows, row, "");
            changes.add(
                {.kind = ChangeKind::remove, .old_row = static_cast<std::int32_t>(row / 2)});
        } else {
            append(changes.batch().new_rows, row, "updated");
            changes.batch().set_unchanged(kinds.size() + 1, updated);
            changes.add(
                {.kind = ChangeKind::update, .new_row = static_cast<std::int32_t>(updated++)});
        }
    }
    world.apply(changes);
    std::vector<TextRow> expected;
    for (std::size_t row = 1; row < kRows; row += 2) {
        TextRow& want = expected.emplace_back();
        for (const Kind& kind : kinds) {
            want.emplace_back(kind.values[row % kind.values.size()].text);
        }
        want.emplace_back("updated");
        want.emplace_back("kept");
    }
    world.expect_rows(schema, expected);
}

// A table that grows by columns whose values its rows have already.
class GrowingTable {
 public:
    explicit GrowingTable(World& world) : world_(world) {}
    // Adds a column for each of the values, or nothing: false if the destination refuses.
    bool add(const Kind& kind, const std::vector<Value>& values) {
        TableSchema next = present_;
        for (std::size_t i = 0; i < values.size(); ++i) {
            ColumnSchema column;
            column.attnum = static_cast<std::int16_t>(next.columns.size() + 1);
            column.name = kind.name + " " + std::to_string(column.attnum);
            column.type = kind.type;
            column.type_name = to_string(kind.type);
            column.nullable = false;
            next.columns.push_back(std::move(column));
        }
        SchemaChange change;
        change.from = std::make_shared<const TableSchema>(present_);
        change.to = std::make_shared<const TableSchema>(next);
        auto existing = std::make_shared<RowBatch>(change.to);
        for (std::size_t c = 0; c < next.columns.size(); ++c) {
            const std::size_t known = present_.columns.size();
            if (c < known) {
                existing->columns()[c].append_null();
            } else {
                values[c - known].append(existing->columns()[c]);
            }
        }
        change.existing = existing;
        TestFlush flush(world_.next_position());
        flush.add(change);
        if (!world_.expect_applied_or_refused(flush, 16384)) return false;
        present_ = next;
        for (const Value& value : values) expected_.push_back(value.text);
        return true;
    }
    const TableSchema& present() const { return present_; }
    void expect(std::int64_t id) {
        const auto schema = std::make_shared<const TableSchema>(present_);
        const std::vector<TextRow> rows = world_.read(schema);
        for (const TextRow& row : rows) {
            if (row[0] != std::to_string(id)) continue;
            for (std::size_t c = 1; c < row.size(); ++c) {
                EXPECT_EQ(row[c].value_or("\\N"), expected_[c - 1]) << schema->columns[c].name;
            }
            return;
        }
        ADD_FAILURE() << "row " << id << " is missing";
    }

 private:
    World& world_;
    TableSchema present_ = *TableMaker(16384, "v").key("id").make();
    std::vector<std::string> expected_;
};

void existing_values_of_every_kind(World& world) {
    GrowingTable table(world);
    world.load(std::make_shared<const TableSchema>(table.present()), {{"1"}, {"2"}});
    std::vector<Kind> kinds = scalar_kinds();
    for (Kind& list : list_kinds()) kinds.push_back(std::move(list));
    for (const Kind& kind : kinds) {
        SCOPED_TRACE(kind.name);
        if (table.add(kind, kind.values)) continue;
        // Perhaps one of them cannot be held in this way.
        for (const Value& value : kind.values) table.add(kind, {value});
    }
    table.expect(1);
    world.reopen();
    table.expect(2);
    // Every value is kept by an update that does not send it.
    const auto schema = std::make_shared<const TableSchema>(table.present());
    ChangeRecorder changes(schema);
    RowBatch& next = changes.batch().new_rows;
    next.append_null_row();
    next.columns()[0].truncate(0);
    next.columns()[0].append_fixed(std::int64_t{3});
    RowBatch& old = changes.batch().old_rows;
    old.append_null_row();
    old.columns()[0].truncate(0);
    old.columns()[0].append_fixed(std::int64_t{2});
    for (std::size_t c = 1; c < schema->columns.size(); ++c) changes.batch().set_unchanged(c, 0);
    changes.add({.kind = ChangeKind::update, .new_row = 0, .old_row = 0});
    world.apply(changes);
    table.expect(1);
    table.expect(3);
}

constexpr CaseEntry kValueCases[] = {
    {{"every_kind", "every kind of value, with its extremes, copied and inserted"}, every_kind},
    {{"lists_of_every_kind", "lists of every kind, with nulls, empty, and null themselves"},
     lists_of_every_kind},
    {{"every_kind_without_a_key", "whole old rows of every kind are found again"},
     every_kind_without_a_key},
    {{"existing_values_of_every_kind", "rows hold the default of an added column, or are copied"},
     existing_values_of_every_kind},
    {{"every_kind_as_key", "rows are found by keys of every kind"}, every_kind_as_key},
};

}  // namespace

std::span<const CaseEntry> value_cases() { return kValueCases; }

}  // namespace walbrook::testing
