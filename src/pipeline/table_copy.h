#pragma once

#include "pipeline/copy_snapshots.h"
#include "pipeline/parts.h"
#include "postgres/catalog.h"
#include "postgres/snapshot.h"
#include "source/unit_reader.h"

#include <map>
#include <stop_token>
#include <string>
#include <vector>

namespace walbrook {

// Copies one table and brings it to where the common flushes are (and slices, as
// `docs/design/growing-slices.md` says): hold its changes, wait for its writers, take a snapshot,
// copy ranges of it in short transactions into a shadow table, then let the core catch up and
// publish.
//
// No lock is held between ranges, and a lock is never waited for: the user's DDL wins.
// Where the snapshot became too old, a table with a suitable key is copied again in ranges of it,
// each with a snapshot of its own (docs/design/snapshot-age.md).
//
// A crash anywhere before the Publish is durable means that the copy begins again with a
// new snapshot.
class TableCopy {
 public:
    TableCopy(Parts& parts, const TableState& table);

    // Until the table is visible, or the copy failed: its hold and its shadow table are
    // then gone, and the error says what to do (error_policy.h).
    Status run(const std::stop_token& stop);

 private:
    Error with_missing_rights(Error error, const std::stop_token& stop) const;
    Status copy(const std::stop_token& stop);
    Status read_table(const std::stop_token& stop);
    bool is_visible(TableId table) const;
    Status check_beside_others(const std::vector<PublishedTable>& published) const;
    std::vector<std::uint32_t> partitions() const;
    bool has_been_partition() const;
    Status compare_partitions() const;
    Status hold(const std::stop_token& stop);
    Status wait_for_writers(const std::stop_token& stop);
    Status take_snapshot(const std::stop_token& stop);
    Status find_range_key(const std::stop_token& stop);
    Status switch_to_ranges_when_old() const;
    Status begin_ranges();
    Status copy_ranges(const std::stop_token& stop);
    struct UnitUnderWay {
        Instant range_end{};  // When its lock should be given back.
        bool has_rows = false;
    };
    UnitReaderOptions reader_options(const PhysicalTable& table, const CopyGate::Pass& pass,
                                     UnitUnderWay& unit, const std::stop_token& stop);
    Status check_range(Connection& connection, const Deadline& deadline);
    Status after_key_range(const KeyRange& range);
    Result<SnapshotHolder> open_holder(const std::stop_token& stop);
    Result<std::vector<CopyUnitRange>> plan_units(const std::stop_token& stop);
    Status copy_units(std::vector<CopyUnitRange> units, const std::stop_token& stop);
    Status copy_unit(Connection& connection, const CopyUnitRange& range, std::uint32_t index,
                     std::uint64_t& step_blocks, const std::stop_token& stop);
    Status wait_until_flushed(Connection& session, Lsn position, const std::stop_token& stop);
    Status finish(const std::stop_token& stop);
    Status wait_for_publish(const std::stop_token& stop);
    Result<TableSchemaPtr> read_schema(Connection& connection, const std::stop_token& stop) const;
    Result<Connection> connect(std::string_view role, const std::stop_token& stop) const;
    void clean_up();

    Parts& parts_;
    const TableId id_;
    const std::string display_name_;
    std::optional<Connection> catalog_;
    PublishedTable published_;
    std::map<TableId, std::string> row_filters_;  // Of its physical tables.
    std::string membership_;                      // As TableState::membership, of published_.
    TableSchemaPtr schema_now_;                   // At the last look at the catalog,
    Lsn read_at_;                                 // which was before this insert position,
    std::uint64_t seen_ = 0;                      // and has this number among looks;
    std::uint64_t ended_ = 0;                     // those behind this one began later.
    std::string content_;                         // TableContent as of the snapshot.
    std::optional<SnapshotAges::Held> age_;       // Of holder_'s snapshot.
    std::optional<SnapshotHolder> holder_;
    TableShape shape_;  // As of the snapshot.
    CopyTargetPtr target_;
    // The number of the column whose ranges may be copied one by one; 0: there is none.
    std::int16_t range_attnum_ = 0;
    bool in_ranges_ = false;   // They are.
    std::string looked_;       // What the table was when they began.
    CopySnapshots snapshots_;  // Of the ranges so far, or of the whole copy.
    Lsn newest_position_;      // Of the newest of them, for ranges.
    Instant taken_at_{};       // When the snapshot was.
    bool at_standby_ = false;  // When its writers were looked for.
    bool held_ = false;
    bool begun_ = false;
};

}  // namespace walbrook
