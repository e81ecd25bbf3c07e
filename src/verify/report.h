#pragma once

#include "verify/compare.h"
#include "walbrook/lsn.h"
#include "walbrook/result.h"

#include <optional>
#include <string>
#include <vector>

namespace walbrook::verify {

enum class Outcome : std::uint8_t {
    equal,
    different,
    not_compared,  // `reason` says why.
};
std::string_view name_of(Outcome outcome);  // "equal", "different", "not compared"

struct TableResult {
    TableId table;
    std::string schema;
    std::string name;
    Outcome outcome = Outcome::not_compared;
    std::string reason;        // Of a table that differs: why it stays so, or why not all is named.
    Lsn position;              // At which both sides were compared.
    std::int64_t at_secs = 0;  // When that position was named, since 1970.
    std::string lake_id;       // Of the lake that was compared.
    std::uint64_t rows_at_source = 0;
    std::uint64_t rows_in_destination = 0;
    std::uint64_t differing_rows = 0;     // Keys (without a key: contents) that are not the same.
    bool has_more = false;                // There are more: they were not counted to the end.
    std::vector<std::string> key;         // Names of the key's columns; empty: it has none.
    std::vector<Difference> differences;  // The first of them.
    std::uint64_t repaired_rows = 0;      // Put right before the comparison that this tells of.
    bool is_copied_again = false;         // Asked for, because of what this tells of.
};

struct Report {
    std::vector<TableResult> tables;  // In order of name.
    std::optional<Error> error = {};  // Why it has not come to its end: tables are missing here.
    bool is_equal() const;            // All were compared, at least one, and none is different.
    std::size_t count(Outcome outcome) const;
};

// One table as a line of JSON, and back: ErrorCode::malformed for what to_json() did not make.
std::string to_json(const TableResult& table);
Result<TableResult> table_result_from_json(const std::string& text);

// "id=77 differs in note": one of the table's differences.
std::string to_text(const TableResult& table, const Difference& difference);
// The first of them, for the log; so many at most.
std::string rows_text(const TableResult& table, std::size_t rows_max);

// For people, and for programs; so many differences are named of each table: {"tables": [{"table":
// "public.orders", "outcome": "different", …}]}.
std::string to_text(const Report& report, std::size_t differences_max);
std::string to_json(const Report& report, std::size_t differences_max);

}  // namespace walbrook::verify
