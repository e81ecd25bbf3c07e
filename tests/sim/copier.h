#pragma once

#include "pipeline/apply_core.h"
#include "pipeline/copy_events.h"
#include "pipeline/table_registry.h"
#include "sim/catalog.h"
#include "sim/lake.h"

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace walbrook::sim {

// What a copy needs of the process it is part of.
struct CopierParts {
    Random& random;
    Source& source;
    FaultyLake& lake;
    TableRegistry& tables;
    CopyEvents& events;
    Catalog& catalog;
    std::deque<CoreInput>& inbox;
    Bug bug;
    std::function<bool()> is_writer_free;
};

// Copies tables as CopyWorkers and TableCopy do, all of them in one thread and a step at a time:
// hold, wait for the writers of that moment, snapshot, units, finish, publish.
class Copier {
 public:
    explicit Copier(CopierParts parts) : parts_(std::move(parts)) {}

    // Begins with a table that is due, if there is one.
    void begin_one();
    // Takes the next step for a table. `give_up_per_mille`: chance that the copy ends with an
    // error of its own.
    void step(std::size_t table, std::uint64_t give_up_per_mille);

    bool is_open(std::size_t table) const { return copies_[table].stage != Stage::none; }
    std::string describe(std::size_t table) const;
    // Tables that were published with more than one snapshot.
    std::uint64_t published_in_ranges() const { return published_in_ranges_; }

 private:
    // Where `beginning`, `copying` and `finishing` end a call of the destination is made, which
    // waits for the writer; what follows from its answer is another step.
    enum class Stage {
        none,
        reading,
        asked,
        held,
        beginning,
        copying,
        finishing,
        finished,
        publishing,
        published,
        cleaning
    };
    struct Copy {
        Stage stage = Stage::none;
        std::uint64_t incarnation = 0;  // Of the server.
        std::uint32_t failures = 0;     // In a row, of this table.
        TableSchemaPtr schema_now;
        std::vector<std::uint32_t> partitions;
        std::vector<std::size_t> writers;
        Lsn held_at;  // Where the source was then, or later.
        Source::Snapshot snapshot;
        SnapshotXids xids;
        CopyTargetPtr target;
        VersionPtr version;  // That the snapshot shows.
        std::string looked;
        std::uint64_t seen = 0;
        std::vector<std::vector<Values>> units;
        std::size_t next_unit = 0;
        bool has_begun = false;
        bool is_held = false;
        std::optional<Error> error;
        // In ranges of the key, where `bounds` has their ends: a snapshot for each.
        bool in_ranges = false;
        std::vector<std::int64_t> bounds;
        CopySnapshots snapshots;
    };

    // Ok: there is nothing to be said yet, or all went well.
    Status advance(std::size_t table);
    Status read_table(std::size_t table);
    Status take_snapshot(std::size_t table);
    Status write_unit(std::size_t table);
    Status read_range(std::size_t table);
    Status begin(std::size_t table);
    Status wait_until_flushed(std::size_t table);
    Status finish(std::size_t table);
    Status tell_finished(std::size_t table);
    Status tell_published(std::size_t table);
    Status check_storage(std::size_t table) const;
    // The next event of the copy; nothing if none has come.
    std::optional<CopyEvents::Told> take_event(TableId table);
    void give_up(std::size_t table, Error error);
    void clean_up(std::size_t table);

    const CopierParts parts_;
    std::array<Copy, kTables> copies_;
    std::uint64_t published_in_ranges_ = 0;
};

}  // namespace walbrook::sim
