// The nth call to the destination, or to the store, fails: for every n until a run meets
// none. Each time the end state equals the source.

#include "faults/scenario.h"
#include "integration/lake_reader.h"
#include "support/pg_test.h"
#include "support/run_form.h"
#include "walbrook/destinations.h"
#include "walbrook/stores.h"
#include "walbrook/testing/faulty_store.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

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
                .store = store_in,
                .has_struck = {},
                .is_lake = false,
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
    static Scenario::Parts in_a_lake() {
        return {.destination =
                    [](const std::string& folder) {
                        return make_ducklake_destination(
                            {folder + "/lake/catalog.sqlite", folder + "/lake/data"});
                    },
                .store = store_in,
                .has_struck = {},
                .is_lake = true,
                .rows =
                    [](const std::string& folder, const std::string& table) {
                        return LakeReader(folder + "/lake/catalog.sqlite").rows("public", table);
                    }};
    }
    // Runs with the 1st, 2nd, … call failing until none is left to fail.
    void fail_each_call(const std::string& what, const Scenario::Parts& parts, Fault::Kind kind,
                        ErrorCode code) {
        Scenario scenario(database());
        FaultTrial trial(what);
        Fault fault;
        fault.kind = kind;
        fault.code = code;
        for (;; ++fault.nth) {
            SCOPED_TRACE(fmt::format("call {}", fault.nth));
            const Scenario::Outcome outcome = scenario.run(parts, fault, trial);
            if (!outcome.has_struck || HasFailure()) break;
        }
        EXPECT_GT(fault.nth, 10U) << "the scenario makes too few calls";
    }
    void fail_each_store_call(const std::string& what, FaultyStore::Kind kind) {
        Scenario scenario(database());
        FaultTrial trial(what);
        std::uint64_t nth = 1;
        for (;; ++nth) {
            SCOPED_TRACE(fmt::format("call {}", nth));
            auto has_struck = std::make_shared<std::atomic<bool>>(false);
            // What the store is asked does not depend on the destination.
            Scenario::Parts parts = is_long_form() || nth % 3 == 1 ? in_a_lake() : in_memory();
            parts.has_struck = [has_struck] { return has_struck->load(); };
            parts.store = [=](const std::string& work_dir) -> std::unique_ptr<Store> {
                return std::make_unique<FaultyStore>(store_in(work_dir), *has_struck ? 0 : nth,
                                                     kind, has_struck);
            };
            scenario.run(parts, std::nullopt, trial);
            if (!*has_struck || HasFailure()) break;
        }
        EXPECT_GT(nth, 10U) << "the scenario makes too few calls";
    }

 private:
    static std::unique_ptr<Store> store_in(const std::string& work_dir) {
        return make_sqlite_store(work_dir + "/state.db");
    }

    std::map<std::string, std::shared_ptr<MemoryLake>> lakes_;
};
INSTANTIATE_TEST_SUITE_P(Pg, FailingCalls, ::testing::ValuesIn(newest_pg_version()), version_name);

TEST_P(FailingCalls, OfAMemoryDestinationDoingNothing) {
    fail_each_call("nth call to a destination in memory fails", in_memory(), Fault::Kind::before,
                   ErrorCode::unavailable);
}

TEST_P(FailingCalls, OfAMemoryDestinationWhoseAnswerIsUnknown) {
    fail_each_call("nth call to a destination in memory fails, outcome unknown", in_memory(),
                   Fault::Kind::before, ErrorCode::unknown_outcome);
}

TEST_P(FailingCalls, OfAMemoryDestinationWhoseAnswerIsLost) {
    fail_each_call("nth call to a destination in memory is done, its answer lost", in_memory(),
                   Fault::Kind::after, ErrorCode::unknown_outcome);
}

TEST_P(FailingCalls, OfALakeDoingNothing) {
    fail_each_call("nth call to the lake fails", in_a_lake(), Fault::Kind::before,
                   ErrorCode::unavailable);
}

TEST_P(FailingCalls, OfALakeWhoseAnswerIsLost) {
    fail_each_call("nth call to the lake is done, its answer lost", in_a_lake(), Fault::Kind::after,
                   ErrorCode::unknown_outcome);
}

TEST_P(FailingCalls, OfAStoreDoingNothing) {
    fail_each_store_call("nth call to the store fails", FaultyStore::Kind::before);
}

TEST_P(FailingCalls, OfAStoreWhoseAnswerIsLost) {
    fail_each_store_call("nth call to the store is done, its answer lost",
                         FaultyStore::Kind::after);
}

}  // namespace
}  // namespace walbrook::testing
