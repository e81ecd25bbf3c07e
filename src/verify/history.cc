#include "verify/history.h"

#include "base/json_number.h"
#include "base/private_files.h"
#include "pipeline/table_selection.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <utility>

namespace walbrook::verify {
namespace {

using nlohmann::json;

constexpr int kHistoryFormat = 1;

json json_of(const TableVerdict& table) {
    return {{"oid", table.table.oid},
            {"schema", table.schema},
            {"name", table.name},
            {"outcome", name_of(table.outcome)},
            {"reason", table.reason},
            {"position", to_string(table.position)},
            {"differing_rows", table.differing_rows},
            {"has_more", table.has_more},
            {"copied_again", table.is_copied_again},
            {"at_secs", table.at_secs}};
}

TableVerdict verdict_from(const json& in) {
    TableVerdict table;
    table.table.oid = number_of<std::uint32_t>(in.at("oid"));
    table.schema = in.at("schema");
    table.name = in.at("name");
    for (const Outcome outcome : {Outcome::equal, Outcome::different}) {
        if (in.at("outcome") == name_of(outcome)) table.outcome = outcome;
    }
    table.reason = in.at("reason");
    table.position = parse_lsn(in.at("position").get<std::string>()).value_or(Lsn{});
    table.differing_rows = number_of<std::uint64_t>(in.at("differing_rows"));
    table.has_more = in.value("has_more", false);  // Not in the first ones.
    table.is_copied_again = in.at("copied_again");
    table.at_secs = number_of<std::int64_t>(in.at("at_secs"));
    return table;
}

TableVerdict verdict_of(const TableResult& result) {
    return {result.table,           result.schema,   result.name,           result.outcome,
            result.reason,          result.position, result.differing_rows, result.has_more,
            result.is_copied_again, result.at_secs};
}

void sort_by_name(std::vector<TableVerdict>& tables) {
    std::sort(tables.begin(), tables.end(), [](const TableVerdict& a, const TableVerdict& b) {
        return std::tie(a.schema, a.name) < std::tie(b.schema, b.name);
    });
}

// Those of this comparison itself are the newest, whatever a clock or a new source says.
bool is_outdated(const History& history, const TableResult& result, std::int64_t began_at) {
    return result.at_secs < began_at && history.has_newer(result);
}

}  // namespace

void History::add(const Report& report, const std::vector<std::string>& asked_for, bool is_whole,
                  std::int64_t began_at, std::int64_t ms) {
    std::set<TableId> outdated;
    for (const TableResult& result : report.tables) {
        if (is_outdated(*this, result, began_at)) outdated.insert(result.table);
    }
    began_at_secs = began_at;
    took_ms = ms;
    if (is_whole) whole_at_secs = began_at;
    std::map<TableId, TableVerdict> differed;
    for (TableVerdict& old : std::exchange(tables, {})) {
        if (outdated.contains(old.table)) {
            tables.push_back(std::move(old));
            continue;
        }
        const bool is_asked_for = asked_for.empty() || is_named(asked_for, old.schema, old.name);
        if (old.outcome == Outcome::different) {
            differed.emplace(old.table, old);
            // What was asked for and is not in the report is no table of the publication any more.
            if (!is_asked_for) tables.push_back(std::move(old));
        } else if (!is_asked_for && !is_whole) {
            tables.push_back(std::move(old));
        }
    }
    std::set<TableId> told;
    for (const TableResult& result : report.tables) {
        if (!outdated.contains(result.table)) told.insert(result.table);
    }
    std::erase_if(tables, [&](const TableVerdict& old) { return told.contains(old.table); });
    for (const TableResult& result : report.tables) {
        position = std::max(position, result.position);
        if (outdated.contains(result.table)) continue;
        TableVerdict& verdict = tables.emplace_back(verdict_of(result));
        const auto before = differed.find(result.table);
        if (result.outcome != Outcome::not_compared || before == differed.end()) continue;
        verdict = before->second;
        verdict.reason = result.reason;
    }
    sort_by_name(tables);
}

void History::add_different(const Report& report, std::int64_t began_at, std::int64_t ms) {
    began_at_secs = began_at;
    took_ms = ms;
    for (const TableResult& result : report.tables) {
        if (result.outcome != Outcome::different) continue;
        if (is_outdated(*this, result, began_at)) continue;
        position = std::max(position, result.position);
        std::erase_if(tables, [&](const TableVerdict& old) { return old.table == result.table; });
        tables.push_back(verdict_of(result));
    }
    sort_by_name(tables);
}

std::size_t History::count(Outcome outcome) const {
    return static_cast<std::size_t>(std::count_if(
        tables.begin(), tables.end(), [&](const TableVerdict& t) { return t.outcome == outcome; }));
}

bool History::has_newer(const TableResult& result) const {
    return std::any_of(tables.begin(), tables.end(), [&](const TableVerdict& verdict) {
        return verdict.table == result.table && verdict.outcome != Outcome::not_compared &&
               std::tie(verdict.position, verdict.at_secs) >
                   std::tie(result.position, result.at_secs);
    });
}

std::string history_path(const std::string& work_dir) { return work_dir + "/verify.json"; }

History load_history(const std::string& work_dir) {
    std::ifstream file(history_path(work_dir), std::ios::binary);
    const std::string text((std::istreambuf_iterator<char>(file)), {});
    const json in = json::parse(text, nullptr, false);
    try {
        if (number_of<int>(in.at("format")) != kHistoryFormat) return {};
        History history;
        history.whole_at_secs = number_of<std::int64_t>(in.at("whole_at_secs"));
        history.began_at_secs = number_of<std::int64_t>(in.at("began_at_secs"));
        history.took_ms = number_of<std::int64_t>(in.at("took_ms"));
        history.position = parse_lsn(in.at("position").get<std::string>()).value_or(Lsn{});
        for (const json& table : in.at("tables")) history.tables.push_back(verdict_from(table));
        return history;
    } catch (const std::exception&) {
        return {};
    }
}

Status store_history(const std::string& work_dir, const History& history) {
    json out = {{"format", kHistoryFormat},
                {"whole_at_secs", history.whole_at_secs},
                {"began_at_secs", history.began_at_secs},
                {"took_ms", history.took_ms},
                {"position", to_string(history.position)},
                {"tables", json::array()}};
    for (const TableVerdict& table : history.tables) out["tables"].push_back(json_of(table));
    const std::string path = history_path(work_dir);
    const std::string beside = path + ".new";
    WALBROOK_RETURN_IF_ERROR(make_private_file(beside));
    std::ofstream file(beside, std::ios::binary | std::ios::trunc);
    file << out.dump(-1, ' ', false, json::error_handler_t::replace) << '\n';
    file.close();
    if (file && std::rename(beside.c_str(), path.c_str()) == 0) return {};
    return Error(ErrorCode::unavailable,
                 fmt::format("remember the comparison in {}: {}", path, std::strerror(errno)));
}

}  // namespace walbrook::verify
