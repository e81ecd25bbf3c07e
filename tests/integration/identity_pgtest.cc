// Which row a change means, and what is in it: replica identities, keys that change places,
// values that are not sent because they did not change.

#include "integration/replica.h"
#include "support/eventually.h"
#include "support/pg_test.h"
#include "support/tcp_proxy.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <optional>
#include <string>
#include <vector>

namespace walbrook::testing {
namespace {

// A pipeline that follows all tables, from their first rows on.
class Followed : public PgTest {
 protected:
    void follow(const std::string& sql,
                const std::string& publication = "create publication shop for all tables") {
        database().exec(sql);
        database().exec(publication);
        replica_.emplace(database());
        replica_->configure("batch: {max_fill_ms: 150}");
        replica_->configure("table_error_retry_max_attempts: 0");
        replica_->start();
        ASSERT_TRUE(replica_->catches_up()) << replica_->log();
    }
    void TearDown() override {
        replica_.reset();
        PgTest::TearDown();
    }
    // All that was written has come to the lake, and is the same there. Without a copy: none of
    // these changes may need one.
    void expect_same(const std::vector<std::string>& tables) {
        ASSERT_TRUE(replica_->catches_up()) << replica_->log();
        EXPECT_EQ(replica_->difference_of_tables(tables), "");
        const auto status = replica_->status();
        ASSERT_TRUE(status.has_value());
        EXPECT_THAT(status->problems, ::testing::IsEmpty());
        EXPECT_EQ(replica_->count_in_log("copied again"), 0);
    }
    void stop() { EXPECT_EQ(replica_->stop().code, 0); }

    std::optional<Replica> replica_;
};

// ---------------------------------------------------------------- replica identities

class Identity : public Followed {};
INSTANTIATE_TEST_SUITE_P(Pg, Identity, ::testing::ValuesIn(pg_versions()), version_name);

TEST_P(Identity, EachTakesInsertsUpdatesKeyChangesAndDeletes) {
    const std::vector<std::string> tables{"by_key",      "full_with_key",  "full_without_key",
                                          "by_index",    "by_index_alone", "by_index_of_two",
                                          "by_both_keys"};
    std::string sql =
        "create table by_key (id int primary key, k int not null unique, v text);"
        "create table full_with_key (like by_key including all);"
        "alter table full_with_key replica identity full;"
        "create table full_without_key (id int, k int, v text);"
        "alter table full_without_key replica identity full;"
        "create table by_index (like by_key including all);"
        "alter table by_index replica identity using index by_index_k_key;"
        "create table by_index_alone (id int not null, k int not null unique, v text);"
        "alter table by_index_alone replica identity using index by_index_alone_k_key;"
        "create table by_index_of_two (id int not null, k int not null, v text, unique (k, id));"
        "alter table by_index_of_two replica identity using index by_index_of_two_k_id_key;"
        "create table by_both_keys (v text, id int, k int, primary key (k, id));";
    const auto for_each = [&](const std::string& statement) {
        std::string all;
        for (const std::string& table : tables) all += fmt::format(fmt::runtime(statement), table);
        return all;
    };
    follow(sql + for_each("insert into {} (id, k, v) select g, g + 1000, 'v' || g from "
                          "generate_series(1, 60) g;"));
    // Each kind of change to rows of its own, and then all of them to one row.
    for (const char* statement : {
             "insert into {} (id, k, v) values (61, 1061, 'new'), (62, 1062, null);",
             "update {0} set v = v || '!' where id <= 10; update {0} set v = null where id = 11;",
             "update {} set id = id + 500 where id between 20 and 24;",
             "update {} set k = k + 5000 where id between 25 and 29;",
             "update {} set k = -k, id = -id, v = 'both' where id between 30 and 34;",
             "delete from {0} where id between 40 and 44; delete from {0} where id = 61;",
         }) {
        database().exec(for_each(statement));
    }
    expect_same(tables);
    for (const std::string& table : tables) {
        database().exec(fmt::format(
            "begin; insert into {0} (id, k, v) values (70, 1070, 'a'), (71, 1071, 'b');"
            "update {0} set v = 'c' where id = 70; update {0} set id = 170 where id = 70;"
            "update {0} set k = 2070 where id = 170; delete from {0} where id = 170;"
            "insert into {0} (id, k, v) values (70, 1070, 'again');"
            "update {0} set id = 1 - id, k = k - 9000 where id in (1, 2);"
            "delete from {0} where id = 0; insert into {0} (id, k, v) values (0, 1001, 'back');"
            "commit",
            table));
    }
    expect_same(tables);
    stop();
}

// The source refuses to change what it cannot name; what is left is inserts, and they come.
TEST_P(Identity, WithoutOneThereAreOnlyInserts) {
    follow(
        "create table none_with_key (id int primary key, v text);"
        "alter table none_with_key replica identity nothing;"
        "create table none_without_key (id int, v text);"
        "alter table none_without_key replica identity nothing;"
        "create table no_key (id int, v text);"
        "create table deferrable_key (id int primary key deferrable, v text);"
        "insert into none_with_key values (1, 'a'); insert into none_without_key values (1, 'a');"
        "insert into no_key values (1, 'a'); insert into deferrable_key values (1, 'a')");
    const std::vector<std::string> tables{"none_with_key", "none_without_key", "no_key",
                                          "deferrable_key"};
    for (const std::string& table : tables) {
        EXPECT_ANY_THROW(database().exec(fmt::format("update {} set v = 'b'", table)));
        EXPECT_ANY_THROW(database().exec(fmt::format("delete from {}", table)));
        database().exec(fmt::format(
            "insert into {0} values (2, 'b'); begin; insert into {0} values (3, null), (4, '');"
            "commit",
            table));
    }
    // Where nothing tells rows apart, equal ones are two.
    database().exec(
        "insert into no_key values (2, 'b'), (2, 'b');"
        "insert into none_without_key values (2, 'b')");
    expect_same(tables);
    // And a truncate needs no identity.
    database().exec(
        "truncate none_with_key, no_key; insert into none_with_key values (1, 'new');"
        "insert into no_key values (1, 'new')");
    expect_same(tables);
    stop();
}

// ---------------------------------------------------------------- keys that change places

// A deferrable key is no identity, so these tables are FULL, and two rows may stand under one
// key until the transaction ends; or the identity is another index, and the deferred
// constraint is of an ordinary column.
TEST_P(Identity, DeferredKeysChangePlaces) {
    const std::vector<std::string> tables{"full_deferred", "index_deferred"};
    follow(
        "create table full_deferred (id int primary key deferrable initially deferred, v text);"
        "alter table full_deferred replica identity full;"
        "create table index_deferred (id int unique deferrable initially deferred, "
        "n int not null unique, v text);"
        "alter table index_deferred replica identity using index index_deferred_n_key;"
        "insert into full_deferred select g, 'v' || g from generate_series(1, 30) g;"
        "insert into index_deferred select g, g, 'v' || g from generate_series(1, 30) g");
    for (const std::string& table : tables) {
        const auto exec = [&](const std::string& statement) {
            database().exec(fmt::format(fmt::runtime("begin; " + statement + " commit"), table));
        };
        // a <-> b, row by row, so that both stand under one key in between.
        exec("update {0} set id = 2 where v = 'v1'; update {0} set id = 1 where v = 'v2';");
        // Three in a circle.
        exec(
            "update {0} set id = 5 where v = 'v4'; update {0} set id = 6 where v = 'v5';"
            "update {0} set id = 4 where v = 'v6';");
        // A chain, from the end that is taken.
        exec(
            "update {0} set id = id + 1 where id between 10 and 14; delete from {0} where v = "
            "'v15';");
        // Into the place of one that goes afterwards, and one that comes where another leaves.
        exec("update {0} set id = 21 where v = 'v20'; delete from {0} where v = 'v21';");
    }
    database().exec(
        "begin; insert into full_deferred values (22, 'second'); delete from full_deferred "
        "where v = 'v22'; update full_deferred set id = 24 where v = 'v23'; update full_deferred "
        "set v = 'changed' where v = 'v24'; update full_deferred set id = 23 where v = 'changed'; "
        "commit");
    // More than is folded at once.
    database().exec(
        "insert into full_deferred select g, repeat(g || ' ', 200) from generate_series(10001, "
        "30000) g; update full_deferred set id = id + 1 where id > 10000");
    expect_same(tables);
    stop();
}

// An immediate key swaps through a place that is free.
TEST_P(Identity, ImmediateKeysChangePlaces) {
    const std::vector<std::string> tables{"by_key", "full_with_key", "statement_key"};
    follow(
        "create table by_key (id int primary key, v text);"
        "create table full_with_key (id int primary key, v text);"
        "alter table full_with_key replica identity full;"
        // Checked at the end of each statement: one statement may swap.
        "create table statement_key (id int primary key deferrable, v text);"
        "alter table statement_key replica identity full;"
        "insert into by_key select g, 'v' || g from generate_series(1, 30) g;"
        "insert into full_with_key table by_key; insert into statement_key table by_key");
    for (const char* table : {"by_key", "full_with_key"}) {
        database().exec(fmt::format(
            "begin; update {0} set id = -1 where id = 1; update {0} set id = 1 where id = 2;"
            "update {0} set id = 2 where id = -1; commit;"
            "begin; update {0} set id = 0 where id = 6; update {0} set id = 6 where id = 5;"
            "update {0} set id = 5 where id = 4; update {0} set id = 4 where id = 0; commit;"
            "begin; update {0} set id = 41 where id = 30; update {0} set id = 30 where id = 29;"
            "update {0} set id = 29 where id = 28; insert into {0} values (28, 'new');"
            "delete from {0} where id = 41; commit",
            table));
    }
    database().exec(
        "update statement_key set id = 3 - id where id in (1, 2);"
        "update statement_key set id = 4 + (id - 3) % 3 where id between 4 and 6;"
        "update statement_key set id = id + 1 where id > 20;"
        "begin; update statement_key set id = 29 - id where id between 10 and 19;"
        "update statement_key set v = v || '!' where id between 14 and 17;"
        "update statement_key set id = id + 1 where id > 10; commit");
    expect_same(tables);
    stop();
}

// ---------------------------------------------------------------- unchanged values

// Values that are stored out of line, and that no compression makes small.
std::string large(const std::string& seed) {
    return fmt::format(
        "(select string_agg(md5(({})::text || '-' || i), '') from generate_series(1, 100) i)",
        seed);
}

class Toast : public Followed {
 protected:
    // Three kinds of identity, each with two large columns.
    std::vector<std::string> tables{"by_key", "by_index", "full_with_key", "full_without_key"};
    std::string create() {
        return "create table by_key (id int primary key, n int, big text, other text);"
               "alter table by_key alter big set storage external,"
               " alter other set storage external;"
               "create table by_index (like by_key including storage);"
               "alter table by_index alter id set not null; create unique index on by_index (id);"
               "alter table by_index replica identity using index by_index_id_idx;"
               "create table full_with_key (like by_key including all);"
               "alter table full_with_key replica identity full;"
               "create table full_without_key (like by_key including storage);"
               "alter table full_without_key replica identity full;" +
               each(fmt::format("insert into {{0}} select g, g, {}, {} from "
                                "generate_series(1, 40) g;",
                                large("g"), large("-g")));
    }
    std::string each(const std::string& statement) {
        std::string all;
        for (const std::string& table : tables) all += fmt::format(fmt::runtime(statement), table);
        return all;
    }
    // What no value may have become on the way. A value of the source is as long as it was made.
    void expect_whole() {
        expect_same(tables);
        for (const std::string& table : tables) {
            EXPECT_EQ(replica_->reader().value(fmt::format(
                          "select count(*) from lake.public.{} where big is null or other is null "
                          "or length(big) < 3200 or length(other) < 3200",
                          table)),
                      "0")
                << table;
        }
    }
};
INSTANTIATE_TEST_SUITE_P(Pg, Toast, ::testing::ValuesIn(pg_versions()), version_name);

// The source sends no large value that did not change.
TEST_P(Toast, UnchangedValuesOfCopiedAndEarlierRowsAreKept) {
    follow(create());
    // From the lake.
    database().exec(each(
        fmt::format("update {{0}} set n = n + 100 where id <= 5;"
                    "update {{0}} set big = {} where id = 6; update {{0}} set n = -1 where id = 6;"
                    "update {{0}} set id = id + 1000 where id between 10 and 12;"
                    "update {{0}} set id = id + 1000, other = {} where id between 13 and 15;",
                    large("'six'"), large("'key'"))));
    expect_whole();
    // Of rows that came by the stream, and were flushed long ago.
    database().exec(
        each(fmt::format("insert into {{0}} values (50, 50, {0}, {1}), (51, 51, {1}, "
                         "{0});",
                         large("'a'"), large("'b'"))));
    expect_whole();
    database().exec(
        each("update {0} set n = 0 where id >= 50; update {0} set id = 60 where id = "
             "50;"));
    expect_whole();
    // Many updates of one row in one flush; then its end.
    database().exec(each(fmt::format(
        "begin; update {{0}} set n = 1 where id = 51; update {{0}} set other = {} where id = 51;"
        "update {{0}} set n = 2 where id = 51; update {{0}} set id = 61 where id = 51;"
        "update {{0}} set n = 3 where id = 61; commit;"
        "update {{0}} set n = 9 where id = 7; delete from {{0}} where id = 7;",
        large("'c'"))));
    expect_whole();
    stop();
}

// The row and its updates are in one flush, in one transaction and in several.
TEST_P(Toast, UnchangedValuesAreFoundInTheSameFlush) {
    follow(create());
    database().exec(each(fmt::format(
        "begin; insert into {{0}} values (50, 1, {0}, {1}); update {{0}} set n = 2 where id = 50;"
        "update {{0}} set id = 51 where id = 50; update {{0}} set n = 3 where id = 51; commit;"
        "begin; insert into {{0}} values (60, 1, {1}, {0}); commit;"
        "begin; update {{0}} set n = 2 where id = 60; commit;"
        "begin; update {{0}} set big = {0} where id = 60; commit;"
        "begin; update {{0}} set n = 3 where id = 60; commit;"
        // The row that goes is not the one that comes.
        "begin; delete from {{0}} where id = 1; insert into {{0}} values (1, 0, {0}, {1});"
        "update {{0}} set n = 1 where id = 1; commit;"
        "begin; truncate {{0}}; insert into {{0}} values (2, 0, {1}, {0}), (3, 3, {0}, {0});"
        "update {{0}} set n = 5 where id = 2; commit;",
        large("'a'"), large("'b'"))));
    expect_whole();
    stop();
}

// Each row takes its values along.
TEST_P(Toast, UnchangedValuesFollowKeysThatChangePlaces) {
    follow(create());
    database().exec(each(fmt::format(
        "begin; update {{0}} set id = -1 where id = 1; update {{0}} set id = 1 where id = 2;"
        "update {{0}} set id = 2 where id = -1; commit;"
        "begin; update {{0}} set id = 0 where id = 6; update {{0}} set id = 6, n = 66 where id = 5;"
        "update {{0}} set id = 5 where id = 4; update {{0}} set id = 4, n = 44 where id = 0; "
        "commit;"
        "begin; update {{0}} set id = 100 where id = 20; insert into {{0}} values (20, 0, {0}, "
        "{1});"
        "update {{0}} set n = 7 where id in (20, 100); commit;"
        "begin; delete from {{0}} where id = 30; update {{0}} set id = 30 where id = 31;"
        "insert into {{0}} values (31, 0, {1}, {0}); update {{0}} set n = 8 where id in (30, 31);"
        "commit;",
        large("'a'"), large("'b'"))));
    expect_whole();
    stop();
}

// Ten seconds for a table, or until it is told otherwise.
constexpr std::uint64_t kSlow = 25'000;

// Their rows are in the copy's snapshot, or behind it: what is held back is completed from the
// new table, not from the old one.
TEST_P(Toast, UnchangedValuesAreKeptWhileTheTableIsCopied) {
    TcpProxy slow(cluster().port());
    database().exec(create() + "create publication shop for all tables");
    replica_.emplace(database());
    replica_->configure("batch: {max_fill_ms: 150}");
    replica_->connect_through(slow.port());
    slow.slow_down(":copy", kSlow);
    replica_->start();
    ASSERT_TRUE(replica_->reads("by_key"));
    database().exec(each(fmt::format(
        "update {{0}} set n = n + 100 where id <= 20;"
        "update {{0}} set id = id + 1000 where id between 20 and 25;"
        "insert into {{0}} values (50, 50, {0}, {0}); update {{0}} set n = 51 where id = 50;"
        "begin; update {{0}} set id = -1 where id = 1; update {{0}} set id = 1 where id = 2;"
        "update {{0}} set id = 2 where id = -1; commit;",
        large("'a'"))));
    const auto by_key = replica_->table("by_key");
    ASSERT_TRUE(by_key.has_value());
    EXPECT_EQ(by_key->phase, TablePhase::copying) << "the copy was too short for this";
    slow.slow_down("", 0);
    expect_whole();
    // The same for a table that readers have already.
    slow.slow_down(":copy", kSlow);
    ASSERT_EQ(replica_->command({"resync", "public.*"}).code, 0);
    ASSERT_TRUE(replica_->reads("full_with_key"));
    database().exec(
        each("update {0} set n = n - 7 where id <= 20; update {0} set id = -id where "
             "id between 15 and 18;"));
    slow.slow_down("", 0);
    expect_whole();
    stop();
}

TEST_P(Toast, UnchangedValuesAreKeptAcrossRestarts) {
    follow(create());
    stop();
    database().exec(
        each("update {0} set n = 0 where id <= 5; update {0} set id = 77 where id = 9;"));
    replica_->start();
    expect_whole();
    replica_->kill();
    database().exec(
        each("update {0} set n = 1 where id <= 5; update {0} set id = 78 where id = 77;"));
    replica_->start();
    expect_whole();
    // Sent again, and known by their position.
    replica_->set_environment("WALBROOK_FAILPOINTS", "flush.after_apply=kill");
    replica_->stop();
    replica_->start();
    database().exec(each("update {0} set n = 2, id = 80 where id = 78;"));
    ASSERT_TRUE(replica_->process().wait().has_value());
    replica_->clear_environment();
    replica_->start();
    expect_whole();
    stop();
}

// ---------------------------------------------------------------- rows without a key

class Multiset : public Followed {};
INSTANTIATE_TEST_SUITE_P(Pg, Multiset, ::testing::ValuesIn(pg_versions()), version_name);

// One of several equal rows, as the source counts them.
TEST_P(Multiset, EqualRowsAreCounted) {
    const auto one_of = [](const std::string& where) {
        return "ctid = (select min(ctid) from t where " + where + ")";
    };
    follow(
        "create table t (a int, b text, f float8, r real); alter table t replica identity full;"
        "insert into t select 1, 'three', 1.5, 1.5 from generate_series(1, 3);"
        "insert into t select 2, 'two', 2.5, 2.5 from generate_series(1, 2);"
        "insert into t select null, null, null, null from generate_series(1, 3);"
        "insert into t values (3, null, 'NaN', 'NaN'), (3, null, 'NaN', 'NaN'),"
        " (4, '', '-0', '-0'), (4, '', '0', '0'), (4, '', '-0', '0'),"
        " (5, 'inf', 'infinity', '-infinity'), (5, 'inf', 'infinity', '-infinity')");
    expect_same({"t"});
    database().exec("delete from t where " + one_of("a = 1"));
    expect_same({"t"});
    database().exec("update t set b = 'one of two' where " + one_of("a = 2"));
    database().exec("delete from t where " + one_of("a is null"));
    database().exec("update t set a = 0 where " + one_of("a is null"));
    database().exec("delete from t where " + one_of("f = 'NaN'"));
    database().exec("update t set b = 'still not' where " + one_of("f = 'NaN'"));
    expect_same({"t"});
    // Zeros of both signs are equal to SQL, and are different rows.
    database().exec("delete from t where a = 4 and f::text = '-0' and r::text = '-0'");
    expect_same({"t"});
    database().exec(
        "update t set f = '-0', r = '-0' where a = 4 and r::text = '0' and f::text = '0'");
    expect_same({"t"});
    database().exec("delete from t where " + one_of("a = 5"));
    // There and back, and more of them, in one flush.
    database().exec("begin; update t set b = 'x' where " + one_of("a = 1") +
                    "; update t set b = 'three' where b = 'x'; insert into t values (1, 'three', "
                    "1.5, 1.5), (1, 'three', 1.5, 1.5); delete from t where " +
                    one_of("a = 1") + "; commit");
    expect_same({"t"});
    database().exec(
        "insert into t select a, b, f, r from t; insert into t select a, b, f, r from t; "
        "begin; update t set a = a + 1; commit; delete from t where a = 6");
    expect_same({"t"});
    stop();
}

// ---------------------------------------------------------------- TRUNCATE

class Truncates : public Followed {
 protected:
    static std::string create() {
        return "create table parent (id serial primary key, v text);"
               "create table child (id serial primary key, parent int references parent);"
               "create table grandchild (id int primary key, child int references child);"
               "create table lone (id int primary key, v text);"
               "create table keyless (id int, v text);"
               "insert into parent (v) select 'v' || g from generate_series(1, 20) g;"
               "insert into child (parent) select g from generate_series(1, 20) g;"
               "insert into grandchild select g, g from generate_series(1, 20) g;"
               "insert into lone select g, 'v' from generate_series(1, 20) g;"
               "insert into keyless table lone;";
    }
    const std::vector<std::string> tables{"parent", "child", "grandchild", "lone", "keyless"};
    void expect_rows(const std::string& table, const std::string& rows) {
        EXPECT_EQ(replica_->reader().value("select count(*) from lake.public." + table), rows)
            << table;
    }
};
INSTANTIATE_TEST_SUITE_P(Pg, Truncates, ::testing::ValuesIn(pg_versions()), version_name);

TEST_P(Truncates, EmptyOneSeveralAndWhatCascades) {
    follow(create());
    database().exec("truncate lone");
    expect_same(tables);
    expect_rows("lone", "0");
    database().exec(
        "insert into lone select g, 'w' from generate_series(1, 5) g; truncate lone, keyless");
    expect_same(tables);
    expect_rows("keyless", "0");
    database().exec("insert into parent (v) values ('stays'); truncate child cascade");
    expect_same(tables);
    expect_rows("grandchild", "0");
    expect_rows("parent", "21");
    database().exec(
        "insert into child (parent) values (1); insert into grandchild values (1, 21);"
        "truncate parent restart identity cascade; insert into parent (v) values ('first')");
    expect_same(tables);
    EXPECT_EQ(replica_->reader().value("select max(id) from lake.public.parent"), "1");
    expect_rows("child", "0");
    stop();
}

TEST_P(Truncates, KeepTheirPlaceInATransaction) {
    follow(create());
    database().exec(
        "begin; truncate lone; insert into lone values (1, 'after'); update lone set v = 'changed';"
        "commit;"
        "begin; insert into keyless values (21, 'before'); truncate keyless;"
        "insert into keyless values (22, 'after'), (22, 'after'); commit;"
        "begin; update parent set v = 'before' where id < 5; delete from grandchild where id = 1;"
        "truncate child, grandchild; insert into child (parent) values (2);"
        "delete from parent where id = 10; commit");
    expect_same(tables);
    expect_rows("keyless", "2");
    // Nothing of it happened, or only the outer part.
    database().exec(
        "begin; truncate lone; insert into lone values (2, 'never'); rollback;"
        "begin; savepoint s; truncate lone, keyless; rollback to s;"
        "insert into lone values (3, 'kept'); commit;"
        "begin; truncate lone; insert into lone values (4, 'once'); truncate lone;"
        "insert into lone values (4, 'twice'), (5, 'twice'); delete from lone where id = 5; "
        "commit");
    expect_same(tables);
    expect_rows("lone", "1");
    stop();
}

// The lake keeps what the publication does not tell it to drop.
TEST_P(Truncates, ThatAreNotPublishedAreNotExpected) {
    follow(create(),
           "create publication shop for all tables with (publish = 'insert, update, delete')");
    database().exec("truncate lone, keyless; insert into lone values (100, 'new')");
    database().exec("insert into keyless values (100, 'new')");
    ASSERT_TRUE(replica_->catches_up());
    expect_rows("lone", "21");
    expect_rows("keyless", "21");
    database().exec("update lone set v = 'changed'; insert into lone values (101, 'other')");
    database().exec("delete from lone where id = 101");
    ASSERT_TRUE(replica_->catches_up());
    expect_rows("lone", "21");
    EXPECT_EQ(replica_->reader().value("select v from lake.public.lone where id = 100"), "changed");
    const auto status = replica_->status();
    ASSERT_TRUE(status.has_value());
    EXPECT_THAT(status->problems, ::testing::IsEmpty());
    stop();
}

TEST_P(Truncates, OfTablesThatAreCopiedLoseNothing) {
    TcpProxy slow(cluster().port());
    database().exec(create() +
                    "insert into lone select g, repeat('x', 200) from generate_series(21, 3000) g;"
                    "create publication shop for all tables");
    replica_.emplace(database());
    replica_->configure("batch: {max_fill_ms: 150}");
    replica_->connect_through(slow.port());
    // The truncate waits for the copy.
    slow.slow_down(":copy", 200'000);
    replica_->start();
    ASSERT_TRUE(replica_->reads("lone"));
    database().exec(
        "begin; insert into lone values (5000, 'before'); truncate lone, parent cascade;"
        "insert into lone values (1, 'after'); commit; insert into parent (v) values ('after')");
    slow.slow_down("", 0);
    ASSERT_TRUE(replica_->catches_up());
    EXPECT_EQ(replica_->difference_of_tables(tables), "");
    stop();
}

}  // namespace
}  // namespace walbrook::testing
