// The two dialects side by side: the same text for the same value, another one for every other.

#include "destinations/duckdb_engine/engine.h"
#include "support/pg_test.h"
#include "verify/canonical.h"

#include <fmt/format.h>

#include <map>

namespace walbrook::verify {
namespace {

using testing::PgTest;

struct Value {
    const char* postgres;
    const char* duckdb;
    const char* canonical;
};
struct TypeValues {
    ColumnType type;
    std::uint32_t base_oid;
    std::uint32_t element_oid;
    std::vector<Value> values;
};

const std::vector<TypeValues>& types() {
    const auto list = [](TypeKind kind) { return ColumnType{kind, true, 0, 0}; };
    static const std::vector<TypeValues> all = {
        {{TypeKind::boolean},
         16,
         0,
         {{"null::bool", "NULL::BOOLEAN", "N;"}, {"true", "true", "t;"}, {"false", "false", "f;"}}},
        {{TypeKind::int64},
         20,
         0,
         {{"(-9223372036854775808)::int8", "(-9223372036854775808)::BIGINT",
           "-9223372036854775808;"},
          {"0::int8", "0::BIGINT", "0;"}}},
        {{TypeKind::float64},
         701,
         0,
         {{"null::float8", "NULL::DOUBLE", "N;"},
          {"0::float8", "0.0::DOUBLE", "0000000000000000;"},
          {"'-0'::float8", "'-0.0'::DOUBLE", "8000000000000000;"},
          {"'NaN'::float8", "'nan'::DOUBLE", "nan;"},
          {"'Infinity'::float8", "'inf'::DOUBLE", "7ff0000000000000;"},
          {"'-Infinity'::float8", "'-inf'::DOUBLE", "fff0000000000000;"},
          {"5e-324::float8", "5e-324::DOUBLE", "0000000000000001;"}}},
        {{TypeKind::float32},
         700,
         0,
         {{"'-0'::float4", "'-0.0'::FLOAT", "80000000;"},
          {"0::float4", "0::FLOAT", "00000000;"},
          {"'NaN'::float4", "'nan'::FLOAT", "nan;"}}},
        // The scale is the type's on both sides.
        {{TypeKind::decimal, false, 6, 2},
         1700,
         0,
         {{"1.0::numeric(6,2)", "1.0::DECIMAL(6,2)", "1.00;"},
          {"0::numeric(6,2)", "0::DECIMAL(6,2)", "0.00;"},
          {"-0.5::numeric(6,2)", "-0.5::DECIMAL(6,2)", "-0.50;"}}},
        {{TypeKind::decimal, false, 2, 2},
         1700,
         0,
         {{"0::numeric(2,2)", "0::DECIMAL(2,2)", "0.00;"},
          {"0.5::numeric(2,2)", "0.5::DECIMAL(2,2)", "0.50;"},
          {"0.05::numeric(2,2)", "0.05::DECIMAL(2,2)", "0.05;"},
          {"-0.05::numeric(2,2)", "-0.05::DECIMAL(2,2)", "-0.05;"}}},
        // A numeric that is text keeps what it was written with.
        {{TypeKind::text},
         1700,
         0,
         {{"1.0::numeric", "'1.0'", "3:1.0"},
          {"1.00::numeric", "'1.00'", "4:1.00"},
          {"'NaN'::numeric", "'NaN'", "3:NaN"}}},
        {{TypeKind::text},
         25,
         0,
         {{"null::text", "NULL::VARCHAR", "N;"},
          {"''::text", "''", "0:"},
          {"'N;'::text", "'N;'", "2:N;"},
          {"'NULL'::text", "'NULL'", "4:NULL"},
          {"'a '::text", "'a '", "2:a "},
          {"'a'::text", "'a'", "1:a"},
          {"'€'::text", "'€'", "3:€"},
          {"E'\\n'::text", "chr(10)", "1:\n"}}},
        {{TypeKind::text},
         1042,
         0,
         {{"'ab'::char(4)", "'ab  '", "4:ab  "}, {"'ab'::char(2)", "'ab'", "2:ab"}}},
        {{TypeKind::json},
         114,
         0,
         {{"'{\"a\":1}'::json", "'{\"a\":1}'::JSON", "7:{\"a\":1}"},
          {"'{\"a\": 1}'::json", "'{\"a\": 1}'::JSON", "8:{\"a\": 1}"},
          {"'null'::json", "'null'::JSON", "4:null"},
          {"null::json", "NULL::JSON", "N;"}}},
        {{TypeKind::bytes},
         17,
         0,
         {{"''::bytea", "''::BLOB", ";"},
          {"'\\x00ff'::bytea", "'\\x00\\xFF'::BLOB", "00ff;"},
          {"null::bytea", "NULL::BLOB", "N;"}}},
        {{TypeKind::date},
         1082,
         0,
         {{"'infinity'::date", "'infinity'::DATE", "infinity;"},
          {"'-infinity'::date", "'-infinity'::DATE", "-infinity;"},
          {"'1969-12-31'::date", "'1969-12-31'::DATE", "-1;"}}},
        {{TypeKind::time},
         1083,
         0,
         {{"'24:00:00'::time", "'24:00:00'::TIME", "86400000000;"},
          {"'00:00:00'::time", "'00:00:00'::TIME", "0;"},
          {"'23:59:59.999999'::time", "'23:59:59.999999'::TIME", "86399999999;"}}},
        {{TypeKind::timestamp},
         1114,
         0,
         {{"'infinity'::timestamp", "'infinity'::TIMESTAMP", "infinity;"},
          {"'-infinity'::timestamp", "'-infinity'::TIMESTAMP", "-infinity;"},
          {"'1970-01-01 00:00:00.000001'::timestamp", "'1970-01-01 00:00:00.000001'::TIMESTAMP",
           "1;"}}},
        {{TypeKind::timestamptz},
         1184,
         0,
         {{"'1970-01-01 02:00:00+02'::timestamptz", "'1970-01-01 00:00:00+00'::TIMESTAMPTZ", "0;"},
          {"'1970-01-01 02:00:00+00'::timestamptz", "'1970-01-01 02:00:00+00'::TIMESTAMPTZ",
           "7200000000;"},
          {"'-infinity'::timestamptz", "'-infinity'::TIMESTAMPTZ", "-infinity;"}}},
        // As it was put together: a month is not thirty days.
        {{TypeKind::text},
         1186,
         0,
         {{"'1 mon'::interval", "'1 mon'", "5:1 mon"},
          {"'30 days'::interval", "'30 days'", "7:30 days"},
          {"'24:00:00'::interval", "'24:00:00'", "8:24:00:00"},
          {"'1 day'::interval", "'1 day'", "5:1 day"}}},
        {{TypeKind::text},
         1266,
         0,
         {{"'12:00:00+01'::timetz", "'12:00:00+01'", "11:12:00:00+01"},
          {"'11:00:00+00'::timetz", "'11:00:00+00'", "11:11:00:00+00"}}},
        {list(TypeKind::text),
         1009,
         25,
         {{"null::text[]", "NULL::VARCHAR[]", "N;"},
          {"'{}'::text[]", "[]::VARCHAR[]", "L0:"},
          {"array[null]::text[]", "[NULL]::VARCHAR[]", "L1:N;"},
          {"array['']", "['']", "L1:0:"},
          {"array['a,b']", "['a,b']", "L1:3:a,b"},
          {"array['a','b']", "['a','b']", "L2:1:a1:b"},
          {"array['ab','']", "['ab','']", "L2:2:ab0:"},
          {"array['','ab']", "['','ab']", "L2:0:2:ab"}}},
        {list(TypeKind::int32),
         1007,
         23,
         {{"array[1,null,23]", "[1,NULL,23]::INTEGER[]", "L3:1;N;23;"},
          {"array[12,null,3]", "[12,NULL,3]::INTEGER[]", "L3:12;N;3;"}}},
        {list(TypeKind::float64),
         1022,
         701,
         {{"array['-0'::float8, 'NaN']", "['-0.0'::DOUBLE, 'nan']", "L2:8000000000000000;nan;"}}},
        {list(TypeKind::json),
         199,
         114,
         {{"array['[1,2]'::json, null]", "['[1,2]'::JSON, NULL]", "L2:5:[1,2]N;"}}},
    };
    return all;
}

class Canonical : public PgTest {};
INSTANTIATE_TEST_SUITE_P(Pg, Canonical, ::testing::ValuesIn(testing::pg_versions()),
                         testing::version_name);

TEST_P(Canonical, IsTheSameOnBothSidesAndAnotherForEveryOtherValue) {
    const auto duckdb = duckdb_engine::Database::create({});
    ASSERT_TRUE(duckdb) << duckdb.error().message();
    const auto lake = (*duckdb)->connect();
    ASSERT_TRUE(lake) << lake.error().message();
    ASSERT_TRUE((*lake)->run("SET TimeZone = 'UTC'"));
    Connection source = database().session();
    for (const TypeValues& type : types()) {
        std::map<std::string, const char*> seen;
        for (const Value& value : type.values) {
            SCOPED_TRACE(std::string(value.postgres) + " of " + to_string(type.type));
            ColumnSchema column;
            column.name = "x";
            column.type = type.type;
            column.base_type_oid = type.base_oid;
            column.element_type_oid = type.element_oid;
            const std::string there = canonical_in_postgres({}, column, "v.x");
            const std::string here = canonical_in_duckdb(type.type, "v.x");
            const Deadline deadline = within(std::chrono::seconds(60));
            const auto ours = source.query(
                deadline, fmt::format("select {}, {} from (select {} as x) as v", there,
                                      digest_in_postgres({}, there), value.postgres));
            ASSERT_TRUE(ours) << ours.error().message();
            const auto theirs =
                (*lake)->query(fmt::format("select {}, {} from (select {} as x) as v", here,
                                           digest_in_duckdb(here), value.duckdb));
            ASSERT_TRUE(theirs) << theirs.error().message();
            EXPECT_EQ(ours->text(0, 0), value.canonical);
            EXPECT_EQ(theirs->text(0, 0), value.canonical);
            EXPECT_EQ(std::string(ours->text(0, 1)), theirs->text(0, 1));
            const auto [other, is_new] = seen.emplace(value.canonical, value.postgres);
            EXPECT_TRUE(is_new) << "the same as " << other->second;
        }
    }
}

// The lake has none of another shape, and must not be told equal where the source has one: by no
// element of it, whatever the cast to text says.
TEST_P(Canonical, AListOfAnotherShapeIsAnotherValue) {
    database().exec(
        "create type mood as enum ('sad', 'glad'); create extension citext;"
        "create function hidden(mood[]) returns text language sql as $$ select '' $$;"
        "create cast (mood[] as text) with function hidden(mood[]);"
        "create domain ints as int[]");
    struct Shapes {
        TypeKind kind;
        const char* element;
        const char* array;
        std::vector<const char*> values;  // The first is a list, as the lake has it.
    };
    const std::vector<Shapes> all = {
        {TypeKind::int32, "int", "int[]", {"{1,2}", "{{1},{2}}", "{{1,2}}", "[0:1]={1,2}"}},
        {TypeKind::int32, "int", "ints", {"{1,2}", "{{1},{2}}", "{{1,2}}", "[2:3]={1,2}"}},
        {TypeKind::text, "text", "text[]", {"{a,b}", "{{a},{b}}", "{{a,b}}", "[0:1]={a,b}"}},
        {TypeKind::text, "mood", "mood[]", {"{sad,glad}", "{{sad,glad}}", "[0:1]={sad,glad}"}},
        {TypeKind::text, "citext", "citext[]", {"{a,NULL}", "{{a,NULL}}", "[0:1]={a,NULL}"}},
    };
    Connection source = database().session();
    for (const Shapes& shapes : all) {
        ColumnSchema column;
        column.type = {shapes.kind, true, 0, 0};
        column.element_type_oid = static_cast<std::uint32_t>(
            std::stoul(database().value(fmt::format("select '{}'::regtype::oid", shapes.element))));
        std::map<std::string, const char*> seen;
        for (const char* value : shapes.values) {
            SCOPED_TRACE(std::string(value) + " of " + shapes.array);
            const auto found = source.query(
                within(std::chrono::seconds(60)),
                fmt::format("select {} from (select '{}'::{} as x) as v",
                            canonical_in_postgres({}, column, "v.x"), value, shapes.array));
            ASSERT_TRUE(found) << found.error().message();
            const std::string text(found->text(0, 0));
            EXPECT_EQ(text.front(), seen.empty() ? 'L' : 'X') << text;
            const auto [other, is_new] = seen.emplace(text, value);
            EXPECT_TRUE(is_new) << "the same as " << other->second;
        }
    }
}

// It has one dimension without elements, and 0 for a lower bound.
TEST_P(Canonical, AnEmptyVectorThatBecameAnArrayIsAnEmptyList) {
    Connection source = database().session();
    ColumnSchema column;
    column.type = {TypeKind::uint32, true, 0, 0};
    column.element_type_oid = 26;
    const auto found =
        source.query(within(std::chrono::seconds(60)),
                     fmt::format("select {} from (select ''::oidvector::oid[] as x) as v",
                                 canonical_in_postgres({}, column, "v.x")));
    ASSERT_TRUE(found) << found.error().message();
    EXPECT_EQ(found->text(0, 0), "L0:");
}

// Numbers and groups out of a digest are the same on both sides, too.
TEST_P(Canonical, DigestsBecomeTheSameNumbers) {
    const auto duckdb = duckdb_engine::Database::create({});
    ASSERT_TRUE(duckdb);
    const auto lake = (*duckdb)->connect();
    ASSERT_TRUE(lake);
    Connection source = database().session();
    for (const char* digest :
         {"'00000000000000000000000000000000'", "'ffffffffffffffffffffffffffffffff'",
          "'0123456789abcdef0123456789abcdef'"}) {
        for (const unsigned groups : {16U, 65'536U}) {
            const auto ours = source.query(within(std::chrono::seconds(60)),
                                           fmt::format("select {}, {}", number_in_postgres(digest),
                                                       group_in_postgres(digest, groups)));
            ASSERT_TRUE(ours) << ours.error().message();
            const auto theirs = (*lake)->query(fmt::format(
                "select {}, {}", number_in_duckdb(digest), group_in_duckdb(digest, groups)));
            ASSERT_TRUE(theirs) << theirs.error().message();
            EXPECT_EQ(std::string(ours->text(0, 0)), theirs->text(0, 0));
            EXPECT_EQ(std::string(ours->text(0, 1)), theirs->text(0, 1));
        }
    }
}

}  // namespace
}  // namespace walbrook::verify
