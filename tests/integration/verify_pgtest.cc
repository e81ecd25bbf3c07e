// `walbrook verify`: finds what differs, names it, and says nothing when nothing does.

#include "integration/bank.h"
#include "integration/verify_fixture.h"
#include "support/eventually.h"
#include "support/run_form.h"
#include "support/sanitized.h"

#include <fmt/format.h>

#include <set>

namespace walbrook::testing {
namespace {

class Verify : public VerifyTest {};
INSTANTIATE_TEST_SUITE_P(Pg, Verify, ::testing::ValuesIn(pg_versions()), version_name);

// `make soak` has more of them.
const int kRows = is_long_form() ? 10'000'000 : 200'000;
constexpr int kRowsAtOnce = 200'000;

TEST_P(Verify, NamesWhatDiffersInManyRows) {
    Bank bank = Bank::small(database());
    database().exec(
        "create table item(id int primary key, note text, amount float8);"
        "create table entry(place text, amount numeric(12,2))");
    for (int from = 0; from < kRows; from += kRowsAtOnce) {
        database().exec(fmt::format(
            "insert into item select g, 'note ' || g, g / 7.0 from generate_series({0}, {1}) g;"
            "insert into entry select 'place ' || (g % 1000), g / 100 from generate_series({0}, "
            "{1}) g",
            from + 1, from + kRowsAtOnce));
    }
    database().exec(
        "update item set note = '' where id = 1000; update item set amount = '-0' where id = 2000;"
        "alter publication shop add table item, entry");
    replica().start();
    ASSERT_TRUE(replica().catches_up(std::chrono::minutes(is_long_form() ? 30 : 1)));
    bank.start();
    const Instant began = now();
    VerifyAnswer answer = verify();
    const std::chrono::duration<double> took = now() - began;
    RecordProperty("verify_seconds", fmt::format("{:.1f}", took.count()));
    RecordProperty("verify_rss_mib", fmt::format("{}", answer.rss_kib_max / 1024));
    EXPECT_EQ(answer.code, 0) << answer.err;
    EXPECT_EQ(answer.outcome("public.item"), "equal");
    EXPECT_EQ(answer.outcome("public.entry"), "equal");
    EXPECT_EQ(answer.table("public.item").at("rows_at_source"), kRows);
    // Whatever the number of rows is.
    if (!is_sanitized()) {
        EXPECT_LT(answer.rss_kib_max, 1024 * 1024);
    }

    // Two writers to one lake would be in each other's way.
    bank.stop();
    ASSERT_TRUE(replica().catches_up());
    change_lake("UPDATE lake.public.item SET note = 'other' WHERE id = 77");
    change_lake("UPDATE lake.public.item SET note = NULL WHERE id = 1000");
    change_lake("UPDATE lake.public.item SET amount = 0.0 WHERE id = 2000");
    change_lake("DELETE FROM lake.public.item WHERE id = 3000");
    change_lake("INSERT INTO lake.public.item SELECT * FROM lake.public.item WHERE id = 4000");
    change_lake("INSERT INTO lake.public.item VALUES (-5, 'nobody knows it', 0)");
    change_lake("DELETE FROM lake.public.entry WHERE place = 'place 17' AND amount = 0.00");
    change_lake(
        "INSERT INTO lake.public.entry SELECT * FROM lake.public.entry WHERE place = "
        "'place 18' AND amount = 10.00 LIMIT 1");
    bank.start();
    answer = verify();
    bank.stop();
    EXPECT_EQ(answer.code, 1) << answer.err;
    EXPECT_EQ(answer.outcome("public.pgbench_history"), "equal");
    EXPECT_EQ(answer.differences("public.item"),
              (std::set<std::string>{"changed id=77 1:1 note", "changed id=1000 1:1 note",
                                     "changed id=2000 1:1 amount", "missing id=3000 1:0",
                                     "extra id=4000 1:2", "extra id=-5 0:1"}));
    // Rows 17 and 1018 of the source, and no others.
    EXPECT_EQ(answer.differences("public.entry"),
              (std::set<std::string>{"missing 1:0", "extra 1:2"}));
    EXPECT_EQ(answer.table("public.item").at("differing_rows"), 6);
    EXPECT_EQ(answer.table("public.entry").at("differing_rows"), 2);
    ASSERT_TRUE(replica().catches_up());
    EXPECT_EQ(replica().stop().code, 0);
    EXPECT_EQ(replica().leftovers_at_source(), "");
}

// Under keys of one and of two columns, in leaves, behind a filter; what has no key, or has keys of
// which nobody knows for sure how they are written, is copied again.
TEST_P(Verify, PutsRightWhatDiffers) {
    database().exec(
        "create table item(id int primary key, note text, at timestamptz, amount numeric(12,2),"
        "  tags text[], raw bytea);"
        "insert into item select g, case when g % 7 > 0 then 'note ''' || g end,"
        "  '2026-01-01 00:00:00+00'::timestamptz + g * interval '1.5 s', g / 3.0,"
        "  array['a', null, g::text], decode(md5(g::text), 'hex') from generate_series(1, 3000) g;"
        "create table line(place text, day date, n int, primary key (place, day))"
        "  partition by hash (place);"
        "create table line_0 partition of line for values with (modulus 2, remainder 0);"
        "create table line_1 partition of line for values with (modulus 2, remainder 1);"
        "insert into line select 'it''s \\ ' || (g % 50), date '2026-01-01' + g, g"
        "  from generate_series(1, 2000) g;"
        "create table entry(n int); insert into entry select generate_series(1, 100);"
        "create table raw(k bytea primary key); insert into raw values ('\\xabcd'), ('');"
        "create table nameless(k text primary key); insert into nameless values ('a');"
        "create table few(f float8 primary key, n int); insert into few values (0.5, 1), (1e20, 2);"
        "create publication shop for table item, line, entry, few, raw, nameless"
        "  with (publish_via_partition_root = true)");
    replica().start();
    ASSERT_TRUE(replica().catches_up());
    change_lake("UPDATE lake.public.item SET note = 'other' WHERE id <= 700");
    change_lake("DELETE FROM lake.public.item WHERE id BETWEEN 1000 AND 1010");
    change_lake("INSERT INTO lake.public.item SELECT * FROM lake.public.item WHERE id = 2000");
    change_lake("INSERT INTO lake.public.item (id) VALUES (-5)");
    change_lake("UPDATE lake.public.line SET n = 0 WHERE place LIKE '%17'");
    change_lake("DELETE FROM lake.public.line WHERE place LIKE '%18'");
    change_lake("DELETE FROM lake.public.entry WHERE n = 5");
    change_lake("UPDATE lake.public.few SET n = 3");
    // DuckDB prints it as \xABcd.
    change_lake("INSERT INTO lake.public.raw VALUES ('\\xAB\\x63\\x64'::BLOB)");
    // No key means it.
    change_lake("ALTER TABLE lake.public.nameless ALTER k DROP NOT NULL");
    change_lake("INSERT INTO lake.public.nameless VALUES (NULL)");
    VerifyAnswer answer = verify({"--repair", "public.item", "public.line", "public.raw"});
    EXPECT_EQ(answer.code, 0) << answer.err << answer.report.dump(2);
    EXPECT_EQ(answer.outcome("public.item"), "equal");
    EXPECT_EQ(answer.table("public.item").value("repaired_rows", 0), 713);
    EXPECT_EQ(answer.outcome("public.line"), "equal");
    EXPECT_EQ(answer.table("public.line").value("repaired_rows", 0), 80);
    EXPECT_EQ(answer.outcome("public.raw"), "equal");
    EXPECT_NE(answer.err.find("k=\\\\xab6364 is not at the source"), std::string::npos)
        << answer.err;
    EXPECT_EQ(answer.table("public.raw").value("repaired_rows", 0), 1);
    // They go on being followed.
    database().exec(
        "update item set note = 'later' where id in (1, 1000, 2000); delete from item where id = 5;"
        "update line set n = -1 where place like '%17'; delete from line where place like '%18'");
    answer = verify({"--repair"});
    EXPECT_EQ(answer.code, 1) << answer.err;
    EXPECT_EQ(answer.outcome("public.item"), "equal");
    EXPECT_EQ(answer.outcome("public.line"), "equal");
    EXPECT_EQ(answer.outcome("public.entry"), "different");
    EXPECT_EQ(answer.table("public.entry").value("copied_again", false), true);
    EXPECT_EQ(answer.outcome("public.nameless"), "different");
    EXPECT_EQ(answer.table("public.nameless").value("copied_again", false), true);
    ASSERT_TRUE(
        eventually([&] { return replica().difference_of_tables({"entry", "nameless"}).empty(); }));
    EXPECT_EQ(verify().code, 0);
    EXPECT_EQ(replica().stop().code, 0);
    EXPECT_EQ(replica().leftovers_at_source(), "");
}

// While both live: the rows come from one position, and changes behind it follow them.
TEST_P(Verify, PutsRightWhileSourceAndLakeLive) {
    Bank bank = Bank::small(database());
    database().exec(
        "create table item(id int primary key, note text);"
        "insert into item select g, 'note ' || g from generate_series(1, 1000) g;"
        "alter publication shop add table item");
    replica().start();
    ASSERT_TRUE(replica().catches_up());
    for (int i = 0; i < 3; ++i) {
        change_lake(fmt::format("DELETE FROM lake.public.item WHERE id % 10 = {}", 6 + i));
        bank.start();
        const VerifyAnswer answer = verify({"--repair"});
        EXPECT_EQ(answer.code, 0) << answer.err << answer.report.dump(2);
        EXPECT_EQ(answer.table("public.item").value("repaired_rows", 0), 100);
        // Two writers to one lake would be in each other's way.
        bank.stop();
        ASSERT_TRUE(replica().catches_up());
    }
    bank.expect_nothing_lost(replica());
}

TEST_P(Verify, SaysNothingWhileSourceAndLakeLive) {
    Bank bank = Bank::small(database());
    replica().start();
    ASSERT_TRUE(replica().catches_up());
    bank.start();
    for (int i = 0; i < 5; ++i) {
        const int before = bank.transactions();
        const VerifyAnswer answer = verify();
        EXPECT_GT(bank.transactions(), before);
        EXPECT_EQ(answer.code, 0) << answer.err << answer.report.dump(2);
        for (const char* table : {"accounts", "branches", "tellers", "history"}) {
            EXPECT_EQ(answer.outcome(std::string("public.pgbench_") + table), "equal");
        }
    }
    bank.stop();
    bank.expect_nothing_lost(replica());
}

TEST_P(Verify, GoesOnToTheSourceWhenNoProcessRuns) {
    database().exec(
        "create table item(id int primary key, note text);"
        "insert into item select g, 'note ' || g from generate_series(1, 1000) g;"
        "create publication shop for table item");
    EXPECT_EQ(verify().code, 78);
    ASSERT_EQ(replica().run_until_caught_up().code, 0);
    database().exec(
        "update item set note = 'later' where id <= 10; delete from item where id = 11");
    VerifyAnswer answer = verify();
    EXPECT_EQ(answer.code, 0) << answer.err;
    EXPECT_EQ(answer.outcome("public.item"), "equal");
    EXPECT_EQ(answer.table("public.item").at("rows_at_source"), 999);
    change_lake("DELETE FROM lake.public.item WHERE id = 12");
    answer = verify({"public.item"});
    EXPECT_EQ(answer.code, 1) << answer.err;
    EXPECT_EQ(answer.differences("public.item"), (std::set<std::string>{"missing id=12 1:0"}));
    EXPECT_EQ(verify({"public.nobody"}).code, 78);
    EXPECT_EQ(replica().leftovers_at_source(), "");
}

TEST_P(Verify, TablesThatStandStillAreNotCompared) {
    database().exec(
        "create table item(id int primary key, note text);"
        "create table other(id int primary key, note text);"
        "create table only_followed(id int primary key);"
        "insert into item values (1, 'one'); insert into other values (1, 'one');"
        "insert into only_followed values (1);"
        "create publication shop for table item, other, only_followed");
    replica().configure("table_sync_copy: {type: skip_tables, tables: [public.only_followed]}");
    replica().start();
    ASSERT_TRUE(replica().catches_up());
    ASSERT_EQ(replica().command({"pause", "public.other"}).code, 0);
    database().exec("insert into item values (2, 'two'); insert into other values (2, 'two')");
    ASSERT_TRUE(eventually([&] { return verify().outcome("public.other") == "not compared"; }));
    const VerifyAnswer answer = verify({"--repair"});
    EXPECT_EQ(answer.code, 65) << answer.err;
    EXPECT_EQ(answer.outcome("public.item"), "equal");
    // Nobody says that it has the rows of the beginning, and no repair brings them.
    EXPECT_EQ(answer.reason("public.only_followed"), "its rows are not copied (table_sync_copy)");
}

}  // namespace
}  // namespace walbrook::testing
