#include "pipeline/phases.h"

#include <array>

namespace walbrook {
namespace {

struct Transition {
    TablePhase from;
    PhaseEvent event;
    TablePhase to;
};

using enum TablePhase;
using enum PhaseEvent;

constexpr std::array kTransitions = std::to_array<Transition>({
    {queued, copy_started, copying},
    {queued, failed, errored},
    {queued, resync, queued},

    {copying, copy_finished, catching_up},
    {copying, copy_again, queued},
    {copying, failed, errored},
    {copying, resync, queued},

    {catching_up, published, ready},
    {catching_up, copy_again, queued},
    {catching_up, failed, errored},
    {catching_up, resync, queued},

    {ready, copy_again, queued},
    {ready, failed, errored},
    {ready, resync, queued},

    {errored, resync, queued},
    {errored, failed, errored},
});

}  // namespace

std::string_view name_of(PhaseEvent event) {
    switch (event) {
        case copy_started: return "copy_started";
        case copy_finished: return "copy_finished";
        case published: return "published";
        case copy_again: return "copy_again";
        case failed: return "failed";
        case resync: return "resync";
    }
    return "failed";
}

std::optional<TablePhase> next_phase(TablePhase phase, PhaseEvent event) {
    for (const Transition& t : kTransitions) {
        if (t.from == phase && t.event == event) return t.to;
    }
    return std::nullopt;
}

}  // namespace walbrook
