#include "integration/lake_reader.h"

#include "batch/value_text.h"
#include "destinations/duckdb_engine/sql.h"
#include "walbrook/column.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>
#include <mutex>
#include <stdexcept>
#include <utility>

namespace walbrook::testing {
namespace {

// From what walbrook.yaml says.
std::string attach_uri(const std::string& catalog) {
    if (catalog.starts_with("postgres:")) return "ducklake:" + catalog;
    if (catalog.starts_with("duckdb:")) return "ducklake:" + catalog.substr(7);
    return "ducklake:sqlite:" + catalog;
}

template <class T>
T must(Result<T> result) {
    if (!result) throw std::runtime_error(result.error().message());
    return *std::move(result);
}

void must(const Status& status) {
    if (!status) throw std::runtime_error(status.error().message());
}

// How a DuckDB type is asked for, and how its answer becomes Postgres's text.
struct Rendering {
    std::string expression;  // {} is the column.
    TypeKind kind = TypeKind::text;
};

// As array_out() prints it: elements that could be misread are quoted.
std::string array_rendering(const std::string& element) {
    std::string text = "x::varchar";
    if (element == "BOOLEAN") text = "left(x::varchar, 1)";
    if (element == "BLOB") text = "('\\x' || lower(hex(x)))";
    if (element == "FLOAT" || element == "DOUBLE") {
        text = "replace(replace(x::varchar, 'nan', 'NaN'), 'inf', 'Infinity')";
    }
    return fmt::format(
        "case when {{0}} is null then null else '{{{{' || array_to_string(list_transform({{0}}, "
        "lambda x: case when x is null then 'NULL' when {0} = '' or lower({0}) = 'null' or "
        "regexp_matches({0}, '[{{{{}}}},\"\\\\\\s]') then '\"' || replace(replace({0}, '\\', "
        "'\\\\'), '\"', '\\\"') || '\"' else {0} end), ',') || '}}}}' end",
        text);
}

Rendering rendering_of(const std::string& type) {
    if (type.ends_with("[]")) return {array_rendering(type.substr(0, type.size() - 2))};
    if (type == "BLOB") return {"'\\x' || lower(hex({}))"};
    if (type == "FLOAT") return {"{}::varchar", TypeKind::float32};
    if (type == "DOUBLE") return {"{}::varchar", TypeKind::float64};
    if (type == "TIMESTAMP") {
        return {"case when isinf({0}) then {0}::varchar else epoch_us({0})::varchar end",
                TypeKind::timestamp};
    }
    if (type == "TIMESTAMP WITH TIME ZONE") {
        return {
            "case when isinf({0}) then ({0} at time zone 'UTC')::varchar else "
            "epoch_us({0})::varchar end",
            TypeKind::timestamptz};
    }
    if (type == "DATE") {
        return {
            "case when isinf({0}) then {0}::varchar else ({0} - date '1970-01-01')::varchar end",
            TypeKind::date};
    }
    return {"{}::varchar"};
}

template <class T>
T parse(const std::string& text) {
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) {
        throw std::runtime_error("not a number: " + text);
    }
    return value;
}

std::string postgres_text(TypeKind kind, const std::string& text) {
    if (kind == TypeKind::text || text == "infinity" || text == "-infinity") return text;
    ColumnSchema schema;
    schema.type.kind = kind;
    Column column(schema.type);
    switch (kind) {
        case TypeKind::float32:
            column.append_fixed(parse<float>(text));
            break;
        case TypeKind::float64:
            column.append_fixed(parse<double>(text));
            break;
        case TypeKind::date:
            column.append_fixed(parse<std::int32_t>(text));
            break;
        default:
            column.append_fixed(parse<std::int64_t>(text));
            break;
    }
    return to_text(schema, column, 0);
}

// DuckDBs without a lake. To load the extensions takes longer than most of what is asked, and what
// was read of a lake is forgotten with it. The threads of each see the disks that were mounted when
// it was made (support/small_disk.h), and no others.
class Engines {
 public:
    // Never destroyed: at the end of the process DuckDB's thread-local memory is gone before.
    static Engines& all() {
        static auto* const engines = new Engines();
        return *engines;
    }
    std::unique_ptr<duckdb_engine::Database> take(const std::string& disks) {
        {
            const std::lock_guard lock(mutex_);
            if (auto& idle = idle_[disks]; !idle.empty()) {
                auto database = std::move(idle.back());
                idle.pop_back();
                return database;
            }
        }
        duckdb_engine::DatabaseOptions options;
        options.extensions = {"sqlite_scanner", "postgres_scanner", "ducklake", "icu"};
        return must(duckdb_engine::Database::create(options));
    }
    void give_back(const std::string& disks, std::unique_ptr<duckdb_engine::Database> database) {
        const std::lock_guard lock(mutex_);
        idle_[disks].push_back(std::move(database));
    }

 private:
    std::mutex mutex_;
    std::map<std::string, std::vector<std::unique_ptr<duckdb_engine::Database>>> idle_;
};

}  // namespace

LakeReader::LakeReader(std::string catalog, LakeAccess access)
    : disks_(std::filesystem::read_symlink("/proc/thread-self/ns/mnt")),
      database_(Engines::all().take(disks_)) {
    session_ = must(database_->connect());
    must(session_->run("set timezone = 'UTC'"));
    const Status attached = session_->run(fmt::format(
        "attach {} as lake{}", duckdb_engine::quote_literal(attach_uri(catalog)),
        access == LakeAccess::read ? " (read_only)" : ""));
    if (attached) return;
    // The lake may only be being made, and is asked for again.
    session_.reset();
    Engines::all().give_back(disks_, std::move(database_));
    must(attached);
}

LakeReader::LakeReader(LakeReader&&) noexcept = default;

LakeReader::~LakeReader() {
    if (!session_) return;
    // One that a test left in the middle of something is not used again.
    if (session_->run("use memory; detach lake")) {
        Engines::all().give_back(disks_, std::move(database_));
    }
}

std::vector<std::vector<std::string>> LakeReader::query(const std::string& sql) {
    const duckdb_engine::QueryResult result = must(session_->query(sql));
    std::vector<std::vector<std::string>> rows;
    for (std::size_t r = 0; r < result.rows(); ++r) {
        rows.emplace_back();
        for (std::size_t c = 0; c < result.columns().size(); ++c) {
            rows.back().push_back(result.text(r, c).value_or("NULL"));
        }
    }
    return rows;
}

std::string LakeReader::value(const std::string& sql) {
    const auto rows = query(sql);
    if (rows.size() != 1 || rows[0].empty()) throw std::runtime_error("not one value: " + sql);
    return rows[0][0];
}

bool LakeReader::has_table(const std::string& schema, const std::string& table) {
    return value(fmt::format("select count(*) from duckdb_tables() where database_name = 'lake' "
                             "and schema_name = {} and table_name = {}",
                             duckdb_engine::quote_literal(schema),
                             duckdb_engine::quote_literal(table))) != "0";
}

std::vector<std::string> LakeReader::rows(const std::string& schema, const std::string& table) {
    return read(schema, table, "");
}

std::vector<std::string> LakeReader::rows_at(const std::string& schema, const std::string& table,
                                             std::int64_t snapshot) {
    return read(schema, table, fmt::format(" at (version => {})", snapshot));
}

std::vector<std::string> LakeReader::read(const std::string& schema, const std::string& table,
                                          const std::string& at) {
    const std::string from = fmt::format("lake.{}.{}{}", duckdb_engine::quote_identifier(schema),
                                         duckdb_engine::quote_identifier(table), at);
    std::vector<Rendering> renderings;
    std::string list;
    for (const auto& column : query("describe select * from " + from)) {
        Rendering rendering = rendering_of(column[1]);
        if (!list.empty()) list += ", ";
        list += fmt::format(fmt::runtime(rendering.expression),
                            duckdb_engine::quote_identifier(column[0]));
        renderings.push_back(std::move(rendering));
    }
    const duckdb_engine::QueryResult result =
        must(session_->query(fmt::format("select {} from {}", list, from)));
    std::vector<std::string> lines;
    for (std::size_t r = 0; r < result.rows(); ++r) {
        std::string line;
        for (std::size_t c = 0; c < renderings.size(); ++c) {
            if (c != 0) line += '\t';
            const auto& text = result.text(r, c);
            line += text ? copy_escaped(postgres_text(renderings[c].kind, *text)) : "\\N";
        }
        lines.push_back(std::move(line));
    }
    std::sort(lines.begin(), lines.end());
    return lines;
}

}  // namespace walbrook::testing
