// A destination that keeps nothing: what it was given once is not given to it again.

#include "support/pg_test.h"
#include "support/temp_dir.h"
#include "walbrook/destinations.h"
#include "walbrook/pipeline.h"
#include "walbrook/stores.h"

#include <gtest/gtest.h>

namespace walbrook::testing {
namespace {

class Forgetful : public PgTest {
 protected:
    // Values that a run until caught up brings to a blackhole.
    std::uint64_t values_of_a_run() {
        PipelineConfig config;
        config.id = 910'000 + static_cast<std::uint64_t>(version());
        config.publication_name = "shop";
        config.pg_connection = database().connection();
        config.work_dir = folder_.file("work");
        PipelineOptions options;
        options.until_caught_up = true;
        auto blackhole = BlackholeDestination::create();
        const BlackholeDestination& received = *blackhole;
        auto pipeline = Pipeline::create(config, make_sqlite_store(folder_.file("state.db")),
                                         std::move(blackhole), options);
        EXPECT_TRUE(pipeline) << pipeline.error().message();
        if (!pipeline) return 0;
        for (const Status& done : {(*pipeline)->start(), (*pipeline)->wait()}) {
            EXPECT_TRUE(done) << done.error().message();
        }
        return received.values();
    }

 private:
    TempDir folder_{"forgetful"};
};

INSTANTIATE_TEST_SUITE_P(Pg, Forgetful, ::testing::ValuesIn(newest_pg_version()), version_name);

TEST_P(Forgetful, ASecondRunCopiesNothingAgain) {
    database().exec(
        "create table item(id int primary key, note text);"
        "insert into item select g, 'x' from generate_series(1, 1000) g;"
        "create publication shop for table item");
    EXPECT_EQ(values_of_a_run(), 2000U);
    database().exec("insert into item select g, 'y' from generate_series(2001, 2010) g");
    EXPECT_EQ(values_of_a_run(), 20U);
}

}  // namespace
}  // namespace walbrook::testing
