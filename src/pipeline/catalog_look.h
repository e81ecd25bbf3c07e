#pragma once

#include "pipeline/schema_follow.h"
#include "postgres/snapshot.h"
#include "postgres/table_content.h"

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace walbrook {

// What the catalog said of all published tables at one moment.
struct CatalogLook {
    struct Table {
        PublishedTable published;
        TableLook look;
        std::string membership;  // As TableState::membership.
        // Why it could not be read or does not fit: a message with the remedy.
        std::string problem;
        SourceTable source;  // Only of those that were wanted; `schema` is nullptr for others.
        std::vector<std::uint32_t> partitions() const;
    };
    SnapshotXids xids;  // Whose commits it has seen; on a standby they do not tell,
    // but there whatever was decoded before the look began had been replayed.
    bool in_recovery = false;
    Lsn position;  // Insert position read after it: all that it saw stands before,
    Lsn flushed;   // and of that so much is flushed: the server has it also after a crash.
    std::optional<Publication> publication;
    std::map<TableId, Table> tables;
};

// In one transaction. `wants` says of which tables the schema is to be read, too.
Result<CatalogLook> look_at_catalog(Connection& connection, const Deadline& deadline,
                                    const std::string& publication,
                                    const std::function<bool(const CatalogLook::Table&)>& wants);

// By what a table belongs to a publication, and what that publishes of it.
std::string membership_of(const Publication& publication, const PublishedTable& table);

// A TRUNCATE of each physical table comes in the stream.
bool truncates_are_sent(const PublishedTable& table);

}  // namespace walbrook
