// What a type's name stands for changes, and no row is sent: the lake shows values as the source
// prints them, also in rows that it has had for long.

#include "integration/replica.h"
#include "support/eventually.h"
#include "support/pg_test.h"

#include <gtest/gtest.h>

#include <chrono>
#include <string>

namespace walbrook::testing {
namespace {

// Everything that a value of mood or of pair can be a part of.
constexpr const char* kTypes =
    "create type mood as enum ('sad', 'ok', 'happy');"
    "create domain feeling as mood; create domain deep as feeling check (value::mood <> 'ok');"
    "create type moods as range (subtype = mood);"
    "create type pair as (a int, m mood); create type nested as (p pair, ps pair[]);"
    "create domain pairs as pair[];";
constexpr const char* kTables =
    "create table plain(id int primary key, m mood);"
    "create table keyed(m mood primary key, note text);"
    "create table mixed(id int primary key, ms mood[], f feeling, ds deep[], r moods, rs moods[]);"
    "create table records(id int primary key, p pair, n nested, ps pairs);"
    "create table none(id int primary key, t text);"
    "insert into plain select g, (enum_range(null::mood))[1 + g % 3] from generate_series(1, 9) g;"
    "insert into keyed values ('sad', 'x'), ('ok', 'y');"
    "insert into mixed values (1, '{sad,NULL,happy}', 'sad', '{sad,happy}', '[sad,happy]',"
    " '{\"[sad,ok]\",empty}'), (2, '{}', null, null, 'empty', null);"
    "insert into records values (1, '(1,sad)', row(row(1, 'sad')::pair, array[row(2,"
    " 'sad')::pair])::nested, array[row(2, 'sad')::pair, null]), (2, null, null, null);"
    "insert into none values (1, 'sad'); create publication shop for all tables";
const std::vector<std::string> kAll{"plain", "keyed", "mixed", "records", "none"};

class TypeChanges : public PgTest {
 protected:
    void SetUp() override {
        PgTest::SetUp();
        database().exec(std::string(kTypes) + kTables);
        replica_.emplace(database());
        replica_->configure("batch: {max_fill_ms: 50}");
        // A change by a key of the new name may come before the table is copied again.
        replica_->configure("table_error_retry_delay_ms: 200");
    }
    void TearDown() override {
        replica_.reset();
        PgTest::TearDown();
    }
    void follow() {
        replica_->start();
        ASSERT_TRUE(replica_->catches_up());
        EXPECT_EQ(replica_->difference_of_tables(kAll), "");
    }
    // Once the catalog was looked at and what must be copied again was.
    void expect_equal() {
        std::string difference;
        EXPECT_TRUE(eventually([&] {
            difference = replica_->difference_of_tables(kAll);
            return difference.empty();
        })) << difference;
    }
    bool was_copied_again(const std::string& table) {
        return replica_->log().find("copied again\",\"table\":\"public." + table + "\"") !=
               std::string::npos;
    }
    std::optional<Replica> replica_;
};
INSTANTIATE_TEST_SUITE_P(Pg, TypeChanges, ::testing::ValuesIn(pg_versions()), version_name);

class TypeChangesOnce : public TypeChanges {};
INSTANTIATE_TEST_SUITE_P(Pg, TypeChangesOnce, ::testing::ValuesIn(newest_pg_version()),
                         version_name);

TEST_P(TypeChanges, ARenamedLabelIsRenamedInRowsThatStand) {
    follow();
    database().exec("alter type mood rename value 'sad' to 'blue'");
    expect_equal();
    EXPECT_EQ(replica_->lake().value("select count(*) from lake.public.plain where m = 'blue'"),
              "3");
    EXPECT_FALSE(was_copied_again("none"));
    // The stream speaks of keys by their new name, perhaps before the table is copied again.
    database().exec("alter type mood rename value 'blue' to 'sad'");
    database().exec(
        "update keyed set note = 'z' where m = 'sad'; delete from plain where m = 'ok'");
    expect_equal();
    EXPECT_EQ(replica_->stop().code, 0);
}

TEST_P(TypeChanges, ANewLabelIsFollowedWithoutACopy) {
    follow();
    database().exec("alter type mood add value 'angry' before 'ok'");
    database().exec(
        "insert into plain values (100, 'angry'); insert into keyed values ('angry', 'new');"
        "update mixed set ms = ms || 'angry'::mood, f = 'angry', r = '[sad,angry]';"
        "insert into records values (3, '(3,angry)'); update records set n.p.m = 'angry' where id "
        "= 1; update keyed set m = 'happy' where m = 'ok'");
    ASSERT_TRUE(replica_->catches_up());
    EXPECT_EQ(replica_->difference_of_tables(kAll), "");
    EXPECT_EQ(replica_->count_in_log("copied again"), 0);
    EXPECT_EQ(replica_->stop().code, 0);
}

TEST_P(TypeChanges, AttributesThatComeGoAndAreRenamed) {
    follow();
    database().exec("alter type pair add attribute note text");
    database().exec("insert into records values (4, '(4,ok,\"a, b\")')");
    expect_equal();
    EXPECT_TRUE(was_copied_again("records"));
    EXPECT_FALSE(was_copied_again("plain"));
    database().exec(
        "alter type pair rename attribute a to b; update records set p.b = 9 where id = 1");
    expect_equal();
    database().exec("alter type pair drop attribute b");
    database().exec(
        "insert into records values (5, null, null, array[row('happy', 'late')::pair])");
    expect_equal();
    EXPECT_EQ(replica_->stop().code, 0);
}

TEST_P(TypeChangesOnce, WhatChangedWhileNobodyRanIsFoundAtTheStart) {
    ASSERT_EQ(replica_->run_until_caught_up().code, 0);
    database().exec(
        "insert into plain values (10, 'sad'); alter type mood rename value 'sad' to 'blue'");
    database().exec("alter type pair add attribute note text; alter type mood add value 'new'");
    database().exec("insert into keyed values ('new', 'n'); delete from keyed where m = 'blue'");
    ASSERT_EQ(replica_->run_until_caught_up().code, 0);
    EXPECT_EQ(replica_->difference_of_tables(kAll), "");
}

// Some of its ranges have been printed with the old name, others will be with the new one.
TEST_P(TypeChangesOnce, ALabelThatIsRenamedWhileItsTableIsCopied) {
    database().exec(
        "create table large(id int primary key, m mood, t text);"
        "insert into large select g, 'sad', repeat('x', 500) from generate_series(1, 8000) g");
    replica_->configure("copy_max_bytes_per_second: 2000000");
    replica_->start();
    ASSERT_TRUE(replica_->is_copying("large", 1));
    database().exec("alter type mood rename value 'sad' to 'blue'");
    database().exec("insert into large values (0, 'blue', '')");
    expect_equal();
    EXPECT_TRUE(eventually([&] { return replica_->difference_of("large").empty(); }));
    EXPECT_EQ(replica_->stop().code, 0);
}

TEST_P(TypeChangesOnce, DomainsAndTypesThatAreMadeAnew) {
    follow();
    database().exec(
        "alter domain deep drop constraint deep_check; alter domain feeling set default 'happy';"
        "insert into mixed values (3, default, default, '{ok}');"
        "alter domain feeling add constraint f check (value <> 'happy') not valid;"
        "alter domain deep rename to deeper; alter type mood rename to temper;"
        "insert into mixed values (4, null, 'sad', '{ok}'); insert into plain values (11, 'ok')");
    ASSERT_TRUE(replica_->catches_up());
    EXPECT_EQ(replica_->difference_of_tables(kAll), "");
    EXPECT_EQ(replica_->count_in_log("copied again"), 0);
    // Another type of the same name, in a column of the same name.
    database().exec(
        "alter table plain drop column m; create type mood as enum ('other', 'sad');"
        "alter table plain add column m mood default 'other'; insert into plain values (12, 'sad');"
        "create domain feeling2 as text; alter table mixed alter column f type feeling2 using "
        "'was ' || f; insert into mixed values (5, null, 'free text')");
    expect_equal();
    database().exec("alter type mood rename value 'other' to 'else'");
    expect_equal();
    EXPECT_EQ(replica_->stop().code, 0);
}

}  // namespace
}  // namespace walbrook::testing
