// Publications that leave operations out. The lake holds what the others give: never two rows under
// one key, and no table that stops because of what it was not told.

#include "integration/replica.h"
#include "support/eventually.h"
#include "support/pg_test.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <optional>
#include <string>

namespace walbrook::testing {
namespace {

using ::testing::IsEmpty;

class PartlyPublished : public PgTest {
 protected:
    void TearDown() override {
        replica_.reset();
        PgTest::TearDown();
    }
    // Rows 1 to 5 of each: with a key, under FULL with one and without.
    void follow(const std::string& operations) {
        database().exec(fmt::format(
            "create table keyed (id int primary key, v text, big text);"
            "alter table keyed alter big set storage external;"
            "create table whole (id int primary key, v text);"
            "alter table whole replica identity full;"
            "create table bag (id int, v text); alter table bag replica identity full;"
            "insert into keyed select g, 'copied', {1} from generate_series(1, 5) g;"
            "insert into whole select g, 'copied' from generate_series(1, 5) g;"
            "insert into bag select g, 'copied' from generate_series(1, 5) g;"
            "create publication shop for table keyed, whole, bag with (publish = '{0}')",
            operations, large("g")));
        replica_.emplace(database());
        replica_->configure("batch: {max_fill_ms: 50}");
        replica_->start();
        ASSERT_TRUE(replica_->catches_up()) << replica_->log();
    }
    static std::string large(const std::string& seed) {
        return fmt::format(
            "(select string_agg(md5(({})::text || '-' || i), '') from generate_series(1, 100) i)",
            seed);
    }
    // Each statement in a flush of its own, or all in one.
    void run(const std::vector<std::string>& statements, bool at_once) {
        std::string all;
        for (const std::string& statement : statements) {
            all += statement + ";";
            if (at_once) continue;
            database().exec(statement);
            ASSERT_TRUE(replica_->catches_up()) << replica_->log();
        }
        if (at_once) database().exec(all);
        ASSERT_TRUE(replica_->catches_up()) << replica_->log();
    }
    // "1=a 2=b": by key and value.
    std::string rows(const std::string& table) {
        return replica_->reader().value(
            fmt::format("select coalesce(string_agg(id || '=' || v, ' ' order by id, v), '') from "
                        "lake.public.{}",
                        table));
    }
    void expect_well() {
        const auto status = replica_->status();
        ASSERT_TRUE(status.has_value());
        EXPECT_THAT(status->problems, IsEmpty());
        for (const TableStatus& table : status->tables) {
            EXPECT_EQ(table.phase, TablePhase::ready) << table.name;
        }
        EXPECT_EQ(replica_->count_in_log("copied again"), 0);
    }
    void stop() { EXPECT_EQ(replica_->stop().code, 0); }

    std::optional<Replica> replica_;
};
INSTANTIATE_TEST_SUITE_P(Pg, PartlyPublished, ::testing::ValuesIn(pg_versions()), version_name);

// A key that is used again is one row, with its newest content. What was deleted and did not come
// again stays.
TEST_P(PartlyPublished, WithoutDeletesAndTruncatesAKeyThatComesAgainIsOneRow) {
    follow("insert, update");
    for (const bool at_once : {false, true}) {
        SCOPED_TRACE(at_once);
        const std::string tag = at_once ? "b" : "a";
        std::vector<std::string> statements;
        for (const char* table : {"keyed", "whole"}) {
            const auto add = [&](const char* statement) {
                statements.push_back(fmt::format(fmt::runtime(statement), table, tag));
            };
            add("delete from {0} where id in (1, 2)");
            add("insert into {0} (id, v) values (1, '{1}1')");
            add("update {0} set v = v || '!' where id = 1");
            // Onto a key whose row is gone at the source.
            add("delete from {0} where id = 3");
            add("update {0} set id = 3 where id = 4");
            add("truncate {0}");
            add("insert into {0} (id, v) values (4, '{1}4'), (5, '{1}5')");
            add("update {0} set v = v || '?' where id = 5");
        }
        run(statements, at_once);
        EXPECT_EQ(rows("keyed"), fmt::format("1={0}1! 2=copied 3={1} 4={0}4 5={0}5?", tag,
                                             at_once ? "a4" : "copied"));
        EXPECT_EQ(rows("whole"), rows("keyed"));
        expect_well();
    }
    EXPECT_EQ(replica_->reader().value(
                  "select count(*) from lake.public.keyed where id = 3 and big is not null"),
              "0");
    stop();
}

TEST_P(PartlyPublished, WithInsertsAloneTheNewestInsertOfAKeyCounts) {
    follow("insert");
    run({"delete from keyed where id < 3", "insert into keyed values (1, 'second', 'x')",
         "update keyed set v = 'never seen', id = 9 where id = 1",
         "insert into keyed values (1, 'third', 'x'), (6, 'new', 'x')", "truncate keyed",
         "insert into keyed values (2, 'after', 'x')", "truncate bag",
         "insert into bag values (1, 'copied')"},
        false);
    EXPECT_EQ(rows("keyed"), "1=third 2=after 3=copied 4=copied 5=copied 6=new");
    EXPECT_EQ(rows("bag"), "1=copied 1=copied 2=copied 3=copied 4=copied 5=copied");
    expect_well();
    stop();
}

// Half of a key tells no two rows apart.
class PartialKeys : public PartlyPublished {};
INSTANTIATE_TEST_SUITE_P(Pg, PartialKeys, ::testing::ValuesIn(newest_pg_version()), version_name);

TEST_P(PartialKeys, AreNone) {
    database().exec(
        "create table t(id int, part int, v text, primary key (id, part));"
        "insert into t values (1, 1, 'copied'), (1, 2, 'copied');"
        "create table g(id int, a int, v text, part int generated always as (a % 10) stored,"
        " primary key (id, part)); insert into g values (1, 1, 'copied'), (1, 2, 'copied');"
        "create publication shop for table t (id, v), g (id, v) with (publish = 'insert')");
    replica_.emplace(database());
    replica_->configure("batch: {max_fill_ms: 50}");
    replica_->start();
    ASSERT_TRUE(replica_->catches_up()) << replica_->log();
    for (const bool at_once : {false, true}) {
        run({"insert into t values (1, 3, 'a'), (2, 1, 'a'); insert into g values (1, 3, 'a')",
             "insert into t values (2, 2, 'b'); insert into g values (1, 4, 'a')",
             "delete from t where part < 4; delete from g where a < 5"},
            at_once);
        // The lake remembers that, too.
        stop();
        replica_->start();
        ASSERT_TRUE(replica_->catches_up()) << replica_->log();
    }
    EXPECT_EQ(rows("t"), "1=a 1=a 1=copied 1=copied 2=a 2=a 2=b 2=b");
    EXPECT_EQ(rows("g"), "1=a 1=a 1=a 1=a 1=copied 1=copied");
    expect_well();
    stop();
}

// Changes of rows whose inserts were not told: those that are sent whole are there from then on.
TEST_P(PartlyPublished, WithoutInsertsWhatIsUpdatedIsThere) {
    follow("update, delete");
    run({fmt::format("insert into keyed select g, 'untold', {} from generate_series(11, 14) g",
                     large("g")),
         // Its large value is not sent, and nobody has it.
         "update keyed set v = 'no value' where id = 11",
         fmt::format("update keyed set v = 'whole', big = {} where id = 12", large("7")),
         "delete from keyed where id in (13, 1)", "update keyed set id = 2000 where id = 2",
         "insert into bag values (6, 'untold'), (7, 'untold')",
         "update bag set v = 'told' where id = 6", "delete from bag where id in (1, 7)",
         "insert into whole values (6, 'untold')", "update whole set v = 'told' where id = 6"},
        false);
    EXPECT_EQ(rows("keyed"), "3=copied 4=copied 5=copied 12=whole 2000=copied");
    EXPECT_EQ(rows("bag"), "2=copied 3=copied 4=copied 5=copied 6=told");
    EXPECT_EQ(rows("whole"), "1=copied 2=copied 3=copied 4=copied 5=copied 6=told");
    expect_well();
    stop();
}

// Whatever comes while the list changes: the tables are copied again and then equal.
TEST_P(PartlyPublished, OperationsThatComeBackLeaveNoStaleRows) {
    follow("insert, update");
    database().exec(
        "delete from keyed where id < 3; insert into keyed values (1, 'again', 'x');"
        "delete from bag where id < 3; truncate whole");
    ASSERT_TRUE(replica_->catches_up());
    EXPECT_EQ(rows("keyed"), "1=again 2=copied 3=copied 4=copied 5=copied");
    const std::vector<std::string> all{"keyed", "whole", "bag"};
    for (const char* operations :
         {"insert, update, delete, truncate", "insert", "insert, update, delete, truncate"}) {
        database().exec(
            fmt::format("alter publication shop set (publish = '{}');"
                        "delete from keyed where id = 1;"
                        "insert into keyed values (1, 'at once', 'y');"
                        "update keyed set v = v || '.' where id = 1",
                        operations));
        ASSERT_TRUE(eventually([&] { return replica_->difference_of_tables(all).empty(); }))
            << operations << replica_->difference_of_tables(all) << replica_->log();
    }
    database().exec(
        "delete from keyed where id = 1; delete from bag; insert into whole values (1)");
    // The last change of the list may be noticed only now.
    EXPECT_TRUE(eventually([&] { return replica_->difference_of_tables(all).empty(); }))
        << replica_->difference_of_tables(all) << replica_->log();
    stop();
}

}  // namespace
}  // namespace walbrook::testing
