#include "verify/prints_sql.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>

namespace walbrook::verify {
namespace {

// Postgres's functions take at most 100 arguments.
constexpr std::size_t kArgumentsMax = 50;

std::string joined(std::vector<std::string> parts) {
    while (parts.size() > 1) {
        std::vector<std::string> groups;
        for (std::size_t i = 0; i < parts.size(); i += kArgumentsMax) {
            const auto begin = parts.begin() + static_cast<std::ptrdiff_t>(i);
            const auto end = parts.begin() +
                             static_cast<std::ptrdiff_t>(std::min(i + kArgumentsMax, parts.size()));
            groups.push_back(fmt::format("concat({})", fmt::join(begin, end, ", ")));
        }
        parts = std::move(groups);
    }
    return parts.empty() ? "''" : parts.front();
}

std::string text_of_row(const PrintsDialect& dialect, const ComparedTable& table) {
    std::vector<std::string> parts;
    for (std::size_t i = 0; i < table.columns.size(); ++i) {
        parts.push_back(dialect.canonical(table, i));
    }
    return joined(std::move(parts));
}

std::string text_of_key(const PrintsDialect& dialect, const ComparedTable& table) {
    std::vector<std::string> parts;
    for (const std::size_t i : table.key) parts.push_back(dialect.canonical(table, i));
    return joined(std::move(parts));
}

// OFFSET 0 keeps Postgres from computing an expression again wherever it is named.
constexpr const char* kOnce = " offset 0";

std::string digests_of_rows(const PrintsDialect& dialect, const ComparedTable& table,
                            const std::string& more, const std::string& from) {
    const std::string row = dialect.digest(text_of_row(dialect, table));
    if (table.key.empty()) {
        return fmt::format("select d as k, d from (select {} as d{} {}{}) as rows_", row, more,
                           from, kOnce);
    }
    return fmt::format("select {} as k, {} as d{} {}{}",
                       dialect.digest(text_of_key(dialect, table)), row, more, from, kOnce);
}

}  // namespace

std::string digest_sql(const PrintsDialect& dialect, const ComparedTable& table, unsigned groups,
                       const std::string& from) {
    return fmt::format(
        "select g, count(*), sum(n) from (select {} as g, {} as n from ({}) as prints) as numbers "
        "group by g",
        dialect.group("k", groups), dialect.number("d"), digests_of_rows(dialect, table, "", from));
}

std::string rows_sql(const PrintsDialect& dialect, const ComparedTable& table, unsigned groups,
                     const std::vector<unsigned>& wanted, const std::string& from) {
    const std::string key_text =
        table.key.empty() ? text_of_row(dialect, table) : text_of_key(dialect, table);
    std::vector<std::string> columns;
    for (std::size_t i = 0; i < table.columns.size(); ++i) {
        columns.push_back(fmt::format("left({}, 8)", dialect.digest(dialect.canonical(table, i))));
    }
    std::string display;
    std::string grouped = "1, 2, 3";
    for (std::size_t i = 0; i < table.key.size(); ++i) {
        display += ", " + dialect.display(table, table.key[i]);
        grouped += fmt::format(", {}", 4 + i);
    }
    if (table.key.empty() && !dialect.place.empty()) display = ", " + dialect.place;
    return fmt::format(
        "select {}, {}, {}{}, count(*) {} and {} in ({}) group by {}", dialect.digest(key_text),
        dialect.digest(text_of_row(dialect, table)), joined(columns), display, from,
        dialect.group(dialect.digest(key_text), groups), fmt::join(wanted, ", "), grouped);
}

std::uint64_t number_modulo(std::string_view digits) {
    std::uint64_t number = 0;
    for (const char digit : digits) number = number * 10 + static_cast<std::uint64_t>(digit - '0');
    return number;
}

}  // namespace walbrook::verify
