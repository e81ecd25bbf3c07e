#pragma once

// For the tests of this folder: a lake in a folder of its own, tables, flushes made by
// hand, and a reader that sees the lake as another process would.

#include "destinations/duckdb_engine/engine.h"
#include "destinations/duckdb_engine/sql.h"
#include "destinations/ducklake/catalog.h"
#include "walbrook/destinations.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

namespace walbrook::testing {

class TempFolder {
 public:
    explicit TempFolder(
        const std::filesystem::path& parent = std::filesystem::temp_directory_path()) {
        std::string name = (parent / "walbrook-lake-XXXXXX").string();
        EXPECT_NE(mkdtemp(name.data()), nullptr);
        path_ = name;
    }
    ~TempFolder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    TempFolder(const TempFolder&) = delete;
    TempFolder& operator=(const TempFolder&) = delete;
    std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
    std::string path_;
};

// Rows are written as text, one optional text for each column, and stored by the
// column's kind; enough kinds for what is tested with it.
using Row = std::vector<std::optional<std::string>>;

inline void append_cell(Column& column, const std::optional<std::string>& cell) {
    if (!cell) return column.append_null();
    switch (column.type().kind) {
        case TypeKind::int16:
            return column.append_fixed(static_cast<std::int16_t>(std::stol(*cell)));
        case TypeKind::int32:
            return column.append_fixed(static_cast<std::int32_t>(std::stol(*cell)));
        case TypeKind::int64:
            return column.append_fixed(static_cast<std::int64_t>(std::stoll(*cell)));
        case TypeKind::float32:
            return column.append_fixed(std::stof(*cell));
        case TypeKind::float64:
            return column.append_fixed(std::stod(*cell));
        default:
            return column.append_bytes(*cell);
    }
}

inline void append_row(RowBatch& batch, const Row& row) {
    for (std::size_t i = 0; i < row.size(); ++i) append_cell(batch.columns()[i], row[i]);
}

// t(id bigint primary key, name text, note text) unless told otherwise.
struct TableMaker {
    std::uint32_t oid = 16384;
    std::string schema = "public";
    std::string name = "t";
    ReplicaIdentity identity = ReplicaIdentity::default_key;
    bool has_key = true;
    std::vector<std::pair<std::string, TypeKind>> columns = {
        {"id", TypeKind::int64}, {"name", TypeKind::text}, {"note", TypeKind::text}};

    TableSchemaPtr make() const {
        auto result = std::make_shared<TableSchema>();
        result->id = {oid};
        result->schema = schema;
        result->name = name;
        result->replica_identity = identity;
        std::int16_t attnum = 0;
        for (const auto& [column_name, kind] : columns) {
            ColumnSchema column;
            column.name = column_name;
            column.attnum = ++attnum;
            column.type = {kind};
            if (has_key && attnum == 1) {
                column.key_position = 1;
                column.in_identity = true;
                column.nullable = false;
            }
            if (identity == ReplicaIdentity::full) column.in_identity = true;
            result->columns.push_back(column);
        }
        return result;
    }
};

inline FlushItem inserts(const TableSchemaPtr& schema, const std::vector<Row>& rows,
                         CopyTargetPtr copy = nullptr) {
    ChangeBatch batch(schema);
    batch.copy = std::move(copy);
    for (const Row& row : rows) {
        Change change;
        change.kind = ChangeKind::insert;
        change.new_row = static_cast<std::int32_t>(batch.new_rows.rows());
        change.ordinal = batch.changes.size() + 1;
        append_row(batch.new_rows, row);
        batch.changes.push_back(change);
    }
    return batch;
}

// An update; `old` when the key changed or under FULL. "\x01" stands for unchanged.
inline void add_update(ChangeBatch& batch, const Row& row, std::optional<Row> old = std::nullopt) {
    Change change;
    change.kind = ChangeKind::update;
    change.ordinal = batch.changes.size() + 1;
    change.new_row = static_cast<std::int32_t>(batch.new_rows.rows());
    for (std::size_t i = 0; i < row.size(); ++i) {
        const bool is_unchanged = row[i] && *row[i] == "\x01";
        append_cell(batch.new_rows.columns()[i], is_unchanged ? std::nullopt : row[i]);
        if (is_unchanged) {
            batch.set_unchanged(i, static_cast<std::size_t>(change.new_row));
        }
    }
    if (old) {
        change.old_row = static_cast<std::int32_t>(batch.old_rows.rows());
        change.old_is_full = batch.schema()->key_columns().empty();
        append_row(batch.old_rows, *old);
    }
    batch.changes.push_back(change);
}

inline void add_delete(ChangeBatch& batch, const Row& old) {
    Change change;
    change.kind = ChangeKind::remove;
    change.ordinal = batch.changes.size() + 1;
    change.old_row = static_cast<std::int32_t>(batch.old_rows.rows());
    change.old_is_full = batch.schema()->key_columns().empty();
    append_row(batch.old_rows, old);
    batch.changes.push_back(change);
}

// A change between transactions. Rows that exist hold `existing`, one value a column of `to`, in
// those that `from` lacks; nothing but nulls if it is empty.
inline SchemaChange schema_change(const TableSchemaPtr& from, const TableSchemaPtr& to,
                                  const Row& existing = {}, CopyTargetPtr copy = nullptr) {
    SchemaChange change;
    change.from = from;
    change.to = to;
    change.copy = std::move(copy);
    if (!existing.empty()) {
        auto row = std::make_shared<RowBatch>(to);
        append_row(*row, existing);
        change.existing = std::move(row);
    }
    return change;
}

class ListFlush : public Flush {
 public:
    ListFlush(std::uint64_t position, std::vector<FlushItem> items)
        : position_{position}, items_(std::move(items)) {}
    Lsn position() const override { return position_; }
    std::int64_t commit_time_us() const override { return 1'700'000'000'000'000; }
    Result<const FlushItem*> next() override {
        return at_ == items_.size() ? nullptr : &items_[at_++];
    }
    void rewind() override { at_ = 0; }

 private:
    Lsn position_;
    std::vector<FlushItem> items_;
    std::size_t at_ = 0;
};

template <class... Items>
std::vector<FlushItem> list_of(Items&&... items) {
    std::vector<FlushItem> result;
    (result.emplace_back(std::forward<Items>(items)), ...);
    return result;
}

// Hands out batches that a function makes until it returns false.
class MadeRows : public RowReader {
 public:
    MadeRows(TableSchemaPtr schema, std::function<Result<bool>(RowBatch&)> make)
        : batch_(std::move(schema)), make_(std::move(make)) {}
    const TableSchemaPtr& schema() const override { return batch_.schema(); }
    Result<const RowBatch*> next() override {
        if (is_over_) return nullptr;
        batch_.clear();
        WALBROOK_TRY(const bool has_more, make_(batch_));
        is_over_ = !has_more;
        return has_more ? &batch_ : nullptr;
    }

 private:
    RowBatch batch_;
    std::function<Result<bool>(RowBatch&)> make_;
    bool is_over_ = false;
};

inline MadeRows rows_of(const TableSchemaPtr& schema, std::vector<Row> rows) {
    return {schema,
            [rows = std::move(rows), is_done = false](RowBatch& batch) mutable -> Result<bool> {
                if (is_done || rows.empty()) return false;
                for (const Row& row : rows) append_row(batch, row);
                is_done = true;
                return true;
            }};
}

class LakeTest : public ::testing::Test {
 protected:
    PipelineIdentity who() const {
        PipelineIdentity result;
        result.pipeline_id = 7;
        result.system_identifier = "7312345678901234567";
        result.database = "shop";
        result.database_oid = 5;
        result.slot = "walbrook_7";
        result.work_dir = folder_ / "work";
        return result;
    }
    virtual DuckLakeConfig config() const { return {folder_ / "lake.sqlite", folder_ / "data"}; }

    Recovered open() {
        lake_ = make_ducklake_destination(config());
        auto recovered = lake_->open(who(), {});
        EXPECT_TRUE(recovered) << recovered.error().message();
        return recovered ? *recovered : Recovered{};
    }
    void close() {
        if (!lake_) return;
        const Status status = lake_->close();
        EXPECT_TRUE(status) << status.error().message();
        lake_.reset();
    }
    Recovered reopen() {
        close();
        return open();
    }
    void TearDown() override { close(); }

    void expect_ok(const Status& status) { EXPECT_TRUE(status) << status.error().message(); }
    Status apply(std::uint64_t position, std::vector<FlushItem> items) {
        ListFlush flush(position, std::move(items));
        return lake_->apply(flush, Ack::durable, {}).status();
    }
    CopyTargetPtr begin(const TableSchemaPtr& schema, std::uint32_t attempt = 1) {
        auto copy = std::make_shared<CopyTarget>();
        copy->schema = schema;
        copy->attempt = attempt;
        expect_ok(lake_->begin_copy(copy, {}));
        return copy;
    }
    CopyTargetPtr copy(const TableSchemaPtr& schema, const std::vector<Row>& rows,
                       std::uint32_t attempt = 1) {
        CopyTargetPtr target = begin(schema, attempt);
        MadeRows reader = rows_of(schema, rows);
        expect_ok(lake_->write_copy({target, 0}, reader, {}));
        expect_ok(lake_->finish_copy(target, {}));
        return target;
    }
    // A ready table with these rows, at position 100.
    void given(const TableSchemaPtr& schema, const std::vector<Row>& rows) {
        expect_ok(apply(100, list_of(Publish{copy(schema, rows)})));
    }

    // "1|a|x; 2|b|NULL", sorted; from a DuckDB of its own that only reads.
    std::string rows(const std::string& sql) {
        // Loading the extensions takes longer than most tests. Never closed: at the end of the
        // process DuckDB's own thread-local memory is gone before.
        static duckdb_engine::Database* const reader = [] {
            duckdb_engine::DatabaseOptions options;
            options.extensions = {"icu", "sqlite_scanner", "postgres_scanner", "ducklake"};
            auto database = duckdb_engine::Database::create(options);
            EXPECT_TRUE(database) << database.error().message();
            return database ? (*database).release() : nullptr;
        }();
        auto session = reader->connect();
        if (!session) return session.error().message();
        expect_ok((*session)->run(
            "SET TimeZone='UTC'; ATTACH " +
            duckdb_engine::quote_literal(ducklake::parse_catalog(config().catalog).attach_uri()) +
            " AS lake (READ_ONLY)"));
        std::string text;
        if (auto result = (*session)->query("USE lake; SELECT COLUMNS(*)::VARCHAR FROM (" + sql +
                                            ") ORDER BY ALL")) {
            for (std::size_t r = 0; r < result->rows(); ++r) {
                if (r != 0) text += "; ";
                for (std::size_t c = 0; c < result->columns().size(); ++c) {
                    text += (c == 0 ? "" : "|") + result->text(r, c).value_or("NULL");
                }
            }
        } else {
            text = result.error().message();
        }
        expect_ok((*session)->run("USE memory; DETACH lake"));
        return text;
    }
    // As another program would, in a transaction of its own.
    void in_lake(const std::string& sql) {
        duckdb_engine::DatabaseOptions options;
        options.extensions = {"icu", "sqlite_scanner", "postgres_scanner", "ducklake"};
        auto database = duckdb_engine::Database::create(options);
        ASSERT_TRUE(database) << database.error().message();
        auto session = (*database)->connect();
        ASSERT_TRUE(session);
        expect_ok((*session)->run(
            "ATTACH " +
            duckdb_engine::quote_literal(ducklake::parse_catalog(config().catalog).attach_uri()) +
            " AS lake; " + sql + "; DETACH lake"));
    }
    // Parquet files of tables, known to the catalog or not.
    std::size_t files() const {
        std::size_t count = 0;
        for (const auto& entry :
             std::filesystem::recursive_directory_iterator(config().data_path)) {
            const bool is_record = entry.path().string().find("/_walbrook/") != std::string::npos;
            count += entry.path().extension() == ".parquet" && !is_record ? 1 : 0;
        }
        return count;
    }
    std::string table(const std::string& name) { return rows("SELECT * FROM " + name); }

    TempFolder folder_;
    std::unique_ptr<Destination> lake_;
};

}  // namespace walbrook::testing
