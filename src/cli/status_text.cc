#include "cli/status_text.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>

namespace walbrook {
namespace {

using Row = std::vector<std::string>;

// Characters on the screen, near enough: bytes that do not continue a UTF-8 sequence.
std::size_t width_of(const std::string& text) {
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
        return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;
    }));
}

// Columns as wide as their widest cell; numbers to the right.
std::string columns(const std::vector<Row>& rows, const std::vector<bool>& right) {
    std::vector<std::size_t> width(right.size(), 0);
    for (const Row& row : rows) {
        for (std::size_t i = 0; i < row.size(); ++i)
            width[i] = std::max(width[i], width_of(row[i]));
    }
    std::string out;
    for (const Row& row : rows) {
        std::string line;
        for (std::size_t i = 0; i < row.size(); ++i) {
            const std::string gap(width[i] - width_of(row[i]), ' ');
            if (i != 0) line += "  ";
            line += right[i] ? gap + row[i] : row[i] + gap;
        }
        out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
    }
    return out;
}

std::string phase_text(const TableStatus& table) {
    if (table.paused && table.phase == TablePhase::queued) return "paused";
    std::string text(name_of(table.phase));
    if (table.phase == TablePhase::copying && table.rows_estimated > 0) {
        const std::uint64_t percent = table.rows_copied * 100 / table.rows_estimated;
        // The estimate may be low; 100 % is said only by leaving the phase.
        text += fmt::format(" {} %", std::min<std::uint64_t>(percent, 99));
    }
    return text;
}

std::string note_text(const TableStatus& table) {
    if (table.remedy.empty()) return table.reason;
    return table.reason.empty() ? table.remedy : table.reason + "; " + table.remedy;
}

std::string utc_text(std::int64_t secs) {
    const std::chrono::sys_seconds at{std::chrono::seconds(secs)};
    return fmt::format("{:%Y-%m-%d %H:%M:%S} UTC", at);
}

// The line of the last and the next comparison; nothing where there is none.
std::string verify_text(const VerifyStatus& verify) {
    std::string text;
    if (verify.began_at_secs != 0) {
        text = fmt::format("{} at {}, {}: {} tables equal, {} different, {} not compared",
                           utc_text(verify.began_at_secs), to_string(verify.position),
                           duration_text(verify.took_ms), verify.equal, verify.different,
                           verify.not_compared);
    } else if (!verify.schedule.empty()) {
        text = "not yet";
    }
    if (verify.running) {
        text += "; one is under way";
    } else if (verify.next_at_secs != 0) {
        text += "; next " + utc_text(verify.next_at_secs);
    }
    return text.empty() ? "" : "compared    " + text + "\n";
}

}  // namespace

std::string bytes_text(std::uint64_t bytes) {
    constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = static_cast<double>(bytes);
    std::size_t unit = 0;
    while (value >= 1024 && unit + 1 < kUnits.size()) {
        value /= 1024;
        ++unit;
    }
    if (unit == 0) return fmt::format("{} B", bytes);
    return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string count_text(std::uint64_t count) {
    std::string digits = std::to_string(count);
    for (std::size_t at = digits.size(); at > 3;) digits.insert(at -= 3, ",");
    return digits;
}

std::string duration_text(std::int64_t ms) {
    if (ms < 60'000) return fmt::format("{:.1f} s", static_cast<double>(ms) / 1000.0);
    if (ms < 3'600'000) return fmt::format("{} min {} s", ms / 60'000, ms / 1000 % 60);
    return fmt::format("{} h {} min", ms / 3'600'000, ms / 60'000 % 60);
}

std::string status_as_text(const StatusReport& report) {
    const PipelineStatus& status = report.pipeline;
    std::string out = fmt::format("pipeline {} ({} -> {}): {}\n", report.pipeline_id,
                                  report.publication, report.destination, status.state);
    out += fmt::format("lag         {}, {}\n", bytes_text(status.lag_bytes),
                       duration_text(status.lag_ms));
    out += fmt::format("positions   source {}, received {}, durable {}, confirmed {}\n",
                       to_string(status.source_end), to_string(status.received),
                       to_string(status.durable), to_string(status.confirmed));
    out += fmt::format("since start {} transactions, {} changes, {} flushes; {} in batches\n",
                       count_text(status.transactions), count_text(status.changes_received),
                       count_text(status.flushes), bytes_text(status.memory_bytes));
    out += verify_text(report.verify);
    for (const std::string& problem : status.problems) out += "problem     " + problem + "\n";
    if (status.tables.empty()) return out + "\nno tables yet\n";
    std::vector<Row> rows = {{"table", "phase", "rows copied", "changes", "held", "note"}};
    for (const TableStatus& table : status.tables) {
        rows.push_back({fmt::format("{}.{}", table.schema, table.name), phase_text(table),
                        count_text(table.rows_copied), count_text(table.changes_applied),
                        table.held_bytes == 0 ? "" : bytes_text(table.held_bytes),
                        note_text(table)});
    }
    return out + "\n" + columns(rows, {false, false, true, true, true, false});
}

}  // namespace walbrook
