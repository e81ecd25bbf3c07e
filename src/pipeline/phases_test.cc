#include "pipeline/phases.h"

#include <gtest/gtest.h>

#include <array>
#include <map>
#include <optional>
#include <utility>

namespace walbrook {
namespace {

using enum TablePhase;
using enum PhaseEvent;

constexpr std::array kPhases{queued, copying, catching_up, ready, errored};
constexpr std::array kEvents{copy_started, copy_finished, published, copy_again, failed, resync};

// The whole table once more, written by phase: what is not here cannot happen.
TEST(Phases, EveryPairOfPhaseAndEvent) {
    const std::map<std::pair<TablePhase, PhaseEvent>, TablePhase> expected{
        {{queued, copy_started}, copying},
        {{copying, copy_finished}, catching_up},
        {{catching_up, published}, ready},
        {{copying, copy_again}, queued},
        {{catching_up, copy_again}, queued},
        {{ready, copy_again}, queued},
        {{queued, failed}, errored},
        {{copying, failed}, errored},
        {{catching_up, failed}, errored},
        {{ready, failed}, errored},
        {{errored, failed}, errored},
        {{queued, resync}, queued},
        {{copying, resync}, queued},
        {{catching_up, resync}, queued},
        {{ready, resync}, queued},
        {{errored, resync}, queued},
    };
    for (const TablePhase phase : kPhases) {
        for (const PhaseEvent event : kEvents) {
            SCOPED_TRACE(std::string(name_of(phase)) + " and " + std::string(name_of(event)));
            const auto found = expected.find({phase, event});
            EXPECT_EQ(next_phase(phase, event), found == expected.end()
                                                    ? std::nullopt
                                                    : std::optional(found->second));
        }
    }
}

// Nothing becomes visible without a copy that was finished and published.
TEST(Phases, ReadyIsOnlyReachedByAPublish) {
    for (const TablePhase phase : kPhases) {
        for (const PhaseEvent event : kEvents) {
            if (next_phase(phase, event) == ready) {
                EXPECT_EQ(event, published);
            }
        }
    }
}

}  // namespace
}  // namespace walbrook
