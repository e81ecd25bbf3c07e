// Values that the lake cannot hold exactly stop their own table, in the copy and in the
// stream: it says which column and what to do, never the value, and the others go on.

#include "integration/replica.h"
#include "support/eventually.h"
#include "support/pg_test.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>

namespace walbrook::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

struct UnfitCase {
    const char* name;  // Of its tables.
    const char* type;
    const char* good;   // The last one that fits, where there is such a thing.
    const char* unfit;  // As SQL has it, without quotes.
    const char* trace;  // A part of it that no message may have.
};

const std::vector<UnfitCase>& unfit_cases() {
    static const std::vector<UnfitCase> all{
        // 64 bits of microseconds from 1970 end here, and the last one stands for infinity.
        {"ts", "timestamp", "294247-01-10 04:00:54.775806", "294247-01-10 04:00:54.775807",
         "294247-"},
        {"tsz", "timestamptz", "294247-01-10 04:00:54.775806+00", "294276-12-31 23:59:59.999999+00",
         "294276-"},
        {"tsz_year", "timestamptz", "-infinity", "294250-01-01 00:00+00", "294250-"},
        {"num", "numeric(12,2)", "-9999999999.99", "NaN", "NaN"},
        {"num38", "numeric(38,10)", "0.0000000001", "NaN", "NaN"},
        {"ints", "int4[]", "{471104711,NULL}", "{{471104711,2},{3,4}}", "471104711"},
        {"nulls", "int4[]", "{NULL}", "{{NULL,471104711},{NULL,NULL}}", "471104711"},
        {"bounds", "int4[]", "{}", "[0:1]={471104711,2}", "471104711"},
        {"texts", "text[]", "{secret}", "{{secret},{secret}}", "secret"},
        {"nums", "numeric(6,2)[]", "{1.50,NULL}", "{1.50,NaN}", "NaN"},
        {"tszs", "timestamptz[]", "{infinity,NULL}", "{NULL,\"294250-01-01 00:00+00\"}", "294250-"},
    };
    return all;
}

// An array of an enum is read as text even where the rest of the copy is binary.
constexpr UnfitCase kEnums{"moods", "mood[]", "{sad}", "{{sad,NULL},{sad,NULL}}", "{sad"};

class Unfit : public PgTest {
 protected:
    // Each case has a table that holds its value when it is copied, and one that gets it
    // when it is followed; `good` has nothing of the kind.
    void create(std::vector<UnfitCase> with) {
        cases_ = std::move(with);
        std::string sql = "create table good(id int primary key, note text);";
        std::string list = "good";
        for (const UnfitCase& each : cases_) {
            for (const char* when : {"copied", "streamed"}) {
                const std::string table = fmt::format("{}_{}", when, each.name);
                sql += fmt::format(
                    "create table {0}(id int primary key, odd_column {1});"
                    "insert into {0} values (1, '{2}');",
                    table, each.type, each.good);
                list += ", " + table;
            }
            sql += fmt::format("insert into copied_{} values (2, '{}');", each.name, each.unfit);
        }
        database().exec(sql + "insert into good values (1, 'copied');" +
                        "create publication shop for table " + list);
    }
    // Before it a whole transaction that fits, after it another; and rows of `good` in all of them.
    void stream_unfit_values() {
        for (const UnfitCase& each : cases_) {
            database().exec(fmt::format(
                "begin; insert into streamed_{0} values (2, '{1}'); insert into good values "
                "(nextval('ids'), 'before'); commit;"
                "begin; insert into good values (nextval('ids'), 'with');"
                "insert into streamed_{0} values (3, '{1}');"
                "update streamed_{0} set odd_column = '{2}' where id = 1;"
                "insert into good values (nextval('ids'), 'with'); commit;"
                "begin; insert into streamed_{0} values (4, '{1}');"
                "insert into good values (nextval('ids'), 'after'); commit",
                each.name, each.good, each.unfit));
        }
    }
    static const TableStatus& table_in(const PipelineStatus& status, const std::string& name) {
        const auto found = std::find_if(status.tables.begin(), status.tables.end(),
                                        [&](const TableStatus& t) { return t.name == name; });
        if (found == status.tables.end()) throw std::runtime_error("no table " + name);
        return *found;
    }
    // Exactly these tables are errored, and say so as they should.
    void expect_errored(Replica& replica, const std::vector<std::string>& kinds) {
        const auto status = replica.status();
        ASSERT_TRUE(status.has_value());
        EXPECT_EQ(status->problems.size(), kinds.size() * cases_.size());
        EXPECT_EQ(table_in(*status, "good").phase, TablePhase::ready);
        for (const UnfitCase& each : cases_) {
            for (const std::string& kind : kinds) {
                const std::string name = kind + "_" + each.name;
                SCOPED_TRACE(name);
                const TableStatus& table = table_in(*status, name);
                EXPECT_EQ(table.phase, TablePhase::errored);
                EXPECT_THAT(table.reason,
                            AllOf(HasSubstr("public." + name), HasSubstr("odd_column"),
                                  HasSubstr("change the value or the column's type"),
                                  HasSubstr("unsupported_value"), Not(HasSubstr(each.trace))));
                EXPECT_THAT(table.remedy, HasSubstr("walbrook resync public." + name));
                EXPECT_THAT(replica.log(),
                            AllOf(HasSubstr("public." + name), Not(HasSubstr(each.trace))));
            }
        }
    }
    // Up to the last whole transaction that fits, in the lake that anybody can read.
    void expect_earlier_rows(Replica& replica) {
        LakeReader lake = replica.reader();
        for (const UnfitCase& each : cases_) {
            SCOPED_TRACE(each.name);
            EXPECT_FALSE(lake.has_table("public", std::string("copied_") + each.name));
            const std::string streamed = std::string("streamed_") + each.name;
            EXPECT_EQ(lake.rows("public", streamed), rows_of(each));
        }
    }
    // What Postgres prints for the two rows with the good value.
    std::vector<std::string> rows_of(const UnfitCase& each) {
        return table_rows(database(), {.table = fmt::format("expected_{}", each.name)});
    }
    void create_expected() {
        for (const UnfitCase& each : cases_) {
            database().exec(
                fmt::format("create table expected_{0} as select id, '{1}'::{2} from "
                            "generate_series(1, 2) id",
                            each.name, each.good, each.type));
        }
        database().exec("create sequence ids start 2");
    }
    void refuse_in_copy_and_stream() {
        create_expected();
        Replica replica(database());
        replica.configure("table_error_retry_max_attempts: 0");
        replica.start();
        ASSERT_TRUE(replica.catches_up());
        expect_errored(replica, {"copied"});
        EXPECT_EQ(replica.difference_of("good"), "");
        stream_unfit_values();
        ASSERT_TRUE(replica.catches_up());
        expect_errored(replica, {"copied", "streamed"});
        EXPECT_EQ(replica.difference_of("good"), "");
        expect_earlier_rows(replica);
        EXPECT_EQ(replica.stop().code, 0);

        // A restart tries again, once for each, and goes on with the others.
        replica.start();
        database().exec("insert into good values (nextval('ids'), 'restarted')");
        ASSERT_TRUE(replica.catches_up());
        EXPECT_TRUE(replica.is_running());
        expect_errored(replica, {"copied", "streamed"});
        EXPECT_EQ(replica.difference_of("good"), "");
        expect_earlier_rows(replica);
        EXPECT_EQ(replica.stop().code, 0);
        EXPECT_EQ(replica.run_until_caught_up().code, 65);

        // The remedy is one.
        std::vector<std::string> all{"good"};
        for (const UnfitCase& each : cases_) {
            for (const char* when : {"copied_", "streamed_"}) {
                all.push_back(std::string(when) + each.name);
                database().exec(
                    fmt::format("update {} set odd_column = '{}'", all.back(), each.good));
            }
        }
        EXPECT_EQ(replica.run_until_caught_up().code, 0);
        EXPECT_EQ(replica.difference_of_tables(all), "");
        EXPECT_EQ(replica.leftovers_at_source(), "");
    }

 private:
    std::vector<UnfitCase> cases_;
};
INSTANTIATE_TEST_SUITE_P(Pg, Unfit, ::testing::ValuesIn(pg_versions()), version_name);

TEST_P(Unfit, StopsItsTableAlone) {
    create(unfit_cases());
    refuse_in_copy_and_stream();
}

class UnfitInText : public Unfit {};
INSTANTIATE_TEST_SUITE_P(Pg, UnfitInText, ::testing::ValuesIn(newest_pg_version()), version_name);

// One column without an exact binary form makes the whole stream text.
TEST_P(UnfitInText, StopsItsTableAlone) {
    database().exec("create type mood as enum ('sad')");
    std::vector<UnfitCase> with = unfit_cases();
    with.push_back(kEnums);
    create(with);
    refuse_in_copy_and_stream();
}

// While its table is copied it is held; and a table comes back by itself once the value is gone.
TEST_P(Unfit, HeldForACopyIsTriedAgainUntilItIsGone) {
    database().exec(
        "create table good(id int primary key);"
        "create table odd(id int primary key, odd_column numeric(12,2));"
        "create publication shop for table good");
    Replica replica(database());
    replica.configure("table_error_retry_delay_ms: 100");
    replica.configure("table_error_retry_max_attempts: 1000000");
    ASSERT_EQ(replica.run_until_caught_up().code, 0);
    // A writer that does not end keeps the copy waiting.
    Connection writer = database().session();
    must_exec(writer, "begin; insert into odd values (1, 1)");
    database().exec("alter publication shop add table odd");
    replica.start();
    const auto eventually_odd = [&](auto is_so) {
        return eventually([&] {
            const auto status = replica.status();
            if (!status) return false;
            for (const TableStatus& table : status->tables) {
                if (table.name == "odd") return is_so(table);
            }
            return false;
        });
    };
    ASSERT_TRUE(eventually_odd(
        [](const TableStatus& odd) { return odd.reason.find("waits for") != std::string::npos; }));
    database().exec("insert into odd values (2, 'NaN'); insert into good values (1)");
    // It ends when the writer does.
    must_exec(writer, "commit");
    ASSERT_TRUE(eventually_odd([](const TableStatus& odd) {
        return odd.phase == TablePhase::errored &&
               odd.reason.find("odd_column") != std::string::npos;
    }));
    EXPECT_EQ(replica.difference_of("good"), "");
    EXPECT_FALSE(replica.reader().has_table("public", "odd"));
    database().exec("update odd set odd_column = 2.50 where id = 2; insert into good values (2)");
    ASSERT_TRUE(
        eventually_odd([](const TableStatus& odd) { return odd.phase == TablePhase::ready; }));
    ASSERT_TRUE(replica.catches_up());
    EXPECT_EQ(replica.difference_of_tables({"good", "odd"}), "");
    EXPECT_EQ(replica.stop().code, 0);
    EXPECT_EQ(replica.log().find("NaN"), std::string::npos);
}

class UnfitLeftOut : public Unfit {};  // Column lists came with Postgres 15.
INSTANTIATE_TEST_SUITE_P(Pg, UnfitLeftOut, ::testing::ValuesIn(newest_pg_version()), version_name);

TEST_P(UnfitLeftOut, AColumnListIsTheOtherRemedy) {
    database().exec(
        "create table odd(id int primary key, odd_column numeric(12,2));"
        "insert into odd values (1, 'NaN'); create publication shop for table odd");
    Replica replica(database());
    replica.configure("table_error_retry_max_attempts: 0");
    EXPECT_EQ(replica.run_until_caught_up().code, 65);
    database().exec("alter publication shop set table odd(id); insert into odd values (2, 'NaN')");
    EXPECT_EQ(replica.run_until_caught_up().code, 0);
    EXPECT_EQ(replica.reader().rows("public", "odd"),
              table_rows(database(), {.table = "odd", .columns = {"id"}}));
}

}  // namespace
}  // namespace walbrook::testing
