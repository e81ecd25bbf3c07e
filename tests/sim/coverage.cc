#include "sim/coverage.h"

#include <fmt/format.h>

#include <array>
#include <utility>

namespace walbrook::sim {
namespace {

using Counter = std::uint64_t Coverage::*;

constexpr auto kCounters = std::to_array<std::pair<const char*, Counter>>({
    {"transactions", &Coverage::transactions},
    {"flushes", &Coverage::flushes},
    {"slices", &Coverage::slices},
    {"tables published", &Coverage::published},
    {"in ranges", &Coverage::published_in_ranges},
    {"copies lost", &Coverage::copies_lost},
    {"to moves", &Coverage::moves_lost},
    {"tables stopped", &Coverage::tables_stopped},
    {"errored", &Coverage::errored},
    {"left to the operator", &Coverage::left_to_operator},
    {"tried again", &Coverage::tried_again},
    {"refused", &Coverage::refused},
    {"unknown outcomes", &Coverage::unknown},
    {"opens failed", &Coverage::opens_failed},
    {"opens unanswered", &Coverage::opens_unanswered},
    {"begins of copies failed", &Coverage::begins_failed},
    {"begins unanswered", &Coverage::begins_unanswered},
    {"units failed", &Coverage::units_failed},
    {"half way", &Coverage::units_failed_half_way},
    {"units unanswered", &Coverage::units_unanswered},
    {"finishes failed", &Coverage::finishes_failed},
    {"finishes unanswered", &Coverage::finishes_unanswered},
    {"discards failed", &Coverage::discards_failed},
    {"discards unanswered", &Coverage::discards_unanswered},
    {"states refused by the store", &Coverage::states_refused},
    {"states unanswered", &Coverage::states_unanswered},
    {"other writes refused", &Coverage::store_refused},
    {"store unanswered", &Coverage::store_unanswered},
    {"starts failed", &Coverage::starts_failed},
    {"crashes", &Coverage::crashes},
    {"disconnects", &Coverage::disconnects},
    {"streamed transactions", &Coverage::streamed},
    {"stream aborts", &Coverage::stream_aborts},
    {"truncates", &Coverage::truncates},
    {"DDL messages", &Coverage::ddl_told},
    {"versions followed", &Coverage::versions},
    {"cuts", &Coverage::cuts},
    {"cuts lost", &Coverage::cuts_lost},
    {"rows put right", &Coverage::repaired_rows},
    {"resyncs", &Coverage::resyncs},
    {"pauses", &Coverage::pauses},
    {"server crashes", &Coverage::server_crashes},
    {"failovers", &Coverage::failovers},
    {"failovers refused", &Coverage::failovers_refused},
    {"slots harmed", &Coverage::slots_harmed},
    {"slots lost", &Coverage::slots_lost},
});

}  // namespace

void Coverage::add(const Coverage& other) {
    for (const auto& [name, counter] : kCounters) this->*counter += other.*counter;
}

std::string Coverage::print() const {
    std::string out;
    for (const auto& [name, counter] : kCounters) {
        out += fmt::format("{}{} {}", out.empty() ? "" : ", ", this->*counter, name);
    }
    return out;
}

// Two are too rare to be met in every thousand of seeds.
std::string Coverage::missing() const {
    std::string out;
    for (const auto& [name, counter] : kCounters) {
        if (counter == &Coverage::moves_lost || counter == &Coverage::unknown) continue;
        if (this->*counter == 0) out += fmt::format("{}{}", out.empty() ? "" : ", ", name);
    }
    return out;
}

}  // namespace walbrook::sim
