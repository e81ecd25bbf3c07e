#include "verify/report.h"

#include "base/json_number.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>

namespace walbrook::verify {
namespace {

using nlohmann::json;

constexpr int kResultFormat = 2;  // Of a table's line in verify.progress. 1 had no time.

json json_of(const TableResult& table, const Difference& difference) {
    json out = {{"kind", name_of(difference.kind)},
                {"at_source", difference.at_source},
                {"in_destination", difference.in_destination}};
    for (std::size_t i = 0; i < table.key.size() && i < difference.key.size(); ++i) {
        out["key"][table.key[i]] = difference.key[i];
    }
    if (table.key.empty()) out["row"] = difference.row_digest;
    if (table.key.empty() && !difference.key.empty()) out["ctid"] = difference.key.front();
    if (!difference.columns.empty()) out["columns"] = difference.columns;
    return out;
}

Difference difference_from(const TableResult& table, const json& in) {
    Difference difference;
    for (const DifferenceKind kind :
         {DifferenceKind::changed, DifferenceKind::missing, DifferenceKind::extra}) {
        if (in.at("kind") == name_of(kind)) difference.kind = kind;
    }
    difference.at_source = number_of<std::uint64_t>(in.at("at_source"));
    difference.in_destination = number_of<std::uint64_t>(in.at("in_destination"));
    for (const std::string& column : table.key) {
        difference.key.push_back(in.at("key").at(column).get<std::string>());
    }
    difference.row_digest = in.value("row", "");
    if (in.contains("ctid")) difference.key.push_back(in.at("ctid").get<std::string>());
    difference.columns = in.value("columns", std::vector<std::string>());
    return difference;
}

json json_of(const TableResult& table, std::size_t differences_max) {
    json out = {{"table", table.schema + "." + table.name},
                {"schema", table.schema},
                {"name", table.name},
                {"oid", table.table.oid},
                {"outcome", name_of(table.outcome)}};
    if (!table.reason.empty()) out["reason"] = table.reason;
    if (table.outcome == Outcome::not_compared) return out;
    out["position"] = to_string(table.position);
    out["rows_at_source"] = table.rows_at_source;
    out["rows_in_destination"] = table.rows_in_destination;
    if (table.repaired_rows != 0) out["repaired_rows"] = table.repaired_rows;
    if (table.is_copied_again) out["copied_again"] = true;
    if (table.outcome == Outcome::equal) return out;
    out["differing_rows"] = table.differing_rows;
    out["has_more"] = table.has_more;
    out["key_columns"] = table.key;
    out["differences"] = json::array();
    for (const Difference& difference : table.differences) {
        if (out["differences"].size() == differences_max) break;
        out["differences"].push_back(json_of(table, difference));
    }
    return out;
}

constexpr std::size_t kShownBytesMax = 200;

// As it is, where it is on one line and nobody can take it for something else; else as JSON has it.
std::string shown(const std::string& value) {
    std::string text = value;
    if (text.size() > kShownBytesMax) {
        text.resize(kShownBytesMax);
        text += fmt::format("… ({} bytes)", value.size());
    }
    const bool is_plain =
        !text.empty() && text.front() != ' ' && text.back() != ' ' &&
        std::none_of(text.begin(), text.end(), [](char c) {
            return static_cast<unsigned char>(c) < ' ' || c == 127 || c == '"' || c == ',';
        });
    // Also what is no UTF-8: a value that was cut within a character.
    const std::string quoted = json(text).dump(-1, ' ', false, json::error_handler_t::replace);
    return is_plain ? json::parse(quoted).get<std::string>() : quoted;
}

std::string named(const TableResult& table, const Difference& difference) {
    if (table.key.empty()) {
        std::string where = difference.key.empty() ? "" : ", at ctid " + difference.key.front();
        return fmt::format("row {}{}", difference.row_digest.substr(0, 16), where);
    }
    std::vector<std::string> parts;
    for (std::size_t i = 0; i < table.key.size() && i < difference.key.size(); ++i) {
        parts.push_back(table.key[i] + "=" + shown(difference.key[i]));
    }
    return fmt::format("{}", fmt::join(parts, ", "));
}

std::string described(const Difference& difference) {
    if (difference.kind == DifferenceKind::changed) {
        return fmt::format("differs in {}", fmt::join(difference.columns, ", "));
    }
    if (difference.in_destination == 0) return "is missing in the destination";
    if (difference.at_source == 0) return "is not at the source";
    return fmt::format(
        "is there {} times, at the source {}", difference.in_destination,
        difference.at_source == 1 ? "once" : fmt::format("{} times", difference.at_source));
}

std::string line_of(const TableResult& table) {
    const std::string name = table.schema + "." + table.name;
    switch (table.outcome) {
        case Outcome::equal:
            return fmt::format("{:<32} equal         {} rows at {}{}\n", name, table.rows_at_source,
                               to_string(table.position),
                               table.repaired_rows == 0
                                   ? ""
                                   : fmt::format(" ({} rows repaired)", table.repaired_rows));
        case Outcome::different:
            return fmt::format(
                "{:<32} DIFFERENT     {}{} of {} rows at {} ({} in the destination){}{}\n", name,
                table.has_more ? "more than " : "", table.differing_rows, table.rows_at_source,
                to_string(table.position), table.rows_in_destination,
                table.is_copied_again ? "; it is copied again" : "",
                table.reason.empty() ? "" : "; " + table.reason);
        case Outcome::not_compared:
            break;
    }
    return fmt::format("{:<32} not compared  {}\n", name, table.reason);
}

}  // namespace

std::string_view name_of(Outcome outcome) {
    switch (outcome) {
        case Outcome::equal:
            return "equal";
        case Outcome::different:
            return "different";
        case Outcome::not_compared:
            return "not compared";
    }
    return "?";
}

std::size_t Report::count(Outcome outcome) const {
    return static_cast<std::size_t>(std::count_if(
        tables.begin(), tables.end(), [&](const TableResult& t) { return t.outcome == outcome; }));
}

bool Report::is_equal() const {
    return !error && !tables.empty() && count(Outcome::equal) == tables.size();
}

std::string to_text(const TableResult& table, const Difference& difference) {
    return named(table, difference) + " " + described(difference);
}

std::string rows_text(const TableResult& table, std::size_t rows_max) {
    std::vector<std::string> rows;
    for (const Difference& difference : table.differences) {
        if (rows.size() == rows_max) break;
        rows.push_back(to_text(table, difference));
    }
    const bool is_all = !table.has_more && rows.size() == table.differing_rows;
    return fmt::format("{}{}", fmt::join(rows, "; "), is_all ? "" : "; …");
}

std::string to_text(const Report& report, std::size_t differences_max) {
    if (report.tables.empty()) return "no table was compared: the publication has none\n";
    std::string text;
    for (const TableResult& table : report.tables) {
        text += line_of(table);
        const std::size_t shown = std::min(differences_max, table.differences.size());
        for (std::size_t i = 0; i < shown; ++i) {
            const Difference& difference = table.differences[i];
            text += "    " + to_text(table, difference) + "\n";
        }
        if (table.differing_rows > shown) {
            text += "    … (--max-differences shows more)\n";
        } else if (table.has_more) {
            text += "    … (it was not read to the end: too much differs)\n";
        }
    }
    if (report.error) text += "not to the end: tables that are not named here were not compared\n";
    return text;
}

std::string to_json(const TableResult& table) {
    json out = json_of(table, table.differences.size());
    out["format"] = kResultFormat;
    out["at_secs"] = table.at_secs;
    out["lake_id"] = table.lake_id;
    return out.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

Result<TableResult> table_result_from_json(const std::string& text) {
    const json in = json::parse(text, nullptr, false);
    try {
        if (number_of<int>(in.at("format")) != kResultFormat) {
            return Error(ErrorCode::malformed, "read a table's result: it is of another version");
        }
        TableResult table;
        table.table.oid = number_of<std::uint32_t>(in.at("oid"));
        table.schema = in.at("schema");
        table.name = in.at("name");
        for (const Outcome outcome : {Outcome::equal, Outcome::different, Outcome::not_compared}) {
            if (in.at("outcome") == name_of(outcome)) table.outcome = outcome;
        }
        table.reason = in.value("reason", "");
        table.at_secs = number_of<std::int64_t>(in.at("at_secs"));
        table.lake_id = in.at("lake_id");
        if (table.outcome == Outcome::not_compared) return table;
        table.position = parse_lsn(in.at("position").get<std::string>()).value_or(Lsn{});
        table.rows_at_source = number_of<std::uint64_t>(in.at("rows_at_source"));
        table.rows_in_destination = number_of<std::uint64_t>(in.at("rows_in_destination"));
        if (in.contains("repaired_rows")) {
            table.repaired_rows = number_of<std::uint64_t>(in.at("repaired_rows"));
        }
        if (table.outcome == Outcome::equal) return table;
        table.is_copied_again = in.value("copied_again", false);
        table.differing_rows = number_of<std::uint64_t>(in.at("differing_rows"));
        table.has_more = in.at("has_more");
        table.key = in.at("key_columns").get<std::vector<std::string>>();
        for (const json& one : in.at("differences")) {
            table.differences.push_back(difference_from(table, one));
        }
        return table;
    } catch (const std::exception&) {
        return Error(ErrorCode::malformed, "read a table's result: it is not one of this version");
    }
}

std::string to_json(const Report& report, std::size_t differences_max) {
    json tables = json::array();
    for (const TableResult& table : report.tables) {
        tables.push_back(json_of(table, differences_max));
    }
    json all = {{"equal", report.is_equal()}, {"tables", std::move(tables)}};
    if (report.error) all["error"] = report.error->message();
    return all.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace walbrook::verify
