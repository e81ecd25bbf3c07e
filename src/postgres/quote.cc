#include "postgres/quote.h"

#include <fmt/format.h>

namespace walbrook {
namespace {

std::string doubled(std::string_view text, std::string_view special) {
    std::string out;
    out.reserve(text.size() + 8);
    for (const char c : text) {
        if (special.find(c) != std::string_view::npos) out += c;
        out += c;
    }
    return out;
}

}  // namespace

std::string quote_identifier(std::string_view name) { return '"' + doubled(name, "\"") + '"'; }

std::string quote_qualified(std::string_view schema, std::string_view name) {
    return quote_identifier(schema) + '.' + quote_identifier(name);
}

std::string quote_literal(std::string_view text) {
    const bool escaped = text.find('\\') != std::string_view::npos;
    return (escaped ? " E'" : "'") + doubled(text, escaped ? "'\\" : "'") + '\'';
}

std::string quote_replication_literal(std::string_view text) {
    return '\'' + doubled(text, "'") + '\'';
}

std::string oid_array(std::span<const std::uint32_t> oids) {
    return fmt::format("{{{}}}", fmt::join(oids, ","));
}

}  // namespace walbrook
