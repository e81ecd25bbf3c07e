#pragma once

#include "destinations/duckdb_engine/engine.h"
#include "support/database.h"

#include <memory>
#include <string>
#include <vector>

namespace walbrook::testing {

enum class LakeAccess { read, write };

// Another reader of a lake: its own DuckDB, attached read-only while the pipeline
// writes. What goes wrong is thrown (std::runtime_error).
class LakeReader {
 public:
    explicit LakeReader(std::string catalog, LakeAccess access = LakeAccess::read);
    LakeReader(LakeReader&& other) noexcept;
    LakeReader& operator=(LakeReader&&) = delete;
    ~LakeReader();

    // Each row as one tab-separated line of what Postgres would print, escaped as COPY
    // does, sorted by bytes: equal to table_rows() of the source.
    std::vector<std::string> rows(const std::string& schema, const std::string& table);
    // The same at one snapshot of the lake.
    std::vector<std::string> rows_at(const std::string& schema, const std::string& table,
                                     std::int64_t snapshot);
    // Cells as DuckDB prints them, null as "NULL".
    std::vector<std::vector<std::string>> query(const std::string& sql);
    std::string value(const std::string& sql);
    bool has_table(const std::string& schema, const std::string& table);
    duckdb_engine::Connection& session() { return *session_; }

 private:
    std::vector<std::string> read(const std::string& schema, const std::string& table,
                                  const std::string& at);

    std::string disks_;  // Which mounts the DuckDB sees.
    std::unique_ptr<duckdb_engine::Database> database_;
    std::unique_ptr<duckdb_engine::Connection> session_;
};

}  // namespace walbrook::testing
