#pragma once

#include "postgres/catalog.h"

#include <map>
#include <string>

namespace walbrook {

// A query of the relations whose rows a publication sends under their own identity, one column
// `relid`: what pg_get_publication_tables lists, by the transaction's snapshot and without a lock.
// (From 16 on that function opens each table, and so waits for whoever has locked one of them.)
std::string publication_members_sql(const Publication& publication, int major_version);

// The row filters of one table of the publication, for each physical table that has one: SQL,
// without WHERE. Their text takes a lock of the table (pg_get_expr), so that whoever asks reads
// that table anyhow. Of a partitioned table that is sent by its leaves these are the leaves' own.
Result<std::map<TableId, std::string>> read_row_filters(Connection& connection,
                                                        const Deadline& deadline,
                                                        const Publication& publication,
                                                        const PublishedTable& table);

}  // namespace walbrook
