// The role of docs/security.md, made by the very statements that stand there: it suffices, and what
// is missing is named with the statement that gives it.

#include "integration/replica.h"
#include "support/eventually.h"
#include "support/pg_test.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <stdexcept>

namespace walbrook::testing {
namespace {

using ::testing::HasSubstr;

void replace_all(std::string& text, const std::string& from, const std::string& to) {
    for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
        text.replace(at, from.size(), to);
    }
}

// The SQL below `<!-- test: name -->`.
std::string documented_sql(const std::string& name) {
    const std::string text = read_file(WALBROOK_SOURCE_DIR "/docs/security.md");
    const std::string fence = "```sql\n";
    std::size_t from = text.find("<!-- test: " + name + " -->");
    if (from != std::string::npos) from = text.find(fence, from);
    if (from == std::string::npos) throw std::runtime_error("docs/security.md has no " + name);
    from += fence.size();
    return text.substr(from, text.find("```", from) - from);
}

// Nobody has rights here but those who were given them.
class Privileges : public PgTest {
 protected:
    void SetUp() override {
        PgTest::SetUp();
        database().exec(fmt::format(
            "revoke all on database {} from public; revoke all on schema public from public;"
            "create table item(id int primary key, note text, left_out text);"
            "insert into item select g, 'note ' || g, 'x' from generate_series(1, 1000) g;"
            "create table entry(place text) partition by hash (place);"
            "create table entry_0 partition of entry for values with (modulus 2, remainder 0);"
            "create table entry_1 partition of entry for values with (modulus 2, remainder 1);"
            "insert into entry select 'place ' || (g % 10) from generate_series(1, 100) g;"
            "alter table entry_0 replica identity full; alter table entry_1 replica identity full;"
            "create publication shop for table item, entry",
            database().name()));
    }
    void TearDown() override {
        try {
            database().exec(
                "do $$ begin if to_regrole('walbrook') is not null then "
                "drop owned by walbrook; drop role walbrook; end if; end $$");
        } catch (const std::exception& problem) {
            ADD_FAILURE() << problem.what();
        }
        PgTest::TearDown();
    }
    void run_documented(const std::string& name) {
        std::string sql = documented_sql(name);
        replace_all(sql, "database shop", "database " + database().name());
        database().exec(sql);
    }
    // Others' transactions are there without their age.
    void verify_beside_an_old_transaction(Replica& replica) {
        Connection other = database().session();
        must_exec(other, "begin; insert into item values (5000, 'late')");
        ChildProcess verify(walbrook_program(),
                            {.args = {"verify", "--config", replica.folder() + "/walbrook.yaml"},
                             .output_file = replica.folder() + "/verify.out"});
        EXPECT_TRUE(eventually([&] {
            return verify.output().find("waiting for the end of a transaction") !=
                   std::string::npos;
        })) << verify.output();
        // Nothing is held meanwhile.
        database().exec("update item set note = 'meanwhile' where id = 2");
        EXPECT_TRUE(eventually([&] {
            return replica.reader().value("SELECT note FROM lake.public.item WHERE id = 2") ==
                   "meanwhile";
        }));
        must_exec(other, "commit");
        const auto ended = verify.wait();
        ASSERT_TRUE(ended.has_value());
        EXPECT_EQ(ended->code, 0) << verify.output();
        EXPECT_THAT(verify.output(), HasSubstr("user postgres, database " + database().name()));
        EXPECT_THAT(verify.output(), ::testing::Not(HasSubstr("no common position yet")));
    }
    // Every way in which the program uses the role.
    void use_all(Replica& replica) {
        replica.start();
        ASSERT_TRUE(replica.catches_up());
        database().exec(
            "update item set note = 'other' where id % 10 = 0; delete from item where id % 7 = 0;"
            "insert into entry values ('place 11'); delete from entry where place = 'place 3'");
        ASSERT_TRUE(replica.catches_up());
        EXPECT_EQ(replica.difference_of_tables({"item", "entry"}), "");
        database().exec("alter table item add column more int default 7");
        // Comes later: under the default privileges.
        database().exec(
            "create table late(id int primary key); insert into late values (1), (2);"
            "alter publication shop add table late");
        ASSERT_TRUE(eventually([&] { return replica.table("late").has_value(); }));
        ASSERT_TRUE(replica.catches_up());
        EXPECT_EQ(replica.difference_of_tables({"item", "entry", "late"}), "");
        replica.change_lake("UPDATE lake.public.item SET note = 'wrong' WHERE id = 1");
        Finished verified = replica.run({"verify"});
        EXPECT_EQ(verified.exit.code, 1) << verified.output;
        EXPECT_THAT(verified.output, HasSubstr("id=1 differs in note"));
        verified = replica.run({"verify", "--repair"});
        verified = replica.run({"verify"});
        EXPECT_EQ(verified.exit.code, 0) << verified.output;
        verify_beside_an_old_transaction(replica);
        EXPECT_EQ(replica.command({"pause", "public.late"}).code, 0);
        EXPECT_EQ(replica.command({"resume", "public.late"}).code, 0);
        EXPECT_EQ(replica.command({"resync", "public.item"}).code, 0);
        ASSERT_TRUE(replica.catches_up());
        EXPECT_EQ(replica.difference_of_tables({"item", "entry", "late"}), "");
        EXPECT_EQ(replica.stop().code, 0);
        for (const char* word : {"permission denied", "must be"}) {
            EXPECT_EQ(replica.count_in_log(word), 0) << replica.log();
        }
    }
};
INSTANTIATE_TEST_SUITE_P(Pg, Privileges, ::testing::ValuesIn(pg_versions()), version_name);

// What a role may differs between the versions, so this runs on all of them.
class SourceRole : public Privileges {};
INSTANTIATE_TEST_SUITE_P(Pg, SourceRole, ::testing::ValuesIn(pg_versions()), version_name);

TEST_P(SourceRole, TheDocumentedOneIsEnough) {
    run_documented("source");
    Replica replica(database());
    replica.connect_as("walbrook");
    replica.configure("heartbeat_interval_ms: 200");
    use_all(replica);
}

TEST_P(Privileges, TheDocumentedOnesAreEnoughForAStoreAtTheSource) {
    run_documented("source");
    Replica replica(database());
    replica.connect_as("walbrook");
    replica.configure("store: {type: postgres}");
    EXPECT_EQ(replica.run_until_caught_up().code, 77);
    EXPECT_THAT(replica.log(),
                HasSubstr("create schema if not exists walbrook; grant usage, create on schema "
                          "walbrook to walbrook"));
    run_documented("store");
    EXPECT_EQ(replica.run_until_caught_up().code, 0);
    EXPECT_EQ(replica.difference_of_tables({"item", "entry"}), "");
}

// From a role that may log in on, each step is what the error says.
TEST_P(Privileges, WhatIsMissingIsNamedWithItsStatement) {
    database().exec("create role walbrook login");
    const std::string connect =
        fmt::format("grant connect on database \"{}\" to \"walbrook\"", database().name());
    const std::string replicate = "alter role \"walbrook\" replication";
    const auto refused_with = [&](const std::string& statement, int code) {
        Replica replica(database());
        replica.connect_as("walbrook");
        replica.configure("table_error_retry_max_attempts: 0");
        EXPECT_EQ(replica.run_until_caught_up().code, code);
        std::string in_log = statement;
        replace_all(in_log, "\"", "\\\"");
        EXPECT_THAT(replica.log(), HasSubstr(in_log));
        database().exec(statement);
    };
    refused_with(connect, 77);
    refused_with(replicate, 77);
    database().exec("alter publication shop drop table entry");
    refused_with(
        "grant usage on schema public to walbrook; grant select on table public.item to walbrook",
        65);
    database().exec(
        "alter table item enable row level security; create policy few on item using (id < 10)");
    refused_with("alter role walbrook bypassrls", 65);
    database().exec("alter publication shop add table entry");
    refused_with(
        "grant select on table public.entry to walbrook; grant select on table public.entry_0 to "
        "walbrook; grant select on table public.entry_1 to walbrook",
        65);
    Replica replica(database());
    replica.connect_as("walbrook");
    EXPECT_EQ(replica.run_until_caught_up().code, 0);
    EXPECT_EQ(replica.difference_of_tables({"item", "entry"}), "");
    const Finished init = replica.run({"init"});
    EXPECT_EQ(init.exit.code, 77);
    EXPECT_THAT(init.output, HasSubstr("run `walbrook init --print` as one, through psql"));
}

TEST_P(Privileges, TheOwnerOfTheCatalogIsEnough) {
    run_documented("source");
    const auto as_admin = [&](const std::string& sql) {
        Connection session = database().session();
        must_exec(session, sql);
    };
    std::string sql = documented_sql("catalog");
    const std::string lake = "lake_of_" + database().name();
    replace_all(sql, "database lake", "database " + lake);
    for (std::size_t from = 0; from < sql.size();) {
        const std::size_t end = sql.find(';', from) + 1;
        if (end == 0) break;
        as_admin(sql.substr(from, end - from));  // A database is made by a statement of its own.
        from = end;
    }
    {
        Replica replica(database());
        replica.connect_as("walbrook");
        replica.use_catalog(fmt::format(
            "postgres:host=127.0.0.1 port={} user=lake_writer dbname={}", cluster().port(), lake));
        EXPECT_EQ(replica.run_until_caught_up().code, 0);
        EXPECT_EQ(replica.difference_of_tables({"item", "entry"}), "");
        const Finished verified = replica.run({"verify"});
        EXPECT_EQ(verified.exit.code, 0) << verified.output;
    }
    as_admin("drop database " + lake + " with (force)");
    as_admin("drop role lake_writer");
}

}  // namespace
}  // namespace walbrook::testing
