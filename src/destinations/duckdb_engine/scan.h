#pragma once

#include "walbrook/batch.h"

#include <cstdint>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <unordered_map>
#include <vector>

namespace walbrook::duckdb_engine {

struct ScanColumn {
    std::string name;
    ColumnType type;
};

// Rows that SQL reads as `walbrook_scan(id)`. One thread pulls at a time.
class ScanSource {
 public:
    explicit ScanSource(std::vector<ScanColumn> columns) : columns_(std::move(columns)) {}
    virtual ~ScanSource() = default;

    const std::vector<ScanColumn>& columns() const { return columns_; }
    // The next run of rows: fills one column for each of columns(), valid until the
    // next call, and returns how many rows they have; 0 at the end.
    virtual Result<std::size_t> next(std::vector<const Column*>& run) = 0;
    // From the start again, where rows can be read more than once.
    virtual void rewind() {}
    // The exact number of rows, for the planner: joins build on the small side. Or -1.
    virtual std::int64_t rows() const { return -1; }

    // What the last scan failed with, if it was not DuckDB's failure.
    const Status& status() const { return status_; }
    void fail(Error error) { status_ = std::move(error); }
    std::stop_token stop;  // Ends the scan with ErrorCode::cancelled.

 private:
    const std::vector<ScanColumn> columns_;
    Status status_;
};

// All columns of a stream of batches.
class ReaderSource : public ScanSource {
 public:
    explicit ReaderSource(RowReader& reader);
    Result<std::size_t> next(std::vector<const Column*>& run) override;
    std::uint64_t rows_read() const { return rows_read_; }
    // Of the largest batch. Batches are small, unless one row is not.
    std::size_t batch_bytes_max() const { return batch_bytes_max_; }

 private:
    RowReader& reader_;
    std::uint64_t rows_read_ = 0;
    std::size_t batch_bytes_max_ = 0;
};

// Chosen columns of equal length, which the caller keeps.
class ColumnsSource : public ScanSource {
 public:
    ColumnsSource(std::vector<ScanColumn> columns, std::vector<const Column*> values);
    // Columns of a batch under the names of its schema; all of them if `indexes` is null.
    static std::unique_ptr<ColumnsSource> create(const RowBatch& batch,
                                                 const std::vector<std::size_t>* indexes);
    Result<std::size_t> next(std::vector<const Column*>& run) override;
    void rewind() override { is_read_ = false; }
    std::int64_t rows() const override;

 private:
    const std::vector<const Column*> values_;
    bool is_read_ = false;
};

// The sources that queries may name by number. One for each database. Thread-safe.
class Scans {
 public:
    std::uint64_t add(ScanSource& source);
    void remove(std::uint64_t id);
    ScanSource* find(std::uint64_t id);

 private:
    std::mutex mutex_;  // Guards everything below.
    std::uint64_t last_ = 0;
    std::unordered_map<std::uint64_t, ScanSource*> sources_;
};

// A source that can be named while this object lives.
class NamedScan {
 public:
    NamedScan(Scans& scans, ScanSource& source) : scans_(scans), id_(scans.add(source)) {}
    ~NamedScan() { scans_.remove(id_); }
    NamedScan(const NamedScan&) = delete;
    NamedScan& operator=(const NamedScan&) = delete;
    // "walbrook_scan(7::UBIGINT)".
    std::string sql() const { return "walbrook_scan(" + std::to_string(id_) + "::UBIGINT)"; }

 private:
    Scans& scans_;
    const std::uint64_t id_;
};

// Makes `walbrook_scan` known. `connection` is a duckdb_connection; `scans` outlives
// its database.
Status register_scan(void* connection, Scans& scans);

}  // namespace walbrook::duckdb_engine
