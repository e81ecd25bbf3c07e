// Long random runs over tables whose columns, types and names change all the time, compared
// with what the source holds.

#include "world.h"

#include <algorithm>
#include <random>
#include <string>

namespace walbrook::testing {
namespace {

constexpr std::uint32_t kFirstOid = 16384;

// A table as the source has it, and the items of the flush that is to bring it there.
class EvolvingTable {
 public:
    EvolvingTable(std::uint32_t oid, ReplicaIdentity identity, std::mt19937& random)
        : random_(random) {
        TableMaker maker = TableMaker(oid, "t" + std::to_string(oid)).identity(identity);
        schema_ = maker.key("id").column("a").column("n", {TypeKind::int32}).make();
        attnum_ = 3;
        changes_.emplace(schema_);
    }

    const TableSchemaPtr& schema() const { return schema_; }
    const std::vector<TextRow>& rows() const { return rows_; }
    std::uint32_t oid() const { return schema_->id.oid; }

    void step() {
        const auto what = random_() % 40;
        if (what == 0) return truncate();
        if (what < 7) return alter();
        if (rows_.size() < 30) change();
    }
    // The tables' names change places, as three renames do it.
    static void swap_names(EvolvingTable& a, EvolvingTable& b) {
        const std::string name_of_a = a.schema_->name;
        const std::string name_of_b = b.schema_->name;
        a.rename("aside");
        b.rename(name_of_a);
        a.rename(name_of_b);
    }
    void rename(const std::string& name) {
        TableSchema next = *schema_;
        next.name = name;
        become(std::move(next), {});
    }
    std::vector<FlushItem> take() {
        close_batch();
        return std::exchange(items_, {});
    }

 private:
    std::string word() {
        return std::string(1 + random_() % 3, static_cast<char>('a' + random_() % 3));
    }
    std::optional<std::string> value(const ColumnSchema& column) {
        if (column.key_position != 0) return std::to_string(next_id_++);
        if (random_() % 4 == 0) return std::nullopt;
        switch (column.type.kind) {
            case TypeKind::text:
                return word();
            case TypeKind::boolean:
                return random_() % 2 == 0 ? "t" : "f";
            case TypeKind::float64:
                return random_() % 2 == 0 ? "-0" : "1.5";
            default:
                return std::to_string(static_cast<int>(random_() % 20) - 10);
        }
    }
    void close_batch() {
        if (!changes_->batch().changes.empty()) items_.emplace_back(changes_->take());
    }
    void truncate() {
        close_batch();
        Truncate item;
        item.tables = {schema_};
        items_.emplace_back(std::move(item));
        rows_.clear();
    }
    void change() {
        const auto what = random_() % 8;
        if (rows_.empty() || what < 3) {
            TextRow row;
            for (const ColumnSchema& column : schema_->columns) row.push_back(value(column));
            changes_->insert(row);
            rows_.push_back(std::move(row));
            return;
        }
        const auto victim = static_cast<std::ptrdiff_t>(random_() % rows_.size());
        TextRow& row = rows_[static_cast<std::size_t>(victim)];
        if (what < 5) {
            changes_->remove(row);
            rows_.erase(rows_.begin() + victim);
            return;
        }
        TextRow next = row;
        std::set<std::size_t> unchanged;
        for (std::size_t i = 0; i < next.size(); ++i) {
            const ColumnSchema& column = schema_->columns[i];
            const bool is_key = column.key_position != 0;
            if (random_() % (is_key ? 6 : 2) == 0) {
                next[i] = value(column);
            } else if (!is_key && next[i] && column.type.kind == TypeKind::text) {
                unchanged.insert(i);
            }
        }
        changes_->update(row, next, unchanged);
        row = next;
    }

    // Several changes at once, as one transaction of the source may make them.
    void alter() {
        TableSchema next = *schema_;
        TextRow existing;
        if (random_() % 3 == 0 && next.columns.size() > 2) {
            const std::size_t at = 1 + random_() % (next.columns.size() - 1);
            dropped_name_ = next.columns[at].name;
            next.columns.erase(next.columns.begin() + static_cast<std::ptrdiff_t>(at));
        }
        if (random_() % 3 == 0 && next.columns.size() > 2) {
            const std::size_t at = 1 + random_() % (next.columns.size() - 1);
            const std::size_t other = random_() % next.columns.size();
            std::swap(next.columns[at].name, next.columns[other].name);
        }
        if (random_() % 4 == 0) next.columns.back().comment = word();
        if (random_() % 6 == 0) next.comment = word();
        for (ColumnSchema& column : next.columns) {
            if (column.type.kind == TypeKind::int32 && random_() % 6 == 0) {
                column.type = {TypeKind::int64};
            }
        }
        existing.resize(next.columns.size());
        for (auto n = random_() % 3; n > 0 && next.columns.size() < 9; --n) add(next, existing);
        become(std::move(next), std::move(existing));
    }
    void add(TableSchema& table, TextRow& existing) {
        constexpr TypeKind kKinds[] = {TypeKind::text, TypeKind::int32, TypeKind::boolean,
                                       TypeKind::float64};
        ColumnSchema column;
        column.name = "c" + std::to_string(++attnum_);
        // A name may come back for another column.
        const bool is_free =
            std::none_of(table.columns.begin(), table.columns.end(),
                         [&](const ColumnSchema& other) { return other.name == dropped_name_; });
        if (is_free && !dropped_name_.empty() && random_() % 2 == 0) column.name = dropped_name_;
        column.attnum = attnum_;
        column.type = {kKinds[random_() % std::size(kKinds)]};
        column.in_identity = table.replica_identity == ReplicaIdentity::full;
        existing.push_back(random_() % 2 == 0 ? std::nullopt : value(column));
        table.columns.push_back(std::move(column));
    }
    void become(TableSchema next, TextRow existing) {
        close_batch();
        const auto to = std::make_shared<const TableSchema>(std::move(next));
        for (TextRow& row : rows_) {
            TextRow shaped = existing;
            shaped.resize(to->columns.size());
            for (std::size_t i = 0; i < to->columns.size(); ++i) {
                for (std::size_t j = 0; j < row.size(); ++j) {
                    if (schema_->columns[j].attnum == to->columns[i].attnum) shaped[i] = row[j];
                }
            }
            row = std::move(shaped);
        }
        const TableSchemaPtr from = std::exchange(schema_, to);
        items_.emplace_back(schema_change(from, to, existing));
        changes_.emplace(schema_);
    }

    std::mt19937& random_;
    TableSchemaPtr schema_;
    std::int16_t attnum_ = 0;
    int next_id_ = 1;
    std::string dropped_name_;
    std::vector<TextRow> rows_;
    std::optional<ChangeRecorder> changes_;
    std::vector<FlushItem> items_;
};

// One flush of all; a table that the destination refuses is left out and copied again, as the
// pipeline does it.
void flush_all(World& world, std::vector<EvolvingTable>& tables, std::uint32_t& attempt) {
    std::vector<std::vector<FlushItem>> items;
    for (EvolvingTable& table : tables) items.push_back(table.take());
    std::set<std::uint32_t> refused;
    for (;;) {
        TestFlush flush(world.next_position());
        for (std::size_t i = 0; i < tables.size(); ++i) {
            if (refused.contains(tables[i].oid())) continue;
            for (FlushItem& item : items[i]) {
                std::visit([&](auto& it) { flush.add(std::move(it)); }, item);
            }
        }
        const Result<Ack> ack = world.destination().apply(flush, Ack::durable, {});
        if (ack) break;
        ASSERT_EQ(name_of(ack.error().code()), "schema_mismatch") << ack.error().message();
        ASSERT_TRUE(refused.insert(ack.error().table_oid()).second) << ack.error().message();
        // What was moved into the flush is moved back.
        std::size_t next = 0;
        for (std::size_t i = 0; i < tables.size(); ++i) {
            if (refused.contains(tables[i].oid()) && tables[i].oid() != ack.error().table_oid()) {
                continue;
            }
            for (FlushItem& item : items[i]) item = std::move(flush.items()[next++]);
        }
    }
    for (const EvolvingTable& table : tables) {
        if (refused.contains(table.oid())) world.load(table.schema(), table.rows(), ++attempt);
    }
}

void random_schema_changes(World& world) {
    std::mt19937 random(20240307);
    std::vector<EvolvingTable> tables;
    tables.emplace_back(kFirstOid, ReplicaIdentity::default_key, random);
    tables.emplace_back(kFirstOid + 1, ReplicaIdentity::full, random);
    tables.emplace_back(kFirstOid + 2, ReplicaIdentity::default_key, random);
    for (const EvolvingTable& table : tables) world.load(table.schema(), {});
    std::uint32_t attempt = 1;
    for (int number = 0; number < 21; ++number) {
        for (EvolvingTable& table : tables) {
            for (auto n = random() % 20; n > 0; --n) table.step();
        }
        if (random() % 4 == 0) EvolvingTable::swap_names(tables[0], tables[random() % 2 + 1]);
        flush_all(world, tables, attempt);
        if (::testing::Test::HasFatalFailure()) return;
        // Names that could not change in the flush, and files that are merged.
        const auto maintain = [&] { EXPECT_TRUE(world.destination().maintain({})); };
        maintain();
        if (number % 10 == 9) world.die(maintain);
        if (number % 3 != 2) continue;
        SCOPED_TRACE(number);
        for (const EvolvingTable& table : tables) world.expect_rows(table.schema(), table.rows());
        if (::testing::Test::HasFailure()) return;
    }
}

constexpr CaseEntry kRandomSchemaCases[] = {
    {{"random_schema_changes", "long random runs over tables that change their shape"},
     random_schema_changes},
};

}  // namespace

std::span<const CaseEntry> random_schema_cases() { return kRandomSchemaCases; }

}  // namespace walbrook::testing
