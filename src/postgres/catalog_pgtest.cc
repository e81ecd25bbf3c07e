#include "postgres/catalog.h"
#include "postgres/publication_members.h"
#include "support/pg_test.h"
#include "support/value_of.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace walbrook {
namespace {

using testing::must_exec;
using testing::must_query;
using testing::pg_versions;
using testing::PgTest;
using testing::soon;
using testing::TextRows;
using testing::value_of;
using testing::version_name;
using Attnums = std::vector<std::int16_t>;

class Catalog : public PgTest {
 protected:
    Connection open() {
        return value_of(
            Connection::open(database().connection(), {.application_name = "a"}, soon()));
    }
    std::uint32_t oid(const std::string& table) { return database().oid(table); }
    Publication publication(Connection& session) {
        auto found = value_of(read_publication(session, soon(), "pub"));
        if (!found) throw std::runtime_error("there is no publication pub");
        return *std::move(found);
    }
    std::vector<PublishedTable> tables(Connection& session) {
        return value_of(read_published_tables(session, soon(), publication(session)));
    }
    using Filters = std::map<TableId, std::string>;
    Filters filters(Connection& session, const PublishedTable& table) {
        return value_of(read_row_filters(session, soon(), publication(session), table));
    }
    TableSchema schema(Connection& session, const std::string& table, Attnums attnums = {}) {
        return value_of(read_table_schema(session, soon(), {{oid(table)}, std::move(attnums)}));
    }
};
INSTANTIATE_TEST_SUITE_P(Pg, Catalog, ::testing::ValuesIn(pg_versions()), version_name);

TEST_P(Catalog, APublicationHasAnIdentity) {
    database().exec(
        "create table a(id int); create publication pub for table a"
        " with (publish = 'insert, truncate')");
    Connection session = open();
    EXPECT_EQ(value_of(read_publication(session, soon(), "other")), std::nullopt);
    const Publication first = publication(session);
    EXPECT_TRUE(first.publish_insert);
    EXPECT_FALSE(first.publish_update);
    EXPECT_FALSE(first.publish_delete);
    EXPECT_TRUE(first.publish_truncate);
    EXPECT_FALSE(first.via_root);
    EXPECT_FALSE(first.all_tables);
    EXPECT_EQ(publication(session), first);
    database().exec("alter publication pub set (publish_via_partition_root = true)");
    const Publication changed = publication(session);
    EXPECT_EQ(changed.oid, first.oid);
    EXPECT_NE(changed.xmin, first.xmin);
    EXPECT_TRUE(changed.via_root);
    database().exec("drop publication pub; create publication pub for all tables");
    EXPECT_NE(publication(session).oid, first.oid);
    EXPECT_TRUE(publication(session).all_tables);
}

// Between two polls a table may be removed and added again: rows were lost then, and
// only the oid of its membership tells.
TEST_P(Catalog, RemovedAndAddedAgainIsAnotherMembership) {
    database().exec(
        "create table a(id int); create table b(id int);"
        " create publication pub for table a, b");
    Connection session = open();
    const auto before = tables(session);
    ASSERT_EQ(before.size(), 2U);
    EXPECT_EQ(before[0].name, "a");
    EXPECT_EQ(before[0].id.oid, oid("a"));
    EXPECT_EQ(before[0].root, before[0].id);
    EXPECT_EQ(before[0].attnums, Attnums{1});
    EXPECT_EQ(before[0].physical.size(), 1U);
    EXPECT_EQ(before[0].membership.rfind("rel:", 0), 0U);
    EXPECT_EQ(tables(session), before);
    database().exec(
        "begin; alter publication pub drop table a; alter publication pub add table a;"
        " commit");
    const auto after = tables(session);
    EXPECT_NE(after[0].membership, before[0].membership);
    EXPECT_EQ(after[1], before[1]);
    database().exec("drop publication pub; create publication pub for all tables");
    EXPECT_EQ(tables(session)[0].membership, "all");
    database().exec("truncate b");
    EXPECT_NE(tables(session)[1].relfilenode, before[1].relfilenode);
}

TEST_P(Catalog, FiltersAndColumnListsAreThoseOfTheServer) {
    if (version() < 15) return;  // Neither exists before 15.
    database().exec(
        "create table a(id int primary key, secret text, note text);"
        " create table b(id int);"
        " create publication pub for table a (note, id) where (id > 5), b");
    Connection session = open();
    auto found = tables(session);
    ASSERT_EQ(found.size(), 2U);
    EXPECT_EQ(found[0].attnums, (Attnums{1, 3}));
    EXPECT_EQ(found[0].column_list, (Attnums{1, 3}));
    EXPECT_TRUE(found[0].is_filtered);
    EXPECT_EQ(filters(session, found[0]), (Filters{{found[0].id, "(id > 5)"}}));
    EXPECT_EQ(found[1].column_list, std::nullopt);
    EXPECT_FALSE(found[1].is_filtered);
    EXPECT_EQ(schema(session, "a", found[0].attnums).columns[1].name, "note");
    // Publication by schema; a table that is there both ways shows both.
    database().exec(
        "create schema s; create table s.c(id int); create table s.d(id int);"
        " drop publication pub; create publication pub for tables in schema s,"
        " table s.d");
    found = tables(session);
    ASSERT_EQ(found.size(), 2U);
    EXPECT_EQ(found[0].membership.rfind("ns:", 0), 0U);
    EXPECT_NE(found[1].membership.find(",rel:"), std::string::npos);
}

TEST_P(Catalog, OurOwnTablesAreNeverAmongThem) {
    database().exec(
        "create schema walbrook; create table walbrook.positions (a int primary key);"
        "create table ducklake_metadata (a int); create table ducklake_snapshot (a int);"
        "create table mine (a int primary key); create schema other;"
        "create table other.ducklake_pond (a int); create publication pub for all tables");
    Connection session = open();
    const auto found = tables(session);
    ASSERT_EQ(found.size(), 2U);
    EXPECT_EQ(found[0].name, "mine");
    EXPECT_EQ(found[1].name, "ducklake_pond");
}

// Under publish_via_partition_root = false.
TEST_P(Catalog, LeavesAreMergedWhereOneTableCanHoldThem) {
    database().exec(
        "create table keyed (a int, id int, primary key (id)) partition by range (id);"
        "create table keyed1 (id int not null, a int);"
        "alter table keyed attach partition keyed1 for values from (0) to (10);"
        "create table own (id int, v int) partition by range (v);"
        "create table own1 partition of own (primary key (id)) for values from (0) to (10);"
        "create table bare (id int) partition by range (id);"
        "create table bare1 partition of bare for values from (0) to (10);"
        "create table bare2 partition of bare for values from (10) to (20);"
        "create table lone (id int) partition by range (id);"
        "create publication pub for all tables");
    Connection session = open();
    const auto names = [&] {
        std::string all;
        for (const PublishedTable& table : tables(session)) {
            all += table.name + (table.problem.empty() ? " " : "! ");
        }
        return all;
    };
    EXPECT_EQ(names(), "keyed own1 bare lone ");
    auto found = tables(session);
    EXPECT_EQ(found[0].identity->attnums, std::vector<std::int16_t>{2});
    EXPECT_EQ(found[2].identity->attnums, std::vector<std::int16_t>{});
    const TableSchema keyed =
        *read_table_schema(session, within(std::chrono::seconds(10)),
                           {found[0].id, found[0].attnums, found[0].identity});
    EXPECT_EQ(keyed.replica_identity, ReplicaIdentity::default_key);
    EXPECT_FALSE(keyed.columns[0].in_identity);
    EXPECT_TRUE(keyed.columns[1].in_identity);
    // One without an identity fits every other.
    database().exec("alter table bare2 replica identity full");
    EXPECT_EQ(names(), "keyed own1 bare lone ");
    EXPECT_EQ(tables(session)[2].identity->kind, ReplicaIdentity::full);
    database().exec(
        "create table keyed2 partition of keyed for values from (10) to (20);"
        "alter table keyed2 replica identity full");
    EXPECT_EQ(names(), "keyed! own1 bare lone ");
    database().exec("alter table keyed1 replica identity full");
    EXPECT_EQ(names(), "keyed own1 bare lone ");
    database().exec("alter table bare1 set unlogged");
    EXPECT_EQ(names(), "keyed own1 bare! lone ");
}

TEST_P(Catalog, LeavesAndRoots) {
    database().exec(
        "create table root(id int, at date, primary key (id, at))"
        " partition by range (at);"
        " create table y1 partition of root for values from ('2020-01-01') to"
        " ('2021-01-01') partition by list (id);"
        " create table y1a partition of y1 for values in (1);"
        " create table y2 partition of root for values from ('2021-01-01') to"
        " ('2022-01-01'); create publication pub for table root");
    Connection session = open();
    for (const bool via_root : {false, true}) {
        if (via_root) {
            database().exec("alter publication pub set (publish_via_partition_root = true)");
        }
        const auto found = tables(session);
        ASSERT_EQ(found.size(), 1U);
        EXPECT_EQ(found[0].name, "root");
        EXPECT_EQ(found[0].relkind, 'p');
        EXPECT_EQ(found[0].membership.rfind("rel:", 0), 0U);
        EXPECT_EQ(found[0].membership.find(','), std::string::npos);
        ASSERT_EQ(found[0].physical.size(), 2U);
        EXPECT_EQ(found[0].physical[0].name, "y1a");
        EXPECT_EQ(found[0].physical[1].name, "y2");
        EXPECT_NE(found[0].physical[1].relfilenode, 0U);
        EXPECT_EQ(found[0].identity.has_value(), !via_root);
        EXPECT_EQ(found[0].problem, "");
    }
    const TableSchema root = schema(session, "root");
    EXPECT_EQ(root.columns[1].key_position, 2);
    EXPECT_TRUE(root.columns[1].in_identity);
    const TableSchema leaf = schema(session, "y1a");
    EXPECT_EQ(leaf.columns[0].key_position, 1);
    EXPECT_TRUE(leaf.columns[0].in_identity);
}

TEST_P(Catalog, EveryFieldOfAColumn) {
    database().exec(
        "create schema \"Odd \"\"s\"; create domain \"Odd \"\"s\".amount as numeric(12,2);"
        " create domain deeper as \"Odd \"\"s\".amount not null; create type mood as enum ('a');"
        " create type pair as (a int, b int); create domain texts as text[];"
        " create domain word as varchar(7);"
        " create table \"Odd \"\"s\".\"T\"(gone int, id int8, \"K 2\" text,"
        " n numeric(10,3)[], d deeper, m mood, p pair, r int4range, b box[], v int2vector,"
        " dt texts, aw word[], doubled int8 generated always as (id * 2) stored, c char(3),"
        " primary key (\"K 2\", id)); alter table \"Odd \"\"s\".\"T\" drop column gone;"
        " comment on table \"Odd \"\"s\".\"T\" is 'über';"
        " comment on column \"Odd \"\"s\".\"T\".m is 'how it is'");
    Connection session = open();
    const TableSchema table = schema(session, "\"Odd \"\"s\".\"T\"");
    EXPECT_EQ(table.schema, "Odd \"s");
    EXPECT_EQ(table.name, "T");
    EXPECT_EQ(table.comment, "über");
    EXPECT_EQ(table.replica_identity, ReplicaIdentity::default_key);
    ASSERT_EQ(table.columns.size(), 12U);  // Without the dropped and the generated one.
    const auto column = [&](std::string_view name) {
        const auto found = std::find_if(table.columns.begin(), table.columns.end(),
                                        [&](const ColumnSchema& c) { return c.name == name; });
        return found == table.columns.end() ? ColumnSchema() : *found;
    };
    const ColumnSchema id = column("id");
    EXPECT_EQ(id.attnum, 2);
    EXPECT_EQ(id.type_oid, 20U);
    EXPECT_EQ(id.base_type_oid, 20U);
    EXPECT_EQ(id.element_type_oid, 0U);
    EXPECT_EQ(id.type_name, "bigint");
    EXPECT_FALSE(id.nullable);
    EXPECT_EQ(id.key_position, 2);
    EXPECT_TRUE(id.in_identity);
    EXPECT_EQ(column("K 2").key_position, 1);
    const ColumnSchema n = column("n");
    EXPECT_EQ(n.type_name, "numeric(10,3)[]");
    EXPECT_EQ(n.element_type_oid, 1700U);
    EXPECT_EQ(n.base_typmod, (10 << 16 | 3) + 4);
    EXPECT_EQ(n.element_delimiter, ',');
    EXPECT_EQ(n.key_position, 0);
    EXPECT_FALSE(n.in_identity);
    EXPECT_TRUE(n.nullable);
    const ColumnSchema d = column("d");  // Two domains deep; the inner one has the modifier.
    EXPECT_EQ(d.base_type_oid, 1700U);
    EXPECT_NE(d.type_oid, 1700U);
    EXPECT_EQ(d.typmod, -1);
    EXPECT_EQ(d.base_typmod, (12 << 16 | 2) + 4);
    EXPECT_EQ(d.base_type_class, 'b');
    EXPECT_EQ(d.type_name, "public.deeper");
    EXPECT_EQ(column("m").base_type_class, 'e');
    EXPECT_EQ(column("m").comment, "how it is");
    EXPECT_EQ(column("p").base_type_class, 'c');
    EXPECT_EQ(column("r").base_type_class, 'r');
    EXPECT_EQ(column("b").element_type_oid, 603U);
    EXPECT_EQ(column("b").element_delimiter, ';');
    EXPECT_EQ(column("v").element_type_oid, 0U);  // Prints without braces: not an array.
    EXPECT_EQ(column("dt").base_type_oid, 1009U);
    EXPECT_EQ(column("dt").element_type_oid, 25U);
    EXPECT_EQ(column("aw").element_type_oid, 1043U);  // The element's domain is resolved.
    EXPECT_EQ(column("c").typmod, 7);
    EXPECT_EQ(schema(session, "\"Odd \"\"s\".\"T\"", {3, 13}).columns.size(), 2U);
}

TEST_P(Catalog, ReplicaIdentities) {
    database().exec(
        "create table f(id int primary key, a text); alter table f replica identity full;"
        " create table n(id int primary key); alter table n replica identity nothing;"
        " create table i(id int primary key, a int not null, b int not null, unique (b, a));"
        " alter table i replica identity using index i_b_a_key;"
        " create table lazy(id int primary key deferrable);"
        " create table cov(id int, a int, primary key (id) include (a)); create table none(a int)");
    Connection session = open();
    const TableSchema full = schema(session, "f");
    EXPECT_EQ(full.replica_identity, ReplicaIdentity::full);
    EXPECT_TRUE(full.columns[0].in_identity);
    EXPECT_TRUE(full.columns[1].in_identity);
    EXPECT_EQ(full.key_columns(), std::vector<std::size_t>{0});
    EXPECT_EQ(schema(session, "n").replica_identity, ReplicaIdentity::nothing);
    EXPECT_FALSE(schema(session, "n").columns[0].in_identity);
    const TableSchema index = schema(session, "i");
    EXPECT_EQ(index.replica_identity, ReplicaIdentity::index);
    EXPECT_EQ(index.key_columns(), (std::vector<std::size_t>{1, 2}));
    EXPECT_EQ(index.columns[0].key_position, 1);
    // A deferrable key is no identity: updates would arrive without one.
    EXPECT_TRUE(schema(session, "lazy").key_columns().empty());
    EXPECT_EQ(schema(session, "lazy").columns[0].key_position, 1);
    EXPECT_EQ(schema(session, "cov").key_columns(), std::vector<std::size_t>{0});
    EXPECT_EQ(schema(session, "cov").columns[1].key_position, 0);
    EXPECT_TRUE(schema(session, "none").key_columns().empty());
}

// From 18 a NOT NULL that was never validated does not promise anything about old rows.
TEST_P(Catalog, AnUnvalidatedNotNullIsNullable) {
    if (version() < 18) return;
    database().exec(
        "create table t(a int, b int not null); insert into t values (null, 1);"
        " alter table t add constraint later not null a not valid");
    Connection session = open();
    EXPECT_TRUE(schema(session, "t").columns[0].nullable);
    EXPECT_FALSE(schema(session, "t").columns[1].nullable);
    database().exec("update t set a = 0; alter table t validate constraint later");
    EXPECT_FALSE(schema(session, "t").columns[0].nullable);
}

TEST_P(Catalog, GeneratedColumnsOnlyWherePublished) {
    database().exec(
        "create table t(a int, b int generated always as (a + 1) stored);"
        " create publication pub for table t");
    Connection session = open();
    EXPECT_EQ(tables(session)[0].attnums, Attnums{1});
    if (version() < 18) return;
    database().exec("alter publication pub set (publish_generated_columns = stored)");
    EXPECT_TRUE(publication(session).generated_stored);
    const auto found = tables(session);
    EXPECT_EQ(found[0].attnums, (Attnums{1, 2}));
    EXPECT_EQ(schema(session, "t", found[0].attnums).columns.size(), 2U);
}

TEST_P(Catalog, ManyTablesAtOnceAndMissingOnes) {
    database().exec(
        "do $$ begin for i in 1..200 loop execute format('create table m%s(id int"
        " primary key, a text, b numeric(5,2))', i); end loop; end $$;"
        " create publication pub for all tables");
    Connection session = open();
    const auto found = tables(session);
    ASSERT_EQ(found.size(), 200U);
    std::vector<TableColumns> wanted;
    for (const PublishedTable& table : found) wanted.push_back({table.id, table.attnums});
    wanted.push_back({{4'000'000'000U}, {}});
    const auto schemas = value_of(read_table_schemas(session, soon(), wanted));
    ASSERT_EQ(schemas.size(), 200U);
    for (const auto& [id, table] : schemas) EXPECT_EQ(table.columns.size(), 3U);
    const auto missing = read_table_schema(session, soon(), {{4'000'000'000U}, {}});
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code(), ErrorCode::schema_mismatch);
    EXPECT_EQ(missing.error().table_oid(), 4'000'000'000U);
    EXPECT_TRUE(value_of(read_table_schemas(session, soon(), {})).empty());
}

// A copy must notice every rewrite and rename although its transaction still sees the old
// catalog: the current shape comes from the server's caches.
TEST_P(Catalog, TheCurrentShapeIsSeenInsideAnOldSnapshot) {
    database().exec("create table t(a int, b text, c varchar(5))");
    const TableId id{oid("t")};
    Connection copy = open();
    must_exec(copy, "begin isolation level repeatable read read only");
    const TableShape before = value_of(read_shape(copy, soon(), id));
    EXPECT_EQ(value_of(read_current_shape(copy, soon(), id, "public", "t")), before);
    must_exec(copy, "commit");
    for (const char* change :
         {"alter table t rename a to z", "alter table t drop column b", "truncate t",
          "alter table t alter c type varchar(9)", "alter table t alter c type varchar(4)",
          "alter table t add d int", "vacuum full t"}) {
        SCOPED_TRACE(change);
        must_exec(copy, "begin isolation level repeatable read read only");
        const TableShape old = value_of(read_shape(copy, soon(), id));
        database().exec(change);
        EXPECT_EQ(value_of(read_shape(copy, soon(), id)), old);
        const TableShape now = value_of(read_current_shape(copy, soon(), id, "public", "t"));
        EXPECT_NE(now, old);
        must_exec(copy, "commit");
        EXPECT_EQ(value_of(read_shape(copy, soon(), id)), now);
    }
    database().exec("alter table t rename to u; create table t(a int)");
    EXPECT_EQ(read_current_shape(copy, soon(), id, "public", "t").error().code(),
              ErrorCode::schema_mismatch);
    EXPECT_TRUE(read_current_shape(copy, soon(), id, "public", "u"));
    database().exec("drop table u");
    EXPECT_EQ(read_shape(copy, soon(), id).error().code(), ErrorCode::schema_mismatch);
    EXPECT_EQ(read_current_shape(copy, soon(), id, "public", "u").error().code(),
              ErrorCode::schema_mismatch);
}

TEST_P(Catalog, TheShapeOfARootHasItsLeaves) {
    database().exec(
        "create table root(id int) partition by list (id);"
        " create table l1 partition of root for values in (1)");
    Connection session = open();
    const TableId id{oid("root")};
    const TableShape before = value_of(read_shape(session, soon(), id));
    EXPECT_EQ(before.physical.size(), 1U);
    database().exec("create table l2 partition of root for values in (2)");
    const TableShape after = value_of(read_shape(session, soon(), id));
    EXPECT_EQ(after.physical.size(), 2U);
    EXPECT_EQ(value_of(read_current_shape(session, soon(), id, "public", "root")), after);
    const TableId leaf{oid("l1")};
    EXPECT_EQ(value_of(read_current_shape(session, soon(), leaf, "public", "l1")),
              value_of(read_shape(session, soon(), leaf)));
    database().exec("create table empty_table()");
    EXPECT_TRUE(value_of(read_shape(session, soon(), {oid("empty_table")})).columns.empty());
}

}  // namespace
}  // namespace walbrook
