#pragma once

#include <cstdint>
#include <string>

namespace walbrook::sim {

// What the runs came to, so that a test can see that nothing was left untried.
struct Coverage {
    std::uint64_t transactions = 0;
    std::uint64_t flushes = 0;
    std::uint64_t slices = 0;
    std::uint64_t published = 0;
    std::uint64_t published_in_ranges = 0;
    std::uint64_t moves_lost = 0;  // Copies in ranges that had to have one snapshot.
    std::uint64_t copies_lost = 0;
    std::uint64_t tables_stopped = 0;
    std::uint64_t errored = 0;
    std::uint64_t left_to_operator = 0;  // Of these: no other attempt is planned.
    std::uint64_t tried_again = 0;       // As it was planned.
    std::uint64_t refused = 0;
    std::uint64_t unknown = 0;  // Outcomes.
    // Calls with which nothing was done, and those that were done and did not answer.
    std::uint64_t opens_failed = 0;
    std::uint64_t opens_unanswered = 0;
    std::uint64_t begins_failed = 0;  // Of copies.
    std::uint64_t begins_unanswered = 0;
    std::uint64_t units_failed = 0;
    std::uint64_t units_failed_half_way = 0;
    std::uint64_t units_unanswered = 0;
    std::uint64_t finishes_failed = 0;
    std::uint64_t finishes_unanswered = 0;
    std::uint64_t discards_failed = 0;
    std::uint64_t discards_unanswered = 0;
    std::uint64_t states_refused = 0;  // Of tables, by the store,
    std::uint64_t states_unanswered = 0;
    std::uint64_t store_refused = 0;  // and whatever else it is given.
    std::uint64_t store_unanswered = 0;
    std::uint64_t starts_failed = 0;
    std::uint64_t crashes = 0;
    std::uint64_t disconnects = 0;
    std::uint64_t streamed = 0;
    std::uint64_t stream_aborts = 0;
    std::uint64_t truncates = 0;
    std::uint64_t ddl_told = 0;
    std::uint64_t versions = 0;  // That were followed in place.
    std::uint64_t cuts = 0;
    std::uint64_t cuts_lost = 0;
    std::uint64_t repaired_rows = 0;  // Asked for.
    std::uint64_t resyncs = 0;
    std::uint64_t pauses = 0;
    std::uint64_t server_crashes = 0;
    std::uint64_t failovers = 0;
    std::uint64_t failovers_refused = 0;  // The server lacks what the destination has.
    std::uint64_t slots_harmed = 0;
    std::uint64_t slots_lost = 0;  // And noticed: all tables were copied again.
    void add(const Coverage& other);
    std::string print() const;
    // The names of those that stayed 0.
    std::string missing() const;
};

}  // namespace walbrook::sim
