#pragma once

#include "pipeline/apply_core.h"
#include "sim/lake.h"
#include "sim/writer.h"

#include <array>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

namespace walbrook::sim {

// What the store remembers of a table, and when its next copy may begin.
struct TableEntry {
    TablePhase phase = TablePhase::queued;
    std::uint32_t attempt = 0;
    std::int64_t not_before_ms = 0;
    bool in_one_snapshot = false;  // The next copy, whatever chance says.
};
using Registry = std::array<TableEntry, kTables>;

// Copies tables as TableCopy does, all of them in one thread and a step at a time:
// hold, wait for the writers of that moment, snapshot, units, finish, publish.
class Copier {
 public:
    Copier(Random& random, Source& source, Destination& destination, Writer& writer,
           std::deque<CoreInput>& inbox, Registry& registry, Bug bug);

    // Takes the next step for a table, if there is one. `give_up_per_mille`: chance that
    // the copy ends with an error of its own.
    void step(std::size_t table, std::int64_t now_ms, std::uint64_t give_up_per_mille);

    // What the core says.
    void on_holding(TableId table);
    void on_published(TableId table);
    void on_lost(const action::CopyLost& lost, std::int64_t now_ms);
    void on_stopped(const action::TableStopped& stopped, std::int64_t now_ms);

    bool is_open(std::size_t table) const { return copies_[table].stage != Stage::none; }
    // The shadow table that a flush may name is no longer there.
    bool is_copy_gone(TableId table) const;
    std::string describe(std::size_t table) const;
    // Tables that were published with more than one snapshot.
    std::uint64_t published_in_ranges() const { return published_in_ranges_; }

 private:
    enum class Stage { none, asked, held, copying, publishing, cleaning };
    struct Copy {
        Stage stage = Stage::none;
        std::vector<std::size_t> writers;
        Source::Snapshot snapshot;
        SnapshotXids xids;
        CopyTargetPtr target;
        std::size_t filenode = 0;
        std::vector<std::vector<Values>> units;
        std::size_t next_unit = 0;
        bool has_begun = false;
        std::int64_t again_at_ms = 0;
        // In ranges of the key, where `bounds` has their ends: a snapshot for each.
        bool in_ranges = false;
        std::vector<std::int64_t> bounds;
        CopySnapshots snapshots;
    };

    void take_snapshot(std::size_t table);
    void write_unit(std::size_t table, std::int64_t now_ms);
    bool read_range(std::size_t table);
    void finish(std::size_t table);
    void give_up(std::size_t table, std::int64_t again_at_ms);

    Random& random_;
    Source& source_;
    Destination& destination_;
    Writer& writer_;
    std::deque<CoreInput>& inbox_;
    Registry& registry_;
    const Bug bug_;
    std::array<Copy, kTables> copies_;
    std::uint64_t published_in_ranges_ = 0;
};

}  // namespace walbrook::sim
