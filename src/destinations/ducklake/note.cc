#include "destinations/ducklake/note.h"

#include "base/json_number.h"

#include <nlohmann/json.hpp>

namespace walbrook::ducklake {

std::string extra_info(const Note& note, std::uint64_t pipeline_id, const std::string& commit_id,
                       std::optional<std::int64_t> epoch) {
    nlohmann::json info{{"format", kNoteFormat},
                        {"lsn", to_string(note.position)},
                        {"commit_time_us", note.commit_time_us},
                        {"pipeline", pipeline_id},
                        {"commit", commit_id}};
    if (epoch) info["epoch"] = *epoch;
    return info.dump();
}

int note_format(const std::string& text) {
    const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
    if (!json.is_object()) return 0;
    const auto format = json.find("format");
    if (format == json.end()) return 1;
    return is_number_of<int>(*format) ? format->get<int>() : 0;
}

std::optional<Note> parse_note(const std::string& text) {
    if (note_format(text) != kNoteFormat) return std::nullopt;
    const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
    if (!json.is_object() || !json.contains("lsn") || !json["lsn"].is_string()) return std::nullopt;
    const std::optional<Lsn> lsn = parse_lsn(json["lsn"].get_ref<const std::string&>());
    if (!lsn) return std::nullopt;
    Note note{*lsn, 0};
    if (const auto time = json.find("commit_time_us");
        time != json.end() && is_number_of<std::int64_t>(*time)) {
        note.commit_time_us = time->get<std::int64_t>();
    }
    return note;
}

}  // namespace walbrook::ducklake
