#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace walbrook {

// "name" with inner quotes doubled; always quoted, so that keywords and capitals stay
// what they are (Postgres manual, "Identifiers and Key Words").
std::string quote_identifier(std::string_view name);

// "schema"."name".
std::string quote_qualified(std::string_view schema, std::string_view name);

// 'text' with inner quotes doubled. A text with a backslash becomes E'…' with those
// doubled too, so that the result does not depend on standard_conforming_strings.
std::string quote_literal(std::string_view text);

// The same for commands of the replication protocol, where a backslash is a letter as any other and
// there is no E'…' (repl_scanner.l).
std::string quote_replication_literal(std::string_view text);

// "{1,2,3}": the text of an oid[] parameter.
std::string oid_array(std::span<const std::uint32_t> oids);

}  // namespace walbrook
