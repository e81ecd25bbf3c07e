#pragma once

#include "pipeline/apply_core.h"
#include "pipeline/catalog_look.h"
#include "pipeline/copy_events.h"
#include "pipeline/table_registry.h"
#include "sim/lake.h"
#include "sim/source.h"

#include <array>
#include <cstdint>
#include <deque>
#include <optional>

namespace walbrook::sim {

// How every table belongs to the publication.
inline constexpr const char* kMembership = "all";

// What a look at the source's catalog under a snapshot tells of a table.
CatalogLook::Table look_at(const Source& source, const Source::Snapshot& snapshot,
                           std::size_t table);

// Does what CatalogWatch does, a look at a time and without a thread.
class Catalog {
 public:
    Catalog(const Source& source, TableRegistry& tables, std::deque<CoreInput>& inbox,
            bool copies_again_on_change);

    // The look that was made before the start; nobody has heeded it.
    void begin(const Source::Snapshot& snapshot);
    void look();
    void ask(const action::Describe& question) { question_ = question; }
    // Answers what was asked once a look has seen the transaction. True if it did.
    bool answer();
    // Of the look that is made next; who copies looks, too.
    std::uint64_t next_look() { return ++seen_; }

 private:
    void read(const Source::Snapshot& snapshot);
    TableRegistry::Contents compare_rows(CatalogLook::Table& table) const;
    void heed(const TableState& state, CatalogLook::Table& table);

    struct Told {
        std::string key;
        std::uint32_t attempt = 0;
        bool was_ready = false;
    };

    const Source& source_;
    TableRegistry& tables_;
    std::deque<CoreInput>& inbox_;
    const bool copies_again_;
    std::uint64_t seen_ = 0;
    std::array<CatalogLook::Table, kTables> look_;
    std::optional<SnapshotXids> xids_;  // Of the last look.
    Lsn position_;
    std::array<Told, kTables> told_;
    std::optional<action::Describe> question_;
};

}  // namespace walbrook::sim
