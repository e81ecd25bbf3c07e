#include "postgres/table_content.h"
#include "support/pg_test.h"
#include "support/value_of.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace walbrook {
namespace {

using testing::must_exec;
using testing::pg_versions;
using testing::PgTest;
using testing::soon;
using testing::value_of;
using testing::version_name;

// Every type that a value of mood or of pair can be a part of, a table for each, and tables that
// have nothing to do with them.
constexpr const char* kTables =
    "create type mood as enum ('sad', 'ok'); create type other as enum ('sad', 'ok');"
    "create domain feeling as mood; create domain deep as feeling;"
    "create type moods as range (subtype = mood);"
    "create type pair as (a int, m mood); create type nested as (p pair);"
    "create domain pairs as pair[]; create type stranger as (a int, o other);"
    "create table plain(c mood); create table list(c mood[]); create table domain1(c feeling);"
    "create table domain2(c deep); create table deep_list(c deep[]); create table spans(c moods);"
    "create table span_list(c moods[]); create table multi(c moods_multirange);"
    "create table record(c pair); create table record2(c nested); create table record_list(c "
    "pair[]); create table record_domain(c pairs);"
    "create table tree(id int primary key) partition by list (id);"
    "create table branch partition of tree default partition by list (id);"
    "create table leaf partition of branch default;"
    "create table none(c text); create table others(c other); create table strangers(c stranger[]);"
    "create publication pub for all tables";
const std::set<std::string> kOfPair{"record", "record2", "record_list", "record_domain"};
const std::set<std::string> kOfMood{"plain",     "list",    "domain1",     "domain2",
                                    "deep_list", "spans",   "span_list",   "multi",
                                    "record",    "record2", "record_list", "record_domain"};

class TableContents : public PgTest {
 protected:
    void SetUp() override {
        PgTest::SetUp();
        database().exec(kTables);
        session_.emplace(
            value_of(Connection::open(database().connection(), {.application_name = "a"}, soon())));
        const auto publication = value_of(read_publication(*session_, soon(), "pub"));
        tables_ = value_of(read_published_tables(*session_, soon(), *publication));
        before_ = look();
    }
    void TearDown() override {
        session_.reset();
        PgTest::TearDown();
    }
    std::map<TableId, TableLook> look() {
        return value_of(look_at_tables(*session_, soon(), tables_));
    }
    // The tables whose rows may be others than at the start of the test.
    std::set<std::string> changed() {
        std::set<std::string> names;
        const auto now = look();
        for (const PublishedTable& table : tables_) {
            const TableContent& before = before_.at(table.id).content;
            // As it is stored meanwhile.
            EXPECT_EQ(parse_table_content(to_string(before)), before);
            if (!compare_contents(before, now.at(table.id), true).empty()) names.insert(table.name);
        }
        return names;
    }
    // Of `tree`, as if its partition were new; in the session that this has run in before.
    TableLook look_into_new_partition(const std::string& sql) {
        must_exec(*session_, sql);
        const auto tree = std::find_if(tables_.begin(), tables_.end(),
                                       [](const auto& table) { return table.name == "tree"; });
        TableLook seen = look().at(tree->id);
        EXPECT_TRUE(check_new_partitions(*session_, within(std::chrono::milliseconds(500)), *tree,
                                         TableContent(), seen));
        return seen;
    }

 private:
    std::optional<Connection> session_;
    std::vector<PublishedTable> tables_;
    std::map<TableId, TableLook> before_;
};
INSTANTIATE_TEST_SUITE_P(Pg, TableContents, ::testing::ValuesIn(pg_versions()), version_name);

TEST_P(TableContents, ARenamedLabelChangesWhateverIsMadeOfIt) {
    database().exec("alter type mood rename value 'sad' to 'blue'");
    EXPECT_EQ(changed(), kOfMood);
}

TEST_P(TableContents, ARenamedLabelThatIsRenamedBackHasChangedToo) {
    database().exec("alter type mood rename value 'sad' to 'blue'");
    database().exec("alter type mood rename value 'blue' to 'sad'");
    EXPECT_EQ(changed(), kOfMood);
}

TEST_P(TableContents, ANewLabelChangesNoRow) {
    database().exec("alter type mood add value 'new' before 'ok'");
    EXPECT_EQ(changed(), std::set<std::string>{});
}

TEST_P(TableContents, AttributesChangeWhateverIsMadeOfThem) {
    database().exec("alter type pair add attribute t text");
    EXPECT_EQ(changed(), kOfPair);
}

TEST_P(TableContents, AnAttributeThatIsDroppedOrRenamedDoesToo) {
    database().exec("alter type nested rename attribute p to q");
    EXPECT_EQ(changed(), (std::set<std::string>{"record2"}));
    database().exec("alter type pair drop attribute a");
    EXPECT_EQ(changed(), kOfPair);
}

TEST_P(TableContents, NamesAndConstraintsOfTypesChangeNoRow) {
    database().exec(
        "alter type mood rename to temper; alter domain deep rename to deeper; alter domain "
        "feeling set default 'ok'; alter domain feeling add constraint c check (value <> 'ok') not "
        "valid;"
        "alter type pair rename to two; create schema s; alter type moods set schema s");
    EXPECT_EQ(changed(), std::set<std::string>{});
}

// While it was away its changes may not have been sent.
TEST_P(TableContents, APartThatWasElsewhereForAWhileHasChangedAndDailyLifeChangesNoPlace) {
    database().exec(
        "grant select on tree, branch, leaf to public; alter table leaf set (fillfactor = 50);"
        "comment on table leaf is 'c'; analyze tree; create index on tree(id); alter table tree"
        " add column c int; alter table leaf rename to leaf2; alter table leaf2 rename to leaf;"
        "create schema s; alter table leaf set schema s; alter table s.leaf set schema public;"
        "insert into tree values (1)");
    for (const char* table : {"leaf", "pg_inherits", "pg_depend"}) {
        database().exec(fmt::format("vacuum freeze {}", table));
        database().exec(fmt::format("vacuum full {}", table));
    }
    EXPECT_EQ(changed(), std::set<std::string>{});
    database().exec(
        "alter table tree detach partition branch; alter table tree attach partition branch "
        "default");
    EXPECT_EQ(changed(), std::set<std::string>{"tree"});
}

// Then its table is copied, and says what is missing; the look at all others goes on.
TEST_P(TableContents, APartitionThatCannotBeLookedIntoIsTakenForOneThatCameWithRows) {
    EXPECT_EQ(look_into_new_partition("reset role").born_here.size(), 1U);
    const TableLook refused = look_into_new_partition("set role pg_monitor");
    EXPECT_TRUE(refused.born_here.empty());
    EXPECT_EQ(refused.not_seen, "permission denied for table leaf");
    Connection holder = database().session();
    must_exec(holder, "begin; lock table leaf in access exclusive mode");
    const TableLook locked = look_into_new_partition("reset role");
    EXPECT_TRUE(locked.born_here.empty());
    EXPECT_NE(compare_contents(TableContent(), locked, true).find("could not be looked into"),
              std::string::npos);
}

}  // namespace
}  // namespace walbrook
