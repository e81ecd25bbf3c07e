#include "destinations/duckdb_engine/scan.h"

#include "base/check.h"
#include "destinations/duckdb_engine/vectors.h"

#include <duckdb.h>

#include <algorithm>
#include <exception>

namespace walbrook::duckdb_engine {

namespace {

std::vector<ScanColumn> columns_of(const TableSchema& schema,
                                   const std::vector<std::size_t>* indexes) {
    std::vector<ScanColumn> columns;
    for (std::size_t i = 0; i < schema.columns.size(); ++i) {
        if (indexes == nullptr ||
            std::find(indexes->begin(), indexes->end(), i) != indexes->end()) {
            columns.push_back({schema.columns[i].name, schema.columns[i].type});
        }
    }
    return columns;
}

// --- The three callbacks of a table function (duckdb.h, "Table Functions").

// Where one scan stands. Owned by the query.
struct Cursor {
    ScanSource* source = nullptr;
    std::vector<const Column*> run;
    std::size_t rows = 0;
    std::size_t at = 0;
};

void bind(duckdb_bind_info info) {
    auto* scans = static_cast<Scans*>(duckdb_bind_get_extra_info(info));
    duckdb_value parameter = duckdb_bind_get_parameter(info, 0);
    ScanSource* const source = scans->find(duckdb_get_uint64(parameter));
    duckdb_destroy_value(&parameter);
    if (source == nullptr) return duckdb_bind_set_error(info, "walbrook_scan: no such source");
    for (const ScanColumn& column : source->columns()) {
        auto type = static_cast<duckdb_logical_type>(make_logical_type(column.type));
        duckdb_bind_add_result_column(info, column.name.c_str(), type);
        duckdb_destroy_logical_type(&type);
    }
    if (source->rows() >= 0) {
        duckdb_bind_set_cardinality(info, static_cast<idx_t>(source->rows()), true);
    }
    duckdb_bind_set_bind_data(info, source, nullptr);
}

void start(duckdb_init_info info) {
    auto* source = static_cast<ScanSource*>(duckdb_init_get_bind_data(info));
    source->rewind();
    auto* cursor = new Cursor{source, std::vector<const Column*>(source->columns().size()), 0, 0};
    duckdb_init_set_init_data(info, cursor, [](void* data) { delete static_cast<Cursor*>(data); });
    duckdb_init_set_max_threads(info, 1);
}

Status advance(Cursor& cursor) {
    if (cursor.source->stop.stop_requested()) return Error(ErrorCode::cancelled, "stopped");
    if (cursor.at < cursor.rows) return {};
    cursor.at = 0;
    cursor.rows = 0;
    WALBROOK_TRY(cursor.rows, cursor.source->next(cursor.run));
    return {};
}

void read(duckdb_function_info info, duckdb_data_chunk chunk) {
    auto& cursor = *static_cast<Cursor*>(duckdb_function_get_init_data(info));
    try {
        if (Status status = advance(cursor); !status) {
            cursor.source->fail(std::move(status).error());
            return duckdb_function_set_error(info, "walbrook_scan: the source failed");
        }
    } catch (const std::exception& e) {
        cursor.source->fail(Error(ErrorCode::internal, std::string("reading rows: ") + e.what()));
        return duckdb_function_set_error(info, "walbrook_scan: the source failed");
    }
    const std::size_t rows = std::min(kVectorRows, cursor.rows - cursor.at);
    for (std::size_t i = 0; i < cursor.run.size() && rows != 0; ++i) {
        fill_vector(duckdb_data_chunk_get_vector(chunk, i), *cursor.run[i], cursor.at, rows);
    }
    duckdb_data_chunk_set_size(chunk, rows);
    cursor.at += rows;
}

}  // namespace

ReaderSource::ReaderSource(RowReader& reader)
    : ScanSource(columns_of(*reader.schema(), nullptr)), reader_(reader) {}

Result<std::size_t> ReaderSource::next(std::vector<const Column*>& run) {
    for (;;) {
        WALBROOK_TRY(const RowBatch* batch, reader_.next());
        if (batch == nullptr) return std::size_t{0};
        if (batch->rows() == 0) continue;
        WALBROOK_CHECK(batch->columns().size() == run.size());
        for (std::size_t i = 0; i < run.size(); ++i) run[i] = &batch->columns()[i];
        rows_read_ += batch->rows();
        batch_bytes_max_ = std::max(batch_bytes_max_, batch->bytes());
        return batch->rows();
    }
}

ColumnsSource::ColumnsSource(std::vector<ScanColumn> columns, std::vector<const Column*> values)
    : ScanSource(std::move(columns)), values_(std::move(values)) {
    WALBROOK_CHECK(!values_.empty() && values_.size() == this->columns().size());
}

std::unique_ptr<ColumnsSource> ColumnsSource::create(const RowBatch& batch,
                                                     const std::vector<std::size_t>* indexes) {
    std::vector<const Column*> values;
    for (std::size_t i = 0; i < batch.columns().size(); ++i) {
        if (indexes == nullptr ||
            std::find(indexes->begin(), indexes->end(), i) != indexes->end()) {
            values.push_back(&batch.columns()[i]);
        }
    }
    return std::make_unique<ColumnsSource>(columns_of(*batch.schema(), indexes), std::move(values));
}

Result<std::size_t> ColumnsSource::next(std::vector<const Column*>& run) {
    if (is_read_) return std::size_t{0};
    is_read_ = true;
    run = values_;
    return values_.front()->size();
}

std::int64_t ColumnsSource::rows() const {
    return static_cast<std::int64_t>(values_.front()->size());
}

std::uint64_t Scans::add(ScanSource& source) {
    const std::lock_guard lock(mutex_);
    sources_.emplace(++last_, &source);
    return last_;
}

void Scans::remove(std::uint64_t id) {
    const std::lock_guard lock(mutex_);
    sources_.erase(id);
}

ScanSource* Scans::find(std::uint64_t id) {
    const std::lock_guard lock(mutex_);
    const auto found = sources_.find(id);
    return found == sources_.end() ? nullptr : found->second;
}

Status register_scan(void* connection, Scans& scans) {
    duckdb_table_function function = duckdb_create_table_function();
    duckdb_table_function_set_name(function, "walbrook_scan");
    duckdb_logical_type id = duckdb_create_logical_type(DUCKDB_TYPE_UBIGINT);
    duckdb_table_function_add_parameter(function, id);
    duckdb_destroy_logical_type(&id);
    duckdb_table_function_set_extra_info(function, &scans, nullptr);
    duckdb_table_function_set_bind(function, bind);
    duckdb_table_function_set_init(function, start);
    duckdb_table_function_set_function(function, read);
    const duckdb_state state =
        duckdb_register_table_function(static_cast<duckdb_connection>(connection), function);
    duckdb_destroy_table_function(&function);
    if (state != DuckDBSuccess) {
        return Error(ErrorCode::internal, "duckdb refused the table function walbrook_scan");
    }
    return {};
}

}  // namespace walbrook::duckdb_engine
