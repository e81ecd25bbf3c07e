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
