#include "journal_harness.h"

#include "journal_destination.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <fstream>
#include <map>

namespace walbrook::testing {
namespace {

using Json = nlohmann::json;

struct JournalTable {
    TableSchemaPtr schema;
    std::vector<Json> rows;  // Objects.
    int published = 0;       // 0: readers have none; else the newest of a name has it.
    Json before;             // Of the update that comes next.
};

bool has_all_of(const Json& row, const Json& part) {
    return std::all_of(part.items().begin(), part.items().end(),
                       [&](const auto& member) { return row.at(member.key()) == member.value(); });
}

Json key_of(const TableSchema& schema, const Json& row) {
    Json key = Json::object();
    for (const std::size_t column : schema.key_columns()) {
        const std::string& name = schema.columns[column].name;
        key[name] = row.at(name);
    }
    return key;
}

// Rows keep their values under the new names of their columns.
void take_shape(JournalTable& table, const TableSchemaPtr& next) {
    const TableSchemaPtr old = std::exchange(table.schema, next);
    if (!old) return;
    for (Json& row : table.rows) {
        Json shaped = Json::object();
        for (const ColumnSchema& column : next->columns) {
            for (const ColumnSchema& was : old->columns) {
                if (was.attnum == column.attnum) shaped[column.name] = row.at(was.name);
            }
        }
        row = std::move(shaped);
    }
}

void update(JournalTable& table, const Json& values) {
    const bool partly = table.schema->partly_published;
    const Json which = table.before.is_null() ? key_of(*table.schema, values) : table.before;
    table.before = nullptr;
    const auto found = std::find_if(table.rows.begin(), table.rows.end(),
                                    [&](const Json& row) { return has_all_of(row, which); });
    if (found == table.rows.end() && !partly) throw std::runtime_error("updates no row");
    Json next = found == table.rows.end() ? Json::object() : *found;
    next.update(values);
    if (found != table.rows.end()) table.rows.erase(found);
    if (partly && !table.schema->key_columns().empty()) {
        const Json key = key_of(*table.schema, next);
        std::erase_if(table.rows, [&](const Json& row) { return has_all_of(row, key); });
    }
    // A value of a row that nobody has was not sent: then there is no row.
    if (next.size() == table.schema->columns.size()) table.rows.push_back(std::move(next));
}

void change(JournalTable& table, const std::string& op, const Json& line) {
    const auto row = line.find("row");
    if (op == "truncate") table.rows.clear();
    if (row == line.end()) return;
    const bool takes_over =
        op == "insert" && table.schema->partly_published && !table.schema->key_columns().empty();
    const Json which = takes_over ? key_of(*table.schema, *row) : *row;
    if (op == "clear" || takes_over) {
        std::erase_if(table.rows, [&](const Json& one) { return has_all_of(one, which); });
    }
    if (op == "copied" || op == "insert" || op == "put") table.rows.push_back(*row);
    if (op == "added") {
        for (Json& one : table.rows) one.update(*row);
    }
    if (op == "before") table.before = *row;
    if (op == "update") update(table, *row);
    if (op == "delete") {
        const auto found = std::find_if(table.rows.begin(), table.rows.end(),
                                        [&](const Json& one) { return has_all_of(one, *row); });
        if (found != table.rows.end()) table.rows.erase(found);
    }
}

std::map<std::string, JournalTable> replay(const std::string& path) {
    std::map<std::string, JournalTable> tables;  // By oid.
    int published = 0;
    std::ifstream in(path);
    for (std::string text; std::getline(in, text);) {
        const Json line = Json::parse(text);
        const std::string op = line.at("op");
        if (op == "schema") {
            const Json& schema = line.at("schema");
            auto parsed = table_schema_from_json(schema.dump());
            if (!parsed) throw std::runtime_error(parsed.error().message());
            take_shape(tables[std::to_string(schema.at("oid").get<std::uint32_t>())],
                       std::make_shared<const TableSchema>(*std::move(parsed)));
        } else if (line.contains("oid")) {
            JournalTable& table = tables[line.at("oid")];
            if (op == "published") {
                table.rows.clear();
                table.published = ++published;
            }
            change(table, op, line);
        }
    }
    return tables;
}

}  // namespace

std::unique_ptr<Destination> JournalHarness::create() {
    return make_journal_destination(folder_.path().string());
}

std::optional<std::vector<TextRow>> JournalHarness::read(const TableSchema& wanted) {
    const auto tables = replay(folder_.file("journal.jsonl"));
    const JournalTable* found = nullptr;
    for (const auto& [oid, table] : tables) {
        if (table.published == 0 || table.schema->schema != wanted.schema ||
            table.schema->name != wanted.name) {
            continue;
        }
        if (found == nullptr || table.published > found->published) found = &table;
    }
    if (found == nullptr) return std::nullopt;
    std::vector<TextRow> rows;
    for (const Json& json : found->rows) {
        TextRow& row = rows.emplace_back();
        for (const ColumnSchema& column : wanted.columns) {
            const Json& value = json.at(column.name);
            row.push_back(value.is_null() ? std::nullopt : std::optional(value.get<std::string>()));
        }
    }
    return rows;
}

std::vector<Limit> JournalHarness::limits() {
    return {{"lost_row_is_found", "a journal does not look whether a row is there"},
            {"a_column_that_is_never_null", "a journal does not know whether it has rows"}};
}

}  // namespace walbrook::testing
