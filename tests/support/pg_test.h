#pragma once

#include "support/database.h"
#include "support/pg_cluster.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace walbrook::testing {

// A test that runs on each of pg_versions() with a fresh database on the shared server:
//
//     class Copy : public PgTest {};
//     INSTANTIATE_TEST_SUITE_P(Pg, Copy, ::testing::ValuesIn(pg_versions()), version_name);
//     TEST_P(Copy, …) { database().exec(…); }
class PgTest : public ::testing::TestWithParam<int> {
 protected:
    void SetUp() override { database_ = std::make_unique<Database>(cluster()); }
    void TearDown() override { database_.reset(); }

    int version() const { return GetParam(); }
    PgCluster& cluster() const { return PgCluster::shared(GetParam()); }
    Database& database() { return *database_; }

 private:
    std::unique_ptr<Database> database_;
};

inline std::string version_name(const ::testing::TestParamInfo<int>& info) {
    return "Pg" + std::to_string(info.param);
}

}  // namespace walbrook::testing
