#include "destinations/duckdb_engine/engine.h"
#include "destinations/duckdb_engine/sql.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>

// What libduckdb keeps until the process ends is not ours to free.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:libduckdb\n"; }

namespace walbrook::duckdb_engine {
namespace {

std::unique_ptr<Database> database() {
    auto result = Database::create({});
    EXPECT_TRUE(result) << result.error().message();
    return result ? *std::move(result) : nullptr;
}

TEST(Sql, QuotesNamesAndLiterals) {
    EXPECT_EQ(quote_identifier("a\"b"), "\"a\"\"b\"");
    EXPECT_EQ(quote_literal("it's \\"), "'it''s \\'");
    EXPECT_EQ(sql_type({TypeKind::decimal, true, 12, 2}), "DECIMAL(12,2)[]");
    EXPECT_TRUE(same_name("Foo", "fOO"));
    EXPECT_FALSE(same_name("\xC3\x89", "\xC3\xA9"));  // Only ASCII is folded.
}

TEST(Engine, MapsErrorsToWhatTheCallerCanDo) {
    auto db = database();
    auto session = db->connect();
    ASSERT_TRUE(session);
    EXPECT_EQ((*session)->run("SELEC 1").error().code(), ErrorCode::internal);
    EXPECT_EQ((*session)->run("SELECT 'x'::INTEGER").error().code(), ErrorCode::unsupported_value);
    EXPECT_EQ((*session)
                  ->run("CREATE TABLE t(a INTEGER NOT NULL); INSERT INTO t VALUES (NULL)")
                  .error()
                  .code(),
              ErrorCode::schema_mismatch);
    // What a value says is not what has happened.
    EXPECT_EQ((*session)->run("SELECT 'database is locked'::INTEGER").error().code(),
              ErrorCode::unsupported_value);
    std::stop_source stop;
    stop.request_stop();
    EXPECT_EQ((*session)->run("SELECT 1", stop.get_token()).error().code(), ErrorCode::cancelled);
    // The statement itself is never part of a message.
    EXPECT_EQ((*session)->run("SELECT secret FROM nothing").error().message().find("secret"),
              std::string::npos);
}

// One value may be larger than what is enough for all others.
TEST(Engine, GetsMoreMemoryWhenItIsNotEnough) {
    DatabaseOptions options;
    options.memory_bytes_max = 64ULL << 20;
    options.memory_bytes_in_need = 4ULL << 30;
    auto made = Database::create(options);
    ASSERT_TRUE(made) << made.error().message();
    Database& db = **made;
    auto session = db.connect();
    ASSERT_TRUE(session);
    const char* const large = "CREATE OR REPLACE TEMP TABLE t AS SELECT repeat('x', 40000000) AS v";
    const Status refused = (*session)->run(large);
    ASSERT_FALSE(refused);
    EXPECT_TRUE(is_out_of_memory(refused.error())) << refused.error().message();
    EXPECT_EQ(refused.error().code(), ErrorCode::unavailable);
    EXPECT_TRUE(db.may_have_more());
    while (!(*session)->run(large) && db.give_more()) {
    }
    EXPECT_TRUE((*session)->run(large));
    // Up to a limit, and then it is the value's fault: nothing else heals it.
    while (db.give_more()) {
    }
    EXPECT_FALSE(db.may_have_more());
    EXPECT_EQ(db.memory_bytes(), 4ULL << 30);
    EXPECT_TRUE(is_large(db, 400'000'000));
    EXPECT_FALSE(is_large(db, 1'000'000));
    EXPECT_EQ(too_large(db, 400'000'000).code(), ErrorCode::unsupported_value);
}

// As the lake's do when one takes the other's place: copies go on with the older one. DuckDB counts
// the names of its files from 0 in each instance, and opens what is there.
TEST(Engine, DatabasesThatSpillSideBySideKeepTheirOwn) {
    std::string folder = std::filesystem::temp_directory_path() / "walbrook-XXXXXX";
    ASSERT_NE(mkdtemp(folder.data()), nullptr);
    DatabaseOptions options;
    options.memory_bytes_max = 24ULL << 20;
    options.threads = 1;
    options.temp_directory = folder + "/spilled";
    std::vector<std::unique_ptr<Database>> databases;
    std::vector<std::unique_ptr<Connection>> sessions;
    const auto fill = [&](int number) {
        auto made = Database::create(options);
        ASSERT_TRUE(made) << made.error().message();
        databases.push_back(*std::move(made));
        auto session = databases.back()->connect();
        ASSERT_TRUE(session);
        sessions.push_back(*std::move(session));
        const Status filled = sessions.back()->run(
            fmt::format("CREATE TABLE t AS SELECT i, hash(i + {0}) AS h FROM range({0}, {0} + "
                        "4000000) r(i)",
                        number * 10'000'000));
        ASSERT_TRUE(filled) << filled.error().message();
    };
    const auto check = [&](int number) {
        const auto found = sessions[static_cast<std::size_t>(number)]->query(
            fmt::format("SELECT count(*) FILTER (h = hash(i + {0})), count(DISTINCT i), min(i) "
                        "FROM (SELECT * FROM t WHERE i % 100 = 0)",
                        number * 10'000'000));
        ASSERT_TRUE(found) << found.error().message();
        EXPECT_EQ(found->number(0, 0), 40'000);
        EXPECT_EQ(found->number(0, 1), 40'000);
        EXPECT_EQ(found->number(0, 2), number * 10'000'000);
    };
    fill(0);
    fill(1);
    check(0);
    check(1);
    // The first one takes away what it has made, and nothing else.
    EXPECT_FALSE(std::filesystem::is_empty(options.temp_directory));
    sessions[0].reset();
    databases[0].reset();
    check(1);
    fill(2);
    check(1);
    check(2);
    sessions.clear();
    databases.clear();
    std::filesystem::remove_all(folder);
}

TEST(Engine, ReachesNothingByItself) {
    auto db = database();
    auto session = db->connect();
    ASSERT_TRUE(session);
    EXPECT_FALSE((*session)->run("FROM read_csv('https://localhost:1/x.csv')"));
}

// Runs of every length around the chunk and word sizes, with nulls, short and long text.
TEST(Scan, ColumnsArriveAsTheyAre) {
    auto db = database();
    auto session = db->connect();
    ASSERT_TRUE(session);
    for (const std::size_t rows : {1U, 63U, 64U, 2047U, 2048U, 2049U, 5000U}) {
        Column numbers({TypeKind::int64});
        Column texts({TypeKind::text});
        Column flags({TypeKind::boolean});
        Column lists({TypeKind::int32, true});
        for (std::size_t i = 0; i < rows; ++i) {
            if (i % 7 == 3) {
                numbers.append_null();
                texts.append_null();
                flags.append_null();
                lists.append_null();
                continue;
            }
            numbers.append_fixed(static_cast<std::int64_t>(i));
            texts.append_bytes(std::string(i % 30, static_cast<char>('a' + i % 26)));
            flags.append_bool(i % 2 == 0);
            for (std::size_t k = 0; k < i % 4; ++k) {
                if (k == 2) {
                    lists.element().append_null();
                } else {
                    lists.element().append_fixed(static_cast<std::int32_t>(i));
                }
            }
            lists.append_list_end();
        }
        ColumnsSource source({{"n", {TypeKind::int64}},
                              {"t", {TypeKind::text}},
                              {"b", {TypeKind::boolean}},
                              {"l", {TypeKind::int32, true}}},
                             {&numbers, &texts, &flags, &lists});
        const NamedScan scan(db->scans(), source);
        auto result = (*session)->query(
            "SELECT count(*), count(*) FILTER (WHERE i % 7 = 3 AND n IS NULL AND t IS NULL AND b "
            "IS "
            "NULL AND l IS NULL), count(*) FILTER (WHERE n = i AND t = repeat(chr((97 + i % "
            "26)::INTEGER), (i % 30)::INTEGER) AND b = (i % 2 = 0) AND l IS NOT DISTINCT FROM [x "
            "FOR "
            "x IN [i::INTEGER, i::INTEGER, NULL][1:(i % 4)::INTEGER]]) FROM (SELECT *, "
            "row_number() "
            "OVER () - 1 AS i FROM " +
            scan.sql() + ")");
        ASSERT_TRUE(result) << result.error().message();
        const auto nulls = static_cast<std::int64_t>((rows + 3) / 7);
        EXPECT_EQ(result->number(0, 0), static_cast<std::int64_t>(rows));
        EXPECT_EQ(result->number(0, 1), nulls) << rows;
        EXPECT_EQ(result->number(0, 2), static_cast<std::int64_t>(rows) - nulls) << rows;
    }
}

TEST(Scan, AnUnknownSourceIsAnError) {
    auto db = database();
    auto session = db->connect();
    ASSERT_TRUE(session);
    EXPECT_FALSE((*session)->run("FROM walbrook_scan(12::UBIGINT)"));
}

}  // namespace
}  // namespace walbrook::duckdb_engine
