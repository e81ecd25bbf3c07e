// A suite that cannot fail proves nothing: destinations and stores with one mistake each, every
// one of which must be found. They stand around our own, which pass.

#include "destination_around.h"
#include "first_failure.h"
#include "support/temp_dir.h"
#include "walbrook/destinations.h"
#include "walbrook/stores.h"
#include "walbrook/testing/store_around.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <limits>
#include <map>

namespace walbrook::testing {
namespace {

// --- Destinations

enum class Mistake : std::uint8_t {
    none,
    loses_the_second_of_two_equal_rows,
    applies_deletes_after_inserts,
    acknowledges_before_it_is_durable,
    ignores_a_stop,
    forgets_unchanged_values,
    keeps_an_old_position,
    applies_half_a_flush,
    ignores_truncates,
    forgets_what_old_rows_hold_in_new_columns,
    ignores_freezes,
    takes_a_broken_unit_for_a_whole_one,
    ignores_a_discarded_copy,
    takes_over_the_data_of_another_source,
    knows_only_the_first_column_of_a_key,
    skips_flushes_without_changes,
    ignores_case_in_names,
};

struct Named {
    const char* name;
    Mistake mistake;
};
constexpr Named kMistakes[] = {
    {"loses the second of two equal rows", Mistake::loses_the_second_of_two_equal_rows},
    {"applies deletes after inserts", Mistake::applies_deletes_after_inserts},
    {"acknowledges before it is durable", Mistake::acknowledges_before_it_is_durable},
    {"ignores a stop", Mistake::ignores_a_stop},
    {"forgets unchanged values", Mistake::forgets_unchanged_values},
    {"keeps an old position, and so doubles on replay", Mistake::keeps_an_old_position},
    {"applies half a flush", Mistake::applies_half_a_flush},
    {"ignores truncates", Mistake::ignores_truncates},
    {"forgets what old rows hold in new columns",
     Mistake::forgets_what_old_rows_hold_in_new_columns},
    {"ignores freezes", Mistake::ignores_freezes},
    {"takes a broken unit for a whole one", Mistake::takes_a_broken_unit_for_a_whole_one},
    {"ignores that a copy was discarded", Mistake::ignores_a_discarded_copy},
    {"takes over the data of another source", Mistake::takes_over_the_data_of_another_source},
    {"knows only the first column of a key", Mistake::knows_only_the_first_column_of_a_key},
    {"skips flushes without changes", Mistake::skips_flushes_without_changes},
    {"ignores case in names", Mistake::ignores_case_in_names},
};

// Ends without an error where the other one has one.
class Unbroken final : public RowReader {
 public:
    explicit Unbroken(RowReader& rows) : rows_(rows) {}
    const TableSchemaPtr& schema() const override { return rows_.schema(); }
    Result<const RowBatch*> next() override {
        auto batch = rows_.next();
        return batch ? batch : Result<const RowBatch*>(nullptr);
    }

 private:
    RowReader& rows_;
};

RowBatch copy_of(const RowBatch& rows) {
    RowBatch copy(rows.schema());
    for (std::size_t row = 0; row < rows.rows(); ++row) copy.append_row_from(rows, row);
    return copy;
}

FlushItem copy_of(const FlushItem& item) {
    return std::visit(
        [](const auto& it) -> FlushItem {
            using Item = std::decay_t<decltype(it)>;
            if constexpr (std::is_same_v<Item, ChangeBatch>) {
                ChangeBatch copy(it.schema());
                copy.changes = it.changes;
                copy.transactions = it.transactions;
                copy.new_rows = copy_of(it.new_rows);
                copy.old_rows = copy_of(it.old_rows);
                copy.unchanged = it.unchanged;
                copy.copy = it.copy;
                return FlushItem(std::in_place_type<ChangeBatch>, std::move(copy));
            } else {
                return FlushItem(std::in_place_type<Item>, it);
            }
        },
        item);
}

class Mistaken final : public DestinationAround {
 public:
    Mistaken(Mistake mistake, std::shared_ptr<MemoryLake> lake)
        : DestinationAround(MemoryDestination::create(std::move(lake))), mistake_(mistake) {}

    Result<Recovered> open(const PipelineIdentity& who, std::stop_token stop) override {
        PipelineIdentity as = who;
        if (is(Mistake::takes_over_the_data_of_another_source)) {
            as.system_identifier = "any";
            as.database_oid = 1;
            as.slot = "any";
        }
        WALBROOK_TRY(Recovered recovered, inner_->open(as, stop));
        position_ = before_ = recovered.position;
        return recovered;
    }
    Status write_copy(const CopyUnit& unit, RowReader& rows, std::stop_token stop) override {
        if (is(Mistake::takes_a_broken_unit_for_a_whole_one)) {
            Unbroken unbroken(rows);
            return inner_->write_copy(unit, unbroken, stop);
        }
        return inner_->write_copy(unit, rows, heard(stop));
    }
    Status discard_copy(const CopyTargetPtr& copy, std::stop_token stop) override {
        if (is(Mistake::ignores_a_discarded_copy)) return {};
        return inner_->discard_copy(copy, stop);
    }
    Result<Ack> apply(Flush& flush, Ack required, std::stop_token stop) override {
        // What is sent is the copy with the mistake in it; an error of the flush comes at the end.
        TestFlush wrong(flush.position());
        for (;;) {
            if (heard(stop).stop_requested()) return Error(ErrorCode::cancelled, "stopped");
            auto item = flush.next();
            if (!item) {
                if (!is(Mistake::applies_half_a_flush)) return item.error();
                WALBROOK_RETURN_IF_ERROR(inner_->apply(wrong, required, stop).status());
                return item.error();
            }
            if (*item == nullptr) break;
            add(**item, wrong);
        }
        if (is(Mistake::skips_flushes_without_changes) && wrong.items().empty()) {
            return Ack::durable;
        }
        before_ = std::exchange(position_, flush.position());
        if (is(Mistake::acknowledges_before_it_is_durable)) {
            waiting_.push_back(std::move(wrong));
            while (waiting_.size() > 1) {
                WALBROOK_RETURN_IF_ERROR(inner_->apply(waiting_.front(), required, {}).status());
                waiting_.pop_front();
            }
            return Ack::durable;
        }
        return inner_->apply(wrong, required, stop);
    }
    Result<Lsn> read_position(std::stop_token stop) override {
        if (is(Mistake::acknowledges_before_it_is_durable)) return position_;
        if (is(Mistake::keeps_an_old_position)) return before_;
        return inner_->read_position(stop);
    }
    Status close() override {
        for (TestFlush& flush : waiting_) {
            WALBROOK_RETURN_IF_ERROR(inner_->apply(flush, Ack::durable, {}).status());
        }
        return inner_->close();
    }

 private:
    bool is(Mistake mistake) const { return mistake_ == mistake; }
    std::stop_token heard(const std::stop_token& stop) const {
        return is(Mistake::ignores_a_stop) ? std::stop_token() : stop;
    }
    static std::uint64_t hash_of(const RowBatch& rows, std::int32_t row) {
        std::uint64_t hash = 0;
        for (const Column& column : rows.columns()) {
            hash = hash * 31 + column.hash(static_cast<std::size_t>(row));
        }
        return hash;
    }
    void add(const FlushItem& item, TestFlush& to) const {
        FlushItem wrong = copy_of(item);
        if (auto* batch = std::get_if<ChangeBatch>(&wrong)) spoil(*batch);
        if (auto* change = std::get_if<SchemaChange>(&wrong);
            change != nullptr && is(Mistake::forgets_what_old_rows_hold_in_new_columns)) {
            change->existing = nullptr;
        }
        if (std::holds_alternative<Truncate>(wrong) && is(Mistake::ignores_truncates)) return;
        if (std::holds_alternative<Freeze>(wrong) && is(Mistake::ignores_freezes)) return;
        to.items().push_back(std::move(wrong));
    }
    void spoil(ChangeBatch& batch) const {
        if (is(Mistake::forgets_unchanged_values)) batch.unchanged.clear();
        if (is(Mistake::applies_deletes_after_inserts)) {
            std::stable_partition(batch.changes.begin(), batch.changes.end(),
                                  [](const Change& c) { return c.kind != ChangeKind::remove; });
        }
        if (is(Mistake::loses_the_second_of_two_equal_rows)) {
            std::map<std::uint64_t, int> seen;
            std::erase_if(batch.changes, [&](const Change& change) {
                return change.kind == ChangeKind::insert &&
                       seen[hash_of(batch.new_rows, change.new_row)]++ != 0;
            });
        }
        // Of two changes of one first column the last one is taken.
        if (is(Mistake::knows_only_the_first_column_of_a_key)) {
            std::map<std::uint64_t, int> seen;
            std::erase_if(batch.changes, [&](const Change& change) {
                return change.kind == ChangeKind::remove &&
                       batch.schema()->key_columns().size() > 1 &&
                       seen[batch.old_rows.columns()[0].hash(
                           static_cast<std::size_t>(change.old_row))]++ != 0;
            });
        }
    }

    const Mistake mistake_;
    std::deque<TestFlush> waiting_;
    Lsn position_;
    Lsn before_;
};

class MistakenHarness final : public DestinationHarness {
 public:
    explicit MistakenHarness(Mistake mistake) : mistake_(mistake) {}
    std::unique_ptr<Destination> create() override {
        return std::make_unique<Mistaken>(mistake_, lake_);
    }
    bool can_be_killed() const override { return false; }
    std::optional<std::vector<TextRow>> read(const TableSchema& table) override {
        std::string schema = table.schema;
        std::string name = table.name;
        if (mistake_ == Mistake::ignores_case_in_names) {
            std::transform(name.begin(), name.end(), name.begin(),
                           [](char c) { return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c; });
        }
        return MemoryDestination::create(lake_)->read(schema, name);
    }

 private:
    const Mistake mistake_;
    std::shared_ptr<MemoryLake> lake_ = MemoryDestination::make_lake();
};

std::string found_by(Mistake mistake) {
    return first_failed_case([mistake]() -> std::unique_ptr<DestinationHarness> {
        return std::make_unique<MistakenHarness>(mistake);
    });
}

TEST(PlantedBugs, ADestinationWithoutOnePasses) { EXPECT_EQ(found_by(Mistake::none), ""); }

TEST(PlantedBugs, EachIsFoundInADestination) {
    for (const Named& planted : kMistakes) {
        const std::string by = found_by(planted.mistake);
        EXPECT_NE(by, "") << "not found: one that " << planted.name;
        std::printf("[   FOUND  ] one that %s: %s\n", planted.name, by.c_str());
    }
}

// Does not come back from a call, whatever it is asked.
class HangingHarness final : public DestinationHarness {
 public:
    std::unique_ptr<Destination> create() override {
        auto made = std::make_unique<FaultyDestination>(MemoryDestination::create(lake_));
        made->add({DestinationCall::maintain, 1, Fault::Kind::hold, {}});
        return std::make_unique<Deaf>(std::move(made));
    }
    bool can_be_killed() const override { return false; }
    std::optional<std::vector<TextRow>> read(const TableSchema& table) override {
        return MemoryDestination::create(lake_)->read(table.schema, table.name);
    }
    std::chrono::seconds stop_bound() const override { return std::chrono::seconds(1); }

 private:
    class Deaf final : public Destination {
     public:
        explicit Deaf(std::unique_ptr<Destination> inner) : inner_(std::move(inner)) {}
        std::string_view name() const override { return "deaf"; }
        Capabilities capabilities() const override { return inner_->capabilities(); }
        std::vector<std::string> refusals(const std::vector<TableSchemaPtr>&) const override {
            return {};
        }
        Result<Recovered> open(const PipelineIdentity& who, std::stop_token) override {
            return inner_->open(who, {});
        }
        Status begin_copy(const CopyTargetPtr& copy, std::stop_token) override {
            return inner_->begin_copy(copy, {});
        }
        Status write_copy(const CopyUnit& unit, RowReader& rows, std::stop_token) override {
            return inner_->write_copy(unit, rows, {});
        }
        Status finish_copy(const CopyTargetPtr& copy, std::stop_token) override {
            return inner_->finish_copy(copy, {});
        }
        Status discard_copy(const CopyTargetPtr& copy, std::stop_token) override {
            return inner_->discard_copy(copy, {});
        }
        Result<Ack> apply(Flush& flush, Ack required, std::stop_token) override {
            return inner_->apply(flush, required, {});
        }
        Result<Lsn> read_position(std::stop_token) override { return inner_->read_position({}); }
        Status maintain(std::stop_token) override { return inner_->maintain({}); }
        Status close() override { return inner_->close(); }

     private:
        const std::unique_ptr<Destination> inner_;
    };
    std::shared_ptr<MemoryLake> lake_ = MemoryDestination::make_lake();
};

TEST(PlantedBugsDeathTest, ACallThatHangsEndsTheProgramWithItsName) {
    EXPECT_DEATH(
        run_conformance_case("every_call_stops", [] { return std::make_unique<HangingHarness>(); }),
        "maintain did not return after it was asked to stop");
}

// --- Stores

enum class StoreMistake : std::uint8_t {
    none,
    saves_tables_one_by_one,
    says_what_it_was_told,
    stores_a_call_late,
    mixes_up_scopes,
    finds_only_the_very_position,
    prunes_what_is_in_force,
    keeps_the_schemas_of_removed_tables,
    keeps_positions_when_it_is_cleared,
    keeps_the_bound_of_another_log,
    drops_quotes,
    takes_newer_formats,
    stores_the_lineage_when_it_is_destroyed,
};

struct NamedStore {
    const char* name;
    StoreMistake mistake;
};
constexpr NamedStore kStoreMistakes[] = {
    {"saves tables one by one", StoreMistake::saves_tables_one_by_one},
    {"answers with the position that it was told", StoreMistake::says_what_it_was_told},
    {"stores each call with the next one", StoreMistake::stores_a_call_late},
    {"mixes up scopes", StoreMistake::mixes_up_scopes},
    {"finds schemas only at the very position", StoreMistake::finds_only_the_very_position},
    {"prunes what is in force", StoreMistake::prunes_what_is_in_force},
    {"keeps the schemas of removed tables", StoreMistake::keeps_the_schemas_of_removed_tables},
    {"keeps positions when it is cleared", StoreMistake::keeps_positions_when_it_is_cleared},
    {"keeps the bound of another log", StoreMistake::keeps_the_bound_of_another_log},
    {"drops quotes", StoreMistake::drops_quotes},
    {"takes newer formats", StoreMistake::takes_newer_formats},
    {"stores the lineage when it is destroyed",
     StoreMistake::stores_the_lineage_when_it_is_destroyed},
};

class MistakenStore final : public StoreAround {
 public:
    MistakenStore(StoreMistake mistake, std::unique_ptr<Store> inner)
        : StoreAround(std::move(inner)), mistake_(mistake) {}
    ~MistakenStore() override {
        if (lineage_) StoreAround::save_lineage(*lineage_, kLsnMax).ignore();
    }

    Status open(const StoreScope& scope) override {
        Status status =
            StoreAround::open(is(StoreMistake::mixes_up_scopes) ? StoreScope{1, "one"} : scope);
        if (is(StoreMistake::takes_newer_formats) && !status) return {};
        return status;
    }
    Result<std::optional<Lineage>> load_lineage() override {
        return lineage_ ? lineage_ : StoreAround::load_lineage();
    }
    Status save_lineage(const Lineage& lineage, Lsn shared_until) override {
        if (!is(StoreMistake::stores_the_lineage_when_it_is_destroyed)) {
            const bool keeps = is(StoreMistake::keeps_the_bound_of_another_log);
            return StoreAround::save_lineage(lineage, keeps ? kLsnMax : shared_until);
        }
        lineage_ = lineage;
        return {};
    }
    Result<std::vector<TableState>> load_tables() override {
        if (is(StoreMistake::stores_a_call_late)) store_waiting();
        return StoreAround::load_tables();
    }
    Status save_tables(std::span<const TableState> tables) override {
        std::vector<TableState> kept(tables.begin(), tables.end());
        if (is(StoreMistake::drops_quotes)) {
            for (TableState& table : kept) std::erase(table.reason, '\'');
        }
        if (is(StoreMistake::saves_tables_one_by_one)) {
            for (const TableState& table : kept) {
                WALBROOK_RETURN_IF_ERROR(StoreAround::save_tables(std::span(&table, 1)));
            }
            return {};
        }
        if (is(StoreMistake::stores_a_call_late)) {
            store_waiting();
            waiting_ = std::move(kept);
            return {};
        }
        return StoreAround::save_tables(kept);
    }
    Status remove_table(TableId table) override {
        const auto schema =
            StoreAround::get_schema(table, Lsn{std::numeric_limits<std::uint64_t>::max()});
        WALBROOK_RETURN_IF_ERROR(StoreAround::remove_table(table));
        if (is(StoreMistake::keeps_the_schemas_of_removed_tables) && schema && *schema) {
            return StoreAround::put_schema(**schema, Lsn{0});
        }
        return {};
    }
    Result<StoredPositions> advance(const StoredPositions& to) override {
        auto stored = StoreAround::advance(to);
        if (is(StoreMistake::says_what_it_was_told)) return to;
        return stored;
    }
    Status put_schema(const TableSchema& schema, Lsn from) override {
        exact_[{schema.id.oid, from.value}] = true;
        return StoreAround::put_schema(schema, from);
    }
    Result<TableSchemaPtr> get_schema(TableId table, Lsn at) override {
        if (is(StoreMistake::finds_only_the_very_position) &&
            !exact_.contains({table.oid, at.value})) {
            return TableSchemaPtr();
        }
        return StoreAround::get_schema(table, at);
    }
    Status prune_schemas(TableId table, Lsn keep_from) override {
        return StoreAround::prune_schemas(table, is(StoreMistake::prunes_what_is_in_force)
                                                     ? Lsn{keep_from.value + 10}
                                                     : keep_from);
    }
    Status clear() override {
        const auto positions = StoreAround::load_positions();
        lineage_.reset();
        WALBROOK_RETURN_IF_ERROR(StoreAround::clear());
        if (is(StoreMistake::keeps_positions_when_it_is_cleared) && positions) {
            return StoreAround::advance(*positions).status();
        }
        return {};
    }

 private:
    bool is(StoreMistake mistake) const { return mistake_ == mistake; }
    void store_waiting() {
        EXPECT_TRUE(StoreAround::save_tables(waiting_));
        waiting_.clear();
    }

    const StoreMistake mistake_;
    std::vector<TableState> waiting_;
    std::optional<Lineage> lineage_;
    std::map<std::pair<std::uint32_t, std::uint64_t>, bool> exact_;
};

// Refuses one table, as a full disk or a trigger would; not when it is part of nothing.
class RefusingStore final : public StoreAround {
 public:
    RefusingStore(std::unique_ptr<Store> inner, std::uint32_t* refused)
        : StoreAround(std::move(inner)), refused_(refused) {}
    Status save_tables(std::span<const TableState> tables) override {
        for (const TableState& table : tables) {
            if (table.table.oid == *refused_) return Error(ErrorCode::unavailable, "refused");
        }
        return StoreAround::save_tables(tables);
    }

 private:
    const std::uint32_t* const refused_;
};

class MistakenStoreHarness final : public StoreHarness {
 public:
    explicit MistakenStoreHarness(StoreMistake mistake) : mistake_(mistake) {}
    std::unique_ptr<Store> create() override {
        refused_ = 0;
        return std::make_unique<MistakenStore>(
            mistake_, std::make_unique<RefusingStore>(make_sqlite_store(folder_.file("state.db")),
                                                      &refused_));
    }
    // The last byte of the user_version in the header of a SQLite file.
    bool write_newer_format() override {
        write_file(folder_.file("state.db"),
                   read_file(folder_.file("state.db")).replace(63, 1, "\x7f"));
        return true;
    }
    bool refuse_table(TableId table) override {
        refused_ = table.oid;
        return true;
    }

 private:
    const StoreMistake mistake_;
    TempDir folder_;
    std::uint32_t refused_ = 0;
};

std::string found_by(StoreMistake mistake) {
    return first_failed_store_case([mistake]() -> std::unique_ptr<StoreHarness> {
        return std::make_unique<MistakenStoreHarness>(mistake);
    });
}

TEST(PlantedBugs, AStoreWithoutOnePasses) { EXPECT_EQ(found_by(StoreMistake::none), ""); }

TEST(PlantedBugs, EachIsFoundInAStore) {
    for (const NamedStore& planted : kStoreMistakes) {
        const std::string by = found_by(planted.mistake);
        EXPECT_NE(by, "") << "not found: one that " << planted.name;
        std::printf("[   FOUND  ] one that %s: %s\n", planted.name, by.c_str());
    }
}

}  // namespace
}  // namespace walbrook::testing
