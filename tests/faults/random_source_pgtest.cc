// A source that does whatever it likes: random rows, changes of schemas, partitions and
// subtransactions, while the process is killed, restarted and told to copy again. At the end source
// and lake are equal. A failed seed is printed; WALBROOK_RANDOM_SEED repeats its statements,
// WALBROOK_RANDOM_SEEDS says how many there are.

#include "integration/replica.h"
#include "sim/random.h"
#include "support/eventually.h"
#include "support/pg_test.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

namespace walbrook::testing {
namespace {

using sim::Random;

class RandomSource {
 public:
    RandomSource(Database& source, std::uint64_t seed) : source_(source), random_(seed) {}

    void make_tables() {
        via_root_ = random_.percent(30);
        run("create table plain (id int primary key, c1 int, c2 text)");
        run("create table bare (id int, c1 int, c2 text); alter table bare replica identity full");
        run("create table parted (id int primary key, c1 int, c2 text) partition by range (id)");
        run("create table heir_parent (id int, c1 int); create table heir (c2 text, primary key "
            "(id)) inherits (heir_parent)");
        for (int leaf = 0; leaf < 3; ++leaf) add_leaf();
        run(
            fmt::format("create publication shop for all tables with "
                        "(publish_via_partition_root = {})",
                        via_root_));
    }

    // One transaction of a few statements, some of them taken back.
    void transact() {
        std::vector<std::string> statements;
        const std::uint64_t count = random_.between(1, 6);
        for (std::uint64_t i = 0; i < count; ++i) statements.push_back(statement());
        std::string text = "begin;";
        for (const std::string& each : statements) {
            const bool is_undone = random_.percent(15);
            text += "savepoint s;" + each + (is_undone ? ";rollback to s;" : ";release s;");
        }
        run(text + (random_.percent(8) ? "rollback" : "commit"));
    }

    // What is not in a transaction with others: names change hands, tables go and come.
    void upheave() {
        switch (random_.below(9)) {
            case 0:
                return add_leaf();
            case 1:
                return with_leaf("drop table {}");
            case 2:
                return with_leaf("truncate {}");
            case 3:
                return with_leaf("alter table parted detach partition {}");
            case 4:
                return attach();
            case 5:
                return run(
                    "alter table plain rename to tmp; alter table bare rename to plain;"
                    "alter table tmp rename to bare");
            case 6:
                return run(
                    "drop table bare; create table bare (id int, c1 int, c2 text); alter "
                    "table bare replica identity full");
            case 7:
                return run(fmt::format("truncate {}", table()));
            default:
                return run(fmt::format("alter table {} add column c{} float8 default random()",
                                       table(), random_.between(1, 6)));
        }
    }

    // All but the partitions, and the parent, which the source shows with its heirs' rows.
    std::vector<std::string> tables() {
        std::vector<std::string> names;
        for (const auto& row : source_.query(
                 "select relname from pg_class where relnamespace = 'public'::regnamespace and "
                 "relkind in ('r', 'p') and not relispartition and relname <> 'heir_parent' order "
                 "by "
                 "1")) {
            names.push_back(row[0]);
        }
        return names;
    }

    std::string history() const { return history_; }

 private:
    // What the source refuses did not happen: two random statements need not fit.
    void run(const std::string& sql) {
        history_ += sql + "\n";
        try {
            source_.exec(sql);
        } catch (const std::exception&) {
            history_ += "-- refused\n";
            source_.exec("rollback");
        }
    }
    std::string table() {
        static const std::vector<std::string> all = {"plain", "bare", "parted", "heir"};
        return random_.pick(all);
    }
    std::string column() { return fmt::format("c{}", random_.between(1, 6)); }
    std::string id() { return std::to_string(random_.below(400)); }

    std::string statement() {
        const std::string on = table();
        switch (random_.below(16)) {
            case 0:
                return fmt::format("alter table {} add column {} {}", parent_of(on), column(),
                                   type());
            case 1:
                return fmt::format("alter table {} drop column {}", parent_of(on), column());
            case 2:
                return fmt::format("alter table {} rename column {} to {}", parent_of(on), column(),
                                   column());
            case 3:
                return fmt::format("alter table {} alter column {} type {}", parent_of(on),
                                   column(), random_.percent(50) ? "text" : "varchar(40)");
            case 4:
                return fmt::format("update {} set id = id + 1000 where id = {}", on, id());
            case 5:
            case 6:
                return fmt::format("delete from {} where id % 37 = {}", on, random_.below(37));
            case 7:
            case 8:
            case 9:
                return fmt::format("update {} set {} = {} where id % 7 = {}", on, column(), value(),
                                   random_.below(7));
            default: {
                const std::string first = id();
                return fmt::format(
                    "insert into {0} (id, {1}) select g, {2} from generate_series({3}, {3} + {4}) g"
                    " where not exists (select from {0} where id = g)",
                    on, column(), value(), first, random_.below(30));
            }
        }
    }
    std::string parent_of(const std::string& name) {
        return name == "heir" && random_.percent(50) ? "heir_parent" : name;
    }
    std::string type() {
        static const std::vector<std::string> all = {"int",           "text",
                                                     "int default 7", "text default 'd'",
                                                     "numeric(8,2)",  "text not null default ''",
                                                     "bigint",        "varchar(10)"};
        return random_.pick(all);
    }
    std::string value() {
        return random_.percent(10) ? std::string("null") : fmt::format("'{}'", random_.below(100));
    }

    void add_leaf() {
        const int number = ++leaves_;
        const int from = 100 * static_cast<int>(random_.below(20));
        run(fmt::format("create table leaf{} partition of parted for values from ({}) to ({})",
                        number, from, from + 100));
    }
    void with_leaf(std::string_view format) {
        if (leaves_ == 0) return;
        run(fmt::format(
            fmt::runtime(format),
            fmt::format("leaf{}", random_.between(1, static_cast<std::uint64_t>(leaves_)))));
    }
    // With its columns in the order in which they happen to stand.
    void attach() {
        const int number = ++leaves_;
        const int from = 100 * static_cast<int>(random_.below(20));
        run(fmt::format(
            "create table leaf{0} (like parted including all); insert into leaf{0} (id) "
            "select g from generate_series({1}, {1} + 20) g; alter table parted attach "
            "partition leaf{0} for values from ({1}) to ({2})",
            number, from, from + 100));
    }

    Database& source_;
    Random random_;
    bool via_root_ = false;
    int leaves_ = 0;
    std::string history_;
};

void one_run(PgCluster& cluster, std::uint64_t seed) {
    Database database(cluster);
    RandomSource source(database, seed);
    Random chance(seed + 1'000'003);
    source.make_tables();
    Replica replica(database);
    replica.configure("batch: {max_fill_ms: 20}");
    replica.configure("table_error_retry_delay_ms: 200");
    replica.start();
    if (chance.percent(50)) {
        EXPECT_TRUE(eventually([&] { return replica.status().has_value(); }));
        EXPECT_EQ(replica.command({"init"}).code, 0);
    }
    for (int i = 0; i < 120; ++i) {
        source.transact();
        if (chance.percent(12)) source.upheave();
        if (chance.percent(4)) {
            replica.kill();
            // The stream begins behind the catalog then, by leaves and versions.
            for (std::uint64_t n = chance.below(12); n > 0; --n) {
                source.transact();
                if (chance.percent(30)) source.upheave();
            }
            replica.start();
        }
        // It may not have started yet, or not know the table any more.
        if (chance.percent(3)) replica.command({"resync", "public.p*"});
        if (chance.percent(10)) database.exec("select pg_sleep(0.1)");
    }
    ASSERT_TRUE(replica.is_running()) << replica.log() << source.history();
    const bool is_equal =
        eventually([&] { return replica.difference_of_tables(source.tables()).empty(); },
                   std::chrono::seconds(90));
    EXPECT_TRUE(is_equal) << replica.difference_of_tables(source.tables()) << replica.log()
                          << source.history();
    EXPECT_EQ(replica.stop().code, 0) << replica.log();
    database.exec(fmt::format("select pg_drop_replication_slot('{}')", replica.slot()));
}

class RandomSources : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Pg, RandomSources, ::testing::ValuesIn(pg_versions()), version_name);

TEST_P(RandomSources, EndEqual) {
    const char* const only = std::getenv("WALBROOK_RANDOM_SEED");
    const char* const many = std::getenv("WALBROOK_RANDOM_SEEDS");
    const std::uint64_t first = only != nullptr
                                    ? std::strtoull(only, nullptr, 10)
                                    : static_cast<std::uint64_t>(GetParam()) * 1'000'000;
    const std::uint64_t count =
        only != nullptr ? 1 : (many != nullptr ? std::strtoull(many, nullptr, 10) : 3);
    for (std::uint64_t seed = first; seed < first + count; ++seed) {
        SCOPED_TRACE(fmt::format("WALBROOK_RANDOM_SEED={}", seed));
        one_run(PgCluster::shared(GetParam()), seed);
        if (HasFailure()) return;
    }
}

}  // namespace
}  // namespace walbrook::testing
