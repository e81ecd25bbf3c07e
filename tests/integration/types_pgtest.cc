// Every type three ways: what the source prints, what was copied, what was streamed;
// and the lake's column has the type that the type table promises.

#include "decode/type_table.h"
#include "integration/replica.h"
#include "postgres/quote.h"
#include "support/pg_test.h"

#include <fmt/format.h>

#include <list>
#include <set>

namespace walbrook::testing {
namespace {

struct TypeCase {
    const char* name;  // Of the column.
    const char* type;  // Of the source.
    const char* lake;  // As DuckDB describes it.
    std::vector<const char*> values;
};

// Extremes, specials, and what looks harmless but is not.
const std::vector<TypeCase>& cases() {
    static const std::vector<TypeCase> all{
        {"b", "bool", "BOOLEAN", {"true", "false"}},
        {"i2", "int2", "SMALLINT", {"-32768", "32767", "0"}},
        {"i4", "int4", "INTEGER", {"-2147483648", "2147483647"}},
        {"i8", "int8", "BIGINT", {"-9223372036854775808", "9223372036854775807"}},
        {"o", "oid", "UINTEGER", {"0", "4294967295"}},
        {"f4", "float4", "FLOAT", {"1.5", "-0", "3.4e38", "1e-45", "NaN", "Infinity", "-Infinity"}},
        {"f8",
         "float8",
         "DOUBLE",
         {"0.1", "-0", "1.7976931348623157e308", "5e-324", "NaN", "Infinity", "-Infinity", "1e15",
          "123456789012345680"}},
        {"n",
         "numeric",
         "VARCHAR",
         {"0", "1.500", "NaN", "Infinity", "-Infinity", "-1e-20",
          "123456789012345678901234567890123456789012345.678",
          "0.00000000000000000000000000000000000000001"}},
        {"n12", "numeric(12,2)", "DECIMAL(12,2)", {"0", "-9999999999.99", "9999999999.99", "1.5"}},
        {"n38",
         "numeric(38,10)",
         "DECIMAL(38,10)",
         {"9999999999999999999999999999.9999999999", "-0.0000000001"}},
        {"n50",
         "numeric(50,2)",
         "VARCHAR",
         {"123456789012345678901234567890123456789012345678.99"}},
        {"t",
         "text",
         "VARCHAR",
         {"", " ", "a\\b", "\t", "\n", "a\r\n", "é €", "\\N", "NULL", "{}", "N;", "1:a", "\x7f",
          "\xEF\xBB\xBF", "\xF0\x9F\x98\x80", "\xCC\x81"}},
        {"vc", "varchar(20)", "VARCHAR", {"", "trailing  "}},
        {"bc", "char(5)", "VARCHAR", {"", "ab", "abcde"}},
        {"nm", "name", "VARCHAR", {"pg_class"}},
        {"by", "bytea", "BLOB", {"", "\\x00", "\\xdeadbeef00ff"}},
        {"d",
         "date",
         "DATE",
         {"2024-02-29", "infinity", "-infinity", "0044-03-15 BC", "5874897-12-31",
          "4713-01-01 BC"}},
        {"tm", "time", "TIME", {"00:00:00", "24:00:00", "23:59:59.999999", "04:05:06.7"}},
        {"tz", "timetz", "VARCHAR", {"00:00:00+14", "23:59:59.999999-12:30", "24:00:00+00"}},
        {"ts",
         "timestamp",
         "TIMESTAMP",
         {"2024-02-29 12:34:56.789012", "infinity", "-infinity", "0044-03-15 00:00:00 BC",
          "294246-12-31 23:59:59.999999"}},
        {"tsz",
         "timestamptz",
         "TIMESTAMP WITH TIME ZONE",
         {"2024-02-29 12:34:56.789012+02", "infinity", "-infinity", "0001-01-01 00:00:00+00 BC"}},
        {"iv",
         "interval",
         "VARCHAR",
         {"1 year 2 mons -3 days 04:05:06.789012", "-00:00:00.000001", "0", "178000000 years"}},
        {"u",
         "uuid",
         "UUID",
         {"00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff",
          "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"}},
        {"j", "json", "JSON", {"{\"a\": 1, \"a\" : 2}", "null", "[1e400]", " 1 "}},
        {"jb", "jsonb", "JSON", {"{\"b\": [1, 2.50, \"x\"], \"a\": null}", "\"\""}},
        {"inet", "inet", "VARCHAR", {"10.0.0.1", "10.0.0.0/8", "::1", "2001:db8::/32"}},
        {"cidr", "cidr", "VARCHAR", {"10.0.0.0/8", "2001:db8::/32"}},
        {"mac", "macaddr", "VARCHAR", {"08:00:2b:01:02:03"}},
        {"mac8", "macaddr8", "VARCHAR", {"08:00:2b:01:02:03:04:05"}},
        {"bi", "bit(5)", "VARCHAR", {"10101"}},
        {"vb", "varbit", "VARCHAR", {"", "1", "110011001100"}},
        {"m", "money", "VARCHAR", {"12.34", "-92233720368547758.08"}},
        {"x", "xml", "VARCHAR", {"<a b=\"1\">x</a>"}},
        {"en", "mood", "VARCHAR", {"sad", "it's fine"}},
        {"dm", "positive", "INTEGER", {"7"}},
        {"ct", "pair", "VARCHAR", {"(1,\"a,b\")", "(,)"}},
        {"r4", "int4range", "VARCHAR", {"[1,5)", "empty", "(,)"}},
        {"rt", "tstzrange", "VARCHAR", {"[2024-01-01 00:00+00,)"}},
        {"mr", "int4multirange", "VARCHAR", {"{[1,3),[5,7)}", "{}"}},
        {"pt", "point", "VARCHAR", {"(1.5,-2)"}},
        {"bx", "box", "VARCHAR", {"(3,3),(1,1)"}},
        {"pg", "polygon", "VARCHAR", {"((0,0),(1,1),(2,0))"}},
        {"tv", "tsvector", "VARCHAR", {"'a':1 'b':2A"}},
        {"tq", "tsquery", "VARCHAR", {"'a' & !'b'"}},
        {"lsn", "pg_lsn", "VARCHAR", {"16/B374D848"}},
        {"ch", "\"char\"", "VARCHAR", {"a", ""}},
        {"i2v", "int2vector", "VARCHAR", {"1 2 3", ""}},
        {"ov", "oidvector", "VARCHAR", {"1 2 3"}},
        {"tid", "tid", "VARCHAR", {"(0,1)", "(4294967295,65535)"}},
        {"xid", "xid", "VARCHAR", {"0", "4294967295"}},
        {"cid", "cid", "VARCHAR", {"7"}},
        {"x8", "xid8", "VARCHAR", {"18446744073709551615"}},
        {"ls", "lseg", "VARCHAR", {"[(0,0),(1,1)]"}},
        {"pa", "path", "VARCHAR", {"((0,0),(1,1))", "[(0,0),(1,1)]"}},
        {"li", "line", "VARCHAR", {"{1,2,3}"}},
        {"ci", "circle", "VARCHAR", {"<(0,0),5>"}},
        {"acl", "aclitem", "VARCHAR", {"postgres=r/postgres"}},
        {"cur", "refcursor", "VARCHAR", {"a cursor"}},
        {"rp", "regproc", "VARCHAR", {"now"}},
        {"rpd", "regprocedure", "VARCHAR", {"now()"}},
        {"ro", "regoper", "VARCHAR", {"|/"}},
        {"rop", "regoperator", "VARCHAR", {"+(integer,integer)"}},
        {"rcl", "regclass", "VARCHAR", {"pg_class"}},
        {"rty", "regtype", "VARCHAR", {"integer"}},
        {"rcf", "regconfig", "VARCHAR", {"simple"}},
        {"rd", "regdictionary", "VARCHAR", {"simple"}},
        {"rns", "regnamespace", "VARCHAR", {"pg_catalog"}},
        {"rr", "regrole", "VARCHAR", {"postgres"}},
        {"rco", "regcollation", "VARCHAR", {"\"C\""}},
        {"txs", "txid_snapshot", "VARCHAR", {"10:20:10,14"}},
        {"ps", "pg_snapshot", "VARCHAR", {"10:20:10,14"}},
        {"jp", "jsonpath", "VARCHAR", {"$.\"a\"[*]?(@ > 1)"}},
        {"rn", "numrange", "VARCHAR", {"[1.5,2.5)"}},
        {"rts", "tsrange", "VARCHAR", {"[2024-01-01,)"}},
        {"rdt", "daterange", "VARCHAR", {"[2024-01-01,2024-02-01)"}},
        {"r8", "int8range", "VARCHAR", {"[1,9000000000)"}},
        {"mn", "nummultirange", "VARCHAR", {"{[1.5,2.5)}"}},
        {"mts", "tsmultirange", "VARCHAR", {"{[2024-01-01,)}"}},
        {"mtz", "tstzmultirange", "VARCHAR", {"{[2024-01-01 00:00+00,)}"}},
        {"md", "datemultirange", "VARCHAR", {"{[2024-01-01,2024-02-01)}"}},
        {"m8", "int8multirange", "VARCHAR", {"{[1,9000000000)}"}},
        {"ai", "int4[]", "INTEGER[]", {"{}", "{1,NULL,-2}"}},
        {"at", "text[]", "VARCHAR[]", {"{}", "{a,NULL,\"NULL\",\"a,b\",\"q\\\"q\",\"\"}"}},
        {"an", "numeric(6,2)[]", "DECIMAL(6,2)[]", {"{1.50,NULL}"}},
        {"ad", "date[]", "DATE[]", {"{2024-02-29,NULL}"}},
        {"ab", "bool[]", "BOOLEAN[]", {"{t,f,NULL}"}},
        {"au", "uuid[]", "UUID[]", {"{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}"}},
        {"ae", "mood[]", "VARCHAR[]", {"{sad,\"it's fine\",NULL}"}},
        {"as2", "int2[]", "SMALLINT[]", {"{-32768,NULL}"}},
        {"ai8", "int8[]", "BIGINT[]", {"{9223372036854775807,NULL}"}},
        {"aoi", "oid[]", "UINTEGER[]", {"{4294967295,NULL}"}},
        {"af4", "float4[]", "FLOAT[]", {"{1.5,NaN,NULL,-Infinity}"}},
        {"af8", "float8[]", "DOUBLE[]", {"{0.1,NaN,NULL,Infinity}"}},
        {"anm", "numeric[]", "VARCHAR[]", {"{1.500,NaN,NULL,-Infinity}"}},
        {"avc", "varchar(5)[]", "VARCHAR[]", {"{\"\",NULL,abcde}"}},
        {"aby", "bytea[]", "BLOB[]", {"{\"\\\\xdead00\",NULL,\"\"}"}},
        {"atm", "time[]", "TIME[]", {"{24:00:00,NULL}"}},
        {"atz", "timetz[]", "VARCHAR[]", {"{23:59:59.999999-12:30,NULL}"}},
        {"ats", "timestamp[]", "TIMESTAMP[]", {"{infinity,NULL,\"2024-02-29 12:34:56.789012\"}"}},
        {"atst", "timestamptz[]", "TIMESTAMP WITH TIME ZONE[]", {"{-infinity,NULL}"}},
        {"aiv", "interval[]", "VARCHAR[]", {"{\"1 year -3 days\",NULL}"}},
        {"aj", "json[]", "JSON[]", {"{\"{\\\"a\\\": 1}\",NULL}"}},
        {"ajb", "jsonb[]", "JSON[]", {"{\"{\\\"a\\\": [1, null]}\",NULL}"}},
        {"ain", "inet[]", "VARCHAR[]", {"{10.0.0.0/8,NULL,::1}"}},
        {"amc", "macaddr[]", "VARCHAR[]", {"{08:00:2b:01:02:03,NULL}"}},
        {"abt", "bit(3)[]", "VARCHAR[]", {"{101,NULL}"}},
        {"avb", "varbit[]", "VARCHAR[]", {"{1,NULL,110011}"}},
        {"amo", "money[]", "VARCHAR[]", {"{12.34,NULL}"}},
        {"ax", "xml[]", "VARCHAR[]", {"{<a/>,NULL}"}},
        {"adm", "positive[]", "INTEGER[]", {"{7,NULL}"}},
        {"act", "pair[]", "VARCHAR[]", {"{\"(1,\\\"a,b\\\")\",NULL}"}},
        {"arg", "int4range[]", "VARCHAR[]", {"{\"[1,5)\",NULL,empty}"}},
        {"amr", "int4multirange[]", "VARCHAR[]", {"{\"{[1,3),[5,7)}\",NULL}"}},
        {"apt", "point[]", "VARCHAR[]", {"{\"(1.5,-2)\",NULL}"}},
        {"atv", "tsvector[]", "VARCHAR[]", {"{\"'a':1\",NULL}"}},
    };
    return all;
}

class Types : public PgTest {
 protected:
    void SetUp() override {
        PgTest::SetUp();
        database().exec(
            "create type mood as enum ('sad', 'it''s fine');"
            "create domain positive as int check (value > 0);"
            "create type pair as (a int, b text)");
    }
    std::uint32_t oid_of(const TypeCase& type) {
        return static_cast<std::uint32_t>(std::stoul(
            database().value(fmt::format("select {}::regtype::oid", quote_literal(type.type)))));
    }
    // A table with a column for each type.
    void create(const std::string& table, const std::vector<const TypeCase*>& types) {
        std::string sql = fmt::format("create table {}(id int primary key", table);
        for (const TypeCase* type : types) sql += fmt::format(", {} {}", type->name, type->type);
        database().exec(sql + ")");
    }
    // A row for each value: so a difference shows which one it is. And one of nulls.
    void fill(const std::string& table, const std::vector<const TypeCase*>& types) {
        std::string sql = fmt::format("insert into {} values (0);", table);
        int id = 0;
        for (const TypeCase* type : types) {
            for (const char* value : type->values) {
                sql += fmt::format("insert into {}(id, {}) values ({}, {}::{});", table, type->name,
                                   ++id, quote_literal(value), type->type);
            }
        }
        database().exec(sql);
    }
    // In each column of table streamed one value of the lake, then, is not the source's.
    static void expect_verify_finds_nulls(Replica& replica,
                                          const std::vector<const TypeCase*>& types) {
        std::string sql = "BEGIN;";
        std::size_t id = 1;
        for (const TypeCase* type : types) {
            sql += fmt::format("UPDATE lake.public.streamed SET \"{}\" = NULL WHERE id = {};",
                               type->name, id);
            id += type->values.size();
        }
        replica.change_lake(sql + "COMMIT");
        const Finished compared =
            replica.run({"verify", "--max-differences", "1000", "public.streamed"});
        EXPECT_EQ(compared.exit.code, 1) << compared.output;
        id = 1;
        for (const TypeCase* type : types) {
            const std::string named = fmt::format("id={} differs in {}\n", id, type->name);
            EXPECT_NE(compared.output.find(named), std::string::npos) << named;
            id += type->values.size();
        }
        EXPECT_NE(compared.output.find(fmt::format(" {} of {} rows", types.size(), id)),
                  std::string::npos)
            << compared.output;
    }
    // `in_text`: also as both sides print their rows. The test's reader prints dates, floats and
    // boxes within lists in DuckDB's way.
    void copy_stream_and_compare(const std::vector<const TypeCase*>& types, bool in_text = true) {
        create("copied", types);
        fill("copied", types);
        create("streamed", types);
        database().exec("create publication shop for table copied, streamed");
        Replica replica(database());
        replica.start();
        ASSERT_TRUE(replica.catches_up());
        fill("streamed", types);
        ASSERT_TRUE(replica.catches_up());
        if (in_text) {
            EXPECT_EQ(replica.difference_of_tables({"copied", "streamed"}), "");
        }
        const Finished compared = replica.run({"verify"});
        EXPECT_EQ(compared.exit.code, 0) << compared.output;
        expect_verify_finds_nulls(replica, types);
        LakeReader lake = replica.reader();
        for (const char* table : {"copied", "streamed"}) {
            const auto columns = lake.query(std::string("describe lake.public.") + table);
            ASSERT_EQ(columns.size(), types.size() + 1);
            for (std::size_t i = 0; i < types.size(); ++i) {
                EXPECT_EQ(columns[i + 1][1], types[i]->lake) << types[i]->type;
            }
        }
        EXPECT_EQ(replica.stop().code, 0);
    }
};
INSTANTIATE_TEST_SUITE_P(Pg, Types, ::testing::ValuesIn(pg_versions()), version_name);

TEST_P(Types, CopiedAndStreamedAreWhatTheSourcePrints) {
    std::vector<const TypeCase*> all;
    for (const TypeCase& type : cases()) all.push_back(&type);
    copy_stream_and_compare(all);
}

// The stream is binary only where every type has a binary decoder.
TEST_P(Types, CopiedAndStreamedInBinaryToo) {
    std::vector<const TypeCase*> binary;
    for (const TypeCase& type : cases()) {
        const TypeRow* row = find_type(oid_of(type));
        if (row != nullptr && row->binary != nullptr) binary.push_back(&type);
    }
    ASSERT_GT(binary.size(), 30U);
    copy_stream_and_compare(binary);
}

class TypesOnce : public Types {};
INSTANTIATE_TEST_SUITE_P(Pg, TypesOnce, ::testing::ValuesIn(newest_pg_version()), version_name);

// What is stored is what a type prints, not what a cast to text makes of it.
TEST_P(TypesOnce, ThatCanBeCastToTextAreNot) {
    database().exec(
        "create function pair_text(pair) returns text language sql immutable as "
        "$$select ($1).a || ' of ' || ($1).b$$;"
        "create cast (pair as text) with function pair_text(pair);"
        "create table t(id int primary key, p pair);"
        "insert into t values (1, '(7,a)'), (2, '(,)'), (3, null);"
        "create publication shop for table t");
    Replica replica(database());
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    database().exec("insert into t select id + 10, p from t");
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.reader().value(
                  "select string_agg(id || ' ' || coalesce(p, 'null'), '; ' order by id) from "
                  "lake.public.t"),
              "1 (7,a); 2 (,); 3 null; 11 (7,a); 12 (,); 13 null");
    const Finished compared = replica.run({"verify"});
    EXPECT_EQ(compared.exit.code, 0) << compared.output;
    EXPECT_EQ(replica.stop().code, 0);
}

// Of each type of the table, with all of the values above, and null.
TEST_P(TypesOnce, ArraysOfEveryType) {
    std::list<std::string> texts;  // What the cases below point to.
    const auto keep = [&](std::string text) { return texts.emplace_back(std::move(text)).c_str(); };
    std::list<TypeCase> arrays;
    std::set<std::uint32_t> tried;
    for (const TypeCase& type : cases()) {
        const TypeRow* row = find_type(oid_of(type));
        if (row == nullptr) continue;
        tried.insert(row->oid);
        std::string elements = "null";
        for (const char* value : type.values) elements += ", " + quote_literal(value);
        const std::string array = fmt::format("{}[]", type.type);
        // In hexadecimal, as rows of the tests come escaped.
        const std::string hex = database().value(fmt::format(
            "select encode(convert_to((array[{}]::{})::text, 'UTF8'), 'hex')", elements, array));
        std::string value;
        for (std::size_t at = 0; at < hex.size(); at += 2) {
            value += static_cast<char>(std::stoi(hex.substr(at, 2), nullptr, 16));
        }
        arrays.push_back({keep(fmt::format("a_{}", type.name)),
                          keep(array),
                          keep(fmt::format("{}[]", type.lake)),
                          {keep(value), "{}", "{NULL}"}});
    }
    for (const TypeRow& row : type_table()) EXPECT_TRUE(tried.contains(row.oid)) << row.name;
    std::vector<const TypeCase*> all;
    for (const TypeCase& each : arrays) all.push_back(&each);
    copy_stream_and_compare(all, false);
}

// The one type whose arrays are separated by semicolons; as a list of texts that is lost.
TEST_P(Types, ArraysOfBoxesAreSplitWhereTheSourceSplitsThem) {
    database().exec(
        "create table copied(id int primary key, v box[]);"
        "insert into copied values (1, '{(3,3),(1,1);(5,5),(2,2)}');"
        "create publication shop for table copied");
    Replica replica(database());
    replica.start();
    ASSERT_TRUE(replica.catches_up());
    database().exec("insert into copied values (2, '{(3,3),(1,1);(5,5),(2,2)}')");
    ASSERT_TRUE(replica.catches_up());
    LakeReader lake = replica.reader();
    EXPECT_EQ(lake.query("describe lake.public.copied")[1][1], "VARCHAR[]");
    EXPECT_EQ(lake.value("select count(*) from lake.public.copied where v = "
                         "['(3,3),(1,1)', '(5,5),(2,2)']"),
              "2");
    const Finished compared = replica.run({"verify"});
    EXPECT_EQ(compared.exit.code, 0) << compared.output;
    EXPECT_EQ(replica.stop().code, 0);
}

// What is compared above is what docs/types.md prints, and nothing of it is left out.
TEST_P(Types, EveryRowOfTheTypeTableIsAmongThem) {
    std::set<std::uint32_t> tried;
    for (const TypeCase& type : cases()) {
        const std::uint32_t oid = oid_of(type);
        tried.insert(oid);
        const TypeRow* row = find_type(oid);
        // A numeric's size decides between a decimal and text.
        if (row == nullptr || row->kind == TypeKind::decimal) continue;
        EXPECT_EQ(type.lake, lake_type(row->kind)) << type.type;
    }
    for (const TypeRow& row : type_table()) {
        EXPECT_TRUE(tried.contains(row.oid)) << row.name << " is not tried";
    }
}

}  // namespace
}  // namespace walbrook::testing
