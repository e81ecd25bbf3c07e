#pragma once

#include "integration/replica.h"
#include "support/pg_test.h"

#include <nlohmann/json.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace walbrook::testing {

// What `walbrook verify --json` says, and how it ends.
struct VerifyAnswer {
    int code = -1;
    nlohmann::json report;
    std::string err;
    std::int64_t rss_kib_max = 0;
    std::chrono::microseconds cpu{0};

    explicit VerifyAnswer(const Finished& ran);
    // An empty one when it is not in the report.
    const nlohmann::json& table(const std::string& name) const;
    std::string outcome(const std::string& name) const {
        return table(name).value("outcome", "nothing");
    }
    std::string reason(const std::string& name) const { return table(name).value("reason", ""); }
    // "changed id=5 1:1 note", "missing id=7 1:0": all of a table.
    std::set<std::string> differences(const std::string& name) const;
};

// A replica that is compared with its source.
class VerifyTest : public PgTest {
 protected:
    void SetUp() override {
        PgTest::SetUp();
        replica_ = std::make_unique<Replica>(database());
        replica_->configure("batch: {max_fill_ms: 20}");
    }
    void TearDown() override {
        replica_.reset();
        PgTest::TearDown();
    }
    Replica& replica() { return *replica_; }
    VerifyAnswer verify(std::vector<std::string> args = {});
    // `walbrook verify` beside the test.
    std::unique_ptr<ChildProcess> start_verify(std::vector<std::string> args,
                                               const std::string& output_file = "");
    void change_lake(const std::string& sql) { replica().change_lake(sql); }

 private:
    std::unique_ptr<Replica> replica_;
};

}  // namespace walbrook::testing
