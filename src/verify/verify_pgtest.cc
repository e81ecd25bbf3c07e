// A position that comes to nothing, without a lake.

#include "support/pg_test.h"
#include "verify/verify.h"

#include <gmock/gmock.h>

namespace walbrook::verify {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;

// Never gets there.
class FailingPipeline final : public Cutter {
 public:
    Status hold_for_cut(milliseconds at_most) override {
        asked.push_back("hold " + std::to_string(at_most.count()));
        return {};
    }
    Result<Lsn> cut(Lsn, milliseconds) override {
        asked.emplace_back("cut");
        return Error(ErrorCode::internal, "no");
    }
    Result<RowRepairs> repair(Lsn, const std::string&, const std::vector<RowRepair>&,
                              milliseconds) override {
        return Error(ErrorCode::internal, "no");
    }
    Status resync(const std::vector<std::string>&) override { return {}; }
    Result<std::map<TableId, verify::TableCopies>> copies() override {
        return std::map<TableId, verify::TableCopies>();
    }
    Status keep_readable(Lsn, milliseconds) override { return {}; }

    std::vector<std::string> asked;
};

class FailingVerify : public testing::PgTest {};
INSTANTIATE_TEST_SUITE_P(Pg, FailingVerify, ::testing::ValuesIn(testing::newest_pg_version()),
                         testing::version_name);

TEST_P(FailingVerify, LetsReadingGoOnAtOnce) {
    PipelineConfig config;
    config.id = 1;
    config.pg_connection = database().connection();
    config.publication_name = "shop";
    FailingPipeline pipeline;
    const auto report = verify(config, {}, pipeline, {}, Logger(), {});
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code(), ErrorCode::internal) << report.error().message();
    EXPECT_THAT(pipeline.asked, ElementsAre("hold 10000", "cut", "hold 0"));
}

}  // namespace
}  // namespace walbrook::verify
