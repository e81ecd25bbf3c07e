#pragma once

#include "walbrook/schema.h"

#include <string>

namespace walbrook::verify {

// One text for one value, the same from SQL that runs in Postgres and from SQL that runs in DuckDB,
// and another one for every other value (-0.0 is not 0.0, null is not ''). It knows where it ends,
// so that values may be joined. This is the place where both sides are told what equal means; they
// share no code with the decoders, which are compared by this, too.
//
//   null                        N;
//   numbers, dates, uuids …     their digits and a semicolon; floats by their bits, moments in
//                               microseconds, bytes in hexadecimal
//   text, json                  length in bytes, a colon, the text as Postgres prints it
//   lists                       L, the number of elements, a colon, the elements
//   arrays of another shape     X and their text, as above: no lake has one

// What Postgres's sessions print depends on their settings: those of postgres/connection.h.
struct PostgresDialect {
    // Text is held as UTF-8, or as bytes that nobody converts (SQL_ASCII).
    bool is_utf8 = true;
};

// `value` is an expression of the column's type.
std::string canonical_in_postgres(const PostgresDialect& dialect, const ColumnSchema& column,
                                  const std::string& value);
std::string canonical_in_duckdb(const ColumnType& type, const std::string& value);

// A text's MD5, in hexadecimal, of its UTF-8.
std::string digest_in_postgres(const PostgresDialect& dialect, const std::string& text);
std::string digest_in_duckdb(const std::string& text);

// The first 60 bits of such a digest as a number: what is summed. The last 32 as one: what rows are
// put into groups by.
std::string number_in_postgres(const std::string& digest);
std::string number_in_duckdb(const std::string& digest);
std::string group_in_postgres(const std::string& digest, unsigned groups);
std::string group_in_duckdb(const std::string& digest, unsigned groups);

}  // namespace walbrook::verify
