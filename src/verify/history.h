#pragma once

#include "verify/report.h"
#include "walbrook/result.h"

#include <cstdint>
#include <string>
#include <vector>

namespace walbrook::verify {

// What the last comparison of a table said. One that differed does so until a comparison finds it
// equal: `reason` says why a later one did not compare it.
struct TableVerdict {
    TableId table;
    std::string schema;
    std::string name;
    Outcome outcome = Outcome::not_compared;
    std::string reason;
    Lsn position;
    std::uint64_t differing_rows = 0;
    bool has_more = false;
    bool is_copied_again = false;
    std::int64_t at_secs = 0;  // When that position was named, since 1970.
};

// What is remembered of comparisons that ended, in a file of work_dir.
struct History {
    std::int64_t whole_at_secs = 0;  // When the last one of all tables began; 0: there was none.
    std::int64_t began_at_secs = 0;  // The last one, of all or some.
    std::int64_t took_ms = 0;
    Lsn position;
    std::vector<TableVerdict> tables;  // In order of name.

    // What was asked for (names or patterns; none: all tables) takes the place of what was said of
    // it before. A whole one, which is as much as is ever compared, forgets what was equal besides.
    // What a result of before `began_at` says takes no newer one's place.
    void add(const Report& report, const std::vector<std::string>& asked_for, bool is_whole,
             std::int64_t began_at, std::int64_t ms);
    // What differs, of a comparison that did not come to its end.
    void add_different(const Report& report, std::int64_t began_at, std::int64_t ms);
    std::size_t count(Outcome outcome) const;
    // Whether a later comparison of the table than this one has ended.
    bool has_newer(const TableResult& result) const;
};

std::string history_path(const std::string& work_dir);
// Nothing when there is none, or none that this version understands: it is only to look at.
History load_history(const std::string& work_dir);
Status store_history(const std::string& work_dir, const History& history);

}  // namespace walbrook::verify
