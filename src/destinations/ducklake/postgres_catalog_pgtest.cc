// The lake's catalog in a Postgres database.

#include "destinations/ducklake/ducklake_fixture.h"
#include "support/database.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace walbrook::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class PostgresCatalog : public LakeTest {
 protected:
    DuckLakeConfig config() const override {
        const PgConnectionConfig at = database_.connection();
        return {fmt::format("postgres:host={} port={} user={} dbname={}", at.host, at.port,
                            at.username, at.name),
                folder_ / "data"};
    }
    FlushItem row(int id) const { return inserts(schema_, {{std::to_string(id), "x", "y"}}); }

    Database database_{PgCluster::shared(newest_pg_version().front())};
    const TableSchemaPtr schema_ = TableMaker().make();
};

TEST_F(PostgresCatalog, KeepsWhatIsWrittenAndKnowsWhereItStands) {
    open();
    given(schema_, {{"1", "a", "x"}, {"2", "b", "x"}});
    ChangeBatch changes(schema_);
    add_update(changes, {"1", "z", "\x01"});
    add_delete(changes, {"2", std::nullopt, std::nullopt});
    expect_ok(apply(200, list_of(row(3), std::move(changes))));
    EXPECT_EQ(table("public.t"), "1|z|x; 3|x|y");
    const Recovered recovered = reopen();
    EXPECT_EQ(recovered.position, Lsn{200});
    ASSERT_EQ(recovered.tables.size(), 1U);
    EXPECT_EQ(recovered.tables[0].phase, TablePhase::ready);
    expect_ok(apply(300, list_of(Truncate{{schema_}, false, false, {}, 1, nullptr})));
    EXPECT_EQ(table("public.t"), "");
}

// A process that was cut off, and whose successor has begun, must not commit any more.
TEST_F(PostgresCatalog, OnlyTheLastWhoOpenedItWrites) {
    open();
    given(schema_, {{"1", "a", "b"}});
    const auto first = std::move(lake_);
    const Recovered recovered = open();
    EXPECT_EQ(recovered.position, Lsn{100});
    ListFlush late(200, list_of(row(2)));
    const auto refused = first->apply(late, Ack::durable, {});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::fenced);
    EXPECT_THAT(refused.error().message(), HasSubstr("another process writes to this lake"));
    expect_ok(apply(200, list_of(row(3))));
    EXPECT_EQ(table("public.t"), "1|a|b; 3|x|y");
    // And not when it tries again.
    late.rewind();
    EXPECT_FALSE(first->apply(late, Ack::durable, {}));
    EXPECT_EQ(table("public.t"), "1|a|b; 3|x|y");
}

TEST_F(PostgresCatalog, ALakeOfAnotherPipelineStaysWithItsWriter) {
    open();
    given(schema_, {{"1", "a", "b"}});
    const auto other = make_ducklake_destination(config());
    PipelineIdentity stranger = who();
    stranger.pipeline_id = 8;
    const auto opened = other->open(stranger, {});
    ASSERT_FALSE(opened);
    EXPECT_THAT(opened.error().message(), HasSubstr("belongs to another source"));
    expect_ok(apply(200, list_of(row(2))));
}

TEST_F(PostgresCatalog, GoesOnAfterItsSessionsWereEnded) {
    open();
    given(schema_, {{"1", "a", "b"}});
    database_.exec(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = "
        "current_database() and pid <> pg_backend_pid()");
    // The commit that met the end of its session may fail; nothing of it is there then.
    const Status met = apply(200, list_of(row(2)));
    if (!met) expect_ok(apply(200, list_of(row(2))));
    EXPECT_EQ(table("public.t"), "1|a|b; 2|x|y");
}

TEST_F(PostgresCatalog, UpkeepMergesAndForgetsStatistics) {
    open();
    given(schema_, {{"0", "x", "y"}});
    for (int i = 1; i <= 80; ++i) {
        expect_ok(apply(100 + static_cast<std::uint64_t>(i), list_of(row(i))));
        expect_ok(lake_->maintain({}));
    }
    EXPECT_EQ(rows("SELECT count(*), sum(id) FROM public.t"), "81|3240");
    EXPECT_EQ(database_.value("select count(*) < 40 from ducklake_data_file where end_snapshot is "
                              "null"),
              "t");
    EXPECT_EQ(database_.value("select count(*) from ducklake_file_column_stats s join "
                              "ducklake_data_file f using (data_file_id) where f.end_snapshot is "
                              "not null"),
              "0");
}

TEST_F(PostgresCatalog, SaysNoPasswordWhenItCannotConnect) {
    const auto lake = make_ducklake_destination(
        {"postgres:host=127.0.0.1 port=1 user=u password=hush dbname=d", folder_ / "data"});
    const auto opened = lake->open(who(), {});
    ASSERT_FALSE(opened);
    EXPECT_THAT(opened.error().message(), HasSubstr("attach the lake's catalog"));
    EXPECT_THAT(opened.error().message(), Not(HasSubstr("hush")));
}

}  // namespace
}  // namespace walbrook::testing
