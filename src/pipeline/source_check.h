#pragma once

#include "postgres/catalog.h"
#include "postgres/slots.h"
#include "walbrook/config.h"

#include <string>
#include <vector>

namespace walbrook {

// What was found at the source before anything was changed there.
struct SourceFacts {
    ServerState server;
    SystemIdentity system;
    Publication publication;
    std::vector<PublishedTable> tables;
    std::vector<TableSchemaPtr> schemas;  // As they are now, in the order of `tables`.
    bool all_binary = false;              // Every column has an exact binary decoder.

    // Another text when the table was away, or is published in another way, than before.
    std::string membership(TableId table) const;
};

// Connects and checks what can be checked without changing anything: reachable, logical
// decoding possible, the publication there and not empty. ErrorCode::config or
// permission with the remedy.
Result<SourceFacts> check_source(const PipelineConfig& config);

// Makes the folder, for us alone (0700), and removes what a crash left in it.
Status prepare_work_dir(const std::string& directory);

// The insert position may point behind the header of a page on which nothing stands
// yet; the stream, which ends where the last record ends, would not reach it before the
// next write (xlog.c, XLogBytePosToRecPtr against XLogBytePosToEndRecPtr).
Lsn before_page_header(Lsn position);

}  // namespace walbrook
