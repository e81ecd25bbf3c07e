#include "postgres/publication_members.h"
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

// Whatever a publication may name, and what is none of its business.
constexpr const char* kZoo =
    "create schema s; create schema t;"
    "create foreign data wrapper none; create server nowhere foreign data wrapper none;"
    "create table plain (id int primary key, gone int, note text,"
    "  twice int generated always as (id * 2) stored); alter table plain drop column gone;"
    "create unlogged table unlogged (id int); create foreign table far (id int) server nowhere;"
    "create view seen as select 1 as id; create materialized view kept as select 1 as id;"
    "create table mother (id int); create table child () inherits (mother);"
    "create table root (id int, k int, primary key (id, k)) partition by range (id);"
    "create table branch partition of root for values from (0) to (10) partition by list (k);"
    "create table leaf1 partition of branch for values in (1);"
    "create table s.leaf2 partition of branch default;"
    "create table leaf3 partition of root for values from (10) to (20);"
    "create table bare partition of root for values from (20) to (30) partition by list (k);"
    "create table mixed (id int) partition by range (id);"
    "create table mixed1 partition of mixed for values from (0) to (10);"
    "create unlogged table mixed2 partition of mixed for values from (10) to (20);"
    "create foreign table mixed3 partition of mixed for values from (20) to (30) server nowhere;"
    "create table leaving (id int) partition by range (id);"
    "create table leaving1 partition of leaving for values from (0) to (10);"
    "create table leaving2 partition of leaving for values from (10) to (20);"
    "create table s.plain (id int); create unlogged table s.unlogged (id int);"
    "create table s.root (id int) partition by range (id);"
    "create table s.leaf partition of s.root for values from (0) to (10);"
    "create table t.leaf partition of s.root for values from (10) to (20);"
    "create table t.plain (id int, n int)";

struct Zoo {
    const char* members;
    int version_min = 14;
    bool only_via_root = false;
};
constexpr Zoo kPublications[] = {
    {""},
    {"for all tables"},
    {"for table plain, root"},
    {"for table root, leaf1"},
    {"for table branch"},
    {"for table leaf1, s.leaf2, bare"},
    {"for table root, branch, leaf3, s.root, t.leaf"},
    {"for table mother, mixed"},
    {"for table only mother, leaving"},
    {"for table leaving, leaving2"},
    {"for tables in schema s", 15},
    {"for tables in schema t, table s.root, plain", 15},
    {"for tables in schema public", 15},
    {"for tables in schema s, public, table t.plain, leaf1", 15},
    {"for table plain (note, id) where (id > 5), t.plain where (n > 0)", 15},
    {"for table root, leaf1 where (id > 5), leaf3 (k, id)", 15},
    {"for tables in schema s, table t.plain where (n > 0), s.plain where (id > 1)", 15},
    {"for table root (k, id) where (id > 5), leaf3 where (k > 5)", 15, true},
};

class Members : public PgTest {
 protected:
    void SetUp() override {
        PgTest::SetUp();
        database().exec(kZoo);
        if (version() < 18) {
            database().exec(
                "create unlogged table quick (id int) partition by range (id);"
                "create table quick1 partition of quick for values from (0) to (10)");
        }
        leave_half_way();
        session_.emplace(
            value_of(Connection::open(database().connection(), {.application_name = "a"}, soon())));
    }
    void TearDown() override {
        session_.reset();
        PgTest::TearDown();
    }
    // Its detachment is pending as long as somebody reads it.
    void leave_half_way() {
        Connection reader = database().session();
        must_exec(reader, "begin; select from leaving");
        Connection other = database().session();
        must_exec(other, "set statement_timeout = 300");
        EXPECT_FALSE(
            other.exec(soon(), "alter table leaving detach partition leaving2 concurrently"));
        must_exec(reader, "commit");
        EXPECT_EQ(database().value("select count(*) from pg_inherits where inhdetachpending"), "1");
    }
    struct Listed {
        std::vector<std::int16_t> attnums;
        std::string filter;
    };
    // As the server lists them.
    std::map<TableId, Listed> servers_list() {
        const Rows rows = value_of(session_->query(
            soon(), version() < 15 ? "select relid, null, '' from pg_get_publication_tables('zoo')"
                                   : "select relid, attrs::int2[], coalesce(pg_get_expr(qual,"
                                     " relid), '') from pg_get_publication_tables('zoo')"));
        std::map<TableId, Listed> listed;
        for (std::size_t i = 0; i < rows.size(); ++i) {
            Fields fields(rows, i);
            Listed& entry = listed[{fields.u32()}];
            entry.attnums = attnums_from(fields.text_or_empty());
            std::sort(entry.attnums.begin(), entry.attnums.end());
            entry.filter = fields.text_or_empty();
        }
        return listed;
    }
    std::set<TableId> members(const Publication& publication) {
        const Rows rows =
            value_of(session_->query(soon(), publication_members_sql(publication, version())));
        std::set<TableId> found;
        for (std::size_t i = 0; i < rows.size(); ++i) {
            EXPECT_TRUE(found.insert({Fields(rows, i).u32()}).second) << "twice";
        }
        return found;
    }
    void compare(const Publication& publication) {
        const auto servers = servers_list();
        std::set<TableId> named;
        for (const auto& [id, entry] : servers) named.insert(id);
        EXPECT_EQ(names(members(publication)), names(named));
        const auto filter_of = [&](TableId id) {
            const auto found = servers.find(id);
            return found == servers.end() ? "" : found->second.filter;
        };
        std::set<TableId> physicals;
        for (const PublishedTable& table :
             value_of(read_published_tables(*session_, soon(), publication))) {
            SCOPED_TRACE(table.schema + "." + table.name);
            for (const PhysicalTable& physical : table.physical) {
                EXPECT_TRUE(physicals.insert(physical.id).second) << "two have " << physical.name;
            }
            auto filters = value_of(read_row_filters(*session_, soon(), publication, table));
            const bool is_listed = servers.contains(table.id);
            // Before 16 it lists columns only where the publication does.
            if (is_listed && (version() >= 16 || table.column_list)) {
                EXPECT_EQ(table.attnums, servers.at(table.id).attnums);
            }
            for (const PhysicalTable& physical : table.physical) {
                EXPECT_EQ(filters[physical.id], filter_of(is_listed ? table.id : physical.id));
            }
        }
    }
    std::set<std::string> names(const std::set<TableId>& tables) {
        std::set<std::string> found;
        for (const TableId id : tables) {
            found.insert(database().value(fmt::format("select {}::regclass", id.oid)));
        }
        return found;
    }
    std::optional<Connection> session_;
};
INSTANTIATE_TEST_SUITE_P(Pg, Members, ::testing::ValuesIn(pg_versions()), version_name);

TEST_P(Members, AreThoseOfTheServersOwnList) {
    for (const Zoo& zoo : kPublications) {
        for (const bool via_root : {false, true}) {
            if (version() < zoo.version_min || (zoo.only_via_root && !via_root)) continue;
            SCOPED_TRACE(fmt::format("{} via root {}", zoo.members, via_root));
            database().exec(
                fmt::format("create publication zoo {} with (publish_via_partition_root = {})",
                            zoo.members, via_root));
            compare(value_of(read_publication(*session_, soon(), "zoo")).value());
            database().exec("drop publication zoo");
        }
    }
}

}  // namespace
}  // namespace walbrook
