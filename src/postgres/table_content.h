#pragma once

#include "postgres/catalog.h"

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace walbrook {

// Where a table's rows lie at the source, and what else decides how they read. Rows that
// change without changes in the stream show as a difference here (compare_contents):
// pgoutput sends nothing for a rewriting ALTER TABLE, nor for partitions that come and go.
struct TableContent {
    // Digest of (attnum, xmin) of all attributes: any ALTER of a column changes it.
    std::string columns;
    char persistence = 'p';  // pg_class.relpersistence
    // (oid, filenode) of every physical table, in order of oid.
    std::vector<std::pair<std::uint32_t, std::uint32_t>> files;
    // Digest of the attributes of composite types that the columns use; empty: none.
    std::string composites;
    // (oid, xmin) of the labels of enums that the columns use: a rename changes xmin.
    std::vector<std::pair<std::uint32_t, std::string>> labels;
    // attnums of generated columns: without its expression one is sent from then on.
    std::vector<std::int16_t> generated;
    // (oid, xmins of its place) of physical tables: of the rows that say whose partition each is,
    // and in which schema a table is that is published by that. They are made anew where it was
    // elsewhere for a while, and nothing else changes them. Missing: not known, or nothing to say.
    std::vector<std::pair<std::uint32_t, std::string>> places;
    bool has_file(std::uint32_t oid) const;
    bool operator==(const TableContent&) const = default;
};

// The text that is stored: empty for content that is not known.
std::string to_string(const TableContent& content);
// Nothing for a text that to_string() did not make.
std::optional<TableContent> parse_table_content(std::string_view text);

// What one look at a table tells.
struct TableLook {
    TableContent content;
    // Digest of all that a version of the table's schema depends on besides `content`: names,
    // replica identity, keys.
    std::string definition;
    // Physical tables that were made as partitions where they are: whose rows, all of them,
    // came through the stream. Others were attached, perhaps with rows.
    std::set<std::uint32_t> born_here;
    std::string not_seen{};  // Why a new one of them could not be looked into.
    // attnums of columns that are not generated.
    std::set<std::int16_t> common{};
};

// Looks at tables; a table that does not exist is missing in the answer. At most three
// queries however many tables.
Result<std::map<TableId, TableLook>> look_at_tables(Connection& connection,
                                                    const Deadline& deadline,
                                                    std::span<const PublishedTable> tables);

// Takes partitions out of `born_here` that are not in `before` and hold rows which are older than
// their place in the tree: one that is made, filled and attached in one transaction looks as
// if it had been made in place. (Rows that a savepoint of that transaction wrote do not show.)
// One that cannot be looked into (no SELECT, a lock, so many rows that some seconds are too few)
// is taken out, too, and `look.not_seen` says why: that is its table's trouble alone. An error
// means that the session is lost, or that a stop was requested.
Status check_new_partitions(Connection& connection, const Deadline& deadline,
                            const PublishedTable& table, const TableContent& before,
                            TableLook& look);

// Why the rows may be others than before although the stream did not say so; empty: they
// are not. `truncates_are_sent`: a TRUNCATE of each physical table comes in the stream.
std::string compare_contents(const TableContent& before, const TableLook& now,
                             bool truncates_are_sent);

}  // namespace walbrook
