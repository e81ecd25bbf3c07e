// The nth call to the destination, or to the store, fails: for every n until a run meets
// none. Each time the end state equals the source.

#include <fmt/format.h>

#include "destinations/duckdb_engine/engine.h"
#include "faults/scenario.h"
#include "integration/lake_reader.h"
#include "walbrook/testing/faulty_store.h"
#include "support/pg_test.h"
#include "walbrook/destinations.h"
#include "walbrook/stores.h"

namespace walbrook::testing {
namespace {

class FailingCalls : public PgTest {
 protected:
    // Each run asks for its lake by its folder: what a run left is there at its next start.
    Scenario::Parts in_memory() {
        return {.destination =
                    [this](const std::string& folder) {
                        auto& lake = lakes_[folder];
                        if (!lake) lake = MemoryDestination::make_lake();
                        return MemoryDestination::create(lake);
                    },
                .store = [](const std::string& folder) {
                    return make_sqlite_store(folder + "/state.db");
                },
                .rows =
                    [this](const std::string& folder, const std::string& table) {
                        std::vector<std::string> lines;
                        const auto lake = MemoryDestination::create(lakes_.at(folder));
                        for (const auto& row : lake->rows("public", table)) {
                            lines.push_back(fmt::format("{}", fmt::join(row, "\t")));
                        }
                        std::sort(lines.begin(), lines.end());
                        return lines;
                    }};
    }
    Scenario::Parts in_a_lake() {
        return {.destination =
                    [](const std::string& folder) {
                        return make_ducklake_destination(
                            {folder + "/lake.sqlite", folder + "/data"});
                    },
                .store = [](const std::string& folder) {
                    return make_sqlite_store(folder + "/state.db");
                },
                .rows = [](const std::string& folder, const std::string& table) {
                    return LakeReader(folder + "/lake.sqlite").rows("public", table);
                }};
    }
    // Runs with the 1st, 2nd, … call failing until none is left to fail.
    void fail_each_call(const Scenario::Parts& parts, Fault::Kind kind, ErrorCode code) {
        Scenario scenario(database());
        Fault fault;
        fault.kind = kind;
        fault.code = code;
        for (;; ++fault.nth) {
            SCOPED_TRACE(fmt::format("call {}", fault.nth));
            const Scenario::Outcome outcome = scenario.run(parts, fault);
            EXPECT_EQ(outcome.problem, "")
                << fmt::format("starts: {}, errors: {}", outcome.starts,
                               fmt::join(outcome.errors, " | "));
            if (!outcome.has_struck || HasFailure()) break;
        }
        EXPECT_GT(fault.nth, 10U) << "the scenario makes too few calls";
    }

 private:
    std::map<std::string, std::shared_ptr<MemoryLake>> lakes_;
};
INSTANTIATE_TEST_SUITE_P(Pg, FailingCalls, ::testing::ValuesIn(newest_pg_version()), version_name);

TEST_P(FailingCalls, OfAMemoryDestinationDoingNothing) {
    fail_each_call(in_memory(), Fault::Kind::before, ErrorCode::unavailable);
}

TEST_P(FailingCalls, OfAMemoryDestinationWhoseAnswerIsUnknown) {
    fail_each_call(in_memory(), Fault::Kind::before, ErrorCode::unknown_outcome);
}

TEST_P(FailingCalls, OfAMemoryDestinationWhoseAnswerIsLost) {
    fail_each_call(in_memory(), Fault::Kind::after, ErrorCode::unknown_outcome);
}

TEST_P(FailingCalls, OfALakeDoingNothing) {
    fail_each_call(in_a_lake(), Fault::Kind::before, ErrorCode::unavailable);
}

TEST_P(FailingCalls, OfALakeWhoseAnswerIsLost) {
    fail_each_call(in_a_lake(), Fault::Kind::after, ErrorCode::unknown_outcome);
}

TEST_P(FailingCalls, OfAStore) {
    for (const auto kind : {FaultyStore::Kind::before, FaultyStore::Kind::after}) {
        Database source(cluster());
        Scenario scenario(source);
        for (std::uint64_t nth = 1;; ++nth) {
            SCOPED_TRACE(fmt::format("call {}", nth));
            auto has_struck = std::make_shared<std::atomic<bool>>(false);
            Scenario::Parts parts = in_memory();
            parts.store = [&](const std::string& folder) -> std::unique_ptr<Store> {
                return std::make_unique<FaultyStore>(make_sqlite_store(folder + "/state.db"),
                                                     *has_struck ? 0 : nth, kind, has_struck);
            };
            const Scenario::Outcome outcome = scenario.run(parts, std::nullopt);
            EXPECT_EQ(outcome.problem, "")
                << fmt::format("starts: {}, errors: {}", outcome.starts,
                               fmt::join(outcome.errors, " | "));
            if (!*has_struck || HasFailure()) break;
        }
    }
}

}  // namespace
}  // namespace walbrook::testing
