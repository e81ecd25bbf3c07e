// `walbrook verify` of sources of every kind, and while they change: what is equal is called equal,
// what differs is found, and neither schema changes nor resyncs make a difference where none is.

#include "integration/bank.h"
#include "integration/verify_fixture.h"
#include "support/eventually.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

namespace walbrook::testing {
namespace {

using ::testing::HasSubstr;

class VerifySources : public VerifyTest {
 protected:
    // Equal as it is; then, with one statement in the lake for each, every table differs so.
    void expect_found(const std::map<std::string, std::string>& changes,
                      const std::map<std::string, std::set<std::string>>& differences) {
        ASSERT_TRUE(replica().catches_up());
        VerifyAnswer answer = verify();
        EXPECT_EQ(answer.code, 0) << answer.err << answer.report.dump(2);
        for (const auto& [table, sql] : changes) change_lake(sql);
        answer = verify();
        EXPECT_EQ(answer.code, 1) << answer.err;
        for (const auto& [table, expected] : differences) {
            EXPECT_EQ(answer.differences(table), expected) << table;
        }
    }
};
INSTANTIATE_TEST_SUITE_P(Pg, VerifySources, ::testing::ValuesIn(newest_pg_version()), version_name);

// Column lists, generated, dropped and renamed columns, domains, row filters, leaves that are
// tables of their own, keys that are hostile texts.
TEST_P(VerifySources, TablesOfEveryKind) {
    database().exec(R"(
create domain sum_of_money as numeric(12,2);
create domain label as text;
create table listed(id int primary key, secret text, gone int, note label,
                    total sum_of_money, doubled int generated always as (id * 2) stored);
insert into listed(id, secret, note, total)
  select g, 'hidden ' || g, 'note ' || g, g / 3.0 from generate_series(1, 100) g;
alter table listed drop column gone;
create table filtered(id int primary key, n int);
insert into filtered select g, g % 10 from generate_series(1, 100) g;
create table leaves(place text, day int, n int, primary key (place, day)) partition by list (day);
create table leaves_1 partition of leaves for values in (1);
create table leaves_2(n int, day int not null, gone text, place text not null);
alter table leaves_2 drop column gone;
alter table leaves attach partition leaves_2 for values in (2);
insert into leaves select 'place ' || g, 1 + g % 2, g from generate_series(1, 100) g;
create table "we""ird ; -- table"("the ""key""" text primary key, "na'me" text);
insert into "we""ird ; -- table" values
  (E'line\nbreak', 'a'), ('quote " and '' and \', 'b'), ('', 'empty'), (' ', 'blank'),
  ('id=1, "x"', 'c'), (repeat('long ', 100), 'd'), (E'\x1b[31m', 'e'), ('é€', 'f');
create publication shop for table listed(id, note, total),
  filtered where (id < 80), leaves, "we""ird ; -- table")");
    replica().start();
    ASSERT_TRUE(replica().catches_up());
    database().exec(
        "alter table listed rename column note to remark;"
        "update filtered set n = n + 3; insert into filtered values (0, 4), (200, 9);"
        "update leaves set day = 3 - day where n < 10");
    const std::string weird = "\"we\"\"ird ; -- table\"";
    expect_found({{"listed", "DELETE FROM lake.public.listed WHERE id = 5"},
                  {"filtered", "INSERT INTO lake.public.filtered VALUES (500, 1)"},
                  {"leaves", "DELETE FROM lake.public.leaves WHERE n = 7"},
                  {"weird", "UPDATE lake.public." + weird + " SET \"na'me\" = 'other'"}},
                 {{"public.listed", {"missing id=5 1:0"}},
                  {"public.filtered", {"extra id=500 0:1"}},
                  {"public.leaves", {"missing day=1 place=place 7 1:0"}}});
    VerifyAnswer answer = verify();
    const std::set<std::string> named = answer.differences("public.we\"ird ; -- table");
    EXPECT_EQ(named.size(), 8U);
    EXPECT_TRUE(named.contains("changed the \"key\"=line\nbreak 1:1 na'me"));
    EXPECT_TRUE(named.contains("changed the \"key\"=quote \" and ' and \\ 1:1 na'me"));
    const Finished text = replica().run({"verify"});
    EXPECT_THAT(text.output, HasSubstr("    the \"key\"=\"line\\nbreak\" differs in na'me\n"));
    EXPECT_THAT(text.output, HasSubstr("    the \"key\"=\"\" differs in na'me\n"));
    EXPECT_EQ(text.output.find('\x1b'), std::string::npos);
    // What is named so is also found again by its name.
    answer = verify({"--repair"});
    EXPECT_EQ(answer.code, 0) << answer.err << answer.report.dump(2);
    EXPECT_EQ(answer.table("public.we\"ird ; -- table").value("repaired_rows", 0), 8);
    EXPECT_EQ(replica().stop().code, 0);
}

// Text is compared as what it says, not as the bytes of the source's encoding.
TEST_P(VerifySources, ADatabaseInLatin1) {
    const std::string name = database().name() + "_latin1";
    database().exec("create database " + name + " template template0 encoding 'LATIN1' locale 'C'");
    PgConnectionConfig at = database().connection();
    at.name = name;
    Connection source =
        *Connection::open(at, {.application_name = "test"}, within(std::chrono::seconds(60)));
    must_exec(source,
              "set search_path = public;"
              "create table item(id text primary key, note text, tags text[], j json);"
              "insert into item select 'ä' || g, 'Größe ' || g, array['ü', null, g::text],"
              "  '{\"é\": 1}' from generate_series(1, 1000) g;"
              "create publication shop for table item");
    replica().connect_with(
        fmt::format("{{url: \"postgres://postgres@127.0.0.1:{}/{}\"}}", cluster().port(), name));
    replica().start();
    ASSERT_TRUE(replica().catches_up());
    must_exec(source, "update item set note = 'ß' where id = 'ä7'");
    ASSERT_TRUE(replica().catches_up());
    VerifyAnswer answer = verify();
    EXPECT_EQ(answer.code, 0) << answer.err << answer.report.dump(2);
    EXPECT_EQ(answer.table("public.item").value("rows_at_source", 0), 1000);
    change_lake("UPDATE lake.public.item SET note = 'ss' WHERE id = 'ä7'");
    change_lake("UPDATE lake.public.item SET tags = ['u', NULL, '8'] WHERE id = 'ä8'");
    answer = verify({"--repair"});
    EXPECT_EQ(answer.code, 0) << answer.err << answer.report.dump(2);
    EXPECT_EQ(answer.table("public.item").value("repaired_rows", 0), 2);
    EXPECT_EQ(replica().stop().code, 0);
    must_exec(source, fmt::format("select pg_drop_replication_slot('{}')", replica().slot()));
    source = database().session();
    database().exec("drop database " + name + " with (force)");
}

// Tables are altered, rewritten, truncated and copied again all the time: they are compared at
// another position, or not, and never called different.
TEST_P(VerifySources, SchemaChangesAndCopiesAreNoDifferences) {
    Bank bank = Bank::small(database());
    database().exec(
        "create type mood as enum ('sad', 'glad');"
        "create table item(id int primary key, note text, n numeric(8,2), m mood default 'sad');"
        "insert into item select g, 'note ' || g, g / 3.0 from generate_series(1, 5000) g;"
        "create table other(id int primary key, note text);"
        "insert into other select g, 'note ' || g from generate_series(1, 1000) g;"
        "alter publication shop add table item, other");
    replica().start();
    ASSERT_TRUE(replica().catches_up());
    bank.start(2, 100);
    const std::vector<std::string> changes = {
        "alter table item add column more int default 7",
        "alter table item alter n type numeric(8,3)",
        "update item set n = n + 0.001 where id % 3 = 0",
        "alter table item rename column note to remark",
        "alter type mood rename value 'sad' to 'blue'",
        "vacuum full item",
        "alter table item alter more type int using more + 1",
        "truncate other",
        "insert into other select g, 'new ' || g from generate_series(1, 1000) g",
        "alter table item drop column more",
        "alter table item rename column remark to note",
        "alter type mood rename value 'blue' to 'sad'",
        "cluster item using item_pkey",
        "alter table item alter n type numeric(8,2)",
    };
    std::jthread ddl([&](const std::stop_token& stop) {
        Connection session = database().session();
        for (std::size_t i = 0; !stop.stop_requested(); ++i) {
            must_exec(session, changes[i % changes.size()]);
            must_exec(session, "select pg_sleep(0.2)");
        }
    });
    int compared = 0;
    for (int i = 0; i < 4; ++i) {
        if (i % 3 == 1) {
            EXPECT_EQ(replica().command({"resync", "public.other"}).code, 0);
        }
        const VerifyAnswer answer = verify();
        EXPECT_TRUE(answer.code == 0 || answer.code == 65) << answer.err << answer.report.dump(2);
        for (const char* table : {"item", "other", "pgbench_accounts", "pgbench_history"}) {
            const std::string name = std::string("public.") + table;
            EXPECT_NE(answer.outcome(name), "different") << answer.table(name).dump();
            compared += answer.outcome(name) == "equal" ? 1 : 0;
        }
    }
    // The two of the bank each time.
    EXPECT_GE(compared, 8);
    ddl.request_stop();
    ddl.join();
    bank.stop();
    ASSERT_TRUE(replica().catches_up());
    ASSERT_TRUE(eventually([&] { return verify().code == 0; }));
    bank.expect_nothing_lost(replica());
}

// One that was rewritten just before the position differs there, and may have been copied again,
// to the end, before the others are compared.
TEST_P(VerifySources, ACopyThatIsOverByTheEndIsNoDifference) {
    database().exec(
        "create table small(id int primary key, n int);"
        "insert into small select g, g from generate_series(1, 1000) g;"
        "create table wide(id int primary key, note text);"
        "insert into wide select g, 'note ' || g from generate_series(1, 40000) g;"
        "create publication shop for table small, wide; analyze");
    replica().start();
    ASSERT_TRUE(replica().catches_up());
    for (int i = 0; i < 2; ++i) {
        database().exec("alter table small alter n type int using n + 1");
        const VerifyAnswer answer = verify({"--max-rows-per-second", "6000"});
        EXPECT_NE(answer.outcome("public.small"), "different") << answer.report.dump(2);
        EXPECT_EQ(answer.outcome("public.wide"), "equal");
    }
    EXPECT_TRUE(eventually([&] { return verify().code == 0; }));
}

// Killed in the middle: nothing of it stays anywhere, and what was compared is not read again.
TEST_P(VerifySources, AComparisonThatWasKilledGoesOn) {
    database().exec(
        "create table a(id int primary key, note text);"
        "insert into a select g, 'note ' || g from generate_series(1, 1000) g;"
        "create table b(id int primary key, note text);"
        "insert into b select g, 'note ' || g from generate_series(1, 60000) g;"
        "create publication shop for table a, b; analyze");
    replica().start();
    ASSERT_TRUE(replica().catches_up());
    const std::string progress = replica().work_dir() + "/verify.progress";
    {
        const auto slow = start_verify({"--max-rows-per-second", "2000"});
        ASSERT_TRUE(eventually([&] {
            return std::filesystem::exists(progress) && std::filesystem::file_size(progress) > 0;
        }));
        // Beside it there is no other one.
        const Finished second = replica().run({"verify"});
        EXPECT_EQ(second.exit.code, 75) << second.output;
        EXPECT_THAT(second.output, HasSubstr("another comparison"));
        slow->kill();
    }
    EXPECT_TRUE(eventually([&] {
        return database().value(fmt::format(
                   "select (select count(*) from pg_stat_activity where application_name like "
                   "'walbrook:{0}:verify%') + (select count(*) from pg_replication_slots where "
                   "slot_name like '{1}_tmp%')",
                   replica().id(), replica().slot())) == "0";
    }));
    // Whoever compared it again would see this.
    change_lake("DELETE FROM lake.public.a WHERE id = 5");
    change_lake("DELETE FROM lake.public.b WHERE id = 6");
    std::string left;
    std::getline(std::ifstream(progress) >> std::ws, left);
    VerifyAnswer answer = verify({"--resume"});
    EXPECT_EQ(answer.outcome("public.a"), "equal");
    EXPECT_EQ(answer.differences("public.b"), std::set<std::string>{"missing id=6 1:0"});
    EXPECT_FALSE(std::filesystem::exists(progress));
    EXPECT_FALSE(std::filesystem::exists(replica().work_dir() + "/verify-temp"));
    // There is nothing any more with which it could go on.
    answer = verify({"--resume"});
    EXPECT_EQ(answer.differences("public.a"), std::set<std::string>{"missing id=5 1:0"});
    // A newer comparison counts, and what was said of another lake, or two days ago, does not.
    EXPECT_EQ(verify({"--resume"}).outcome("public.a"), "different");
    const std::string history = replica().work_dir() + "/verify.json";
    for (const char* member : {"", "lake_id", "at_secs"}) {
        nlohmann::json line = nlohmann::json::parse(left);
        if (*member == 'l') line["lake_id"] = "another";
        if (*member == 'a') line["at_secs"] = line["at_secs"].get<std::int64_t>() - 2 * 86'400;
        std::ofstream(progress) << line.dump() << '\n';
        if (*member != '\0') std::filesystem::remove(history);
        EXPECT_EQ(verify({"--resume"}).outcome("public.a"), "different") << member;
    }
    EXPECT_EQ(replica().stop().code, 0);
    EXPECT_EQ(replica().leftovers_at_source(), "");
}

// A difference that was found is reported, whatever comes then: a stop, or a pipeline that is away
// when it is asked whether the table is being copied again.
TEST_P(VerifySources, WhatWasFoundIsNotLostWithWhatCouldNotBe) {
    database().exec(
        "create table a(id int primary key);"
        "insert into a select generate_series(1, 1000);"
        "create table b(id int primary key);"
        "insert into b select generate_series(1, 8000);"
        "create publication shop for table a, b; analyze");
    replica().start();
    ASSERT_TRUE(replica().catches_up());
    change_lake("DELETE FROM lake.public.a WHERE id = 5");
    const auto begin = [&](const std::string& file) {
        auto slow = start_verify({"--json", "--max-rows-per-second", "2000"}, file);
        EXPECT_TRUE(eventually([&] {
            return slow->output().find("seems to differ") != std::string::npos;
        })) << slow->output();
        return slow;
    };
    const auto end = [](ChildProcess& slow) {
        const auto exit = slow.wait();
        return VerifyAnswer({exit.value_or(ChildExit{}), slow.output()});
    };
    const std::set<std::string> found = {"missing id=5 1:0"};
    {
        const auto slow = begin(replica().folder() + "/stopped");
        slow->signal(SIGTERM);
        const VerifyAnswer answer = end(*slow);
        EXPECT_EQ(answer.code, 1) << answer.err;
        EXPECT_EQ(answer.differences("public.a"), found);
        EXPECT_EQ(answer.outcome("public.b"), "nothing");
        EXPECT_EQ(answer.report.value("equal", true), false);
        EXPECT_THAT(answer.report.value("error", ""), HasSubstr("stopped")) << answer.err;
        EXPECT_THAT(answer.reason("public.a"), HasSubstr("is not known"));
        EXPECT_THAT(replica().run({"status"}).output, HasSubstr("public.a differs"));
    }
    {
        const auto slow = begin(replica().folder() + "/lost");
        replica().kill();
        EXPECT_TRUE(eventually([&] {
            return slow->output().find("the pipeline is asked again") != std::string::npos;
        })) << slow->output();
        replica().start();
        const VerifyAnswer answer = end(*slow);
        EXPECT_EQ(answer.code, 1) << answer.err;
        EXPECT_EQ(answer.differences("public.a"), found);
        EXPECT_EQ(answer.reason("public.a"), "");
        EXPECT_EQ(answer.outcome("public.b"), "equal");
        EXPECT_FALSE(answer.report.contains("error"));
    }
    EXPECT_EQ(replica().stop().code, 0);
}

// Both sides were read and differ; then the table is read again for the rows that do, which comes
// to nothing: the difference is known all the same, whatever ends the comparison.
TEST_P(VerifySources, ADifferenceWhoseRowsAreNotNamedIsReported) {
    database().exec(
        "create table a(id int primary key); insert into a select generate_series(1, 8000);"
        "create publication shop for table a; analyze");
    replica().start();
    ASSERT_TRUE(replica().catches_up());
    change_lake("DELETE FROM lake.public.a WHERE id = 5");
    const auto rows_read = [&] {
        return std::stol(database().value(
            "select coalesce(seq_tup_read, 0) from pg_stat_user_tables where relname = 'a'"));
    };
    // In the middle of the second of its scans.
    const auto begin = [&](const std::string& file) {
        // What sessions have read is counted for certain when they have ended.
        EXPECT_EQ(replica().stop().code, 0);
        replica().start();
        EXPECT_TRUE(replica().catches_up());
        const long before = rows_read();
        auto slow = start_verify({"--json", "--max-rows-per-second", "2000"}, file);
        EXPECT_TRUE(eventually([&] { return rows_read() > before + 8000; })) << slow->output();
        return slow;
    };
    const auto end = [&](ChildProcess& slow) {
        const auto exit = slow.wait();
        const VerifyAnswer answer({exit.value_or(ChildExit{}), slow.output()});
        EXPECT_EQ(answer.code, 1) << answer.err;
        EXPECT_EQ(answer.outcome("public.a"), "different") << answer.err;
        EXPECT_TRUE(answer.table("public.a").value("has_more", false));
        return answer.reason("public.a");
    };
    const auto compared_later = [](ChildProcess& slow) {
        return eventually(
            [&] { return slow.output().find("a table is compared later") != std::string::npos; });
    };
    {
        const auto slow = begin(replica().folder() + "/stopped");
        slow->signal(SIGTERM);
        EXPECT_THAT(end(*slow), HasSubstr("stopped between two reads"));
    }
    {
        const auto slow = begin(replica().folder() + "/altered");
        database().exec("alter table a add column more int");
        EXPECT_TRUE(compared_later(*slow)) << slow->output();
        slow->signal(SIGTERM);
        const std::string reason = end(*slow);
        EXPECT_THAT(reason, HasSubstr("was altered"));
        EXPECT_THAT(reason, HasSubstr("stopped before"));
    }
    {
        const auto slow = begin(replica().folder() + "/paused");
        EXPECT_EQ(replica().command({"pause", "public.a"}).code, 0);
        database().exec("alter table a drop column more");
        const std::string reason = end(*slow);
        EXPECT_THAT(reason, HasSubstr("was altered"));
        EXPECT_THAT(reason, HasSubstr("it stands still at"));
    }
    EXPECT_EQ(replica().stop().code, 0);
}

// Made a moment before the position, and not noticed by then: what the pipeline stops for is no
// difference, and no reason to copy again.
TEST_P(VerifySources, WhatCannotBeFollowedAnyMoreIsNotCompared) {
    database().exec(
        "create table leaves(day int, n int, primary key (day, n)) partition by list (day);"
        "create table leaves_1 partition of leaves for values in (1);"
        "insert into leaves select 1, generate_series(1, 100);"
        "create table other(id int primary key); create publication shop for table leaves, other");
    replica().start();
    ASSERT_TRUE(replica().catches_up());
    const pid_t watch = std::stoi(database().value(fmt::format(
        "select pid from pg_stat_activity where application_name = 'walbrook:{}:catalog'",
        replica().id())));
    ASSERT_EQ(kill(watch, SIGSTOP), 0);
    database().exec(
        "create unlogged table leaves_2 partition of leaves for values in (2);"
        "insert into leaves values (2, 1)");
    const VerifyAnswer answer = verify({"--repair"});
    EXPECT_EQ(kill(watch, SIGCONT), 0);
    EXPECT_EQ(answer.code, 65) << answer.err;
    EXPECT_EQ(answer.outcome("public.leaves"), "not compared");
    EXPECT_THAT(answer.reason("public.leaves"), HasSubstr("public.leaves_2 is not logged"));
    EXPECT_EQ(answer.outcome("public.other"), "equal");
    EXPECT_EQ(replica().stop().code, 0);
}

// More than is put right row by row is copied again, which the report says. Keys that are too many
// for one request are not.
TEST_P(VerifySources, WhatIsTooMuchIsCopiedAgain) {
    database().exec(
        "create table many(id int primary key, note text);"
        "insert into many select g, 'note ' || g from generate_series(1, 12000) g;"
        "create table few(id int primary key, note text); insert into few values (1, 'one');"
        "create table wide(k text primary key);"
        "insert into wide select g || repeat('x', 10000) from generate_series(1, 2000) g;"
        "create publication shop for table many, few, wide");
    replica().start();
    ASSERT_TRUE(replica().catches_up());
    change_lake("UPDATE lake.public.many SET note = 'other' WHERE id <= 10001");
    change_lake("UPDATE lake.public.few SET note = 'other'");
    change_lake("DELETE FROM lake.public.wide");
    VerifyAnswer answer = verify({"--repair"});
    EXPECT_EQ(answer.code, 1) << answer.err;
    EXPECT_EQ(answer.outcome("public.few"), "equal");
    EXPECT_EQ(answer.outcome("public.wide"), "equal");
    EXPECT_EQ(answer.table("public.wide").value("repaired_rows", 0), 2000);
    EXPECT_TRUE(answer.table("public.many").value("copied_again", false));
    ASSERT_TRUE(eventually([&] { return replica().difference_of("many").empty(); }));
    EXPECT_EQ(verify().code, 0);
    EXPECT_EQ(replica().stop().code, 0);
}

// However often a new position is needed, no snapshot is used for long: each holds back vacuum.
TEST_P(VerifySources, NoSnapshotIsKeptBeyondItsAge) {
    std::string tables;
    for (int i = 0; i < 6; ++i) {
        tables += fmt::format("{} item_{}", i == 0 ? "" : ",", i);
        database().exec(
            fmt::format("create table item_{0}(id int primary key);"
                        "insert into item_{0} select generate_series(1, 550)",
                        i));
    }
    database().exec("create publication shop for table" + tables);
    replica().configure("max_snapshot_age_secs: 1");
    replica().start();
    ASSERT_TRUE(replica().catches_up());
    // More than a second for each.
    const VerifyAnswer answer = verify({"--max-rows-per-second", "500"});
    EXPECT_EQ(answer.code, 0) << answer.err << answer.report.dump(2);
    std::set<std::string> positions;
    for (const auto& table : answer.report.at("tables")) positions.insert(table.at("position"));
    EXPECT_EQ(positions.size(), 6U) << answer.err;
    EXPECT_EQ(replica().stop().code, 0);
}

// A table that cannot be copied again, because it is gone by then, takes the report from no other.
TEST_P(VerifySources, ATableThatGoesDuringARepairIsReported) {
    database().exec(
        "create table gone(n int); insert into gone select generate_series(1, 10);"
        "create table entry(n int); insert into entry select generate_series(1, 10);"
        "create table item(id int primary key); insert into item values (1);"
        "create publication shop for table gone, entry, item");
    replica().start();
    ASSERT_TRUE(replica().catches_up());
    change_lake("DELETE FROM lake.public.gone WHERE n = 5");
    change_lake("DELETE FROM lake.public.entry WHERE n = 5");
    std::jthread dropping([&, session = database().session()]() mutable {
        // The last of them is compared; what differs is looked at for a while longer.
        const std::string progress = replica().work_dir() + "/verify.progress";
        EXPECT_TRUE(eventually([&] {
            return std::filesystem::exists(progress) && std::filesystem::file_size(progress) > 0;
        }));
        must_exec(session, "drop table gone");
    });
    const VerifyAnswer answer = verify({"--repair"});
    EXPECT_EQ(answer.code, 1) << answer.err;
    EXPECT_EQ(answer.outcome("public.item"), "equal");
    EXPECT_TRUE(answer.table("public.entry").value("copied_again", false));
    EXPECT_EQ(answer.outcome("public.gone"), "different");
    EXPECT_FALSE(answer.table("public.gone").value("copied_again", false));
    EXPECT_THAT(answer.reason("public.gone"), HasSubstr("it was not copied again: no table"));
    EXPECT_EQ(replica().stop().code, 0);
}

}  // namespace
}  // namespace walbrook::testing
