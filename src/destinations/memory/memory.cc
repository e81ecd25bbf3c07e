#include "base/check.h"
#include "destinations/blackhole/checksum.h"
#include "destinations/memory/memory_table.h"
#include "walbrook/destinations.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <utility>

namespace walbrook {

// What survives a "restart": everything that a real destination would keep on disk.
struct MemoryLake {
    using TablePtr = std::shared_ptr<MemoryTable>;

    struct Record {
        TablePhase phase = TablePhase::ready;
        Lsn position;
        std::string reason;
        TableSchemaPtr schema;  // Of a table that was frozen before it was ever published.
        TablePtr table;         // Or nothing.
    };
    struct Shadow {
        CopyTargetPtr copy;
        TablePtr table;
        std::set<std::uint32_t> units;
        bool is_finished = false;
    };

    std::mutex mutex;         // Guards everything below.
    std::uint64_t epoch = 0;  // Of the destination that may write.
    bool has_lineage = false;
    PipelineIdentity lineage;
    Lsn position;
    std::map<std::uint32_t, Record> records;  // By oid.
    std::map<std::uint32_t, Shadow> shadows;
    std::vector<TablePtr> retired;  // Nobody's any more, but still readable.
    ChangeChecksum checksum;
};

namespace {

using TablePtr = MemoryLake::TablePtr;

Error stopped() { return {ErrorCode::cancelled, "stopped while writing to memory"}; }

bool is_same_source(const PipelineIdentity& a, const PipelineIdentity& b) {
    return a.pipeline_id == b.pipeline_id && a.system_identifier == b.system_identifier &&
           a.database_oid == b.database_oid && a.slot == b.slot;
}

// The steps of one flush; rolled back unless committed.
class MemoryTransaction {
 public:
    explicit MemoryTransaction(MemoryLake& lake) : lake_(lake) {}
    ~MemoryTransaction() { undo_.roll_back(); }
    MemoryTransaction(const MemoryTransaction&) = delete;
    MemoryTransaction& operator=(const MemoryTransaction&) = delete;

    Status apply(const FlushItem& item) {
        return std::visit([this](const auto& it) { return step(it); }, item);
    }
    // What only the end of a transaction can tell: Postgres checks deferred keys there.
    Status commit(Lsn position) {
        for (const TablePtr& table : touched_) WALBROOK_RETURN_IF_ERROR(table->check_keys());
        lake_.position = std::max(lake_.position, position);
        lake_.checksum.add(checksum_);
        undo_.commit();
        return {};
    }

 private:
    Status step(const ChangeBatch& batch);
    Status step(const Truncate& truncate);
    Status step(const SchemaChange& change);
    Status step(const Publish& publish);
    Status step(const Freeze& freeze);
    Status step(const Retire& retire);
    Status step(const Replace& replace);
    Result<TablePtr*> find(const TableSchema& schema, const CopyTargetPtr& copy);
    // Remembers a part of the lake as it is now.
    template <class T>
    void keep(std::map<std::uint32_t, T>& map, std::uint32_t oid);
    void replace(TablePtr& table, MemoryTable by);
    Status expect_ready(const TableSchema& schema, const CopyTargetPtr& copy) const;

    MemoryLake& lake_;
    UndoLog undo_;
    std::set<TablePtr> touched_;
    ChangeChecksum checksum_;
};

template <class T>
void MemoryTransaction::keep(std::map<std::uint32_t, T>& map, std::uint32_t oid) {
    const auto found = map.find(oid);
    if (found == map.end()) {
        undo_.add([&map, oid] { map.erase(oid); });
    } else {
        undo_.add([&map, oid, old = found->second] { map[oid] = old; });
    }
}

// The table that changes of this version go to.
Result<TablePtr*> MemoryTransaction::find(const TableSchema& schema, const CopyTargetPtr& copy) {
    TablePtr* table = nullptr;
    if (copy) {
        const auto shadow = lake_.shadows.find(schema.id.oid);
        if (shadow != lake_.shadows.end() && shadow->second.is_finished &&
            shadow->second.copy->attempt == copy->attempt) {
            keep(lake_.shadows, schema.id.oid);
            table = &shadow->second.table;
        }
    } else if (const auto record = lake_.records.find(schema.id.oid);
               record != lake_.records.end() && record->second.table) {
        keep(lake_.records, schema.id.oid);
        table = &record->second.table;
    }
    if (table != nullptr) return table;
    return Error(ErrorCode::schema_mismatch,
                 fmt::format("change {} in memory: {}", schema.display_name(),
                             copy ? "there is no such finished copy" : "it was never published"))
        .with_table(schema.id.oid);
}

// The old table stays as it is, for rolling back.
void MemoryTransaction::replace(TablePtr& table, MemoryTable by) {
    const bool was_touched = touched_.erase(table) != 0;
    table = std::make_shared<MemoryTable>(std::move(by));
    if (was_touched) touched_.insert(table);
}

// Changes of its visible rows may come.
Status MemoryTransaction::expect_ready(const TableSchema& schema, const CopyTargetPtr& copy) const {
    if (copy || lake_.records.at(schema.id.oid).phase == TablePhase::ready) return {};
    return Error(ErrorCode::internal,
                 fmt::format("change {} in memory: its visible content was frozen",
                             schema.display_name()))
        .with_table(schema.id.oid);
}

Status MemoryTransaction::step(const ChangeBatch& batch) {
    if (batch.changes.empty()) return {};
    WALBROOK_TRY(TablePtr * table, find(*batch.schema(), batch.copy));
    WALBROOK_RETURN_IF_ERROR(expect_ready(*batch.schema(), batch.copy));
    if (*(*table)->schema() != *batch.schema()) {
        WALBROOK_TRY(MemoryTable shaped, (*table)->with_schema(batch.schema(), nullptr));
        replace(*table, std::move(shaped));
    }
    if (batch.schema()->replica_identity == ReplicaIdentity::full) touched_.insert(*table);
    for (const Change& change : batch.changes) {
        WALBROOK_RETURN_IF_ERROR((*table)->apply(batch, change, undo_));
    }
    checksum_.add_changes(batch);
    return {};
}

Status MemoryTransaction::step(const Truncate& truncate) {
    for (const TableSchemaPtr& schema : truncate.tables) {
        WALBROOK_TRY(TablePtr * table, find(*schema, truncate.copy));
        replace(*table, MemoryTable(schema));
    }
    return {};
}

Status MemoryTransaction::step(const SchemaChange& change) {
    WALBROOK_TRY(TablePtr * table, find(*change.to, change.copy));
    WALBROOK_RETURN_IF_ERROR(expect_ready(*change.to, change.copy));
    if (*(*table)->schema() == *change.to) return {};
    WALBROOK_TRY(MemoryTable shaped, (*table)->with_schema(change.to, &change));
    replace(*table, std::move(shaped));
    return {};
}

Status MemoryTransaction::step(const Publish& publish) {
    const TableSchema& schema = *publish.copy->schema;
    WALBROOK_TRY(TablePtr * shadow, find(schema, publish.copy));
    TablePtr table = *shadow;
    keep(lake_.records, schema.id.oid);
    lake_.records[schema.id.oid] = {TablePhase::ready, Lsn{}, "", nullptr, table};
    lake_.shadows.erase(schema.id.oid);
    // A name belongs to the newest table that has it.
    undo_.add([this, old = lake_.retired] { lake_.retired = old; });
    std::erase_if(lake_.retired, [&](const TablePtr& retired) {
        return retired->schema()->schema == table->schema()->schema &&
               retired->schema()->name == table->schema()->name;
    });
    return {};
}

Status MemoryTransaction::step(const Freeze& freeze) {
    keep(lake_.records, freeze.schema->id.oid);
    MemoryLake::Record& record = lake_.records[freeze.schema->id.oid];
    record.phase = freeze.phase;
    record.position = freeze.position;
    record.reason = freeze.reason;
    if (!record.table) record.schema = freeze.schema;
    return {};
}

Status MemoryTransaction::step(const Replace& replace) {
    WALBROOK_TRY(TablePtr * table, find(*replace.schema, nullptr));
    WALBROOK_RETURN_IF_ERROR(expect_ready(*replace.schema, nullptr));
    (*table)->replace(*replace.keys, *replace.rows, undo_);
    return {};
}

Status MemoryTransaction::step(const Retire& retire) {
    keep(lake_.shadows, retire.table.oid);
    lake_.shadows.erase(retire.table.oid);
    const auto record = lake_.records.find(retire.table.oid);
    if (record == lake_.records.end()) return {};
    keep(lake_.records, retire.table.oid);
    if (record->second.table) {
        undo_.add([this] { lake_.retired.pop_back(); });
        lake_.retired.push_back(record->second.table);
    }
    lake_.records.erase(record);
    return {};
}

class Memory final : public MemoryDestination {
 public:
    explicit Memory(std::shared_ptr<MemoryLake> lake) : lake_(std::move(lake)) {}

    std::string_view name() const override { return "memory"; }
    Capabilities capabilities() const override {
        return {.multi_table_atomic = true,
                .exactly_once = true,
                .partial_update = true,
                .keyless = true};
    }
    std::vector<std::string> refusals(const std::vector<TableSchemaPtr>&) const override {
        return {};
    }
    Result<Recovered> open(const PipelineIdentity& who, std::stop_token stop) override;
    Status begin_copy(const CopyTargetPtr& copy, std::stop_token stop) override;
    Status write_copy(const CopyUnit& unit, RowReader& rows, std::stop_token stop) override;
    Status finish_copy(const CopyTargetPtr& copy, std::stop_token stop) override;
    Status discard_copy(const CopyTargetPtr& copy, std::stop_token stop) override;
    Result<Ack> apply(Flush& flush, Ack required, std::stop_token stop) override;
    Result<Lsn> read_position(std::stop_token stop) override;
    Status maintain(std::stop_token) override { return {}; }
    Status close() override { return {}; }
    std::vector<std::vector<std::string>> rows(const std::string& schema,
                                               const std::string& table) const override;
    std::optional<std::vector<Row>> read(const std::string& schema,
                                         const std::string& table) const override;
    std::uint64_t checksum() const override;

 private:
    // The lake's mutex is held. Another destination may have been opened since.
    Status check_fence() const;
    MemoryLake::Shadow* find_shadow(const CopyTarget& copy) const;

    const std::shared_ptr<MemoryLake> lake_;
    std::uint64_t epoch_ = 0;
};

Status Memory::check_fence() const {
    if (epoch_ == lake_->epoch && epoch_ != 0) return {};
    return Error(ErrorCode::fenced,
                 "write to memory: this destination is not open, or another was opened since");
}

MemoryLake::Shadow* Memory::find_shadow(const CopyTarget& copy) const {
    const auto found = lake_->shadows.find(copy.schema->id.oid);
    if (found == lake_->shadows.end() || found->second.copy->attempt != copy.attempt) {
        return nullptr;
    }
    return &found->second;
}

Result<Recovered> Memory::open(const PipelineIdentity& who, std::stop_token) {
    const std::lock_guard lock(lake_->mutex);
    if (lake_->has_lineage && !is_same_source(lake_->lineage, who)) {
        return Error(ErrorCode::corrupt_state,
                     "open the memory destination: it holds the data of another pipeline, database "
                     "or slot; use a new one");
    }
    lake_->lineage = who;
    lake_->has_lineage = true;
    epoch_ = ++lake_->epoch;
    lake_->shadows.clear();
    Recovered recovered;
    recovered.position = lake_->position;
    for (const auto& [oid, record] : lake_->records) {
        recovered.tables.push_back({{oid},
                                    record.phase,
                                    record.position,
                                    record.table ? record.table->schema() : record.schema});
    }
    return recovered;
}

Status Memory::begin_copy(const CopyTargetPtr& copy, std::stop_token) {
    const std::lock_guard lock(lake_->mutex);
    WALBROOK_RETURN_IF_ERROR(check_fence());
    lake_->shadows[copy->schema->id.oid] = {
        copy, std::make_shared<MemoryTable>(copy->schema), {}, false};
    return {};
}

Status Memory::write_copy(const CopyUnit& unit, RowReader& rows, std::stop_token stop) {
    // Pulled without the lock: the reader waits for the source.
    std::vector<RowBatch> batches;
    ChangeChecksum checksum;
    for (;;) {
        if (stop.stop_requested()) return stopped();
        WALBROOK_TRY(const RowBatch* batch, rows.next());
        if (batch == nullptr) break;
        checksum.add_copied(*batch);
        RowBatch& kept = batches.emplace_back(unit.copy->schema);
        for (std::size_t row = 0; row < batch->rows(); ++row) kept.append_row_from(*batch, row);
    }
    const std::lock_guard lock(lake_->mutex);
    WALBROOK_RETURN_IF_ERROR(check_fence());
    MemoryLake::Shadow* shadow = find_shadow(*unit.copy);
    if (shadow == nullptr || shadow->is_finished) {
        return Error(ErrorCode::aborted,
                     fmt::format("copy {} into memory: attempt {} was given up or is finished",
                                 unit.copy->schema->display_name(), unit.copy->attempt));
    }
    if (!shadow->units.insert(unit.index).second) {
        return Error(ErrorCode::internal,
                     fmt::format("copy {} into memory: unit {} came again after it was written",
                                 unit.copy->schema->display_name(), unit.index))
            .with_table(unit.copy->schema->id.oid);
    }
    for (const RowBatch& batch : batches) {
        for (std::size_t row = 0; row < batch.rows(); ++row) shadow->table->add_copied(batch, row);
    }
    lake_->checksum.add(checksum);
    return {};
}

Status Memory::finish_copy(const CopyTargetPtr& copy, std::stop_token) {
    const std::lock_guard lock(lake_->mutex);
    WALBROOK_RETURN_IF_ERROR(check_fence());
    MemoryLake::Shadow* shadow = find_shadow(*copy);
    if (shadow == nullptr) {
        return Error(ErrorCode::aborted,
                     fmt::format("finish the copy of {} in memory: attempt {} was given up",
                                 copy->schema->display_name(), copy->attempt));
    }
    // A range that was copied twice shows here.
    WALBROOK_RETURN_IF_ERROR(shadow->table->check_keys());
    shadow->is_finished = true;
    return {};
}

Status Memory::discard_copy(const CopyTargetPtr& copy, std::stop_token) {
    const std::lock_guard lock(lake_->mutex);
    WALBROOK_RETURN_IF_ERROR(check_fence());
    if (find_shadow(*copy) != nullptr) lake_->shadows.erase(copy->schema->id.oid);
    return {};
}

Result<Ack> Memory::apply(Flush& flush, Ack, std::stop_token stop) {
    // Held while the flush is read: nobody may see half of a transaction.
    const std::lock_guard lock(lake_->mutex);
    WALBROOK_RETURN_IF_ERROR(check_fence());
    MemoryTransaction transaction(*lake_);
    for (;;) {
        if (stop.stop_requested()) return stopped();
        WALBROOK_TRY(const FlushItem* item, flush.next());
        if (item == nullptr) break;
        WALBROOK_RETURN_IF_ERROR(transaction.apply(*item));
    }
    WALBROOK_RETURN_IF_ERROR(transaction.commit(flush.position()));
    return Ack::durable;
}

Result<Lsn> Memory::read_position(std::stop_token) {
    const std::lock_guard lock(lake_->mutex);
    WALBROOK_RETURN_IF_ERROR(check_fence());
    return lake_->position;
}

std::optional<std::vector<MemoryDestination::Row>> Memory::read(const std::string& schema,
                                                                const std::string& table) const {
    const std::lock_guard lock(lake_->mutex);
    std::vector<TablePtr> tables;
    for (const auto& [oid, record] : lake_->records) {
        if (record.table) tables.push_back(record.table);
    }
    tables.insert(tables.end(), lake_->retired.rbegin(), lake_->retired.rend());
    for (const TablePtr& found : tables) {
        if (found->schema()->schema != schema || found->schema()->name != table) continue;
        std::vector<Row> rows = found->rows();
        std::sort(rows.begin(), rows.end());
        return rows;
    }
    return std::nullopt;
}

std::vector<std::vector<std::string>> Memory::rows(const std::string& schema,
                                                   const std::string& table) const {
    std::vector<std::vector<std::string>> out;
    for (const Row& row : read(schema, table).value_or(std::vector<Row>())) {
        auto& text = out.emplace_back();
        for (const auto& value : row) text.push_back(value.value_or("\\N"));
    }
    std::sort(out.begin(), out.end());
    return out;
}

std::uint64_t Memory::checksum() const {
    const std::lock_guard lock(lake_->mutex);
    return lake_->checksum.sum();
}

}  // namespace

std::shared_ptr<MemoryLake> MemoryDestination::make_lake() {
    return std::make_shared<MemoryLake>();
}

std::unique_ptr<MemoryDestination> MemoryDestination::create(std::shared_ptr<MemoryLake> lake) {
    WALBROOK_CHECK(lake != nullptr);
    return std::make_unique<Memory>(std::move(lake));
}

}  // namespace walbrook
