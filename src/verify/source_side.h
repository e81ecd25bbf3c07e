#pragma once

#include "base/clock.h"
#include "postgres/catalog.h"
#include "postgres/snapshot.h"
#include "verify/canonical.h"
#include "verify/row_pace.h"
#include "verify/side.h"
#include "walbrook/config.h"

#include <functional>
#include <map>
#include <optional>

namespace walbrook::verify {

// How much the source is asked to do.
struct SourceLoad {
    std::uint64_t rows_per_second_max = 0;     // 0: as many as it gives.
    std::chrono::milliseconds lock_max{2000};  // About how long one lock is kept.
};

// The source as of one snapshot. Reads tables in short transactions, each with a lock that is not
// waited for: a migration waits for one of them, never for the comparison. Used by one thread.
class SourceSide final : public Side {
 public:
    // `holder` keeps the snapshot and outlives this.
    SourceSide(const PgConnectionConfig& config, Purpose purpose, SnapshotHolder& holder,
               SourceLoad load);

    // What the publication had at the snapshot; also whose rows digest() reads.
    Result<std::map<TableId, PublishedTable>> published(const std::string& publication,
                                                        const std::stop_token& stop);
    // The columns of such a table, with their types.
    Result<TableSchema> schema(const PublishedTable& table, const std::stop_token& stop);

    Result<Digest> digest(const ComparedTable& table, unsigned groups,
                          const std::stop_token& stop) override;
    Result<std::vector<RowPrint>> rows(const ComparedTable& table, unsigned groups,
                                       const std::vector<unsigned>& wanted,
                                       const std::stop_token& stop) override;
    // About how many rows a table has, by the source's statistics.
    Result<std::uint64_t> estimated_rows(const ComparedTable& table, const std::stop_token& stop);
    // Rows that were read, of all tables.
    std::uint64_t rows_read() const { return rows_read_; }

 private:
    // One statement over some blocks of a physical table; `sql` is told FROM and WHERE. `take` gets
    // the result and says how many rows were looked at.
    using Statement = std::function<std::string(const std::string& from)>;
    using Take = std::function<Result<std::uint64_t>(const Rows&)>;
    Status read(const ComparedTable& table, const Statement& statement, const Take& take,
                const std::stop_token& stop);
    Status read_filters(const PublishedTable& table, const std::stop_token& stop);
    Status read_physical(const PhysicalTable& physical, const std::string& filter,
                         const Statement& statement, const Take& take, const std::stop_token& stop);
    Status begin(const PhysicalTable& physical, const TableShape& shape,
                 const std::stop_token& stop);
    Result<Connection*> session(const std::stop_token& stop);
    Status rest_after(std::uint64_t rows, const std::stop_token& stop);

    const PgConnectionConfig config_;
    const Purpose purpose_;
    SnapshotHolder& holder_;
    const SourceLoad load_;
    PostgresDialect dialect_;
    std::optional<Connection> session_;
    std::optional<Connection> catalog_;
    std::optional<Publication> publication_;
    std::map<TableId, PublishedTable> published_;
    // Row filters of the physical tables of each table that was read.
    std::map<TableId, std::map<TableId, std::string>> filters_;
    std::uint64_t rows_read_ = 0;
    RowPace pace_;
    // Rows of physical tables, as digest() has counted them: what a scan that counts none reads.
    std::map<TableId, std::uint64_t> counts_;
};

}  // namespace walbrook::verify
