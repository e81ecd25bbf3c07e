#pragma once

#include "walbrook/lsn.h"

#include <cstdint>
#include <optional>
#include <string>

namespace walbrook::ducklake {

// What every snapshot of ours says about itself, as JSON in its commit_extra_info:
// {"format": 1, "lsn": "0/16B3748", "commit_time_us": 1, "pipeline": 1, "commit": "6f0c-1"}, and
// with a catalog in Postgres the writer's "epoch".
inline constexpr int kNoteFormat = 1;

struct Note {
    Lsn position;
    std::int64_t commit_time_us = 0;
};

std::string extra_info(const Note& note, std::uint64_t pipeline_id, const std::string& commit_id,
                       std::optional<std::int64_t> epoch);
// Nothing for what no pipeline wrote, and for another format.
std::optional<Note> parse_note(const std::string& text);
// That of the text; 1 where it names none, 0 where it is no note at all.
int note_format(const std::string& text);

}  // namespace walbrook::ducklake
