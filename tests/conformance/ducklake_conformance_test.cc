// The DuckLake destination against the suite, with a SQLite catalog in a folder of its
// own, and with one in a Postgres database. Tables are read by another DuckDB, which only reads,
// as a user's would.

#include "batch/value_text.h"
#include "destinations/duckdb_engine/engine.h"
#include "destinations/duckdb_engine/sql.h"
#include "support/database.h"
#include "support/pg_cluster.h"
#include "support/temp_dir.h"
#include "walbrook/destinations.h"
#include "walbrook/testing/conformance.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <charconv>
#include <filesystem>
#include <limits>
#include <stdexcept>

namespace walbrook {
namespace {

using duckdb_engine::quote_identifier;
using duckdb_engine::quote_literal;
using testing::TextRow;

// Elements of lists come as one text: each behind this mark, then 'N' for null or 'V'
// and the value.
constexpr char kElementMark = '\x01';

// What DuckDB prints is not what Postgres prints, so values of these kinds are asked for
// in a form from which ours can be made.
std::string raw_form(TypeKind kind, const std::string& value) {
    switch (kind) {
        case TypeKind::bytes:
            return fmt::format("lower(hex({}))", value);
        case TypeKind::date:
            return fmt::format(
                "CASE WHEN isinf({0}) THEN {0}::VARCHAR ELSE ({0} - DATE '1970-01-01')::VARCHAR "
                "END",
                value);
        case TypeKind::timestamp:
        case TypeKind::timestamptz:
            return fmt::format(
                "CASE WHEN isinf({0}) THEN {0}::VARCHAR ELSE epoch_us({0})::VARCHAR END", value);
        default:
            return fmt::format("{}::VARCHAR", value);
    }
}

std::string raw_column(const ColumnSchema& column) {
    const std::string name = quote_identifier(column.name);
    if (!column.type.is_list) return raw_form(column.type.kind, name);
    return fmt::format(
        "array_to_string(list_transform({}, lambda x: chr(1) || CASE WHEN x IS NULL THEN 'N' ELSE "
        "'V' || {} END), '')",
        name, raw_form(column.type.kind, "x"));
}

template <class T>
T parse(const std::string& text) {
    T value{};
    if (std::from_chars(text.data(), text.data() + text.size(), value).ec != std::errc()) {
        throw std::invalid_argument("DuckDB printed " + text);
    }
    return value;
}

template <class T>
void append_time(const std::string& raw, Column& to) {
    constexpr T kInfinity = std::numeric_limits<T>::max();
    to.append_fixed(raw == "infinity"    ? kInfinity
                    : raw == "-infinity" ? -kInfinity
                                         : parse<T>(raw));
}

// A scalar in raw form as Postgres prints it.
std::string printed(const ColumnType& type, const std::string& raw) {
    ColumnSchema schema;
    schema.type = type;
    schema.type.is_list = false;
    Column value(schema.type);
    switch (type.kind) {
        case TypeKind::boolean:
            return raw == "true" ? "t" : "f";
        case TypeKind::bytes:
            return "\\x" + raw;
        case TypeKind::float32:
            value.append_fixed(parse<float>(raw));
            break;
        case TypeKind::float64:
            value.append_fixed(parse<double>(raw));
            break;
        case TypeKind::date:
            append_time<std::int32_t>(raw, value);
            break;
        case TypeKind::timestamp:
        case TypeKind::timestamptz:
            append_time<std::int64_t>(raw, value);
            break;
        default:
            return raw;
    }
    return to_text(schema, value, 0);
}

std::string printed_list(const ColumnSchema& column, std::string_view raw) {
    // The elements as text: only the quoting of lists is wanted from to_text.
    ColumnSchema schema = column;
    schema.type = {TypeKind::text, true};
    Column list(schema.type);
    while (!raw.empty()) {
        const std::size_t end = std::min(raw.find(kElementMark, 1), raw.size());
        const std::string element(raw.substr(2, end - 2));
        if (raw[1] == 'N') {
            list.element().append_null();
        } else {
            list.element().append_bytes(printed(column.type, element));
        }
        raw.remove_prefix(end);
    }
    list.append_list_end();
    return to_text(schema, list, 0);
}

duckdb_engine::Database& reader() {
    // Loading the extensions takes longer than most cases, so one serves them all. Never closed:
    // at the end of the process DuckDB's own thread-local memory is gone before.
    static duckdb_engine::Database* const database = [] {
        duckdb_engine::DatabaseOptions options;
        options.extensions = {"icu", "sqlite_scanner", "postgres_scanner", "ducklake"};
        auto made = duckdb_engine::Database::create(options);
        if (!made) throw std::runtime_error(made.error().message());
        return (*made).release();
    }();
    return *database;
}

class DuckLakeHarness : public testing::DestinationHarness {
 public:
    DuckLakeHarness() { std::filesystem::create_directory(work_dir()); }

    std::unique_ptr<Destination> create() override {
        return make_ducklake_destination({catalog(), folder_.file("data")});
    }
    std::string work_dir() const override { return folder_.file("work"); }
#ifdef __SANITIZE_THREAD__
    // ThreadSanitizer ends a fork that begins threads if its parent had some, as reader() has.
    bool can_be_killed() const override { return false; }
#endif

    std::optional<std::vector<TextRow>> read(const TableSchema& table) override {
        auto session = reader().connect();
        if (!session) throw std::runtime_error(session.error().message());
        const Attached attached(**session, attach_uri());
        if (!has_table(**session, table)) return std::nullopt;
        return read_rows(**session, table);
    }

 protected:
    virtual std::string catalog() const { return folder_.file("lake.sqlite"); }
    virtual std::string attach_uri() const { return "ducklake:sqlite:" + catalog(); }

 private:
    // The lake under the name `lake`, for one reading: the next case has another one.
    class Attached {
     public:
        Attached(duckdb_engine::Connection& session, const std::string& uri) : session_(session) {
            run("SET TimeZone = 'UTC'; ATTACH " + quote_literal(uri) + " AS lake (READ_ONLY)");
        }
        ~Attached() { run("DETACH lake"); }
        Attached(const Attached&) = delete;
        Attached& operator=(const Attached&) = delete;

     private:
        void run(const std::string& sql) {
            const Status status = session_.run(sql);
            EXPECT_TRUE(status) << status.error().message();
        }
        duckdb_engine::Connection& session_;
    };

    static duckdb_engine::QueryResult ask(duckdb_engine::Connection& session,
                                          const std::string& sql) {
        auto result = session.query(sql);
        if (!result) throw std::runtime_error(result.error().message() + "\n" + sql);
        return *std::move(result);
    }
    static bool has_table(duckdb_engine::Connection& session, const TableSchema& table) {
        const auto columns = ask(
            session, fmt::format("SELECT column_name FROM duckdb_columns() WHERE database_name = "
                                 "'lake' AND schema_name = {} AND table_name = {}",
                                 quote_literal(table.schema), quote_literal(table.name)));
        if (columns.rows() == 0) return false;
        if (columns.rows() != table.columns.size()) {
            ADD_FAILURE() << table.display_name() << " has " << columns.rows() << " columns";
        }
        return true;
    }
    static std::vector<TextRow> read_rows(duckdb_engine::Connection& session,
                                          const TableSchema& table) {
        std::string columns;
        for (const ColumnSchema& column : table.columns) {
            columns += (columns.empty() ? "" : ", ") + raw_column(column);
        }
        const auto result =
            ask(session, fmt::format("SELECT {} FROM lake.{}.{}", columns,
                                     quote_identifier(table.schema), quote_identifier(table.name)));
        std::vector<TextRow> rows;
        for (std::size_t r = 0; r < result.rows(); ++r) {
            TextRow& row = rows.emplace_back();
            for (std::size_t c = 0; c < table.columns.size(); ++c) {
                const ColumnSchema& column = table.columns[c];
                const std::optional<std::string>& raw = result.text(r, c);
                row.emplace_back();
                if (!raw) continue;
                row.back() =
                    column.type.is_list ? printed_list(column, *raw) : printed(column.type, *raw);
            }
        }
        return rows;
    }

    testing::TempDir folder_;
};

class PostgresCatalogHarness final : public DuckLakeHarness {
 protected:
    std::string catalog() const override {
        const PgConnectionConfig at = database_.connection();
        return fmt::format("postgres:host={} port={} user={} dbname={}", at.host, at.port,
                           at.username, at.name);
    }
    std::string attach_uri() const override { return "ducklake:" + catalog(); }

 private:
    testing::Database database_{testing::PgCluster::shared(testing::newest_pg_version().front())};
};

// With a catalog in Postgres each case takes twice as long: CMakeLists.txt says which ones run
// when.
[[maybe_unused]] const bool registered =
    testing::register_conformance("ducklake", [] { return std::make_unique<DuckLakeHarness>(); }) &&
    testing::register_conformance("ducklake_postgres",
                                  [] { return std::make_unique<PostgresCatalogHarness>(); });

}  // namespace
}  // namespace walbrook
